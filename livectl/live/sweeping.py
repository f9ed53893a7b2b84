"""A sweep: the list brought up to date, those who are due claimed and parted into jobs."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, NamedTuple

from livectl.live import platforms, polling
from livectl.live.checking import Checker
from livectl.live.follows.following import FollowSync

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from livectl.config import Settings
    from livectl.live.store import Store
    from livectl.model import PollingLimits

MAX_JOB_REQUESTS = 500  # a job: some 40 ms of work, so that two processors share ten thousand evenly
MAX_JOB_STREAMERS = 2_000  # a job, where many go into a request: no more than are recorded in one call
LEASE_SECONDS = 60.0  # seconds until who was claimed and not recorded is due again: as long as a job may run
JOB_EXPIRES_SECONDS = (
    20.0  # seconds a job may wait: a worker that comes later leaves it, and its streamers to the lease
)
MAX_CLAIMS_PER_SWEEP = 4  # claims in one sweep at most; each takes up to 5,000 of a platform
MAX_LEARNED_PER_SWEEP = 100  # streamers whose habits are learned in one sweep: some 0.1 s
CHANGES_KEEP_SECONDS = 7 * 86_400.0  # seconds that changes stay to be read

log = logging.getLogger(__name__)


class CheckBatch(NamedTuple):
    """Streamers of one platform that one job asks after."""

    platform: str
    ids: list[str]

    def __str__(self) -> str:
        return f"{self.platform}, {len(self.ids)} streamers"


class Sweeper:
    """What is to be done every few seconds, and once a day, for everyone followed. One for a process."""

    def __init__(self, settings: Settings, store: Store) -> None:
        self._settings = settings
        self._store = store
        self.checker = Checker(settings, store)
        self._follow_sync = FollowSync(settings, store, self.checker.fetcher)

    def refresh_follows(self, now: float) -> None:
        self._follow_sync.refresh(now)

    def claim(self, now: float) -> Iterator[list[CheckBatch]]:
        """What is due, as jobs; claimed as it is asked for, so that what cannot be sent is not claimed either."""
        for _ in range(MAX_CLAIMS_PER_SWEEP):
            claimed = polling.claim(self._store, self._settings, now, LEASE_SECONDS)
            if not claimed:
                return
            yield [batch for name, ids in claimed for batch in check_batches(name, ids, self._settings)]

    def learn_habits(self, now: float) -> int:
        return polling.learn_habits(self._store, now, MAX_LEARNED_PER_SWEEP)

    def prune(self, now: float) -> int:
        """Once a day: what nobody needs any more goes, and habits are learned anew, since what is old fades."""
        self._store.mark_unlearned()
        return self._store.prune(now, now - CHANGES_KEEP_SECONDS)


def check_batches(name: str, ids: Sequence[str], settings: Settings) -> list[CheckBatch]:
    """Jobs of some hundreds each, in whole batches."""
    limits = polling.polling_limits(settings, platforms.get(name))
    return split_into_batches(name, ids, limits.batch * requests_per_job(limits))


def requests_per_job(limits: PollingLimits) -> int:
    return max(1, min(MAX_JOB_REQUESTS, MAX_JOB_STREAMERS // limits.batch))


def split_into_batches(name: str, ids: Sequence[str], size: int) -> list[CheckBatch]:
    return [CheckBatch(name, list(ids[start : start + size])) for start in range(0, len(ids), size)]
