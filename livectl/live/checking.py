"""One check, whole: asked, read, recorded. By a worker's job, or right here."""

from __future__ import annotations

from typing import TYPE_CHECKING

from livectl.live import platforms, polling
from livectl.live.network.fetch import Fetcher
from livectl.live.network.route import Routes
from livectl.live.platforms.base import Means, Refused, Unanswered, all_alike, unanswered
from livectl.model import Health, Observation, State

if TYPE_CHECKING:
    from collections.abc import Sequence

    from livectl.config import Settings
    from livectl.live.platforms.base import Platform
    from livectl.live.store import Store

PATIENCE = 5.0  # seconds of budget that a person's question may be ahead of: a look or two keep nobody waiting


class Notebook:
    """What platforms keep between checks, where there is no store: for one call only."""

    def __init__(self) -> None:
        self._kept: dict[tuple[str, str], str] = {}

    def recall(self, platform: str, names: Sequence[str]) -> list[str | None]:
        return [self._kept.get((platform, name)) for name in names]

    def keep(self, platform: str, name: str, value: str, seconds: float) -> None:
        self._kept[platform, name] = value


class Checker:
    """Asks platforms after streamers, and records what they say in the store, if there is one."""

    def __init__(self, settings: Settings, store: Store | None) -> None:
        self._settings = settings
        self._store = store
        self.fetcher = Fetcher(Routes.of(settings.network), store or Notebook())

    def check(self, name: str, ids: Sequence[str], now: float) -> list[Observation]:
        """Of those that were claimed, by the ids that are followed: their requests are paid for."""
        platform = platforms.get(name)
        return self._ask(platform, ids, self._means(name, now))

    def look(self, name: str, names: Sequence[str], now: float) -> list[Observation]:
        """Of anybody, by whatever name, because a person wants to know: an observation for each, in order.

        What it costs was reserved before.
        """
        platform, means = platforms.get(name), self._means(name, now)
        if wait := self._closed(name, now):
            state, problem = wait
            return all_alike(name, names, state, means, problem)
        homes, found = self._lead(platform, list(dict.fromkeys(names)), means)
        ids = list(dict.fromkeys(homes.values()))
        found |= {one.id: one for one in self._ask(platform, ids, means)} if ids else {}
        return [found[homes.get(one, one)] for one in names]

    def reserve(self, name: str, streamers: int, now: float) -> float:
        """Takes what a look at so many will cost from the budget. Answers for how many seconds it is overdrawn."""
        terms = polling.terms(self._settings, platforms.get(name))
        left = self._store.spend(terms, -(-streamers // terms.batch), now) if self._store else 0.0
        overdrawn = max(0.0, -left / terms.rate)
        return overdrawn if overdrawn > PATIENCE else 0.0

    def _means(self, name: str, now: float) -> Means:
        return Means(now, polling.keys(self._settings.platforms.get(name)))

    def _ask(self, platform: Platform, ids: Sequence[str], means: Means) -> list[Observation]:
        """What it costs beyond a request a batch is taken from the budget now."""
        report = self.fetcher.check(platform, ids, means)
        if self._store is not None:
            terms = polling.terms(self._settings, platform)
            paid = -(-len(ids) // terms.batch)
            self._store.record(terms, report.observations, report.requests - paid)
        return report.observations

    def _lead(
        self, platform: Platform, names: Sequence[str], means: Means
    ) -> tuple[dict[str, str], dict[str, Observation]]:
        """The id that each name leads to; for those that lead nowhere, an observation that says why."""
        known = self._store.aliases(platform.name, names) if self._store else {}
        lost = [one for one in names if one not in known]
        answers, requests = self.fetcher.resolve(platform, lost, means)
        led = {one: answer for one, answer in zip(lost, answers, strict=True) if isinstance(answer, str)}
        if self._store is not None:
            self._store.alias(platform.name, {one: home for one, home in led.items() if one != home})
            self._store.spend(polling.terms(self._settings, platform), requests, means.now)
        failed = {one: error for one, error in zip(lost, answers, strict=True) if isinstance(error, Exception)}
        return known | led, {one: _nobody(platform.name, one, error, means) for one, error in failed.items()}

    def _closed(self, name: str, now: float) -> tuple[State, str] | None:
        """Whether the platform asked not to be asked for a while. A person is no exception."""
        health = next((one for one in self._store.health(now) if one.platform == name), None) if self._store else None
        return closed(health, now) if health else None


def closed(health: Health, now: float) -> tuple[State, str] | None:
    """Why a platform is not asked at this moment; None when it is."""
    if health.open_until and now < health.open_until:
        return State.BLOCKED, f"not asked: it refused us, and is left alone for {health.open_until - now:.0f} s more"
    if health.wait_until and now < health.wait_until:
        return State.RATE_LIMITED, f"not asked: it wants to be left alone for {health.wait_until - now:.0f} s more"
    return None


def _nobody(platform: str, name: str, error: Exception, means: Means) -> Observation:
    if isinstance(error, Unanswered):
        return unanswered(platform, name, error, means)
    if isinstance(error, Refused):
        state, problem = State.NOT_FOUND, error.message
    else:
        state, problem = State.PARSE_ERROR, f"its name could not be looked up: {type(error).__name__}"
    return Observation(platform=platform, id=name, state=state, at=means.now, problem=problem)
