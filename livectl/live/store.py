"""Keeps what is known of streamers, in a Redis.

    livectl:version            of the keys below
    livectl:platforms          names of platforms that were ever followed on
    livectl:{-}:outbox         changes, in order, until they are dropped
    livectl:follows:PLATFORM   id -> streamer as the follow list has it
    livectl:unresolved         platform/name -> a line of the follow list that leads to nobody, and why
    livectl:now:PLATFORM       id -> what was last read, and what went wrong since
    livectl:page:PLATFORM      id -> title, category, name, url, cover, avatar of the last good answer
    livectl:log:PLATFORM       id -> sessions of 400 days, six characters each
    livectl:recent:PLATFORM    id -> the last sessions with their titles
    livectl:viewers:PLATFORM   id -> how many watched the last session, sixty counts at most
    livectl:live:PLATFORM      who is live, by start; livectl:ending: who was seen gone once, by that look
    livectl:others:PLATFORM    who is followed and not live, by their last end (shared.lua: place)
    livectl:listed:PLATFORM    bucket -> count and digest of its lines of the follow list (store_follows.py)
    livectl:generation         of the follow list; livectl:staged: changes to come; livectl:applying: those in force
    livectl:due:PLATFORM       who is asked next, by when; livectl:claimed: who is being asked, by when that lapses
    livectl:pull:PLATFORM      id -> poll weight in each hour of the week; livectl:pulls: their sums
    livectl:unlearned:PLATFORM whose sessions the poll weights do not reflect yet
    livectl:platform:PLATFORM  bucket, circuit, waits, counters
    livectl:{target:TARGET}:…  how far each target of alerts has read the outbox (alerts/outbox.py)
    livectl:pushed:PLATFORM    and its kin: of whom the platform tells by itself (push/push_store.py)
    livectl:shown:PLATFORM     whom its list of who is live has shown, and who is asked because of that
    livectl:{PLATFORM}:listing how its list of who is live stands; :reading: the token of who reads it
    livectl:alias:PLATFORM     name as pasted -> the id that is followed
    livectl:kept:PLATFORM:KEY  what a platform keeps between checks

Only this file, the Lua scripts, alerts/outbox.py and push/push_store.py name these keys. Every change of state is one
Lua call, so that any number of workers may record at once.
"""

from __future__ import annotations

from itertools import chain
from typing import TYPE_CHECKING, Any, NamedTuple

from livectl.errors import ServerError
from livectl.live import store_follows, store_records, store_upkeep
from livectl.live.cells import COMMON, platform_place, target_place
from livectl.live.lua_scripts import ScriptCall, lua_script, run_scripts
from livectl.live.store_follows import chunks, scan_hash
from livectl.live.store_upkeep import KEYS_VERSION
from livectl.models import State

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence

    from redis import Redis

    from livectl.live.store_records import StoredPage, StorePulse
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


OUTBOX_KEY, TARGETS_KEY = f"{COMMON}outbox", f"{COMMON}targets"
DEAD_LETTERS_KEY = "livectl:dead"  # of ops; they are only counted here
MAX_BATCH = 2000  # ids in one call: Lua's stack holds some 8,000 arguments
PAGE_SIZE = 1000  # streamers that are read in one call
TRIMMED_AT_ONCE = 10_000  # changes
DAY_SECONDS = 86_400
SESSION_KEEP_SECONDS = 400 * DAY_SECONDS


class NewestStreamers(NamedTuple):
    """The first of all, and of how many."""

    total: int  # lines that lead to nobody among them
    live: int
    streamers: list[StreamerRecord]


