"""Collects what store and result backend keep: heartbeats of beats, dead letters, failed jobs, health of platforms."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

import msgspec

from livectl import redis_client
from livectl.doctor.facts import BeatFacts, DeadLetterFacts, FailedJob, FailingTarget, PlatformFacts
from livectl.models import JobState
from livectl.ops.beat import heartbeats
from livectl.ops.jobs import dead_letters, results
from livectl.ops.jobs.results import ResultFilter

if TYPE_CHECKING:
    from collections.abc import Sequence

    from livectl.address import Address
    from livectl.ops.deployment import Deployment
    from livectl.settings import Settings

STORE_TIMEOUT_S = 3.0
RESULTS_TIMEOUT_S = 2.0
FAILURE_PERIOD = timedelta(days=1)
MAX_FAILED_JOBS = 200
MAX_SAMPLED_RESULTS = 200
REQUIRED_KEYS = {"kick": ("client_id", "client_secret")}  # platforms that answer only with a key


def read_beats(store: Address) -> BeatFacts:
    with redis_client.connect(store, STORE_TIMEOUT_S) as connection:
        activity = heartbeats.read_activity(connection)
    unsent = activity.unsent_claim
    return BeatFacts(
        names=tuple(sorted(heartbeat.process for heartbeat in activity.heartbeats.values())),
        heartbeat_age=min(map(activity.age_s, activity.heartbeats.values()), default=None),
        unsent_run=unsent.run.name if unsent else "",
        has_run=activity.has_run,
    )


def read_dead_letters(deployment: Deployment, store: Address) -> DeadLetterFacts:
    letters = dead_letters.list_summaries(msgspec.structs.replace(deployment, store=store))
    newest = f"{letters[0].task} {letters[0].reason}".strip() if letters else ""
    return DeadLetterFacts(count=len(letters), newest=newest)


def find_failed_jobs(deployment: Deployment) -> tuple[FailedJob, ...]:
    """The jobs that failed in the last day."""
    failed_filter = ResultFilter(state=JobState.FAILED, since=datetime.now(UTC) - FAILURE_PERIOD, limit=MAX_FAILED_JOBS)
    return tuple(
        FailedJob(job.id, job.task or "", job.error or "") for job in results.list_recent(deployment, failed_filter)
    )


def find_endless_results(deployment: Deployment) -> tuple[str, ...]:
    """The keys of results without expiry, among a sample of those in Redis."""
    if deployment.results is None:
        return ()
    prefix = deployment.layout.result_key("")
    with redis_client.connect(deployment.results, RESULTS_TIMEOUT_S) as connection:
        _, keys = connection.execute("SCAN", 0, "MATCH", f"{prefix}*", "COUNT", MAX_SAMPLED_RESULTS * 10)
        sample: Sequence[bytes] = keys[:MAX_SAMPLED_RESULTS]
        ttls = connection.execute_all([("TTL", key) for key in sample]) if sample else []
    return tuple(key.decode(errors="replace") for key, ttl in zip(sample, ttls, strict=True) if ttl == -1)


def read_platforms(store: Address, settings: Settings, now: float) -> PlatformFacts:
    """The platforms of the streamers who are followed, as the store knows them: no platform is asked."""
    from livectl.live.alerts.outbox import Outbox
    from livectl.live.store import Store

    with redis_client.open_store(store) as client:
        followed = [health for health in Store(client).health(now) if health.followed]
        target_states = Outbox(client, "").target_states(list(settings.alerts))
    failing_targets = [
        FailingTarget(target=name, since=state.failing_since, tries=state.tries, problem=state.problem)
        for name, state in target_states.items()
        if state.failing_since is not None
    ]
    return PlatformFacts(
        health=tuple(followed),
        without_key=tuple(health.platform for health in followed if _lacks_key(health.platform, settings)),
        failing_targets=tuple(failing_targets),
    )


def _lacks_key(platform: str, settings: Settings) -> bool:
    access = settings.platforms.get(platform)
    return any(not getattr(access, key, None) for key in REQUIRED_KEYS.get(platform, ()))
