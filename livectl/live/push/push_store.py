"""Keeps of whom platforms tell by themselves, and puts off asking after those, in the store.

    livectl:pushed:PLATFORM           id -> since when the platform tells of them
    livectl:{PLATFORM}:push           how that fares, and what its processes tell each other
    livectl:{PLATFORM}:push-seen:ID   a message that came already
    livectl:{PLATFORM}:push-leases    until when a hub tells of each channel
    livectl:{lease:NAME}:holder       which process does what only one may do
    livectl:{-}:push-secret           signs what we give to others and get back

Asking is put off from one renewal to the next, never by more than one interval: where no process renews, everybody is
asked again as before.
"""

from __future__ import annotations

import secrets
from itertools import chain
from typing import TYPE_CHECKING, Any, NamedTuple

import msgspec

from livectl.live import cells, standing, store_follows, store_records
from livectl.live.lua_scripts import ScriptCall, lua_script, run_scripts
from livectl.units import format_count

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence

    from redis import Redis

    from livectl.models import PollingLimits
    from livectl.settings import Settings

WEBSUB_KEY = f"{cells.platform_place('youtube')}push-leases"
SECRET_KEY = f"{cells.COMMON}push-secret"
COVER_BATCH = 500  # streamers in one call: some 3 ms of the store's time
MIN_SILENT_S = 60.0  # connections are made anew within that
MIN_FIRST_S = 10.0  # ... and the first ones within that: what is missing then is a key or an address


class PushTrouble(NamedTuple):
    """That a platform does not tell of all whom it should, in a few words; why, and what mends it."""

    title: str
    evidence: str
    cure: str


class PushHealth(msgspec.Struct, frozen=True, kw_only=True):
    """How a platform fares that tells of go-lives by itself. It is the fields of its hash in the store."""

    platform: str
    until: float = 0.0  # it is heard until then at least; later, it has fallen silent
    since: float = 0.0  # it has been heard without a break since then
    covered: int = 0  # streamers of whom it tells
    wanted: int = 0  # streamers of whom it should
    told: int = 0  # how often it has told of something
    told_at: float | None = None  # when it last did
    refused: int = 0  # how much came under its name that is not its own
    problem: str = ""  # what keeps it from telling, or from telling of more
    cure: str = ""
    problem_at: float | None = None  # since when

    def is_heard(self, now: float) -> bool:
        return now < self.until

    def find_trouble(self, now: float) -> PushTrouble | None:
        """What lasts: what does not tell is asked as ever, alerts come later, and none is lost."""
        is_heard, platform = self.is_heard(now), self.platform
        if self.problem:
            if now - (self.problem_at or 0.0) < (MIN_SILENT_S if self.since else MIN_FIRST_S):
                return None
            title = f"{platform} does not tell of go-lives"
            if is_heard:
                title = f"{platform} tells of {self.covered} of {format_count(self.wanted, 'streamer')}"
            return PushTrouble(title, self.problem, self.cure or "It is tried again by itself.")
        if is_heard:
            return None
        evidence = f"`push` names {platform}, and no livectl push is at work; all are asked"
        cure = "livectl push, or livectl up, which has one."
        return PushTrouble(f"Nobody listens to what {platform} tells", evidence, cure)


