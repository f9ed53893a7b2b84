"""A person's question after some streamers: parted into portions that jobs carry, and put together again."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any, NamedTuple, TypeAlias

import msgspec

from livectl.live import checker, platforms, polling, views
from livectl.models import Observation, State

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from livectl.live.checker import CheckBatch, Checker
    from livectl.live.views import StreamerView
    from livectl.models import Streamer
    from livectl.settings import Settings


StreamerKey: TypeAlias = "tuple[str, str]"  # platform, and the name that was asked after

JOB_BUDGET_SECONDS = 10.0  # seconds of budget that a platform bears at once: a job takes no more


class CheckRequest(NamedTuple):
    """Who is asked after, and the names that the list has for them."""

    batches: list[CheckBatch]
    names: dict[StreamerKey, str]

    @property
    def total(self) -> int:
        return sum(len(batch.ids) for batch in self.batches)


def build(streamers: Sequence[Streamer], settings: Settings) -> CheckRequest:
    """In the order of the list, each platform by itself."""
    by_platform: dict[str, list[str]] = {}
    for streamer in streamers:
        by_platform.setdefault(streamer.platform, []).append(streamer.id)
    batches: list[CheckBatch] = []
    for platform, ids in by_platform.items():
        limits = polling.polling_limits(settings, platforms.get(platform))
        requests = max(1, min(checker.requests_per_job(limits), int(limits.rate * JOB_BUDGET_SECONDS)))
        batches += checker.split_into_batches(platform, list(dict.fromkeys(ids)), requests * limits.batch)
    return CheckRequest(
        batches, {(streamer.platform, streamer.id): streamer.name for streamer in streamers if streamer.name}
    )


def check_here(streamer_checker: Checker, batch: CheckBatch) -> list[Observation]:
    """The answers, asked for by this process once the platform's budget allows it."""
    time.sleep(streamer_checker.reserve(batch.platform, len(batch.ids), time.time()))
    return streamer_checker.check_now(batch.platform, batch.ids, time.time())


def read_result(batch: CheckBatch, result: Any) -> list[Observation]:
    """The answers that a job brought."""
    try:
        return msgspec.convert(result, list[Observation])
    except msgspec.ValidationError:
        return unknown_observations(batch, "the job brought something else than answers")


def unknown_observations(batch: CheckBatch, reason: str) -> list[Observation]:
    """Nobody could say: the job failed, or came to no end."""
    at = time.time()
    return [
        Observation(platform=batch.platform, id=streamer_id, state=State.UNKNOWN, at=at, problem=reason)
        for streamer_id in batch.ids
    ]


def to_views(
    request: CheckRequest, batch: CheckBatch, observations: Sequence[Observation]
) -> dict[StreamerKey, StreamerView]:
    """The answers as they are shown, by whom was asked after, under the names of the list."""
    keys = [(batch.platform, name) for name in batch.ids]
    return {
        key: views.from_observation(observation, request.names.get(key, ""))
        for key, observation in zip(keys, observations, strict=False)
    }


def ordered_views(
    streamers: Iterable[Streamer], views_by_key: Mapping[StreamerKey, StreamerView]
) -> list[StreamerView]:
    """As they were asked after, each once."""
    keys = dict.fromkeys((streamer.platform, streamer.id) for streamer in streamers)
    return [views_by_key[key] for key in keys if key in views_by_key]
