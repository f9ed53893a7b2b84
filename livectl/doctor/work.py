"""The work of an app: its tasks, what is scheduled, where that is routed, and whether arguments fit."""

from __future__ import annotations

import inspect
from typing import TYPE_CHECKING, Any

from livectl.doctor.facts import TaskFacts

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from livectl.model import Schedule

GLOB_CHARACTERS = frozenset("*?[")
BUILT_IN_PREFIX = "celery."


def list_tasks(app: Any, app_tasks: Mapping[str, Any]) -> tuple[TaskFacts, ...]:
    """The app's own; Celery's built-in ones are as they are."""
    default_limit = app.conf.task_time_limit
    return tuple(
        TaskFacts(
            name=name,
            acks_late=bool(task.acks_late),
            reject_on_worker_lost=bool(task.reject_on_worker_lost),
            time_limit=_parse_time_limit(task.time_limit if task.time_limit is not None else default_limit),
        )
        for name, task in app_tasks.items()
        if not name.startswith(BUILT_IN_PREFIX)
    )


def find_argument_errors(schedules: Sequence[Schedule], app_tasks: Mapping[str, Any]) -> dict[str, str]:
    """Entry -> why its task would not take its arguments."""
    errors = {}
    for entry in schedules:
        if entry.task in app_tasks and (problem := _argument_error(app_tasks[entry.task], entry.args, entry.kwargs)):
            errors[entry.name] = problem
    return errors


def list_routes(app: Any) -> dict[str, str]:
    """The plain names in task_routes, and the queue that each leads to."""
    configured = app.conf.task_routes
    tables = configured if isinstance(configured, list | tuple) else [configured]
    queue_by_task: dict[str, str] = {}
    for table in tables:
        queue_by_task |= dict(_plain_routes(table)) if isinstance(table, dict) else {}
    return queue_by_task


def find_destinations(app: Any, schedules: Sequence[Schedule]) -> dict[str, str]:
    """Entry -> the queue its job will lie in."""
    queue_by_entry = {}
    for entry in schedules:
        options = {key: entry.options[key] for key in ("queue", "exchange", "routing_key") if key in entry.options}
        try:
            route = app.amqp.router.route(options, entry.task, entry.args, entry.kwargs)
        except Exception:  # noqa: S112 - a router of the app's own that stumbles is for its log
            continue
        queue = route.get("queue")
        if name := getattr(queue, "name", queue) or route.get("routing_key"):
            queue_by_entry[entry.name] = str(name)
    return queue_by_entry


def _plain_routes(table: Mapping[Any, Any]) -> Iterator[tuple[str, str]]:
    for name, route in table.items():
        queue = route.get("queue") if isinstance(route, dict) else route
        if isinstance(name, str) and not GLOB_CHARACTERS & set(name):
            yield name, str(getattr(queue, "name", queue) or "")


def _argument_error(task: Any, args: Sequence[Any], kwargs: Mapping[str, Any]) -> str:
    try:
        signature = inspect.signature(task.run)
    except (TypeError, ValueError):
        return ""  # nothing can be said of what Python itself cannot tell
    try:
        signature.bind(*args, **kwargs)
    except TypeError as error:
        parameters = [parameter.replace(annotation=parameter.empty) for parameter in signature.parameters.values()]
        return f"{task.name}{inspect.Signature(parameters)}: {error}"
    return ""


def _parse_time_limit(limit: Any) -> float | None:
    return float(limit) if isinstance(limit, int | float) and limit else None
