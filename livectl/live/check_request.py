"""Splits a person's check of streamers into batches for jobs, and puts the answers together again."""

from __future__ import annotations

import time
from contextlib import closing
from itertools import chain, groupby
from operator import itemgetter
from typing import TYPE_CHECKING, Any, NamedTuple, TypeAlias

import msgspec

from livectl.live import platforms, polling, views
from livectl.live.cells import bucket_of
from livectl.live.list_spool import Row, Spool
from livectl.models import Observation, State

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
    from pathlib import Path

    from livectl.live.checker import Checker
    from livectl.live.polling import CheckBatch
    from livectl.live.store import Store
    from livectl.live.views import StreamerView
    from livectl.models import Streamer
    from livectl.settings import Settings


StreamerKey: TypeAlias = "tuple[str, str]"  # platform, and the name that was asked for

CACHE_FILE = "check-cache.json"  # in the home: tokens and names, where no store keeps them
JOB_BUDGET_SECONDS = 10.0  # of a platform's budget, at most, in one job: as much as it saves up


class CheckRequest(NamedTuple):
    """The streamers to check, and the names that the follow list has for them."""

    batches: list[CheckBatch]
    names: dict[StreamerKey, str]

    @property
    def total(self) -> int:
        return sum(len(batch.ids) for batch in self.batches)


def build(streamers: Sequence[Streamer], settings: Settings) -> CheckRequest:
    """In the order of the list, each platform by itself."""
    ids_by_platform: dict[str, dict[str, None]] = {}
    for streamer in streamers:
        ids_by_platform.setdefault(streamer.platform, {})[streamer.id] = None
    batches: list[CheckBatch] = []
    for platform, ids in ids_by_platform.items():
        limits = polling.polling_limits(settings, platforms.get(platform))
        batches += polling.split_into_batches(limits, list(ids), int(limits.rate * JOB_BUDGET_SECONDS))
    names = {streamer.key: streamer.name for streamer in streamers if streamer.name}
    return CheckRequest(batches, names)


def build_long(pages: Iterable[Iterable[Streamer]], settings: Settings) -> CheckRequest:
    """The same of a list that is too long to be held: in no order, and with the names that platforms have."""
    with closing(Spool()) as spool:
        for streamer in chain.from_iterable(pages):
            spool.add((streamer.platform, bucket_of(streamer.id)), Row(streamer.id, ""))
        return CheckRequest(list(_batches_of(spool, settings)), {})


def _batches_of(spool: Spool, settings: Settings) -> Iterator[CheckBatch]:
    for platform, buckets in groupby(spool.buckets(), itemgetter(0)):
        limits, ids = polling.polling_limits(settings, platforms.get(platform)), list[str]()
        for bucket in buckets:
            ids += dict.fromkeys(row.name for row in spool.rows(bucket))
            *whole, last = polling.split_into_batches(limits, ids, int(limits.rate * JOB_BUDGET_SECONDS))
            yield from whole
            ids = last.ids
        yield from polling.split_into_batches(limits, ids, int(limits.rate * JOB_BUDGET_SECONDS))


def check_here(checker: Checker, batch: CheckBatch) -> list[Observation]:
    """Checks a batch in this process, once the platform's budget allows it."""
    time.sleep(checker.reserve(batch.platform, len(batch.ids), time.time()))
    return checker.check_now(batch.platform, batch.ids, time.time())


def answer_here(
    request: CheckRequest,
    settings: Settings,
    store: Store | None,
    home: Path,
    advance: Callable[[float, float], None] = lambda done, total: None,
) -> dict[StreamerKey, StreamerView]:
    """Checks all of it in this process, and records the answers in the store, where there is one."""
    from livectl.live.checker import Checker
    from livectl.live.network.check_cache import FileCache
    from livectl.redaction import redact_stray_logs

    redact_stray_logs()  # of a platform that stumbles
    cache = FileCache(home / CACHE_FILE)
    checker = Checker(settings, store, cache=cache)
    streamer_views: dict[StreamerKey, StreamerView] = {}
    for batch in request.batches:
        streamer_views |= to_views(request, batch, check_here(checker, batch))
        cache.save()
        advance(len(streamer_views), request.total)
    return streamer_views


def read_result(batch: CheckBatch, result: Any) -> list[Observation]:
    """Reads the observations from the result of a job."""
    try:
        return msgspec.convert(result, list[Observation])
    except msgspec.ValidationError:
        return unknown_observations(batch, "the job brought something else than answers")


def unknown_observations(batch: CheckBatch, reason: str) -> list[Observation]:
    """What is known of a batch whose job failed or never ended."""
    at = time.time()
    return [
        Observation(platform=batch.platform, id=streamer_id, state=State.UNKNOWN, at=at, problem=reason)
        for streamer_id in batch.ids
    ]


def to_views(
    request: CheckRequest, batch: CheckBatch, observations: Sequence[Observation]
) -> dict[StreamerKey, StreamerView]:
    """The observations of a batch as views, by what was asked for, under the names of the follow list."""
    keys = [(batch.platform, name) for name in batch.ids]
    return {
        key: views.from_observation(observation, request.names.get(key, ""))
        for key, observation in zip(keys, observations, strict=False)
    }


def ordered_views(
    streamers: Iterable[Streamer], views_by_key: Mapping[StreamerKey, StreamerView]
) -> list[StreamerView]:
    """The views in the order of the streamers, each once."""
    keys = dict.fromkeys(streamer.key for streamer in streamers)
    return [views_by_key[key] for key in keys if key in views_by_key]
