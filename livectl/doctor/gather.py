"""Gathers the facts: everything at once, nothing for longer than a few seconds, whatever is broken."""

from __future__ import annotations

import time
from contextlib import suppress
from functools import partial
from typing import TYPE_CHECKING, Any, TypeAlias

import msgspec

from livectl import celeryapp
from livectl.doctor import kept, machine, rollcall, servers, sources, work
from livectl.doctor.checks.settings import MIXED_NAMES_ERROR
from livectl.doctor.facts import Facts, ServerFacts, ServerRole
from livectl.doctor.together import ParallelQueries
from livectl.errors import LivectlError, ServerError, SettingsError
from livectl.ops import apps, launch, scheduler
from livectl.ops.beat import programme
from livectl.ops.cluster import deployment
from livectl.ops.jobs.redaction import redact_text

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from pathlib import Path

    from livectl.address import Address
    from livectl.config import Settings
    from livectl.ops.cluster.deployment import Deployment

Queries: TypeAlias = "dict[str, Callable[[], Any]]"

QUERY_TIMEOUT_S = 5.0  # for everything that is asked over a wire
MAX_ERROR_CHARS = 1000  # characters of what an app says of itself
CONNECT_TIMEOUT_S = 3.5  # for each server to say whether it is there


def collect_facts(name: str | None, load: Callable[[], Settings], environ: Mapping[str, str], cwd: Path) -> Facts:
    """All that can be learned. What cannot is a fact too."""
    facts = Facts(app=name, now=time.time(), environ=dict(environ), container=machine.in_container(environ))
    try:
        settings = load()
    except SettingsError as error:
        return msgspec.structs.replace(facts, settings_error=_error_text(error))
    try:
        app = apps.load(name, cwd) if name else celeryapp.create_app(settings)
        tasks = dict(apps.load_tasks(app, cwd))
        conf = sources.read_settings(app, environ)
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
    facts: dict[str, Any] = {"tasks": work.list_tasks(app, tasks), "routes": work.list_routes(app)}
    optional = settings.sources.get("schedules") == "default" and not settings.schedules.exists()
    try:
        snapshot = (
            programme.ScheduleSnapshot(())
            if optional and not name
            else programme.read_snapshot(
                settings.schedules, name=settings.schedules.name, app=app if name else None, optional=optional
            )
        )
    except SettingsError as error:
        return facts | {"schedule_error": _error_text(error)}
    enabled = tuple(entry for entry in snapshot.schedules if entry.enabled)
    argument_errors, destinations = work.find_argument_errors(enabled, tasks), work.find_destinations(app, enabled)
    return facts | {"schedule": enabled, "unbound": argument_errors, "destinations": destinations}


def _server_facts(app: Any, app_deployment: Deployment, settings: Settings, facts: Facts) -> dict[str, Any]:
    store, store_missing = _find_store(app, app_deployment, settings)
    server_facts = _check_servers(app, app_deployment, store)
    unreachable = {server.role for server in server_facts if server.error}
    queries: Queries = {"processes": partial(machine.list_processes, facts.app or launch.OWN_APP)}
    queries |= _broker_queries(app_deployment, unreachable) | _result_backend_queries(app_deployment, unreachable)
    if store and "store" not in unreachable:
        queries |= {
            "beats": partial(kept.read_beats, store),
            "letters": partial(kept.read_dead_letters, app_deployment, store),
        }
        queries |= {} if facts.app else {"platforms": partial(kept.read_platforms, store, settings)}
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
        "roll": partial(rollcall.survey_workers, app_deployment),
        "queues": partial(kept.read_queues, app_deployment),
    }
    if app_deployment.on_redis and app_deployment.broker:
        queries["delayed"] = partial(kept.find_delayed_messages, app_deployment, app_deployment.broker)
    return queries


def _result_backend_queries(app_deployment: Deployment, unreachable: set[ServerRole]) -> Queries:
    if "results" in unreachable or not app_deployment.keeps_results:
        return {}
    queries: Queries = {"failures": partial(kept.find_failures, app_deployment)}
    if app_deployment.results:
        queries["endless"] = partial(
            servers.find_endless_results, app_deployment.results, app_deployment.layout.result_key("")
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
    queries: Queries = {role: partial(servers.check_server, role, address) for role, address in addresses.values()}
    if app_deployment.broker is None:
        queries["broker"] = partial(kept.check_kombu_broker, app)
    if app_deployment.results is None and app_deployment.keeps_results:
        queries["results"] = partial(kept.check_result_backend, app)
    if transport_error := kept.unknown_transport_error(app):
        queries["broker"] = partial(
            ServerFacts, role="broker", address="", error=transport_error, cure=kept.BROKER_URL_HINT
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
