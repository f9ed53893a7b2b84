"""Keeps what is known of streamers, in a Redis.

    livectl:version            of the keys below
    livectl:platforms          names of platforms that were ever followed on
    livectl:outbox             changes, in order, until they are dropped
    livectl:follows:PLATFORM   id -> streamer as the follow list has it
    livectl:unresolved         platform/name -> a line of the follow list that leads to nobody, and why
    livectl:now:PLATFORM       id -> what was last read, and what went wrong since
    livectl:page:PLATFORM      id -> title, category, name, url, cover, avatar of the last good answer
    livectl:log:PLATFORM       id -> sessions of 400 days, six characters each
    livectl:recent:PLATFORM    id -> the last sessions with their titles
    livectl:viewers:PLATFORM   id -> how many watched the last session, sixty counts at most
    livectl:live:PLATFORM      who is live, by start; livectl:ending: who was seen gone once, by that look
    livectl:due:PLATFORM       who is asked next, by when; livectl:claimed: who is being asked, by when that lapses
    livectl:pull:PLATFORM      id -> poll weight in each hour of the week; livectl:pulls: their sums
    livectl:unlearned:PLATFORM whose sessions the poll weights do not reflect yet
    livectl:platform:PLATFORM  bucket, circuit, waits, counters
    livectl:target:TARGET      and its kin: how far each target of alerts has read the outbox (alerts/outbox.py)
    livectl:pushed:PLATFORM    and its kin: of whom the platform tells by itself (push/push_store.py)
    livectl:alias:PLATFORM     name as pasted -> the id that is followed
    livectl:kept:PLATFORM:KEY  what a platform keeps between checks

Only this file, the Lua scripts, alerts/outbox.py and push/push_store.py name these keys. Every change of state is one
Lua call, so that any number of workers may record at once.
"""

from __future__ import annotations

from functools import cache
from importlib import resources
from typing import TYPE_CHECKING, Any

from livectl.errors import ServerError
from livectl.live import store_records

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence

    from redis import Redis

    from livectl.live.store_records import StorePulse
    from livectl.models import (
        Change,
        Observation,
        PlatformHealth,
        PollingLimits,
        Session,
        Streamer,
        StreamerRecord,
        UnresolvedFollow,
        ViewerCurve,
    )


KEYS_VERSION = 1
OUTBOX_KEY = "livectl:outbox"
MAX_BATCH = 2000  # ids in one call: Lua's stack holds some 8,000 arguments
SCAN_COUNT = 500  # ids in one call when those no longer followed are forgotten
DAY_SECONDS = 86_400
SESSION_KEEP_SECONDS = 400 * DAY_SECONDS


