"""Broker, store and result backend: whether each is reached, and what it says of itself."""

from __future__ import annotations

import time
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import msgspec

from livectl import redis_client
from livectl.doctor.facts import (
    BeatFacts,
    DeadLetterFacts,
    DelayedMessage,
    FailedJob,
    FailingTarget,
    PlatformFacts,
    ServerFacts,
    ServerRole,
    WorkerFacts,
    WorkerSurvey,
)
from livectl.errors import ServerError
from livectl.models import JobState
from livectl.ops.beat import heartbeats
from livectl.ops.cluster import broadcast
from livectl.ops.cluster import queues as depths
from livectl.ops.jobs import dead_letters, results
from livectl.ops.jobs.results import ResultFilter
from livectl.ops.protocol import message, unacked, worker_replies
from livectl.ops.protocol.remote_control import ControlCommand
from livectl.ops.services import health
from livectl.redaction import redact_text
from livectl.redis_client import RedisReplyError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from livectl.address import Address
    from livectl.ops.cluster.queues import Queue
    from livectl.ops.deployment import Deployment
    from livectl.redis_client import RedisConnection
    from livectl.settings import Settings

LOCAL_HOSTS = ("localhost", "127.0.0.1", "::1", "0.0.0.0")  # noqa: S104 - compared with, not listened on


SERVER_TIMEOUT_S = 2.0  # seconds for one server
MAX_SAMPLED_RESULTS = 200  # results looked at for their expiry


def check_server(role: ServerRole, address: Address) -> ServerFacts:
    """What there is to know within the time."""
    local = not address.path and address.host in LOCAL_HOSTS
    if not address.is_redis:
        server_health = health.probe_server(role, address)
        error = "" if server_health.healthy else server_health.reason
        return ServerFacts(role=role, address=address.masked, is_local=local, error=error)
    try:
        with redis_client.connect(address, SERVER_TIMEOUT_S) as connection:
            return _read_redis(role, address.masked, connection, local=local)
    except ServerError as error:
        return ServerFacts(role=role, address=address.masked, is_local=local, error=error.message, cure=error.hint)


def _read_redis(role: ServerRole, masked: str, connection: RedisConnection, *, local: bool) -> ServerFacts:
    before = time.time()
    info, clock, saves = connection.execute_all([("INFO",), ("TIME",), ("CONFIG", "GET", "save")])
    after = time.time()
    clock_ahead = 0.0
    if isinstance(clock, list):
        server_time = int(clock[0]) + int(clock[1]) / 1_000_000
        clock_ahead = server_time - after if server_time > after else min(0.0, server_time - before)
    info_fields = {} if isinstance(info, RedisReplyError) else _parse_info(info)
    save_setting = saves[1].decode() if isinstance(saves, list) and len(saves) > 1 else "unknown"
    return ServerFacts(
        role=role, address=masked, is_local=local, info=info_fields, save_setting=save_setting, clock_ahead=clock_ahead
    )


def _parse_info(info: Any) -> dict[str, str]:
    text = info.decode(errors="replace") if isinstance(info, bytes) else str(info)
    return dict(line.split(":", 1) for line in text.splitlines() if ":" in line)


def find_endless_results(address: Address, prefix: str) -> tuple[str, ...]:
    """Some of the results that will never go away by themselves."""
    with redis_client.connect(address, SERVER_TIMEOUT_S) as connection:
        _, keys = connection.execute("SCAN", 0, "MATCH", f"{prefix}*", "COUNT", MAX_SAMPLED_RESULTS * 10)
        sample: Sequence[bytes] = keys[:MAX_SAMPLED_RESULTS]
        ttls = connection.execute_all([("TTL", key) for key in sample]) if sample else []
    return tuple(key.decode(errors="replace") for key, ttl in zip(sample, ttls, strict=True) if ttl == -1)


SURVEY_TIMEOUT_S = 6.0  # seconds for all questions
SECOND_LOOK_DELAY_S = 1.0  # seconds: what an idle worker could take, it takes within milliseconds
SURVEY_METHODS = ("active_queues", "registered", "active", "reserved", "conf", "report")


def survey_workers(deployment: Deployment) -> WorkerSurvey:
    with broadcast.connect(deployment, SURVEY_TIMEOUT_S) as connection:
        return _survey(deployment, connection)


