"""What broker, store and result backend keep that a doctor looks at: queues, beats, letters, failures, platforms."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import msgspec

from livectl import connect, resp
from livectl.doctor.facts import Beats, Delayed, Failure, Letters, Platforms, Server, Untold
from livectl.model import JobState
from livectl.ops.beat import runs
from livectl.ops.cluster import queues as depths
from livectl.ops.cluster.health import LATE_CLAIM
from livectl.ops.jobs import deadletters, message, results, search
from livectl.ops.jobs.redaction import redact_text
from livectl.ops.jobs.results import Filter

if TYPE_CHECKING:
    from livectl.address import Address
    from livectl.config import Settings
    from livectl.ops.cluster.deployment import Deployment
    from livectl.ops.cluster.queues import Queue

PATIENCE = 3.0  # seconds
SPELL_BROKER = "Write redis:// for Redis and Valkey, amqp:// for RabbitMQ."
RECENT = timedelta(days=1)
FAILURES = 200  # of the last day, at most
SHOWN_DELAYED = 5
NEED_KEYS = {"kick": ("client_id", "client_secret")}  # platforms that answer nobody without


def queues(place: Deployment) -> tuple[Queue, ...]:
    return depths.measure(place).queues


def delayed(place: Deployment, broker: Address) -> tuple[Delayed, ...]:
    """Messages in workers' hands whose time comes after they will have been given out again."""
    now, limit = datetime.now(UTC), place.layout.visibility_timeout
    found: list[Delayed] = []
    with resp.dial(broker, PATIENCE) as wire:
        for _, raw in search.held(wire, place.layout):
            envelope, _, _ = search.unwrap(raw)
            said = message.describe(envelope)
            ahead = (said.eta - now).total_seconds() if said.eta else 0.0
            if ahead > limit:
                found.append(Delayed(id=said.id, task=said.task, seconds=ahead))
            if len(found) == SHOWN_DELAYED:
                break
    return tuple(found)


def beats(store: Address) -> Beats:
    with resp.dial(store, PATIENCE) as wire:
        (seconds, _), flat, late, last = wire.ask_all(
            [
                ("TIME",),
                ("HGETALL", runs.SEEN),
                ("ZRANGEBYSCORE", runs.PENDING, runs.ANYTIME + 1, "+inf", "WITHSCORES", "LIMIT", 0, 1),
                ("EXISTS", runs.LAST),
            ]
        )
    now = int(seconds)
    seen = [msgspec.json.decode(said) for said in flat[1::2]]
    ages = [now - said["at"] / 1000 for said in seen]
    unsent = late[0].decode() if late and now - float(late[1]) / 1000 > LATE_CLAIM else ""
    names = tuple(sorted(f"{said['host']}:{said['pid']}" for said in seen))
    return Beats(names=names, oldest=min(ages) if ages else None, unsent=unsent.partition(" ")[2], ran=bool(last))


def letters(place: Deployment, store: Address) -> Letters:
    there = msgspec.structs.replace(place, store=store)
    found = deadletters.listed(there)
    return Letters(count=len(found), newest=f"{found[0].task} {found[0].reason}".strip() if found else "")


def failures(place: Deployment) -> tuple[Failure, ...]:
    """Of the last day."""
    wanted = Filter(state=JobState.FAILED, since=datetime.now(UTC) - RECENT, limit=FAILURES)
    return tuple(Failure(job.id, job.task or "", job.error or "") for job in results.recent(place, wanted))


def platforms(store: Address, settings: Settings) -> Platforms:
    """Of the streamers that are followed; reads nothing of anybody's site."""
    import time

    from livectl.live.alerts.outbox import Outbox
    from livectl.live.store import Store

    with connect.open_store(store) as client:
        found = [each for each in Store(client).health(time.time()) if each.followed]
        stands = Outbox(client, "").stands(list(settings.alerts))
    failing = [
        Untold(target=name, since=each.failing_since, tries=each.tries, problem=each.problem)
        for name, each in stands.items()
        if each.failing_since is not None
    ]
    keyless = [each.platform for each in found if _lacks_key(each.platform, settings)]
    return Platforms(health=tuple(found), keyless=tuple(keyless), failing=tuple(failing))


def _lacks_key(platform: str, settings: Settings) -> bool:
    access = settings.platforms.get(platform)
    return any(not getattr(access, key, None) for key in NEED_KEYS.get(platform, ()))


def strange_transport(app: Any) -> str:
    """What kombu says of a broker whose scheme it does not know, though livectl may."""
    try:
        _ = app.connection_for_read().transport_cls
    except KeyError as error:
        return f"Celery has no transport for {error.args[0]}"
    except Exception:
        return ""  # whatever else is wrong with it shows when it is reached
    return ""


def through_kombu(app: Any) -> Server:
    """A broker of a kind that livectl does not speak itself."""
    with app.connection_for_read() as connection:
        masked = redact_text(connection.as_uri())
        try:
            connection.ensure_connection(max_retries=1, interval_start=0, timeout=PATIENCE)
        except Exception as error:
            return Server(role="broker", address=masked, error=redact_text(f"{type(error).__name__}: {error}"))
    return Server(role="broker", address=masked)


def backend(app: Any) -> Server:
    """A result backend that is no Redis: asked after a job that nobody sent."""
    masked = redact_text(str(app.conf.result_backend))
    try:
        app.backend.get_task_meta("livectl-doctor", cache=False)
    except Exception as error:
        said = redact_text(f"{type(error).__name__}: {error}")
        cure = "" if "://" in masked or ":" not in masked else f"Write redis://{masked}."
        return Server(role="results", address=masked, error=f"{said} (result_backend is {masked})", cure=cure)
    return Server(role="results", address=masked)