class Store:
    """State, sessions, due times and outbox of every followed streamer."""

    def __init__(self, client: Redis) -> None:
        self._client: Any = client  # its stubs know neither decoded replies nor which calls wait
        self._record_script = lua_script(client, "record")

    def prepare(self) -> None:
        """Marks an empty store with the version of our keys, and brings an older one over, once.

        ServerError if a newer livectl wrote the store.
        """
        self._client.set("livectl:version", KEYS_VERSION, nx=True)
        stored_version = int(self._client.get("livectl:version"))
        if stored_version > KEYS_VERSION:
            raise ServerError(
                f"The store was written by a newer livectl: its keys are version {stored_version}, "
                f"this one knows {KEYS_VERSION}.",
                "Upgrade this livectl, or name another store in the settings.",
            )
        if stored_version < KEYS_VERSION:
            store_upkeep.bring_over(self._client)

    # What changes state

    def set_followed(
        self, streamers: Iterable[Streamer], now: float, unresolved: Iterable[UnresolvedFollow] = ()
    ) -> tuple[int, int]:
        """Follows exactly these streamers, and keeps which lines of the follow list lead to nobody.

        Returns how many were added and removed; sessions of the removed stay.
        """
        return store_follows.follow(self._client, streamers, unresolved, now)

    def finish_following(self) -> None:
        """Goes on where a process ended while it applied a follow list."""
        store_follows.apply_pieces(self._client)

    def claim(self, limits: Sequence[PollingLimits], now: float, lease: float) -> list[tuple[str, list[str]]]:
        """Takes the ids that are due on each of these platforms, within its budget.

        An id that is not recorded within `lease` seconds is due again.
        """
        claim = lua_script(self._client, "claim")
        claimed = [(each.platform, claim(now, lease, store_records.encode_json(each))) for each in limits]
        return [(platform, [str(streamer_id) for streamer_id in ids]) for platform, ids in claimed if ids]

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
                0 if start else extra_requests,
                *store_records.encode_batch(batch),
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
            for rows in scan_hash(self._client, f"livectl:follows:{platform}"):
                self._client.sadd(f"livectl:unlearned:{platform}", *rows)

    def prune(self, now: float, drop_changes_before: float) -> int:
        """Drops old changes, and streamers who were last followed longer ago than sessions are kept.

        Returns how many streamers.
        """
        first = f"{int(drop_changes_before * 1000)}"
        while self._client.xtrim(OUTBOX_KEY, minid=first, approximate=True, limit=TRIMMED_AT_ONCE):
            pass
        self._client.xtrim(OUTBOX_KEY, minid=first, approximate=False)  # the rest of a node of the stream
        return sum(self._forget_unfollowed(platform, now - SESSION_KEEP_SECONDS) for platform in self.platforms())

    # What only reads

    def platforms(self) -> list[str]:
        return sorted(self._client.smembers("livectl:platforms"))

    def live_streamers(self) -> list[StreamerRecord]:
        """Who is live, the latest start of each platform first."""
        pages = (self._pages("page", "live", platform) for platform in self.platforms())
        found = {
            record.key: record for page in chain.from_iterable(pages) for record in page if record.state is State.LIVE
        }
        return sorted(found.values(), key=lambda record: (record.platform, -(record.started_at or 0.0), record.id))

    def all_streamers(self) -> list[StreamerRecord]:
        """Everybody followed, and the lines of the follow list that lead to nobody."""
        return [record for page in self.pages() for record in page]

    def pages(self) -> Iterator[list[StreamerRecord]]:
        """The same, in pages as the server has them at hand: nobody waits for the whole of it."""
        pages = (self._pages("page", "follows", platform) for platform in self.platforms())
        seen: set[tuple[str, str]] = set()
        for page in chain(chain.from_iterable(pages), self._pages("lines")):
            new = {record.key: record for record in page if record.key not in seen}
            seen.update(new)
            if new:
                yield list(new.values())

    def newest(self, limit: int) -> NewestStreamers | None:
        """The first of all, as `live --all` sorts them: by the start of those who are live, then by the last end.

        None where that is not known without a look at everybody.
        """
        followed, live, is_whole, rows = self._read("newest", limit)
        if not int(is_whole):
            return None
        lines = [record for page in self._pages("lines") for record in page]
        records = sorted([*map(store_records.decode_record, rows), *lines], key=newest_key)
        return NewestStreamers(int(followed) + len(lines), int(live), records[:limit])

    def find_streamers(self, platform: str, ids: Sequence[str]) -> list[StreamerRecord]:
        return [
            store_records.decode_record(row)
            for some in chunks(ids, PAGE_SIZE)
            for row in self._read("some", platform, *some)
        ]

    def find_streamer(self, platform: str, streamer_id: str) -> StreamerRecord:
        return self.find_streamers(platform, [streamer_id])[0]

    def sessions(self, platform: str, ids: Sequence[str], since: float = 0.0) -> dict[str, list[Session]]:
        """The sessions of each streamer that went on after `since`, the oldest first; one without an end is on now."""
        found = {}
        for some in chunks(ids, PAGE_SIZE):
            pipe = self._client.pipeline(transaction=False)
            for kind in ("log", "recent", "now", "page"):
                pipe.hmget(f"livectl:{kind}:{platform}", list(some))
            for streamer_id, log, recent, now, page in zip(some, *pipe.execute(), strict=True):
                found[streamer_id] = store_records.decode_sessions(log, recent, now, page, since)
        return found

    def viewer_curves(self, platform: str, ids: Sequence[str]) -> dict[str, ViewerCurve]:
        """How many watched the current or last session of each streamer; nothing where nobody tells."""
        texts = zip(ids, self._values(f"livectl:viewers:{platform}", ids), strict=True)
        return {each: store_records.decode_viewers(text) for each, text in texts if text}

    def unresolved(self) -> list[UnresolvedFollow]:
        """The lines of the follow list that lead to nobody."""
        return [
            store_records.decode_unresolved(name, text)
            for rows in scan_hash(self._client, "livectl:unresolved")
            for name, text in rows.items()
        ]

    def unlearned(self, platform: str, limit: int) -> list[str]:
        """Some of the streamers whose poll weights are outdated."""
        return list(self._client.srandmember(f"livectl:unlearned:{platform}", limit) or [])

    def health(self, now: float) -> list[PlatformHealth]:
        return [store_records.decode_health(row) for row in lua_script(self._client, "health")(now)]

    def pulse(self, after: str, names: int, changes: int) -> StorePulse:
        """How things stand, at a glance, and some of the changes after this number, in a few small calls."""
        glance = lua_script(self._client, "pulse")(names)
        rows, target_names = lua_script(self._client, "news")(COMMON, after, changes)
        named = [name for name in target_names if name.strip()]  # a mark among them is none
        standings = run_scripts(self._client, [ScriptCall("standing", target_place(name)) for name in named])
        dead_letters = self._client.hlen(DEAD_LETTERS_KEY)
        return store_records.decode_pulse(glance, rows, dict(zip(named, standings, strict=True)), dead_letters)

    def changes(self, after: str = "0", limit: int = 1000) -> list[Change]:
        """The changes in the outbox that follow the one with this number, in order."""
        entries = self._client.xrange(OUTBOX_KEY, min=f"({after}", count=limit)
        return [store_records.decode_change(number, fields["change"], fields["page"]) for number, fields in entries]

    def latest_changes(self, limit: int) -> list[Change]:
        """The last changes in the outbox, the latest first."""
        entries = self._client.xrevrange(OUTBOX_KEY, count=limit)
        return [store_records.decode_change(number, fields["change"], fields["page"]) for number, fields in entries]

    def outbox_size(self) -> tuple[int, float | None]:
        """How many changes the outbox keeps, and when the first of them joined it, in seconds since the epoch."""
        size = int(self._client.xlen(OUTBOX_KEY))
        first = self.changes(limit=1)
        return size, int(first[0].number.partition("-")[0]) / 1000 if first else None

    # Lists of everybody who is live

    def followed(self, platform: str, ids: Sequence[str]) -> dict[str, StoredPage]:
        """Those of these ids that are followed, and what was last shown of each, in one round trip."""
        pipe = self._client.pipeline(transaction=False)
        for start in range(0, len(ids), MAX_BATCH):
            batch = list(ids[start : start + MAX_BATCH])
            pipe.hmget(f"livectl:follows:{platform}", batch)
            pipe.hmget(f"livectl:page:{platform}", batch)
        answers = pipe.execute()
        follows = [follow for part in answers[::2] for follow in part]
        pages = [page for part in answers[1::2] for page in part]
        return {
            streamer_id: store_records.decode_page(page)
            for streamer_id, follow, page in zip(ids, follows, pages, strict=True)
            if follow
        }

    def listings(self, platforms: Sequence[str]) -> dict[str, str]:
        """What is noted of the list of each of these platforms, where something is."""
        pipe = self._client.pipeline(transaction=False)
        for platform in platforms:
            pipe.get(f"{platform_place(platform)}listing")
        return {platform: text for platform, text in zip(platforms, pipe.execute(), strict=True) if text}

    def hold_listing(self, platform: str, token: str, seconds: float) -> bool:
        """Whether the list is this token's to read, for so long: one at a time reads it."""
        return bool(self._client.set(f"{platform_place(platform)}reading", token, nx=True, px=int(seconds * 1000)))

    def save_listing(
        self, platform: str, token: str, text: str, health: Mapping[str, str | float], *, release: bool
    ) -> bool:
        """Notes how the list stands, and what is shown of that, unless it is another's by now."""
        if not lua_script(self._client, "note_list")(platform_place(platform), token, text, int(release)):
            return False
        self._client.hset(f"livectl:platform:{platform}", mapping=dict(health))
        return True

    # What platforms keep between checks

    def cache_get(self, platform: str, names: Sequence[str]) -> list[str | None]:
        return list(self._client.mget([f"livectl:kept:{platform}:{name}" for name in names]))

    def cache_set(self, platform: str, name: str, value: str, seconds: float) -> None:
        self._client.set(f"livectl:kept:{platform}:{name}", value, px=max(1, int(seconds * 1000)))

    def aliases(self, platform: str, names: Sequence[str]) -> dict[str, str]:
        """The ids of the names that have been looked up before."""
        ids = self._values(f"livectl:alias:{platform}", names)
        return {name: streamer_id for name, streamer_id in zip(names, ids, strict=True) if streamer_id}

    def save_aliases(self, platform: str, ids_by_name: Mapping[str, str]) -> None:
        if ids_by_name:
            self._client.hset(f"livectl:alias:{platform}", mapping=dict(ids_by_name))

    def _values(self, key: str, fields: Sequence[str]) -> list[str | None]:
        return [value for some in chunks(fields, PAGE_SIZE) for value in self._client.hmget(key, list(some))]

    def _read(self, *selector: str | int) -> Any:
        return lua_script(self._client, "read")(*selector)

    def _pages(self, *selector: str) -> Iterator[list[StreamerRecord]]:
        cursor = 0
        while True:
            cursor, rows = self._read(*selector, cursor, PAGE_SIZE)
            yield [store_records.decode_record(row) for row in rows]
            if not int(cursor):
                return

    def _forget_unfollowed(self, platform: str, before: float) -> int:
        forget_script, forgotten = lua_script(self._client, "forget"), 0
        for rows in scan_hash(self._client, f"livectl:now:{platform}"):
            ids = forget_script(platform, before, *rows)
            forgotten += len(ids)
            self._forget_notes(platform, ids)
        return forgotten

    def _forget_notes(self, platform: str, ids: Sequence[str]) -> None:
        """Forgets why targets were told or not told of these."""
        pipe = self._client.pipeline(transaction=False)
        for target in self._client.hkeys(TARGETS_KEY) if ids else ():
            pipe.hdel(f"{target_place(target)}notes", *(f"{platform}/{each}" for each in ids))
        pipe.execute()


def newest_key(record: StreamerRecord) -> tuple[bool, bool, float, str, str]:
    """The order of `live --all`: who is live, the latest start first; then by the last end, the latest first."""
    is_live = record.state is State.LIVE
    last_at = record.started_at if is_live else record.ended_at
    return not is_live, record.state is None, -(last_at or 0.0), record.platform, record.id
