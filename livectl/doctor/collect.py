"""Questions asked together: each in a thread of its own, all within one time, none able to stop the others."""

from __future__ import annotations

import shlex
import subprocess
import threading
import time
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias, TypeVar

import msgspec

from livectl import celeryapp
from livectl.doctor import collect_app, collect_state
from livectl.doctor.checks_app import MIXED_NAMES_ERROR
from livectl.doctor.facts import AppProcess, Facts, ServerFacts, ServerRole
from livectl.errors import LivectlError, ServerError, SettingsError
from livectl.ops import apps, deployment, scheduler
from livectl.ops.beat.snapshot import ScheduleSnapshot, read_snapshot
from livectl.ops.processes import launch
from livectl.redaction import redact_text

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from livectl.address import Address
    from livectl.ops.deployment import Deployment
    from livectl.settings import Settings


T = TypeVar("T")


class ParallelQueries:
    """Answers that have come in. What failed or came too late has none."""

    def __init__(self, queries: dict[str, Callable[[], Any]], timeout_s: float) -> None:
        self._results: dict[str, Any] = {}
        self.failures: dict[str, Exception] = {}
        threads = [threading.Thread(target=self._run, args=query, daemon=True) for query in queries.items()]
        deadline = time.monotonic() + timeout_s
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(max(0.0, deadline - time.monotonic()))

    def get(self, name: str, default: T) -> T:
        result: T = self._results.get(name, default)
        return result

    def _run(self, name: str, query: Callable[[], Any]) -> None:
        try:
            self._results[name] = query()
        except Exception as error:
            self.failures[name] = error


CONTAINER_FILES = (Path("/.dockerenv"), Path("/run/.containerenv"))
PS_TIMEOUT_S = 2.0
APP_OPTIONS = ("-A", "--app")


def in_container(environ: Mapping[str, str]) -> bool:
    return "KUBERNETES_SERVICE_HOST" in environ or any(mark.exists() for mark in CONTAINER_FILES)


def list_processes(app: str) -> tuple[AppProcess, ...]:
    """The processes of Celery's that name this app. Children carry the words of their parent: told once."""
    ps = subprocess.run(
        ["ps", "-axwwo", "pid=,ppid=,args="],  # noqa: S607 - wherever this system keeps it
        capture_output=True,
        text=True,
        errors="replace",
        timeout=PS_TIMEOUT_S,
        check=False,
    )
    rows = [line.split(None, 2) for line in ps.stdout.splitlines()]
    celery_processes = {
        row[0]: (row[1], _split_command_line(row[2])) for row in rows if len(row) > 2 and "celery" in row[2]
    }
    app_processes = {
        pid: (parent, arguments) for pid, (parent, arguments) in celery_processes.items() if app_name(arguments) == app
    }
    return tuple(
        AppProcess(int(pid), arguments)
        for pid, (parent, arguments) in app_processes.items()
        if app_processes.get(parent, ("", ()))[1] != arguments
    )


def app_name(arguments: tuple[str, ...]) -> str | None:
    """The app that a command line names."""
    for index, argument in enumerate(arguments[:-1]):
        if argument in APP_OPTIONS:
            return arguments[index + 1]
    return next((argument.partition("=")[2] for argument in arguments if argument.startswith("--app=")), None)


def _split_command_line(line: str) -> tuple[str, ...]:
    try:
        return tuple(shlex.split(line))
    except ValueError:
        return tuple(line.split())


Queries: TypeAlias = "dict[str, Callable[[], Any]]"

QUERY_TIMEOUT_S = 5.0  # for everything that is asked over a wire
MAX_ERROR_CHARS = 1000  # characters of what an app says of itself
CONNECT_TIMEOUT_S = 3.5  # for each server to say whether it is there


def collect_facts(name: str | None, load: Callable[[], Settings], environ: Mapping[str, str], cwd: Path) -> Facts:
    """All that can be learned. What cannot is a fact too."""
    facts = Facts(app=name, now=time.time(), environ=dict(environ), container=in_container(environ))
    try:
        settings = load()
    except SettingsError as error:
        return msgspec.structs.replace(facts, settings_error=_error_text(error))
    try:
        app = apps.load(name, cwd) if name else celeryapp.create_app(settings)
        tasks = dict(apps.load_tasks(app, cwd))
        conf = collect_app.read_settings(app, environ)
    except ServerError as error:  # livectl's own app, which has no broker
        broker = ServerFacts(role="broker", address="", error=error.message, cure=error.hint)
        return msgspec.structs.replace(facts, servers=(broker,))
    except LivectlError as error:
        return msgspec.structs.replace(facts, app_error=_app_error_text(error), app_hint=error.hint)
    except Exception as error:  # Celery's own word about settings that cannot be read
        return msgspec.structs.replace(facts, app_error=redact_text(str(error).strip(), MAX_ERROR_CHARS))
    facts = msgspec.structs.replace(facts, conf=conf, **_work_facts(app, tasks, name, settings))
    app_deployment = deployment.from_app(app, settings)
    if not name:
        app_deployment = msgspec.structs.replace(deployment.own_deployment(settings), app=app)
    return msgspec.structs.replace(facts, **_server_facts(app, app_deployment, settings, facts))


