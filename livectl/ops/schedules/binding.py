"""Whether an entry's task is there, and takes its arguments."""

from __future__ import annotations

import inspect
from typing import TYPE_CHECKING, Any

from livectl.ops.schedules.spot import did_you_mean

if TYPE_CHECKING:
    from collections.abc import Mapping

    from livectl.ops.schedules.spot import FileLocation

MAX_TASKS_SHOWN = 5  # task names in a hint at most


def check_task(location: FileLocation, entry: Any, tasks: Mapping[str, Any]) -> None:
    """Notes what is wrong between an entry, whatever else is wrong with it, and the tasks of the app."""
    name = entry.get("task") if isinstance(entry, dict) else None
    if not name or not isinstance(name, str):
        return
    if name not in tasks:
        location.child("task").add_mistake(
            f'the app has no task "{name}"', did_you_mean(name, tasks) or _task_names_hint(tasks)
        )
        return
    args, kwargs = entry.get("args", []), entry.get("kwargs", {})
    if isinstance(args, list) and isinstance(kwargs, dict):
        _check_arguments(location, name, tasks[name], args, kwargs)


def _check_arguments(location: FileLocation, name: str, task: Any, args: list[Any], kwargs: dict[str, Any]) -> None:
    try:
        signature = inspect.signature(task.run)
    except (TypeError, ValueError):
        return  # nothing can be said of what Python itself cannot tell
    for key in _unknown_kwargs(signature, kwargs):
        hint = did_you_mean(key, signature.parameters)
        location.child("kwargs").child(key).add_mistake(
            f"{_format_signature(name, signature)} takes no such argument", hint, key=True
        )
        kwargs = {keyword: value for keyword, value in kwargs.items() if keyword != key}
    try:
        signature.bind(*args, **kwargs)
    except TypeError as error:
        key = "args" if args else "kwargs" if kwargs else "task"
        location.child(key).add_mistake(
            f"{_format_signature(name, signature)}: {_format_bind_error(error, signature, args)}"
        )


def _unknown_kwargs(signature: inspect.Signature, kwargs: dict[str, Any]) -> list[str]:
    kinds = {parameter.kind for parameter in signature.parameters.values()}
    if inspect.Parameter.VAR_KEYWORD in kinds:
        return []
    return [key for key in kwargs if key not in signature.parameters]


def _format_bind_error(error: TypeError, signature: inspect.Signature, args: list[Any]) -> str:
    """Python's own reason, with the numbers when there are too many."""
    if "too many" not in str(error):
        return str(error)
    positional = (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)
    accepted = sum(parameter.kind in positional for parameter in signature.parameters.values())
    return f"too many arguments: {len(args)} for {accepted}"


def _format_signature(name: str, signature: inspect.Signature) -> str:
    """As it is called: without the types."""
    parameters = [parameter.replace(annotation=parameter.empty) for parameter in signature.parameters.values()]
    return f"{name}{inspect.Signature(parameters)}"


def _task_names_hint(tasks: Mapping[str, Any]) -> str:
    """A few of the app's own tasks."""
    own_tasks = sorted(name for name in tasks if not name.startswith("celery."))
    shown = (
        f"{', '.join(own_tasks[:MAX_TASKS_SHOWN])}{', …' if len(own_tasks) > MAX_TASKS_SHOWN else ''}"
        if own_tasks
        else "none of its own"
    )
    return f"it has {shown}; -A names another app"