def _survey(deployment: Deployment, connection: RedisConnection | None) -> WorkerSurvey:
    stats_replies = broadcast.ask(deployment, connection, ControlCommand(method="stats"))
    stats = [(name, reply) for name, reply in stats_replies.pairs if worker_replies.is_worker_stats(reply)]
    if not stats:
        return WorkerSurvey(silent=stats_replies.silent)
    names = tuple(sorted({name for name, _ in stats}))
    replies = {
        method: broadcast.ask(deployment, connection, ControlCommand(method=method, destination=names)).by_worker
        for method in SURVEY_METHODS
    }
    worker_facts = tuple(
        _worker_facts(name, worker_stats, {method: replies[method].get(name) for method in SURVEY_METHODS})
        for name, worker_stats in stats
    )
    return WorkerSurvey(
        workers=worker_facts,
        silent=stats_replies.silent,
        hoarded=_find_hoarded_jobs(deployment, connection, worker_facts),
    )


def _worker_facts(name: str, stats: dict[str, Any], replies: dict[str, Any]) -> WorkerFacts:
    worker = worker_replies.worker_status(
        name, stats, replies["active"], replies["reserved"], replies["active_queues"], replies["report"]
    )
    conf = replies["conf"] if isinstance(replies["conf"], dict) else {}
    options = conf.get("broker_transport_options") or {}
    visibility_timeout = options.get("visibility_timeout") if isinstance(options, dict) else None
    return WorkerFacts(
        name=name,
        pid=stats.get("pid"),
        pool=worker.pool or "",
        concurrency=worker.concurrency,
        version=worker.version or "",
        queues=worker.queues,
        tasks=worker_replies.task_names(replies["registered"]),
        active=worker.active or 0,
        reserved=_reserved_job_ids(replies["reserved"]),
        visibility_timeout=float(visibility_timeout) if isinstance(visibility_timeout, int | float) else None,
    )


def _reserved_job_ids(reserved: Any) -> tuple[str, ...]:
    jobs = reserved if isinstance(reserved, list) else []
    return tuple(str(job["id"]) for job in jobs if isinstance(job, dict) and not job.get("eta") and "id" in job)


def _find_hoarded_jobs(
    deployment: Deployment, connection: RedisConnection | None, worker_facts: tuple[WorkerFacts, ...]
) -> tuple[str, ...]:
    """Jobs at hand with a busy worker while an idle one reads the same queue; looked at twice, since jobs move on."""
    idle = [worker for worker in worker_facts if not worker.active and not worker.reserved]
    busy = [
        worker
        for worker in worker_facts
        if worker.reserved and any(set(worker.queues) & set(idle_worker.queues) for idle_worker in idle)
    ]
    if not busy:
        return ()
    time.sleep(SECOND_LOOK_DELAY_S)
    names = tuple(worker.name for worker in (*busy, *idle))
    still_reserved = {
        name: _reserved_job_ids(reply)
        for name, reply in broadcast.ask(
            deployment, connection, ControlCommand(method="reserved", destination=names)
        ).by_worker.items()
    }
    if any(still_reserved.get(worker.name) for worker in idle):
        return ()
    return tuple(
        job_id for worker in busy for job_id in worker.reserved if job_id in still_reserved.get(worker.name, ())
    )


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
    with redis_client.connect(broker, STATE_TIMEOUT_S) as connection:
        for held in unacked.scan(connection, deployment.layout):
            job_message = message.from_envelope(held.envelope)
            eta_seconds = (job_message.eta - now).total_seconds() if job_message.eta else 0.0
            if eta_seconds > visibility_timeout:
                delayed_messages.append(DelayedMessage(id=job_message.id, task=job_message.task, seconds=eta_seconds))
            if len(delayed_messages) == MAX_DELAYED:
                break
    return tuple(delayed_messages)


def read_beats(store: Address) -> BeatFacts:
    with redis_client.connect(store, STATE_TIMEOUT_S) as connection:
        activity = heartbeats.read_activity(connection)
    unsent = activity.unsent_claim
    return BeatFacts(
        names=tuple(sorted(heartbeat.process for heartbeat in activity.heartbeats.values())),
        heartbeat_age=min(map(activity.age_s, activity.heartbeats.values()), default=None),
        unsent_run=unsent.run.name if unsent else "",
        has_run=activity.has_run,
    )


def read_dead_letters(deployment: Deployment, store: Address) -> DeadLetterFacts:
    store_deployment = msgspec.structs.replace(deployment, store=store)
    letter_summaries = dead_letters.list_summaries(store_deployment)
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

    with redis_client.open_store(store) as client:
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