def _work_facts(app: Any, tasks: Mapping[str, Any], name: str | None, settings: Settings) -> dict[str, Any]:
    facts: dict[str, Any] = {"tasks": collect_app.list_tasks(app, tasks), "routes": collect_app.list_routes(app)}
    optional = settings.sources.get("schedules") == "default" and not settings.schedules.exists()
    try:
        snapshot = (
            ScheduleSnapshot(())
            if optional and not name
            else read_snapshot(
                settings.schedules, name=settings.schedules.name, app=app if name else None, optional=optional
            )
        )
    except SettingsError as error:
        return facts | {"schedule_error": _error_text(error)}
    enabled = tuple(entry for entry in snapshot.schedules if entry.enabled)
    argument_errors, destinations = (
        collect_app.find_argument_errors(enabled, tasks),
        collect_app.find_destinations(app, enabled),
    )
    return facts | {"schedule": enabled, "unbound": argument_errors, "destinations": destinations}


def _server_facts(app: Any, app_deployment: Deployment, settings: Settings, facts: Facts) -> dict[str, Any]:
    store, store_missing = _find_store(app, app_deployment, settings)
    server_facts = _check_servers(app, app_deployment, store)
    unreachable = {server.role for server in server_facts if server.error}
    queries: Queries = {"processes": partial(list_processes, facts.app or launch.OWN_APP)}
    queries |= _broker_queries(app_deployment, unreachable) | _result_backend_queries(app_deployment, unreachable)
    if store and "store" not in unreachable:
        queries |= {
            "beats": partial(collect_state.read_beats, store),
            "letters": partial(collect_state.read_dead_letters, app_deployment, store),
        }
        queries |= {} if facts.app else {"platforms": partial(collect_state.read_platforms, store, settings)}
    query_results = ParallelQueries(queries, QUERY_TIMEOUT_S)
    return {
        "servers": server_facts,
        "store_missing": store_missing,
        "visibility": app_deployment.layout.visibility_timeout if app_deployment.on_redis else None,
        **{name: query_results.get(name, getattr(facts, name)) for name in queries},
    }


def _broker_queries(app_deployment: Deployment, unreachable: set[ServerRole]) -> Queries:
    """Nobody is asked over a server that is not there."""
    if "broker" in unreachable:
        return {}
    queries: Queries = {
        "roll": partial(collect_state.survey_workers, app_deployment),
        "queues": partial(collect_state.read_queues, app_deployment),
    }
    if app_deployment.on_redis and app_deployment.broker:
        queries["delayed"] = partial(collect_state.find_delayed_messages, app_deployment, app_deployment.broker)
    return queries


def _result_backend_queries(app_deployment: Deployment, unreachable: set[ServerRole]) -> Queries:
    if "results" in unreachable or not app_deployment.keeps_results:
        return {}
    queries: Queries = {"failures": partial(collect_state.find_failures, app_deployment)}
    if app_deployment.results:
        queries["endless"] = partial(
            collect_state.find_endless_results, app_deployment.results, app_deployment.layout.result_key("")
        )
    return queries


def _find_store(app: Any, app_deployment: Deployment, settings: Settings) -> tuple[Address | None, str]:
    """Where claims, pauses and dead letters are kept, or why there is no such place."""
    if app_deployment.app is None or settings.store:
        return app_deployment.store, ""
    with suppress(SettingsError):
        return scheduler.store_address(settings, app), ""
    limitation = "keeps messages only" if app_deployment.broker else "is not one that livectl can keep things in"
    return None, f"the broker ({app_deployment.transport}) {limitation}"


def _check_servers(app: Any, app_deployment: Deployment, store: Address | None) -> tuple[ServerFacts, ...]:
    """Each server once, in the first of its roles."""
    addresses: dict[str, tuple[ServerRole, Address]] = {}
    roles: tuple[tuple[ServerRole, Address | None], ...] = (
        ("broker", app_deployment.broker),
        ("store", store),
        ("results", app_deployment.results),
    )
    for role, address in roles:
        if address is not None:
            addresses.setdefault(f"{address.host}:{address.port}{address.path}", (role, address))
    queries: Queries = {
        role: partial(collect_state.check_server, role, address) for role, address in addresses.values()
    }
    if app_deployment.broker is None:
        queries["broker"] = partial(collect_state.check_kombu_broker, app)
    if app_deployment.results is None and app_deployment.keeps_results:
        queries["results"] = partial(collect_state.check_result_backend, app)
    if transport_error := collect_state.unknown_transport_error(app):
        queries["broker"] = partial(
            ServerFacts, role="broker", address="", error=transport_error, cure=collect_state.BROKER_URL_HINT
        )
    query_results = ParallelQueries(queries, CONNECT_TIMEOUT_S)
    timed_out = {
        role: ServerFacts(role=role, address=address.masked, error=f"no answer from {address.masked} in time")
        for role, address in addresses.values()
    }
    order: tuple[ServerRole, ...] = ("broker", "store", "results")
    return tuple(server for role in order if (server := query_results.get(role, timed_out.get(role))) is not None)


def _app_error_text(error: LivectlError) -> str:
    """Celery's word about names that are mixed has many lines, and all of them are wanted."""
    cause = redact_text(str(error.__cause__ or "").strip(), MAX_ERROR_CHARS)
    return cause if cause.startswith(MIXED_NAMES_ERROR) else error.message


def _error_text(error: LivectlError) -> str:
    return f"{error.message}\n{error.hint}".strip()