class PushStore:
    """The keys above."""

    def __init__(self, client: Redis) -> None:
        self._client: Any = client
        self._cells = cells.Cells(client)

    def hold(self, name: str, token: str, seconds: float) -> bool:
        """Takes or renews a lease. False while another process has it."""
        return bool(lua_script(self._client, "lease")(cells.lease_place(name), token, seconds))

    def release(self, name: str, token: str) -> None:
        lua_script(self._client, "leave")(cells.lease_place(name), token)

    def secret(self) -> str:
        """A secret of this store's own."""
        self._client.set(SECRET_KEY, secrets.token_hex(), nx=True)
        return str(self._client.get(SECRET_KEY))

    # Of whom a platform tells

    def followed(self, platform: str) -> Iterator[tuple[str, float, str]]:
        """The id of each followed streamer, with the weight that the follow list gives, and the packed poll weights."""
        for cell in self._cells.of(platform):
            for rows in store_follows.scan_hash(self._client, f"{cell.place}follows"):
                weights = self._client.hmget(f"{cell.place}pull", list(rows))
                for (streamer_id, text), packed in zip(rows.items(), weights, strict=True):
                    weight = msgspec.json.decode(text, type=store_records.StoredFollow).weight
                    yield str(streamer_id), weight, packed or ""

    def count_followed(self, platform: str) -> int:
        pipe = self._client.pipeline(transaction=False)
        for cell in self._cells.of(platform):
            pipe.hlen(f"{cell.place}follows")
        return sum(map(int, pipe.execute()))

    def covered(self, platform: str) -> set[str]:
        pipe = self._client.pipeline(transaction=False)
        for cell in self._cells.of(platform):
            pipe.zrange(f"{cell.place}pushed", 0, -1)
        return set(chain.from_iterable(pipe.execute()))

    def set_covered(self, platform: str, ids: Iterable[str], now: float) -> None:
        """The platform tells of exactly these: of those who are new since now, of the others since before."""
        wanted, before = set(ids), self.covered(platform)
        self.uncover(platform, sorted(before - wanted))
        self._set_pushed(platform, sorted(wanted - before), now, nx=True)

    def uncover(self, platform: str, ids: Sequence[str]) -> None:
        """The platform tells of these no more."""
        for cell, some in self._cells.split(platform, ids).items():
            for part in store_follows.chunks(some):
                self._client.zrem(f"{cell.place}pushed", *part)

    def put_off(self, limits: PollingLimits, now: float, ahead: float, since: float) -> int:
        """Lets nobody fall due within the next seconds of whom the platform tells, and was read since it does so.

        `since` then nothing that it told can have been missed. Returns how many were put off.
        """
        known = standing.read_standing(self._client, limits.platform)
        cover, put_off, terms = lua_script(self._client, "cover"), 0, store_records.encode_json(limits)
        for cell in self._cells.of(limits.platform):
            told, start, looked_at = (terms, known.others(cell), known.totals), repr(now), COVER_BATCH
            while looked_at == COVER_BATCH:
                looked_at, moved, start = cover(cell.place, *told, now, start, now + ahead, since, COVER_BATCH)
                put_off += int(moved)
        return put_off

    def make_due(self, platform: str, ids: Sequence[str], now: float) -> None:
        """Those among these who wait for their turn are asked at once."""
        split = self._cells.split(platform, ids)
        run_scripts(self._client, [ScriptCall("hurry", cell.place, (now, *some)) for cell, some in split.items()])

    def doubt(self, platform: str, ids: Sequence[str], until: float) -> None:
        """Those among these of whom the platform tells are asked as ever until they are read after this instant."""
        self._set_pushed(platform, ids, until, xx=True)

    def _set_pushed(self, platform: str, ids: Sequence[str], since: float, **only: bool) -> None:
        for cell, some in self._cells.split(platform, ids).items():
            for part in store_follows.chunks(some):
                self._client.zadd(f"{cell.place}pushed", dict.fromkeys(part, since), **only)

    # How it fares

    def note(self, platform: str, **fields: float | str | None) -> None:
        """Notes how it fares; None takes a field out."""
        name = f"{cells.platform_place(platform)}push"
        given = {field: value for field, value in fields.items() if value is not None}
        if given:
            self._client.hset(name, mapping=given)
        if gone := [field for field, value in fields.items() if value is None]:
            self._client.hdel(name, *gone)

    def note_problem(self, platform: str, problem: str, cure: str, now: float) -> None:
        """Notes what is wrong, since when; an empty problem says that nothing is."""
        if not problem:
            self.note(platform, problem=None, cure=None, problem_at=None)
            return
        self._client.hsetnx(f"{cells.platform_place(platform)}push", "problem_at", now)
        self.note(platform, problem=problem, cure=cure)

    def count(self, platform: str, field: str) -> None:
        self._client.hincrby(f"{cells.platform_place(platform)}push", field, 1)

    def notes(self, platform: str) -> Mapping[str, str]:
        return dict(self._client.hgetall(f"{cells.platform_place(platform)}push"))

    def health(self, platform: str) -> PushHealth:
        fields = {name: value for name, value in self.notes(platform).items() if name in PushHealth.__struct_fields__}
        return msgspec.convert({**fields, "platform": platform}, PushHealth, strict=False)

    def was_seen(self, platform: str, message_id: str) -> bool:
        return bool(self._client.exists(f"{cells.platform_place(platform)}push-seen:{message_id}"))

    def note_seen(self, platform: str, message_id: str, seconds: float) -> None:
        self._client.set(f"{cells.platform_place(platform)}push-seen:{message_id}", 1, px=int(seconds * 1000))

    # Subscriptions with a hub, which each end at a time of their own

    def websub_leases(self) -> dict[str, float]:
        """Until when the hub tells of each channel."""
        return {channel: float(until) for channel, until in self._client.hgetall(WEBSUB_KEY).items()}

    def set_websub_lease(self, channel: str, until: float | None) -> None:
        if until is None:
            self._client.hdel(WEBSUB_KEY, channel)
        else:
            self._client.hset(WEBSUB_KEY, channel, until)


def read_push(client: Redis, settings: Settings) -> tuple[PushHealth, ...]:
    """How each platform fares that the settings let tell of go-lives by itself."""
    return tuple(PushStore(client).health(platform) for platform in settings.push)
