"""Lets Twitch tell of go-lives: one conduit, whose shards and upkeep any number of processes share.

Each shard is held by one process, by a lease in the store; one that dies leaves it to the next. One process, by another
lease, keeps the subscriptions equal to the follow list, and puts off asking while all shards are heard.
"""

from __future__ import annotations

import logging
import queue
import time
from typing import TYPE_CHECKING

from livectl import extras
from livectl.live import platforms
from livectl.live.platforms import oauth
from livectl.live.platforms.base import CheckFailed
from livectl.live.platforms.parsing import is_number
from livectl.live.platforms.twitch import NAME
from livectl.live.polling import left_alone, unset_key
from livectl.live.push import conduit, planning
from livectl.live.push.conduit import PushProblem
from livectl.live.push.eventsub import OFFLINE, ONLINE, Notified, Revoked, SeenMessages
from livectl.live.push.planning import Subscribed
from livectl.live.push.shards import Shard, SocketOpener
from livectl.live.push.source import LEASE_SECONDS, PushSource
from livectl.models import State

if TYPE_CHECKING:
    from livectl.errors import LivectlError
    from livectl.live.network.fetcher import Fetcher
    from livectl.live.network.routes import Routes
    from livectl.live.polling import LimitsByPlatform
    from livectl.live.push.conduit import Subscriptions
    from livectl.live.push.inbox import PushEvent
    from livectl.live.push.push_store import PushStore
    from livectl.live.store import Store
    from livectl.settings import Settings

SHARDS = 2  # so that one connection that is lost costs a part of the subscriptions; they bear far more than we have
PLAN_SECONDS = 300.0  # between two looks at the follow list
COUNT_SECONDS = 5.0  # ... and between two at its length: whoever is new is not kept waiting
READ_SECONDS = 1800.0  # between two readings of the subscriptions that Twitch has
CONDUIT_SECONDS = 60.0  # ... and between two looks whether our conduit is there: somebody may delete it
RETRY_SECONDS = 30.0  # after a failure
LIMIT_SECONDS = 3600.0  # after Twitch has allowed fewer subscriptions than it had said
REFUSED_SECONDS = 86_400.0  # until a streamer is tried again of whom Twitch will not tell
COVER_STEPS = 3  # renewals in the shortest interval of polling
SLOWEST_COVER_SECONDS = 5.0
WHY_EXTRA = "it tells over a WebSocket, by the package websockets, which is not installed"
WHY_SOCKS = "its WebSocket goes by a SOCKS proxy, by the package python-socks, which is not installed"
NO_KEYS = "it tells only an application of yours"
KEYS_CURE = "Set client_id and client_secret under platforms.twitch in livectl.yaml."

log = logging.getLogger(__name__)