class Store:
    """State, sessions, due times and outbox of every followed streamer."""

    def __init__(self, client: Redis) -> None:
        self._client: Any = client  # its stubs know neither decoded replies nor which calls wait
        self._record_script = lua_script(client, "record")

    def prepare(self) -> None:
        """Marks an empty store with the version of our keys. ServerError if a newer livectl wrote the store."""
        self._client.set("livectl:version", KEYS_VERSION, nx=True)
        stored_version = int(self._client.get("livectl:version"))
        if stored_version > KEYS_VERSION:
            raise ServerError(
                f"The store was written by a newer livectl: its keys are version {stored_version}, "
                f"this one knows {KEYS_VERSION}.",
                "Upgrade this livectl, or name another store in the settings.",
            )

    # What changes state

    def set_followed(
        self, streamers: Iterable[Streamer], now: float, unresolved: Iterable[UnresolvedFollow] = ()
    ) -> tuple[int, int]:
        """Follows exactly these streamers, and keeps which lines of the follow list lead to nobody.

        Returns how many were added and removed; sessions of the removed stay.
        """
        wanted: dict[str, dict[str, str]] = {}
        for streamer in streamers:
            wanted.setdefault(streamer.platform, {})[streamer.id] = store_records.encode_follow(streamer)
        lines = {
            f"{follow.streamer.platform}/{follow.streamer.id}": store_records.encode_unresolved(follow)
            for follow in unresolved
        }
        encoded = store_records.encode_json(wanted), store_records.encode_json(lines)
        added, removed = lua_script(self._client, "follow")(now, *encoded)
        return int(added), int(removed)

    def claim(self, limits: Sequence[PollingLimits], now: float, lease: float) -> list[tuple[str, list[str]]]:
        """Takes the ids that are due on each of these platforms, within its budget.

        An id that is not recorded within `lease` seconds is due again.
        """
        claimed = lua_script(self._client, "claim")(now, lease, store_records.encode_json(limits))
        return [(str(platform), [str(streamer_id) for streamer_id in ids]) for platform, ids in claimed]

    def extend_claims(self, platform: str, ids: Sequence[str], until: float) -> None:
        """Lets these ids, as far as they are claimed, not be due again before then."""
        if ids:
            self._client.zadd(f"livectl:claimed:{platform}", dict.fromkeys(ids, until), xx=True)

    def record(
        self, limits: PollingLimits, observations: Sequence[Observation], extra_requests: int = 0
    ) -> list[Change]:
        """Records what a platform answered. The changes are in the outbox when this returns them.

        `extra_requests` are those that the check made beyond the ones that were claimed.
        """
        changes: list[Change] = []
        for start in range(0, len(observations), MAX_BATCH):
            batch = observations[start : start + MAX_BATCH]
            change_rows = self._record_script(
                limits.platform,
                store_records.encode_json(limits),
                store_records.encode_json([store_records.encode_observation(observation) for observation in batch]),
                0 if start else extra_requests,
            )
            changes += [store_records.decode_change(*row) for row in change_rows]
        return changes

    def spend(self, limits: PollingLimits, requests: int, now: float) -> float:
        """Takes requests from a platform's budget without a claim. Returns what is left, negative if overdrawn."""
        limits_json = store_records.encode_json(limits)
        return float(lua_script(self._client, "spend")(limits.platform, limits_json, requests, now))

    def save_poll_weights(self, platform: str, packed_weights: Mapping[str, str]) -> None:
        """Saves the poll weights of streamers, as polling.pack_weights packed them."""
        lua_script(self._client, "learn")(platform, store_records.encode_json(list(packed_weights.items())))

    def mark_unlearned(self) -> None:
        """Marks the poll weights of all streamers as outdated: old sessions count for less by now."""
        for platform in self.platforms():
            ids = self._client.hkeys(f"livectl:follows:{platform}")
            for start in range(0, len(ids), MAX_BATCH):
                self._client.sadd(f"livectl:unlearned:{platform}", *ids[start : start + MAX_BATCH])

    def prune(self, now: float, drop_changes_before: float) -> int:
        """Drops old changes, and streamers who were last followed longer ago than sessions are kept.

        Returns how many streamers.
        """
        self._client.xtrim("livectl:outbox", minid=f"{int(drop_changes_before * 1000)}")
        return sum(self._forget_unfollowed(platform, now - SESSION_KEEP_SECONDS) for platform in self.platforms())

    # What only reads

    def platforms(self) -> list[str]:
        return sorted(self._client.smembers("livectl:platforms"))

    def live_streamers(self) -> list[StreamerRecord]:
        return self._read_records("live")

    def all_streamers(self) -> list[StreamerRecord]:
        """Everybody followed, and the lines of the follow list that lead to nobody."""
        return self._read_records("all")

    def find_streamers(self, platform: str, ids: Sequence[str]) -> list[StreamerRecord]:
        return self._read_records("some", platform, *ids)

    def find_streamer(self, platform: str, streamer_id: str) -> StreamerRecord:
        return self.find_streamers(platform, [streamer_id])[0]

    def sessions(self, platform: str, ids: Sequence[str], since: float = 0.0) -> dict[str, list[Session]]:
        """The sessions of each streamer that went on after `since`, the oldest first; one without an end is on now."""
        pipe = self._client.pipeline(transaction=False)
        for kind in ("log", "recent", "now", "page"):
            pipe.hmget(f"livectl:{kind}:{platform}", list(ids))
        rows = zip(*pipe.execute(), strict=True)
        return {
            streamer_id: store_records.decode_sessions(log, recent, now, page, since)
            for streamer_id, (log, recent, now, page) in zip(ids, rows, strict=True)
        }

    def viewer_curves(self, platform: str, ids: Sequence[str]) -> dict[str, ViewerCurve]:
        """How many watched the current or last session of each streamer; nothing where nobody tells."""
        texts = self._client.hmget(f"livectl:viewers:{platform}", list(ids)) if ids else []
        return {each: store_records.decode_viewers(text) for each, text in zip(ids, texts, strict=True) if text}

    def unresolved(self) -> list[UnresolvedFollow]:
        """The lines of the follow list that lead to nobody."""
        return [
            store_records.decode_unresolved(name, text)
            for name, text in self._client.hgetall("livectl:unresolved").items()
        ]

    def unlearned(self, platform: str, limit: int) -> list[str]:
        """Some of the streamers whose poll weights are outdated."""
        return list(self._client.srandmember(f"livectl:unlearned:{platform}", limit) or [])

    def health(self, now: float) -> list[PlatformHealth]:
        return [store_records.decode_health(row) for row in lua_script(self._client, "health")(now)]

    def pulse(self, after: str, names: int, changes: int) -> StorePulse:
        """How things stand, at a glance, and some of the changes after this number, in one small call."""
        return store_records.decode_pulse(lua_script(self._client, "pulse")(after, names, changes))

    def changes(self, after: str = "0", limit: int = 1000) -> list[Change]:
        """The changes in the outbox that follow the one with this number, in order."""
        entries = self._client.xrange("livectl:outbox", min=f"({after}", count=limit)
        return [store_records.decode_change(number, fields["change"], fields["page"]) for number, fields in entries]

    def latest_changes(self, limit: int) -> list[Change]:
        """The last changes in the outbox, the latest first."""
        entries = self._client.xrevrange("livectl:outbox", count=limit)
        return [store_records.decode_change(number, fields["change"], fields["page"]) for number, fields in entries]

    def outbox_size(self) -> tuple[int, float | None]:
        """How many changes the outbox keeps, and when the first of them joined it, in seconds since the epoch."""
        size = int(self._client.xlen("livectl:outbox"))
        first = self.changes(limit=1)
        return size, int(first[0].number.partition("-")[0]) / 1000 if first else None

    # What platforms keep between checks

    def cache_get(self, platform: str, names: Sequence[str]) -> list[str | None]:
        return list(self._client.mget([f"livectl:kept:{platform}:{name}" for name in names]))

    def cache_set(self, platform: str, name: str, value: str, seconds: float) -> None:
        self._client.set(f"livectl:kept:{platform}:{name}", value, px=max(1, int(seconds * 1000)))

    def aliases(self, platform: str, names: Sequence[str]) -> dict[str, str]:
        """The ids of the names that have been looked up before."""
        ids = self._client.hmget(f"livectl:alias:{platform}", list(names)) if names else []
        return {name: streamer_id for name, streamer_id in zip(names, ids, strict=True) if streamer_id}

    def save_aliases(self, platform: str, ids_by_name: Mapping[str, str]) -> None:
        if ids_by_name:
            self._client.hset(f"livectl:alias:{platform}", mapping=dict(ids_by_name))

    def _read_records(self, *selector: str) -> list[StreamerRecord]:
        return [store_records.decode_record(row) for row in lua_script(self._client, "read")(*selector)]

    def _forget_unfollowed(self, platform: str, before: float) -> int:
        forget_script, forgotten, cursor = lua_script(self._client, "forget"), 0, 0
        while True:
            cursor, ids = self._client.hscan(f"livectl:now:{platform}", cursor, count=SCAN_COUNT)
            forgotten += int(forget_script(platform, before, *ids)) if ids else 0
            if not cursor:
                return forgotten


