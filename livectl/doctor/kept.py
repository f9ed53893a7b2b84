"""What broker, store and result backend keep that a doctor looks at: queues, beats, letters, failures, platforms."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import msgspec

from livectl import connect, resp
from livectl.doctor.facts import (
    BeatFacts,
    DeadLetterFacts,
    DelayedMessage,
    FailedJob,
    FailingTarget,
    PlatformFacts,
    ServerFacts,
)
from livectl.model import JobState
from livectl.ops.beat import runs
from livectl.ops.cluster import queues as depths
from livectl.ops.cluster.health import LATE_CLAIM_S
from livectl.ops.jobs import deadletters, message, results, search
from livectl.ops.jobs.redaction import redact_text
from livectl.ops.jobs.results import ResultFilter

if TYPE_CHECKING:
    from livectl.address import Address
    from livectl.config import Settings
    from livectl.ops.cluster.deployment import Deployment
    from livectl.ops.cluster.queues import Queue

STATE_TIMEOUT_S = 3.0  # seconds
BROKER_URL_HINT = "Write redis:// for Redis and Valkey, amqp:// for RabbitMQ."
FAILURE_PERIOD = timedelta(days=1)
MAX_FAILURES = 200  # of the last day, at most
MAX_DELAYED = 5
REQUIRED_KEYS = {"kick": ("client_id", "client_secret")}  # platforms that answer nobody without


def read_queues(deployment: Deployment) -> tuple[Queue, ...]:
    return depths.measure(deployment).queues


def find_delayed_messages(deployment: Deployment, broker: Address) -> tuple[DelayedMessage, ...]:
    """Messages in workers' hands whose time comes after they will have been given out again."""
    now, visibility_timeout = datetime.now(UTC), deployment.layout.visibility_timeout
    delayed_messages: list[DelayedMessage] = []
    with resp.connect(broker, STATE_TIMEOUT_S) as connection:
        for _, raw in search.unacked_messages(connection, deployment.layout):
            envelope, _, _ = search.decode_unacked(raw)
            job_message = message.from_envelope(envelope)
            eta_seconds = (job_message.eta - now).total_seconds() if job_message.eta else 0.0
            if eta_seconds > visibility_timeout:
                delayed_messages.append(DelayedMessage(id=job_message.id, task=job_message.task, seconds=eta_seconds))
            if len(delayed_messages) == MAX_DELAYED:
                break
    return tuple(delayed_messages)


def read_beats(store: Address) -> BeatFacts:
    with resp.connect(store, STATE_TIMEOUT_S) as connection:
        (seconds, _), heartbeat_fields, oldest_claim, has_last_runs = connection.execute_all(
            [
                ("TIME",),
                ("HGETALL", runs.SEEN_KEY),
                ("ZRANGEBYSCORE", runs.PENDING_KEY, runs.GIVEN_BACK_SCORE + 1, "+inf", "WITHSCORES", "LIMIT", 0, 1),
                ("EXISTS", runs.LAST_RUN_KEY),
            ]
        )
    now = int(seconds)
    heartbeats = [msgspec.json.decode(heartbeat) for heartbeat in heartbeat_fields[1::2]]
    ages = [now - heartbeat["at"] / 1000 for heartbeat in heartbeats]
    unsent = oldest_claim[0].decode() if oldest_claim and now - float(oldest_claim[1]) / 1000 > LATE_CLAIM_S else ""
    names = tuple(sorted(f"{heartbeat['host']}:{heartbeat['pid']}" for heartbeat in heartbeats))
    return BeatFacts(
        names=names,
        heartbeat_age=min(ages) if ages else None,
        unsent_run=unsent.partition(" ")[2],
        has_run=bool(has_last_runs),
    )


def read_dead_letters(deployment: Deployment, store: Address) -> DeadLetterFacts:
    store_deployment = msgspec.structs.replace(deployment, store=store)
    letter_summaries = deadletters.list_summaries(store_deployment)
    return DeadLetterFacts(
        count=len(letter_summaries),
        newest=f"{letter_summaries[0].task} {letter_summaries[0].reason}".strip() if letter_summaries else "",
    )


def find_failures(deployment: Deployment) -> tuple[FailedJob, ...]:
    """Of the last day."""
    failed_filter = ResultFilter(state=JobState.FAILED, since=datetime.now(UTC) - FAILURE_PERIOD, limit=MAX_FAILURES)
    return tuple(
        FailedJob(job.id, job.task or "", job.error or "") for job in results.list_recent(deployment, failed_filter)
    )


def read_platforms(store: Address, settings: Settings) -> PlatformFacts:
    """Of the streamers that are followed; reads nothing of anybody's site."""
    import time

    from livectl.live.alerts.outbox import Outbox
    from livectl.live.store import Store

    with connect.open_store(store) as client:
        followed = [each for each in Store(client).health(time.time()) if each.followed]
        target_states = Outbox(client, "").target_states(list(settings.alerts))
    failing = [
        FailingTarget(target=name, since=each.failing_since, tries=each.tries, problem=each.problem)
        for name, each in target_states.items()
        if each.failing_since is not None
    ]
    keyless = [each.platform for each in followed if _lacks_key(each.platform, settings)]
    return PlatformFacts(health=tuple(followed), keyless=tuple(keyless), failing=tuple(failing))


def _lacks_key(platform: str, settings: Settings) -> bool:
    access = settings.platforms.get(platform)
    return any(not getattr(access, key, None) for key in REQUIRED_KEYS.get(platform, ()))


def unknown_transport_error(app: Any) -> str:
    """What kombu says of a broker whose scheme it does not know, though livectl may."""
    try:
        _ = app.connection_for_read().transport_cls
    except KeyError as error:
        return f"Celery has no transport for {error.args[0]}"
    except Exception:
        return ""  # whatever else is wrong with it shows when it is reached
    return ""


def check_kombu_broker(app: Any) -> ServerFacts:
    """A broker of a kind that livectl does not speak itself."""
    with app.connection_for_read() as connection:
        masked = redact_text(connection.as_uri())
        try:
            connection.ensure_connection(max_retries=1, interval_start=0, timeout=STATE_TIMEOUT_S)
        except Exception as error:
            return ServerFacts(role="broker", address=masked, error=redact_text(f"{type(error).__name__}: {error}"))
    return ServerFacts(role="broker", address=masked)


def check_result_backend(app: Any) -> ServerFacts:
    """A result backend that is no Redis: asked after a job that nobody sent."""
    masked = redact_text(str(app.conf.result_backend))
    try:
        app.backend.get_task_meta("livectl-doctor", cache=False)
    except Exception as error:
        error_text = redact_text(f"{type(error).__name__}: {error}")
        cure = "" if "://" in masked or ":" not in masked else f"Write redis://{masked}."
        return ServerFacts(
            role="results", address=masked, error=f"{error_text} (result_backend is {masked})", cure=cure
        )
    return ServerFacts(role="results", address=masked)
