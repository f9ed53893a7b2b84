"""Collects what a Celery app says of itself (settings and where each comes from, tasks, routes), and its processes."""

from __future__ import annotations

import shlex
import subprocess
from inspect import isclass, isfunction, ismodule
from pathlib import Path
from typing import TYPE_CHECKING, Any

from livectl.doctor.facts import AppProcess, RabbitFacts, SettingsFacts, TaskFacts, WrittenSetting
from livectl.ops.processes import launch
from livectl.ops.schedules.options import Refusals

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from livectl.models import Schedule
    from livectl.settings import Settings

SET_IN_CODE = "Celery(...) or app.conf"
# The environment overrules all code; the last two are read by the `celery` command alone.
TRANSIENT_MODES = {1, "transient"}
SETTING_VARIABLES = {
    "CELERY_BROKER_URL": "broker_url",
    "CELERY_RESULT_BACKEND": "result_backend",
    "BROKER_URL": "broker_url",
    "RESULT_BACKEND": "result_backend",
}
ROUTING_OPTIONS = ("queue", "exchange", "routing_key")
GLOB_CHARACTERS = frozenset("*?[")
BUILT_IN_PREFIX = "celery."
PROC = Path("/proc")  # where Linux tells of each process
PS_TIMEOUT_S = 2.0


def read_settings(app: Any, environ: Mapping[str, str]) -> SettingsFacts:
    """The settings of an app. What Celery raises about settings that it cannot read is raised."""
    values = {key: getattr(app.conf, key, None) for key in _setting_keys()}
    written = tuple(_written_settings(app))
    origins = dict(_origins(environ, written, values))
    return SettingsFacts(
        values=values,
        origins=origins,
        written=written,
        overridden=dict(_overridden(app, environ)),
        source=_source_name(app) if app._config_source else "",
    )


def why_stock(app: Any, settings: Settings) -> str:
    """Why workers of an app on Redis have Celery's own transport; nothing where they have livectl's, or no Redis."""
    from kombu.transport import redis as kombu_redis

    from livectl.ops.transport import safe_transport

    try:
        is_redis = issubclass(app.connection_for_read().get_transport_cls(), kombu_redis.Transport)
        return safe_transport.why_stock(app, settings) if is_redis else ""
    except Exception:  # an address that Celery cannot use is another finding
        return ""


def takes_by_plus(app: Any) -> bool:
    """Whether workers of the app take their jobs by celery-redis-plus."""
    try:
        return str(app.connection_for_read().get_transport_cls().__module__).partition(".")[0] == "celery_redis_plus"
    except Exception:  # as above
        return False


def list_tasks(app: Any, app_tasks: Mapping[str, Any]) -> tuple[TaskFacts, ...]:
    """The app's own tasks, without Celery's built-in ones."""
    from celery.app.task import Task

    default_limit = app.conf.task_time_limit
    return tuple(
        TaskFacts(
            name=name,
            acks_late=bool(task.acks_late),
            reject_on_worker_lost=bool(task.reject_on_worker_lost),
            time_limit=_parse_time_limit(task.time_limit if task.time_limit is not None else default_limit),
            wraps_run=type(task).__call__ is not Task.__call__,
        )
        for name, task in app_tasks.items()
        if not name.startswith(BUILT_IN_PREFIX)
    )


def read_rabbitmq(app: Any) -> RabbitFacts | None:
    """How the app uses RabbitMQ, by its settings; None for an app that is not on one."""
    from livectl.ops.transport import rabbitmq

    if not rabbitmq.speaks_amqp(app):
        return None
    queues = app.amqp.queues.consume_from.values()
    modes = {app.conf.task_default_delivery_mode, *(queue.exchange.delivery_mode for queue in queues if queue.exchange)}
    quorum = [queue.name for queue in queues if (queue.queue_arguments or {}).get("x-queue-type") == "quorum"]
    return RabbitFacts(
        confirms=bool((app.conf.broker_transport_options or {}).get(rabbitmq.CONFIRM)),
        sends_transient=bool(modes & TRANSIENT_MODES),
        transient_queues=tuple(queue.name for queue in queues if not queue.durable or queue.auto_delete),
        globally_prefetched=() if app.conf.worker_detect_quorum_queues else tuple(quorum),
    )


