"""The work of an app: its tasks, what is scheduled, where that is routed, and whether arguments fit."""

from __future__ import annotations

import inspect
from typing import TYPE_CHECKING, Any

from livectl.doctor.facts import Task

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from livectl.model import Schedule

GLOB_SIGNS = frozenset("*?[")
BUILT_IN = "celery."


def tasks(app: Any, known: Mapping[str, Any]) -> tuple[Task, ...]:
    """The app's own; Celery's built-in ones are as they are."""
    default = app.conf.task_time_limit
    return tuple(
        Task(
            name=name,
            late=bool(task.acks_late),
            rejects=bool(task.reject_on_worker_lost),
            limit=_seconds(task.time_limit if task.time_limit is not None else default),
        )
        for name, task in known.items()
        if not name.startswith(BUILT_IN)
    )


def unbound(schedules: Sequence[Schedule], known: Mapping[str, Any]) -> dict[str, str]:
    """Entry -> why its task would not take its arguments."""
    found = {}
    for each in schedules:
        if each.task in known and (why := _unfit(known[each.task], each.args, each.kwargs)):
            found[each.name] = why
    return found


def routes(app: Any) -> dict[str, str]:
    """The plain names in task_routes, and the queue that each leads to."""
    said = app.conf.task_routes
    tables = said if isinstance(said, list | tuple) else [said]
    found: dict[str, str] = {}
    for table in tables:
        found |= dict(_plain(table)) if isinstance(table, dict) else {}
    return found


def destinations(app: Any, schedules: Sequence[Schedule]) -> dict[str, str]:
    """Entry -> the queue its job will lie in."""
    found = {}
    for each in schedules:
        options = {key: each.options[key] for key in ("queue", "exchange", "routing_key") if key in each.options}
        try:
            route = app.amqp.router.route(options, each.task, each.args, each.kwargs)
        except Exception:  # noqa: S112 - a router of the app's own that stumbles is for its log
            continue
        queue = route.get("queue")
        if name := getattr(queue, "name", queue) or route.get("routing_key"):
            found[each.name] = str(name)
    return found


def _plain(table: Mapping[Any, Any]) -> Iterator[tuple[str, str]]:
    for name, route in table.items():
        queue = route.get("queue") if isinstance(route, dict) else route
        if isinstance(name, str) and not GLOB_SIGNS & set(name):
            yield name, str(getattr(queue, "name", queue) or "")


def _unfit(task: Any, args: Sequence[Any], kwargs: Mapping[str, Any]) -> str:
    try:
        signature = inspect.signature(task.run)
    except (TypeError, ValueError):
        return ""  # nothing can be said of what Python itself cannot tell
    try:
        signature.bind(*args, **kwargs)
    except TypeError as error:
        plain = [each.replace(annotation=each.empty) for each in signature.parameters.values()]
        return f"{task.name}{inspect.Signature(plain)}: {error}"
    return ""


def _seconds(said: Any) -> float | None:
    return float(said) if isinstance(said, int | float) and said else None
