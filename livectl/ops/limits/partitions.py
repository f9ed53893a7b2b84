"""Finds in the arguments of a job what a limit or a duplicate goes by."""

from __future__ import annotations

from inspect import Parameter
from typing import TYPE_CHECKING, Any

import msgspec

from livectl.errors import UsageError
from livectl.task_settings import PER_TASK

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from inspect import Signature

    from livectl.task_settings import ArgumentPlace, TaskSettings

POSITIONAL = (Parameter.POSITIONAL_ONLY, Parameter.POSITIONAL_OR_KEYWORD)


class MissingArgumentError(UsageError):
    """A job lacks the argument by which `tasks:` tells its kind apart."""


def partition_of(
    settings: TaskSettings, task: str, args: Sequence[Any], kwargs: Mapping[str, Any], signature: Signature | None
) -> str:
    """Its value of `per`; empty where there is none. Raises MissingArgumentError."""
    if settings.per is None:
        return ""
    if settings.per.text == PER_TASK:
        return task
    return _text(find_argument(settings.per, task, args, kwargs, signature))


def same_arguments(
    places: Sequence[ArgumentPlace],
    task: str,
    args: Sequence[Any],
    kwargs: Mapping[str, Any],
    signature: Signature | None,
) -> str:
    """What is alike of jobs that are the same: these arguments, or all, however they are passed."""
    if places:
        return _text([find_argument(place, task, args, kwargs, signature) for place in places])
    if signature is not None:
        try:
            bound = signature.bind(*args, **kwargs)
        except TypeError:
            pass
        else:
            bound.apply_defaults()
            return _text(bound.arguments)
    return _text([args, kwargs])


def check_arguments(
    settings: TaskSettings, task: str, args: Sequence[Any], kwargs: Mapping[str, Any], signature: Signature | None
) -> None:
    """Raises MissingArgumentError for a job that lacks what these settings go by: a worker would set it aside."""
    partition_of(settings, task, args, kwargs, signature)
    if settings.unique is not None:
        same_arguments(settings.unique.by, task, args, kwargs, signature)


def find_argument(
    place: ArgumentPlace, task: str, args: Sequence[Any], kwargs: Mapping[str, Any], signature: Signature | None
) -> Any:
    """The value that stands there, or that the task would have there by its signature."""
    if place.text == PER_TASK:
        return task
    positional = [item for item in signature.parameters.values() if item.kind in POSITIONAL] if signature else []
    names = [item.name for item in positional]
    index, name = place.number, place.name
    if index is None and name in names:
        index = names.index(name)
    elif index is not None and index < len(names):
        name = names[index]
    if index is not None and index < len(args):
        return args[index]
    if name in kwargs:
        return kwargs[name]
    default = signature.parameters[name].default if signature and name in signature.parameters else Parameter.empty
    if default is Parameter.empty:
        raise MissingArgumentError(
            f"the job has no {place.text}, by which `tasks:` in livectl.yaml counts {task}",
            "Send it with that argument, or change `per` or `by`.",
        )
    return default


def _text(value: Any) -> str:
    """Values that are alike have the same text, whatever order their keys are in."""
    if isinstance(value, str):
        return value
    return msgspec.json.encode(value, enc_hook=repr, order="deterministic").decode()
