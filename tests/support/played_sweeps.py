"""Sweeps over a played site, by its clock: what is told is held against the truth."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from livectl.live import platforms, polling
from livectl.live.checker import Sweeper
from livectl.models import Streamer
from livectl.settings import Settings
from tests.support.played_list import NAME

if TYPE_CHECKING:
    from collections.abc import Iterable

    import pytest

    from livectl.live.store import Store
    from livectl.models import Change
    from tests.support.played_list import PlayedSite

SWEEP_SECONDS = 5.0
CHANGES_AT_ONCE = 10_000
SETTINGS = Settings(home=Path("/nowhere"), folder=Path("/nowhere"))


class Told(NamedTuple):
    """What was told, against what has happened."""

    delays: list[float]  # of go-lives, in seconds
    false_begins: int  # of broadcasts that there never were
    doubled: int
    false_ends: int  # of broadcasts that went on

    def late(self, share: float) -> float:
        return sorted(self.delays)[int(share * len(self.delays))] if self.delays else 0.0


class Followed:
    """Some of a played site's streamers, followed, and swept for as a worker does it."""

    def __init__(
        self,
        site: PlayedSite,
        store: Store,
        numbers: Iterable[int],
        patch: pytest.MonkeyPatch,
        settings: Settings = SETTINGS,
    ) -> None:
        platform = site.platform
        real_get = platforms.get
        patch.setattr(platforms, "get", lambda name: platform if name == NAME else real_get(name))
        self.site, self._store, self._last = site, store, "0"
        self._told: set[tuple[str, int]] = set()
        self.result = Told([], 0, 0, 0)
        self.begins = self.ends = 0  # that were told, false ones too
        store.set_followed([Streamer(platform=NAME, id=str(number)) for number in numbers], site.began)
        self.ids = {str(number) for number in numbers}
        self.limits = polling.polling_limits(settings, platform)
        self.sweeper = Sweeper(settings, store)
        self.lister = self.sweeper.lister
        for owner in (self.sweeper.checker, self.lister):
            name = "fetcher" if owner is self.sweeper.checker else "_fetcher"
            setattr(owner, name, site)
        self.lister._clock = lambda: site.now

    def sweep(self, seconds: float) -> None:
        end = self.site.now + seconds
        while self.site.now < end:
            self.site.play(self.site.now + SWEEP_SECONDS - 1)
            now = self.site.now
            for job in self.lister.claim(now):
                self.lister.read(*job)
            self.site.play(now + 1)
            now = self.site.now
            for batches in self.sweeper.claim(now):
                for batch in batches:
                    self.sweeper.checker.check(batch.platform, batch.ids, now)
            self._compare()

    def _compare(self) -> None:
        while changes := self._store.changes(self._last, CHANGES_AT_ONCE):
            self._last = changes[-1].number
            for change in changes:
                self._compare_one(change)

    def _compare_one(self, change: Change) -> None:
        site, key = self.site, (change.id, int(change.session))
        delays, false_begins, doubled, false_ends = self.result
        is_on = site.starts.get(key[0]) == key[1]
        if change.kind == "began" and not change.quiet:
            if key[1] > site.began:
                delays.append(change.at - key[1])
            self.begins += 1
            false_begins += not is_on and key not in site.ends
            doubled += key in self._told
            self._told.add(key)
        if change.kind == "ended":
            self.ends += 1
            false_ends += is_on
        self.result = Told(delays, false_begins, doubled, false_ends)