def find_argument_errors(schedules: Sequence[Schedule], app_tasks: Mapping[str, Any]) -> dict[str, str]:
    """Entry -> why its task does not take its arguments, or a worker would set its jobs aside for them."""
    refusals = Refusals(app_tasks)
    return {
        entry.name: error
        for entry in schedules
        if entry.task in app_tasks and (error := refusals.of(entry.task, entry.args, entry.kwargs))
    }


def list_routes(app: Any) -> dict[str, str]:
    """Task -> the queue that task_routes leads it to. Patterns are left out."""
    configured = app.conf.task_routes
    tables = configured if isinstance(configured, list | tuple) else [configured]
    queue_by_task: dict[str, str] = {}
    for table in tables:
        queue_by_task |= dict(_plain_routes(table)) if isinstance(table, dict) else {}
    return queue_by_task


def find_destinations(app: Any, schedules: Sequence[Schedule]) -> dict[str, str]:
    """Entry -> the queue that its jobs are sent to."""
    queue_by_entry = {}
    for entry in schedules:
        options = {key: value for key, value in entry.options.items() if key in ROUTING_OPTIONS}
        if name := _find_queue(app, options, entry.task, entry.args, entry.kwargs):
            queue_by_entry[entry.name] = name
    return queue_by_entry


def find_task_queues(app: Any, tasks: Sequence[TaskFacts]) -> dict[str, str]:
    """Task -> the queue that its jobs are sent to, unless whoever sends them names another."""
    queues = {task.name: _find_queue(app, {}, task.name, (), {}) for task in tasks}
    return {task: queue for task, queue in queues.items() if queue}


def _find_queue(app: Any, options: Mapping[str, Any], task: str, args: Sequence[Any], kwargs: Mapping[str, Any]) -> str:
    """The name of the queue; empty where a router of the app's own stumbles, which is for its log."""
    try:
        route = app.amqp.router.route(dict(options), task, args, kwargs)
    except Exception:
        return ""
    queue = route.get("queue")
    return str(getattr(queue, "name", queue) or route.get("routing_key") or "")


def _setting_keys() -> list[str]:
    from celery.app.defaults import SETTING_KEYS

    return sorted(SETTING_KEYS)


def _source_name(app: Any) -> str:
    """The source as it was named, or its type."""
    source = app._config_source
    if isinstance(source, str):
        return source
    return str(getattr(source, "__name__", "") or type(source).__name__)


def _written_settings(app: Any) -> Iterator[WrittenSetting]:
    """The names in the source, then the names that code has set. A module's imports and functions are no settings.

    What is given to Celery(...), such as `broker`, has no name of its author's: Celery calls it as the others are.
    """
    if app._config_source:
        source = _source_name(app)
        source_settings = app.loader.conf
        for name in source_settings:
            if (
                isinstance(name, str)
                and not name.startswith("_")
                and not _is_code(_source_value(source_settings, name))
            ):
                yield WrittenSetting(name=name, location=source, namespace=app.namespace)
    as_written = set(app.conf.deprecated_settings or ()) | app._preconf_set_by_auto
    for name in app.conf.changes:
        if not isinstance(name, str) or name.startswith("_") or name == "deprecated_settings":
            continue
        if name in as_written or not _is_any_of(name, app._preconf_set_by_auto):
            yield WrittenSetting(name=name, location=SET_IN_CODE)


def _is_any_of(name: str, keys: set[str]) -> bool:
    from livectl.ops.migration import names

    classification = names.classify(name, None)
    return bool(classification and classification.key in keys)


def _source_value(source_settings: Any, name: str) -> Any:
    try:
        return source_settings[name]
    except Exception:
        return None


def _is_code(value: Any) -> bool:
    return ismodule(value) or isfunction(value) or isclass(value)


