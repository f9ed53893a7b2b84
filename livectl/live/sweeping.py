"""A sweep: the list brought up to date, those who are due claimed and parted into jobs."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, NamedTuple

from livectl.live import platforms, polling
from livectl.live.checking import Checker
from livectl.live.follows.following import Following

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from livectl.config import Settings
    from livectl.live.store import Store
    from livectl.model import Terms

JOB_REQUESTS = 500  # a job: some 40 ms of work, so that two processors share ten thousand evenly
JOB_STREAMERS = 2_000  # a job, where many go into a request: no more than are recorded in one call
LEASE = 60.0  # seconds until who was claimed and not recorded is due again: as long as a job may run
EXPIRES = 20.0  # seconds a job may wait: a worker that comes later leaves it, and its streamers to the lease
ROUNDS = 4  # claims in one sweep at most; each takes up to 5,000 of a platform
LEARNED = 100  # streamers whose habits are learned in one sweep: some 0.1 s
CHANGES_KEPT = 7 * 86_400.0  # seconds that changes stay to be read

log = logging.getLogger(__name__)


class Portion(NamedTuple):
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
        self._following = Following(settings, store, self.checker.fetcher)

    def refresh(self, now: float) -> None:
        self._following.refresh(now)

    def claim(self, now: float) -> Iterator[list[Portion]]:
        """What is due, as jobs; claimed as it is asked for, so that what cannot be sent is not claimed either."""
        for _ in range(ROUNDS):
            claimed = polling.claim(self._store, self._settings, now, LEASE)
            if not claimed:
                return
            yield [portion for name, ids in claimed for portion in portions(name, ids, self._settings)]

    def learn(self, now: float) -> int:
        return polling.learn(self._store, now, LEARNED)

    def prune(self, now: float) -> int:
        """Once a day: what nobody needs any more goes, and habits are learned anew, since what is old fades."""
        self._store.learn_again()
        return self._store.prune(now, now - CHANGES_KEPT)


def portions(name: str, ids: Sequence[str], settings: Settings) -> list[Portion]:
    """Jobs of some hundreds each, in whole batches."""
    terms = polling.terms(settings, platforms.get(name))
    return parted(name, ids, terms.batch * requests_a_job(terms))


def requests_a_job(terms: Terms) -> int:
    return max(1, min(JOB_REQUESTS, JOB_STREAMERS // terms.batch))


def parted(name: str, ids: Sequence[str], size: int) -> list[Portion]:
    return [Portion(name, list(ids[start : start + size])) for start in range(0, len(ids), size)]