class TwitchPush(PushSource):
    """One process's part in it: its shards, and what is kept up where it is its turn."""

    platform = NAME
    max_changes = 20
    budget_share = 0.5

    def __init__(
        self,
        settings: Settings,
        store: Store,
        push_store: PushStore,
        limits: LimitsByPlatform,
        fetcher: Fetcher,
        routes: Routes,
        token: str,
    ) -> None:
        super().__init__(settings, store, push_store, limits, fetcher, token)
        self._opener = SocketOpener(routes, lambda: self._way(time.time()).exit)
        self._seen = SeenMessages()
        self._shards: dict[int, Shard] = {}
        self._told: queue.SimpleQueue[Notified | Revoked] = queue.SimpleQueue()
        self._revocations: queue.SimpleQueue[Revoked] = queue.SimpleQueue()
        self._conduit = ""
        self._subscriptions: Subscriptions | None = None
        self._refused: dict[tuple[str, str], float] = {}  # of which Twitch will not tell, until when
        self._limit: tuple[int, float] | None = None  # fewer subscriptions than Twitch says, until when
        self._waiting: list[tuple[str, str]] = []  # to be subscribed to
        self._removing: list[str] = []
        self._next_read = self._next_plan = self._next_try = self._next_cover = self._next_look = 0.0
        self._wanted = self._followed = 0
        self._next_count = 0.0

    def step(self, now: float) -> None:
        if not extras.is_installed("eventsub"):
            raise PushProblem(WHY_EXTRA, f"Install it: {extras.install_command('eventsub')}")
        if self._opener.lacks_socks:
            raise PushProblem(WHY_SOCKS, f"Install it: {extras.install_command('eventsub')}")
        if problem := unset_key(self._settings, NAME):
            raise PushProblem(problem, KEYS_CURE)
        if not oauth.has_client_keys(self._context(now)):
            raise PushProblem(NO_KEYS, KEYS_CURE)
        self._hold_upkeep()
        failure: LivectlError | None = None
        for part in (self._keep_up, self._keep_shards, self._cover):
            try:
                part(now)
            except (PushProblem, CheckFailed) as error:
                failure = failure or error
        if failure:
            raise failure

    def is_id(self, streamer_id: str) -> bool:
        return is_number(streamer_id)

    def _keep_up(self, now: float) -> None:
        if now < self._next_try:
            return
        self._next_try = now + RETRY_SECONDS  # where what follows fails
        self._find_conduit(now)
        if self._is_keeper and self._conduit:
            self._keep_subscriptions(now)
        self._next_try = now

    def receive(self, seconds: float) -> list[PushEvent]:
        """What Twitch has told, as soon as it tells something."""
        events: list[PushEvent] = []
        try:
            told = self._told.get(timeout=seconds)
            while True:
                if isinstance(told, Notified):
                    events.append(told.event)
                else:
                    self._revocations.put(told)
                told = self._told.get_nowait()
        except queue.Empty:
            return events

    def close(self) -> None:
        for shard in self._shards.values():
            shard.stop()
        for number in self._shards:
            self._push_store.note(NAME, **{f"heard:{number}": None})
            self._push_store.release(f"{self._lease}/{number}", self._token)
        super().close()
        for shard in self._shards.values():
            shard.join(2.0)

    def _find_conduit(self, now: float) -> None:
        known = self._push_store.notes(NAME).get("conduit", "")
        if self._is_keeper and (not self._conduit or known != self._conduit or now >= self._next_look):
            self._store.spend(self._way(now), 1, now)
            known = self._run(conduit.find_or_make(known, SHARDS, self._context(now)), now)
            self._push_store.note(NAME, conduit=known)
            self._next_look = now + CONDUIT_SECONDS
        if known != self._conduit:
            self._conduit, self._subscriptions = known, None
            self._stop_shards()

    # Shards

    def _keep_shards(self, now: float) -> None:
        for number in range(SHARDS) if self._conduit else ():
            shard = self._shards.get(number)
            if not self._push_store.hold(f"{self._lease}/{number}", self._token, LEASE_SECONDS):
                if shard:  # this process was away for so long that another has it
                    self._shards.pop(number).stop()
                continue
            if shard is None:
                shard = self._shards[number] = Shard(number, self._opener, self._seen, self._welcome, self._told.put)
                shard.start()
            heard = {f"heard:{number}": now + LEASE_SECONDS, f"since:{number}": shard.since}
            trouble = {f"trouble:{number}": shard.problem or None}
            self._push_store.note(NAME, **trouble, **(heard if shard.is_heard() else {}))

    def _stop_shards(self) -> None:
        while self._shards:
            self._shards.popitem()[1].stop()

    def _welcome(self, number: int, session: str) -> None:
        """Called by a shard's own thread."""
        now = time.time()
        self._run(conduit.assign(self._conduit, {number: session}, self._context(now)), now)

    def _heard_since(self, now: float) -> float:
        """Since when all shards are heard without a break. PushProblem while one is not."""
        notes = self._push_store.notes(NAME)
        for number in range(SHARDS):
            if float(notes.get(f"heard:{number}", 0)) <= now:
                trouble = notes.get(f"trouble:{number}", "it is not connected yet")
                raise PushProblem(f"shard {number} is not heard: {trouble}", "It is tried again by itself.")
        return max(float(notes.get(f"since:{number}", now)) for number in range(SHARDS))

    # Subscriptions

    def _keep_subscriptions(self, now: float) -> None:
        context = self._context(now)
        self._take_revocations()
        if self._subscriptions is None or now >= self._next_read:
            self._subscriptions = self._run(conduit.read_subscriptions(self._conduit, context), now)
            self._next_read, self._next_plan = now + READ_SECONDS, now
        if now >= self._next_plan or self._has_other_follows(now):
            self._plan(now)
        if self._may_ask(now):
            self._change(now)

    def _has_other_follows(self, now: float) -> bool:
        if now < self._next_count:
            return False
        self._next_count = now + COUNT_SECONDS
        before, self._followed = self._followed, self._push_store.count_followed(NAME)
        return self._followed != before

    def _plan(self, now: float) -> None:
        assert self._subscriptions is not None  # noqa: S101 - read before
        self._next_plan = now + PLAN_SECONDS
        self._refused = {key: until for key, until in self._refused.items() if until > now}
        limit = self._limit[0] if self._limit and self._limit[1] > now else self._subscriptions.max_cost
        plan = planning.plan(self._wants(), (ONLINE, OFFLINE), self._subscriptions.enabled, limit, self._refused)
        self._waiting, self._removing = plan.add, [*self._subscriptions.broken, *plan.remove]
        self._wanted = plan.wanted
        self._note_covered(now)

    def _may_ask(self, now: float) -> bool:
        """Whether a part of the platform's budget is left for this."""
        return bool(self._waiting or self._removing) and not left_alone(self._store, NAME, now)

    def _change(self, now: float) -> None:
        """Some changes: those that make room come first."""
        count, context = self._allowed_changes(now), self._context(now)
        if count < 1:
            return
        removing, self._removing = self._removing[:count], self._removing[count:]
        adding = self._waiting[: count - len(removing)]
        self._store.spend(self._way(now), len(removing) + len(adding), now)
        for subscription in removing:
            self._run(conduit.unsubscribe(subscription, context), now)
        self._forget(set(removing))
        self._waiting = self._waiting[len(adding) :]
        steps = [conduit.subscribe(self._conduit, *key, context) for key in adding]
        outcomes = self._fetcher.run_all(platforms.get(NAME), steps, self._way(now).exit)
        failures = [self._take(key, made, now) for key, made in planning.made_first(adding, outcomes)]
        if adding or removing:
            self._note_covered(now)
        for failure in filter(None, failures):
            raise failure

    def _take(self, key: tuple[str, str], made: Subscribed | Exception | None, now: float) -> Exception | None:
        """Takes what came of a subscription. Returns what is in the way of more."""
        assert self._subscriptions is not None  # noqa: S101 - read before
        if isinstance(made, Subscribed):
            self._subscriptions.enabled[key] = made
            return None
        if made is None:
            self._refused[key] = now + REFUSED_SECONDS
            return None
        if isinstance(made, PushProblem):  # Twitch has one that we do not know of
            self._next_read = now
        if not isinstance(made, CheckFailed) or made.state is not State.RATE_LIMITED:
            return made
        held = sum(each.cost for each in self._subscriptions.enabled.values())
        self._limit, self._next_plan = (held, now + LIMIT_SECONDS), now
        return PushProblem(
            f"Twitch takes no more than {held} subscriptions now",
            "The most wanted are told of, the others are asked; it is tried again within an hour.",
        )

    def _forget(self, ids: set[str]) -> None:
        assert self._subscriptions is not None  # noqa: S101 - read before
        enabled = self._subscriptions.enabled
        for key in [key for key, subscribed in enabled.items() if subscribed.id in ids]:
            del enabled[key]
        self._subscriptions.broken = [each for each in self._subscriptions.broken if each not in ids]

    def _take_revocations(self) -> None:
        while not self._revocations.empty():
            self._revoked(self._revocations.get())

    def _revoked(self, told: Revoked) -> None:
        log.info("Twitch tells no more of %s (%s): %s", told.streamer_id, told.kind, told.reason)
        self._push_store.count(NAME, "revoked")
        if self._subscriptions:
            self._subscriptions.enabled.pop((told.kind, told.streamer_id), None)
        self._push_store.uncover(NAME, [told.streamer_id])
        self._next_read = 0.0

    # What is asked meanwhile

    def _note_covered(self, now: float) -> None:
        assert self._subscriptions is not None  # noqa: S101 - read before
        covered = {streamer_id for kind, streamer_id in self._subscriptions.enabled if kind == ONLINE}
        self._push_store.set_covered(NAME, covered, now)
        self._push_store.note(NAME, covered=len(covered), wanted=self._wanted)

    def _cover(self, now: float) -> None:
        """Puts off asking after those of whom Twitch tells, as long as all shards are heard."""
        if not self._is_keeper:
            return
        since = self._heard_since(now)
        limits = self._limits[NAME]
        seconds = min(limits.fastest / COVER_STEPS, SLOWEST_COVER_SECONDS)
        if now < self._next_cover:
            return
        self._next_cover = now + seconds
        self._push_store.note(NAME, until=now + LEASE_SECONDS, since=since)
        self._push_store.put_off(limits, now, 2 * seconds, since)
