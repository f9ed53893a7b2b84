"""Checks arguments against the signature of a task."""

from __future__ import annotations

import inspect
from functools import lru_cache
from inspect import Parameter, Signature
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

TASKS_REMEMBERED = 1_024


def read_signature(task: Any) -> Signature | None:
    """The signature of a Celery task, without types; None for a task whose signature Python cannot tell."""
    try:
        return _signature_of(task.run)
    except (TypeError, ValueError):
        return None


@lru_cache(TASKS_REMEMBERED)
def _signature_of(run: Any) -> Signature:
    """A schedule of 100,000 entries has a few tasks, and reading one signature takes 30 microseconds."""
    signature = inspect.signature(run)
    parameters = [parameter.replace(annotation=Parameter.empty) for parameter in signature.parameters.values()]
    return Signature(parameters)


def bind_error(signature: Signature, args: Sequence[Any], kwargs: Mapping[str, Any]) -> str:
    """Python's reason why the arguments do not fit; empty when they fit."""
    try:
        signature.bind(*args, **kwargs)
    except TypeError as error:
        return str(error)
    return ""


def argument_error(name: str, task: Any, args: Sequence[Any], kwargs: Mapping[str, Any]) -> str:
    """The call and the reason why the task would not take these arguments; empty when it takes them."""
    signature = read_signature(task)
    reason = bind_error(signature, args, kwargs) if signature else ""
    return f"{name}{signature}: {reason}" if reason else ""


def unknown_keywords(signature: Signature, kwargs: Mapping[str, Any]) -> list[str]:
    """The keyword arguments that the task has no parameter for."""
    if any(parameter.kind is Parameter.VAR_KEYWORD for parameter in signature.parameters.values()):
        return []
    return [keyword for keyword in kwargs if keyword not in signature.parameters]


def count_positional(signature: Signature) -> int:
    """How many positional arguments the task takes."""
    positional = (Parameter.POSITIONAL_ONLY, Parameter.POSITIONAL_OR_KEYWORD)
    return sum(parameter.kind in positional for parameter in signature.parameters.values())
