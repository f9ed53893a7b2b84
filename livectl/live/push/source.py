"""What all have in common that let a platform tell of go-lives: who keeps them up, who is wanted, how much is asked."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import TYPE_CHECKING, Any, ClassVar

from livectl.live import platforms
from livectl.live.polling import check_context
from livectl.live.push import planning

if TYPE_CHECKING:
    from collections.abc import Generator

    from livectl.live.network.fetcher import Fetcher
    from livectl.live.platforms.base import CheckContext
    from livectl.live.polling import LimitsByPlatform
    from livectl.live.push.push_store import PushStore
    from livectl.live.store import Store
    from livectl.models import PollingLimits
    from livectl.settings import Settings

LEASE_SECONDS = 10.0  # of the upkeep, and of a shard: so soon another process takes over


class PushSource(ABC):
    """One process's part in it. `step` is called every second or so, and `close` at the end."""

    platform: ClassVar[str]
    max_changes: ClassVar[int]  # of subscriptions in one step, so that leases are renewed in time
    budget_share: ClassVar[float]  # of what the platform may be asked: the rest is for those who are polled

    def __init__(
        self,
        settings: Settings,
        store: Store,
        push_store: PushStore,
        limits: LimitsByPlatform,
        fetcher: Fetcher,
        token: str,
    ) -> None:
        self._settings, self._store, self._push_store = settings, store, push_store
        self._limits, self._fetcher, self._token = limits, fetcher, token
        self._is_keeper = False
        self._changed_at = 0.0

    @abstractmethod
    def step(self, now: float) -> None:
        """Does what is due. PushProblem, or CheckFailed, says what is in the way."""

    @abstractmethod
    def is_id(self, streamer_id: str) -> bool:
        """Whether the platform can tell of somebody with this id."""

    def close(self) -> None:
        """Gives up what this process holds, so that another takes over at once."""
        self._push_store.release(self._lease, self._token)

    @property
    def is_keeper(self) -> bool:
        """Whether this process says how it fares."""
        return self._is_keeper

    @property
    def _lease(self) -> str:
        return f"push/{self.platform}"

    def _hold_upkeep(self) -> None:
        self._is_keeper = self._push_store.hold(self._lease, self._token, LEASE_SECONDS)

    def _context(self, now: float) -> CheckContext:
        return check_context(self._settings, self.platform, now)

    def _way(self, now: float) -> PollingLimits:
        """The limits of the exit by which the platform is asked to tell; another where it does not let that one in."""
        return self._limits.at_large(self.platform, now)[0]

    def _run(self, steps: Generator[Any, Any, Any], now: float) -> Any:
        return self._fetcher.run(platforms.get(self.platform), steps, self._way(now).exit)

    def _wants(self) -> dict[str, float]:
        """How much each streamer is wanted whom the platform could tell of."""
        followed = self._push_store.followed(self.platform)
        return {each: planning.want(weight, packed) for each, weight, packed in followed if self.is_id(each)}

    def _allowed_changes(self, now: float) -> int:
        """How many requests may be spent now, of the share that has come together since the last."""
        rate = self._way(now).rate * self.budget_share
        count = int(min(self.max_changes, rate * min(now - self._changed_at, self.max_changes / rate)))
        if count:
            self._changed_at = now
        return count