# The files of lua/ that each script is made of. A local function is known below its definition only: the order matters.
SCRIPT_FILES = {
    "record": ("shared", "pace", "circuit", "session", "record"),
    "claim": ("shared", "pace", "circuit", "claim"),
    "follow": ("shared", "pace", "pull", "follow"),
    "learn": ("shared", "pace", "pull", "learn"),
    "read": ("shared", "read"),
    "health": ("shared", "health"),
    "pulse": ("shared", "pulse"),
    "forget": ("shared", "forget"),
    "spend": ("shared", "circuit", "spend"),
    "take": ("shared", "target", "take"),
    "hold": ("shared", "target", "hold"),
    "settle": ("shared", "target", "settle"),
    "release": ("shared", "target", "release"),
    "targets": ("shared", "target", "targets"),
    "trouble": ("shared", "trouble"),
    "cover": ("shared", "pace", "cover"),
    "lease": ("shared", "lease"),
}


def lua_script(client: Redis, name: str) -> Callable[..., Any]:
    """A script as a function of its arguments. The server keeps the script; after a restart it is sent again."""
    script = client.register_script(_script_source(name))

    def run(*args: str | float) -> Any:
        return script(args=list(args))

    return run


@cache
def _script_source(name: str) -> str:
    folder = resources.files("livectl.live") / "lua"
    return "\n".join((folder / f"{file}.lua").read_text(encoding="utf-8") for file in SCRIPT_FILES[name])
