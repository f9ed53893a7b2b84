"""Gathers the facts: everything at once, nothing for longer than a few seconds, whatever is broken."""

from __future__ import annotations

import time
from contextlib import suppress
from functools import partial
from typing import TYPE_CHECKING, Any, TypeAlias

import msgspec

from livectl import celeryapp
from livectl.doctor import kept, machine, rollcall, servers, sources, work
from livectl.doctor.checks.settings import MIXED
from livectl.doctor.facts import Facts, Role, Server
from livectl.doctor.together import Asked
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

Questions: TypeAlias = "dict[str, Callable[[], Any]]"

SECONDS = 5.0  # for everything that is asked over a wire
LONGEST = 1000  # characters of what an app says of itself
REACH_SECONDS = 3.5  # for each server to say whether it is there


def gather(name: str | None, load: Callable[[], Settings], environ: Mapping[str, str], cwd: Path) -> Facts:
    """All that can be learned. What cannot is a fact too."""
    facts = Facts(app=name, now=time.time(), environ=dict(environ), container=machine.in_container(environ))
    try:
        settings = load()
    except SettingsError as error:
        return msgspec.structs.replace(facts, settings_error=_said(error))
    try:
        app = apps.load(name, cwd) if name else celeryapp.create_app(settings)
        known = dict(apps.tasks(app, cwd))
        conf = sources.read(app, environ)
    except ServerError as error:  # livectl's own app, which has no broker
        broker = Server(role="broker", address="", error=error.message, cure=error.hint)
        return msgspec.structs.replace(facts, servers=(broker,))
    except LivectlError as error:
        return msgspec.structs.replace(facts, app_error=_blame(error), app_hint=error.hint)
    except Exception as error:  # Celery's own word about settings that cannot be read
        return msgspec.structs.replace(facts, app_error=redact_text(str(error).strip(), LONGEST))
    facts = msgspec.structs.replace(facts, conf=conf, **_of_work(app, known, name, settings))
    place = deployment.of_app(app, settings)
    if not name:
        place = msgspec.structs.replace(deployment.own(settings), app=app)
    return msgspec.structs.replace(facts, **_of_servers(app, place, settings, facts))


def _of_work(app: Any, known: Mapping[str, Any], name: str | None, settings: Settings) -> dict[str, Any]:
    found: dict[str, Any] = {"tasks": work.tasks(app, known), "routes": work.routes(app)}
    optional = settings.sources.get("schedules") == "default" and not settings.schedules.exists()
    try:
        read = (
            programme.Programme(())
            if optional and not name
            else programme.read(
                settings.schedules, name=settings.schedules.name, app=app if name else None, optional=optional
            )
        )
    except SettingsError as error:
        return found | {"schedule_error": _said(error)}
    active = tuple(each for each in read.schedules if each.enabled)
    unbound, places = work.unbound(active, known), work.destinations(app, active)
    return found | {"schedule": active, "unbound": unbound, "destinations": places}


def _of_servers(app: Any, place: Deployment, settings: Settings, facts: Facts) -> dict[str, Any]:
    store, missing = _store(app, place, settings)
    reached = _reach(app, place, store)
    down = {server.role for server in reached if server.error}
    questions: Questions = {"processes": partial(machine.processes, facts.app or launch.OWN_APP)}
    questions |= _of_broker(place, down) | _of_results(place, down)
    if store and "store" not in down:
        questions |= {"beats": partial(kept.beats, store), "letters": partial(kept.letters, place, store)}
        questions |= {} if facts.app else {"platforms": partial(kept.platforms, store, settings)}
    asked = Asked(questions, SECONDS)
    return {
        "servers": reached,
        "store_missing": missing,
        "visibility": place.layout.visibility_timeout if place.on_redis else None,
        **{name: asked.get(name, getattr(facts, name)) for name in questions},
    }


def _of_broker(place: Deployment, down: set[Role]) -> Questions:
    """Nobody is asked over a server that is not there."""
    if "broker" in down:
        return {}
    questions: Questions = {"roll": partial(rollcall.call, place), "queues": partial(kept.queues, place)}
    if place.on_redis and place.broker:
        questions["delayed"] = partial(kept.delayed, place, place.broker)
    return questions


def _of_results(place: Deployment, down: set[Role]) -> Questions:
    if "results" in down or not place.keeps_results:
        return {}
    questions: Questions = {"failures": partial(kept.failures, place)}
    if place.results:
        questions["endless"] = partial(servers.endless, place.results, place.layout.result(""))
    return questions


def _store(app: Any, place: Deployment, settings: Settings) -> tuple[Address | None, str]:
    """Where claims, pauses and dead letters are kept, or why there is no such place."""
    if place.app is None or settings.store:
        return place.store, ""
    with suppress(SettingsError):
        return scheduler.store_address(settings, app), ""
    what = "keeps messages only" if place.broker else "is not one that livectl can keep things in"
    return None, f"the broker ({place.transport}) {what}"


def _reach(app: Any, place: Deployment, store: Address | None) -> tuple[Server, ...]:
    """Each server once, in the first of its roles."""
    wanted: dict[str, tuple[Role, Address]] = {}
    roles: tuple[tuple[Role, Address | None], ...] = (
        ("broker", place.broker),
        ("store", store),
        ("results", place.results),
    )
    for role, address in roles:
        if address is not None:
            wanted.setdefault(f"{address.host}:{address.port}{address.path}", (role, address))
    questions: Questions = {role: partial(servers.ask, role, address) for role, address in wanted.values()}
    if place.broker is None:
        questions["broker"] = partial(kept.through_kombu, app)
    if place.results is None and place.keeps_results:
        questions["results"] = partial(kept.backend, app)
    if strange := kept.strange_transport(app):
        questions["broker"] = partial(Server, role="broker", address="", error=strange, cure=kept.SPELL_BROKER)
    asked = Asked(questions, REACH_SECONDS)
    late = {
        role: Server(role=role, address=address.masked, error=f"no answer from {address.masked} in time")
        for role, address in wanted.values()
    }
    order: tuple[Role, ...] = ("broker", "store", "results")
    return tuple(found for role in order if (found := asked.get(role, late.get(role))) is not None)


def _blame(error: LivectlError) -> str:
    """Celery's word about names that are mixed has many lines, and all of them are wanted."""
    cause = redact_text(str(error.__cause__ or "").strip(), LONGEST)
    return cause if cause.startswith(MIXED) else error.message


def _said(error: LivectlError) -> str:
    return f"{error.message}\n{error.hint}".strip()
