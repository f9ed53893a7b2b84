"""Sends jobs to the queue and with the priority that `tasks:` says, where livectl or a job of its workers sends."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from livectl.task_settings import rule_for

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from livectl.task_settings import TaskSettings


class TaskRoute:
    """A route of Celery's, before those of the app."""

    def __init__(self, current: Callable[[], Mapping[str, TaskSettings]]) -> None:
        self._current = current

    def __repr__(self) -> str:
        return "`tasks:` of livectl.yaml"

    def __call__(self, name: str, *_: Any, **__: Any) -> dict[str, Any] | None:
        settings = rule_for(self._current(), name).settings
        route = {"queue": settings.queue, "priority": settings.priority}
        return {key: value for key, value in route.items() if value is not None} or None


def add(app: Any, current: Callable[[], Mapping[str, TaskSettings]]) -> None:
    """Has the app send by these settings; what a call or the task itself says goes before them."""
    routes = app.conf.task_routes or ()
    others = tuple(routes) if isinstance(routes, list | tuple) else (routes,)
    if not any(isinstance(route, TaskRoute) for route in others):
        app.conf.task_routes = (TaskRoute(current), *others)
        app.amqp.router = app.amqp.Router()