def _origins(
    environ: Mapping[str, str], written: tuple[WrittenSetting, ...], values: Mapping[str, Any]
) -> Iterator[tuple[str, str]]:
    """Key -> where its value comes from. The last one counts: defaults < the source < code < the environment."""
    from celery.app.defaults import DEFAULTS

    from livectl.ops.migration import names

    for setting in sorted(written, key=lambda setting: setting.location == SET_IN_CODE):
        classification = names.classify(setting.name, setting.namespace)
        if (
            classification
            and classification.was_read
            and classification.key in values
            and values[classification.key] != DEFAULTS.get(classification.key)
        ):
            yield classification.key, setting.location
    for variable in ("CELERY_BROKER_URL", "CELERY_RESULT_BACKEND"):
        if environ.get(variable):
            yield SETTING_VARIABLES[variable], variable


def _overridden(app: Any, environ: Mapping[str, str]) -> Iterator[tuple[str, str]]:
    """Variable -> the address that the app's code or source has, where that is another one."""
    from livectl.redaction import redact_text

    for variable, key in SETTING_VARIABLES.items():
        environment_value = environ.get(variable)
        app_value = app.conf.first(key, "CELERY_RESULT_BACKEND" if key == "result_backend" else "broker_host")
        if (
            environment_value
            and app_value
            and isinstance(app_value, str)
            and app_value != environment_value
            and not _has_unprefixed_variable(variable, environ)
        ):
            yield variable, redact_text(app_value)


def _has_unprefixed_variable(variable: str, environ: Mapping[str, str]) -> bool:
    """Whether the variable without CELERY_ is set: the `celery` command copies it into the one with CELERY_."""
    return variable.startswith("CELERY_") and bool(environ.get(variable.removeprefix("CELERY_")))


def _parse_time_limit(limit: Any) -> float | None:
    return float(limit) if isinstance(limit, int | float) and limit else None


def _plain_routes(table: Mapping[Any, Any]) -> Iterator[tuple[str, str]]:
    for name, route in table.items():
        queue = route.get("queue") if isinstance(route, dict) else route
        if isinstance(name, str) and not GLOB_CHARACTERS & set(name):
            yield name, str(getattr(queue, "name", queue) or "")


def list_processes(app: str, folder: Path) -> tuple[AppProcess, ...]:
    """The Celery processes that name this app and run in this folder: another folder's `-A proj` is another project.

    Where a process runs cannot always be known; then its app alone counts. The children of a worker have its command
    line, and are left out.
    """
    app_processes = {
        pid: (parent, arguments, user)
        for pid, parent, user, arguments in _celery_processes()
        if launch.find_app(arguments) == app and _runs_in(pid, folder)
    }
    return tuple(
        AppProcess(pid, arguments, is_root=user == 0)
        for pid, (parent, arguments, user) in app_processes.items()
        if app_processes.get(parent, (0, (), 0))[1] != arguments
    )


def _celery_processes() -> list[tuple[int, int, int, tuple[str, ...]]]:
    """Pid, parent's pid, user and arguments of every process with celery in its command line."""
    ps = subprocess.run(
        ["ps", "-axwwo", "pid=,ppid=,uid=,args="],  # noqa: S607 - wherever this system keeps it
        capture_output=True,
        text=True,
        errors="replace",
        timeout=PS_TIMEOUT_S,
        check=False,
    )
    rows = [line.split(None, 3) for line in ps.stdout.splitlines()]
    return [
        (int(row[0]), int(row[1]), int(row[2]), _split_command_line(row[3]))
        for row in rows
        if len(row) > 3 and "celery" in row[3]
    ]


def _split_command_line(line: str) -> tuple[str, ...]:
    try:
        return tuple(shlex.split(line))
    except ValueError:
        return tuple(line.split())


def _runs_in(pid: int, folder: Path) -> bool:
    """Whether this is the working directory of the process; True where nobody can tell.

    Linux alone tells, and of the user's own processes alone. A process that has ended meanwhile runs nowhere.
    """
    if not PROC.exists():
        return True
    try:
        return (PROC / str(pid) / "cwd").samefile(folder)
    except PermissionError:
        return True
    except OSError:
        return not folder.exists() and (PROC / str(pid) / "cwd").exists()
