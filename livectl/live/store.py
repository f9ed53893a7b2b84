"""Keeps what is known of streamers, in a Redis. cells.py says which keys lie together.

Every change of state is one Lua call at its cell, so that any number of workers may record at once.
"""

from __future__ import annotations

from itertools import chain
from typing import TYPE_CHECKING, Any, NamedTuple

from livectl.live import (
    collecting,
    standing,
    store_claims,
    store_follows,
    store_moving,
    store_order,
    store_pages,
    store_records,
    store_sessions,
)
from livectl.live.cells import COMMON, Cells, lease_place, platform_place, target_place
from livectl.live.list_spool import SpooledList
from livectl.live.lua_scripts import ScriptCall, lua_script, run_scripts
from livectl.live.standing import CellCounts, Standing
from livectl.live.store_follows import UNRESOLVED_KEY, chunks, scan_hash
from livectl.models import State

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence

    from redis import Redis

    from livectl.live.cells import Cell
    from livectl.live.store_follows import ListApplied
    from livectl.live.store_order import OrderedPage, OrderPlace
    from livectl.live.store_pages import FirstOfEach, Tally
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
MAX_BATCH = 500  # ids in one call: some 30 ms of the server's time where all of them go live, or end
LEARNED_AT_ONCE = 500  # streamers: some 5 ms of the server's time
FORGOTTEN_AT_ONCE = 1_000  # streamers: some 2 ms of the server's time
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
        self.cells = Cells(client)

    def prepare(self, shards: int | None = None) -> None:
        """Marks an empty store with the version of our keys and the number of shards, and brings an older small one
        over, once.

        ServerError if a newer livectl wrote the store, an older one a big store, and for another number of shards.
        """
        store_moving.prepare(self._client, shards)

    # What changes state

    def set_followed(
        self, streamers: Iterable[Streamer], now: float, unresolved: Iterable[UnresolvedFollow] = ()
    ) -> tuple[int, int]:
        """Follows exactly these streamers, and keeps which lines of the follow list lead to nobody.

        Returns how many were added and removed; sessions of the removed stay.
        """
        with SpooledList() as wanted:
            for streamer in streamers:
                wanted.add(streamer)
            for line in unresolved:
                wanted.add_unresolved(line)
            return self.follow_list(wanted, now)[:2]

    def follow_list(self, wanted: SpooledList, now: float, *, keep: bool = False) -> ListApplied:
        """The same of a list of any length; with `keep` nobody is unfollowed."""
        return store_follows.follow(self._client, self.cells, wanted, now, keep=keep)

    def hold_list(self, token: str, seconds: float) -> bool:
        """Whether the follow list is this token's to bring here, for so long: one at a time reads a long one."""
        return bool(lua_script(self._client, "lease")(lease_place("follows"), token, seconds))

    def release_list(self, token: str) -> None:
        lua_script(self._client, "leave")(lease_place("follows"), token)

    def follow_found(self, found: Mapping[str, Streamer], lines: Iterable[UnresolvedFollow], now: float) -> int:
        """Follows those whom lines lead to after all, by `platform/name` of these lines, and keeps why others still
        lead to nobody. Returns how many are new.
        """
        return store_follows.add(self._client, self.cells, found, lines, now)

    def finish_following(self) -> None:
        """Goes on where a process ended while it applied a follow list."""
        store_follows.apply_pieces(self._client, self.cells)

    def claim(self, limits: Sequence[PollingLimits], now: float, lease: float) -> list[tuple[str, list[str]]]:
        """Takes the ids that are due on each of these platforms, within its budget.

        An id that is not recorded within `lease` seconds is due again.
        """
        return store_claims.claim(self._client, self.cells, limits, now, lease)

    def extend_claims(self, platform: str, ids: Sequence[str], until: float) -> None:
        """Lets these ids, as far as they are claimed, not be due again before then."""
        calls = [
            ScriptCall("extend", cell.place, (until, store_records.encode_json(part)))
            for cell, some in self.cells.split(platform, ids).items()
            for part in chunks(some)
        ]
        run_scripts(self._client, calls)

    def record(
        self, limits: PollingLimits, observations: Sequence[Observation], extra_requests: int = 0
    ) -> list[Change]:
        """Records what a platform answered. The changes are in the outbox when this returns them, without the numbers
        that they have there.

        `extra_requests` are those that the check made beyond the ones that were claimed.
        """
        changes: list[Change] = []
        for start in range(0, len(observations), MAX_BATCH):
            batch = observations[start : start + MAX_BATCH]
            changes += self._record(limits, batch, 0 if start else extra_requests)
        return changes

    def _record(self, limits: PollingLimits, batch: Sequence[Observation], extra_requests: int) -> list[Change]:
        """Each cell changes in one call, its outbox with it. A process that ends before, between or after these calls
        loses counts of answers at most: whoever was not recorded falls due again, and whoever delivers collects.
        """
        platform, terms = limits.platform, store_records.encode_json(limits)
        encoded = store_records.encode_batch(batch, lambda ids: self.cells.split(platform, ids))
        answer = lua_script(self._client, "answer")
        told = terms, extra_requests, encoded.answers
        live_read, flat = answer(platform_place(platform), *told, health=limits.account)
        known = Standing.parse(dict(zip(flat[::2], flat[1::2], strict=True)))
        calls = [
            ScriptCall("record", cell.place, (terms, known.others(cell, float(live_read)), known.totals, *rows))
            for cell, rows in encoded.cells.items()
        ]
        made: dict[Cell, list[Any]] = {}
        changed, gone_at = dict[str, str](), ""
        for cell, (rows, all_gone, *counts) in zip(encoded.cells, run_scripts(self._client, calls), strict=True):
            if rows:
                made[cell] = rows
            gone_at = gone_at or all_gone
            if (own := CellCounts(*map(int, counts))) != known.counts.get(cell.shard):
                changed[str(cell.shard)] = str(own)
        if changed or gone_at:
            pipe = self._client.pipeline(transaction=False)
            if changed:
                pipe.hset(f"{platform_place(platform)}standing", mapping=changed)
            if gone_at:
                pipe.hsetnx(f"{platform_place(platform)}{limits.account}", "all_gone", gone_at)
            pipe.execute()
        collecting.collect(self._client, [cell.place for cell in made])
        rows = sorted((collecting.order(row[0]), cell.place, row) for cell, rows in made.items() for row in rows)
        return [store_records.decode_change("", change, page) for _, _, (_, change, page) in rows]

    def spend(self, limits: PollingLimits, requests: int, now: float) -> float:
        """Takes requests from a platform's budget without a claim. Returns what is left, negative if overdrawn."""
        spend, terms = lua_script(self._client, "spend"), store_records.encode_json(limits)
        return float(spend(platform_place(limits.platform), terms, requests, now, health=limits.account))

    def note_exits(self, platform: str, names: Sequence[str]) -> None:
        """Notes by which exits a platform is asked, for whoever wants to know how it fares there."""
        self._client.hset(f"{platform_place(platform)}health", "exits", store_records.encode_json(names))

    def save_poll_weights(self, platform: str, packed_weights: Mapping[str, str]) -> None:
        """Saves the poll weights of streamers, as polling.pack_weights packed them."""
        split = self.cells.split(platform, packed_weights)
        for cell, ids in split.items():
            for some in chunks(ids, LEARNED_AT_ONCE):
                rows = store_records.encode_json([(each, packed_weights[each]) for each in some])
                lua_script(self._client, "learn")(cell.place, rows)
        standing.refresh(self._client, self.cells, split)

    def mark_unlearned(self) -> None:
        """Marks the poll weights of all streamers as outdated: old sessions count for less by now."""
        for cell in self._all_cells():
            for rows in scan_hash(self._client, cell.place + "follows"):
                self._client.sadd(cell.place + "unlearned", *rows)

    def prune(self, now: float, drop_changes_before: float) -> int:
        """Drops old changes, and streamers who were last followed longer ago than sessions are kept.

        Returns how many streamers.
        """
        first = f"{int(drop_changes_before * 1000)}"
        while self._client.xtrim(OUTBOX_KEY, minid=first, approximate=True, limit=TRIMMED_AT_ONCE):
            pass
        self._client.xtrim(OUTBOX_KEY, minid=first, approximate=False)  # the rest of a node of the stream
        cells = self._all_cells()
        places = [cell.place for cell in cells]
        collecting.collect(self._client, places)
        collecting.trim(self._client, places, now)
        return sum(self._forget_unfollowed(cell, now - SESSION_KEEP_SECONDS) for cell in cells)

    # What only reads

    def platforms(self) -> list[str]:
        return list(self.cells.in_use())

    def live_streamers(self) -> list[StreamerRecord]:
        """Who is live, the latest start of each platform first."""
        everyone = chain.from_iterable(store_pages.read_pages(self._client, self._all_cells(), "live"))
        return sorted(
            (record for record in everyone if record.state is State.LIVE),
            key=lambda record: (record.platform, -(record.started_at or 0.0), record.id),
        )

    def page_after(self, place: OrderPlace, size: int, platform: str = "", *, live_only: bool = False) -> OrderedPage:
        """Who follows this place in the order of `newest`: of a platform, where one is named."""
        return store_order.read_page(self._client, self.cells, place, size, platform, live_only=live_only)

    def all_streamers(self) -> list[StreamerRecord]:
        """Everybody followed, and the lines of the follow list that lead to nobody."""
        return [record for page in self.pages() for record in page]

    def pages(self, platform: str = "", containing: str = "") -> Iterator[list[StreamerRecord]]:
        """The same, in pages as the server has them at hand: nobody waits for the whole of it.

        Only those of a platform, where one is named, and those of whom something contains these words, at least.
        """
        cells = self.cells.of(platform) if platform else self._all_cells()
        pages = store_pages.read_pages(self._client, cells, "follows", containing)
        return chain(pages, self.lines())

    def lines(self) -> Iterator[list[StreamerRecord]]:
        """The lines of the follow list that lead to nobody, in pages as well."""
        return store_pages.read_lines(self._client, self.cells)

    def troubled(self) -> Iterator[list[StreamerRecord]]:
        """The same of those who have trouble, without a look at the others."""
        return store_pages.read_troubled(self._client, self.cells)

    def tally(self) -> Tally:
        return store_pages.tally(self._client, self.cells)

    def first_of_each(self, limit: int, platform: str = "") -> FirstOfEach:
        """The first who are live, and the first of the others, as `newest` sorts them; of all, or of one platform."""
        return store_pages.read_first_of_each(self._client, self.cells, platform, limit)

    def newest(self, limit: int) -> NewestStreamers | None:
        """The first of all, as `live --all` sorts them: by the start of those who are live, then by the last end.

        None where that is not known without a look at everybody.
        """
        newest = store_pages.read_newest(self._client, self.cells, limit)
        if not newest.is_whole:
            return None
        lines = list(chain.from_iterable(self.lines()))
        first = sorted([*newest.streamers, *lines], key=newest_key)[:limit]
        return NewestStreamers(newest.followed + len(lines), newest.live, first)

    def find_streamers(self, platform: str, ids: Sequence[str]) -> list[StreamerRecord]:
        return store_pages.read_some(self._client, self.cells, [(platform, each) for each in ids])

    def find_streamer(self, platform: str, streamer_id: str) -> StreamerRecord:
        return self.find_streamers(platform, [streamer_id])[0]

    def sessions(self, platform: str, ids: Sequence[str], since: float = 0.0) -> dict[str, list[Session]]:
        """The sessions of each streamer that went on after `since`, the oldest first; one without an end is on now."""
        kept = self._values(platform, ("log", "recent", "now", "page"), ids)
        return {
            each: store_sessions.decode_sessions(log, recent, now, page, since)
            for each, (log, recent, now, page) in kept.items()
        }

    def viewer_curves(self, platform: str, ids: Sequence[str]) -> dict[str, ViewerCurve]:
        """How many watched the current or last session of each streamer; nothing where nobody tells."""
        kept = self._values(platform, ("viewers",), ids)
        return {each: store_sessions.decode_viewers(text) for each, (text,) in kept.items() if text}

    def unresolved(self) -> Iterator[UnresolvedFollow]:
        """The lines of the follow list that lead to nobody, read as they are asked for. One may come twice."""
        for rows in scan_hash(self._client, UNRESOLVED_KEY):
            yield from (store_records.decode_unresolved(name, text) for name, text in rows.items())

    def count_unresolved(self) -> int:
        return int(self._client.hlen(UNRESOLVED_KEY))

    def find_unresolved(self, streamers: Sequence[Streamer]) -> dict[tuple[str, str], UnresolvedFollow]:
        """Those of these lines that led to nobody so far."""
        names = ["/".join(streamer.key) for streamer in streamers]
        texts = self._client.hmget(UNRESOLVED_KEY, names) if names else []
        found = [store_records.decode_unresolved(name, text) for name, text in zip(names, texts, strict=True) if text]
        return {each.streamer.key: each for each in found}

    def unlearned(self, platform: str, limit: int) -> list[str]:
        """Some of the streamers whose poll weights are outdated."""
        cells, pipe = self.cells.of(platform), self._client.pipeline(transaction=False)
        for cell in cells:
            pipe.scard(cell.place + "unlearned")
        found: list[str] = []
        for cell, count in zip(cells, pipe.execute() if cells else [], strict=True):
            if count and len(found) < limit:
                found += self._client.srandmember(cell.place + "unlearned", limit - len(found))
        return found

    def health(self, now: float) -> list[PlatformHealth]:
        in_use, pipe = self.cells.in_use(), self._client.pipeline(transaction=False)
        for platform in in_use:
            pipe.hgetall(platform_place(platform) + "health")
        healths = pipe.execute() if in_use else []
        exits = store_records.exits_of(dict(zip(in_use, healths, strict=True)))
        pipe = self._client.pipeline(transaction=False)
        for platform, name in exits:
            pipe.hgetall(f"{platform_place(platform)}exit:{name}")
        by_exit = dict(zip(exits, pipe.execute() if exits else [], strict=True))
        looks = standing.look_at(self._client, [cell for cells in in_use.values() for cell in cells], now)
        return [
            store_records.decode_health(platform, fields, {cell: looks[cell] for cell in cells}, by_exit)
            for (platform, cells), fields in zip(in_use.items(), healths, strict=True)
        ]

    def pulse(self, after: str, names: int, changes: int) -> StorePulse:
        """How things stand, at a glance, and some of the changes after this number, in a few small calls."""
        newest = store_pages.read_newest(self._client, self.cells, names)
        rows, target_names = lua_script(self._client, "news")(COMMON, after, changes)
        named = [name for name in target_names if name.strip()]  # a mark among them is none
        standings = run_scripts(self._client, [ScriptCall("standing", target_place(name)) for name in named])
        dead_letters = int(self._client.hlen(DEAD_LETTERS_KEY))
        targets = dict(zip(named, standings, strict=True))
        return store_records.decode_pulse(newest, self.count_unresolved(), rows, targets, dead_letters)

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
        kept = self._values(platform, ("follows", "page"), ids)
        return {each: store_records.decode_page(page) for each, (follow, page) in kept.items() if follow}

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
        self._client.hset(f"{platform_place(platform)}health", mapping=dict(health))
        return True

    # What platforms keep between checks

    def cache_get(self, platform: str, names: Sequence[str]) -> list[str | None]:
        return list(self._client.mget([f"{platform_place(platform)}kept:{name}" for name in names]))

    def cache_set(self, platform: str, name: str, value: str, seconds: float) -> None:
        self._client.set(f"{platform_place(platform)}kept:{name}", value, px=max(1, int(seconds * 1000)))

    def aliases(self, platform: str, names: Sequence[str]) -> dict[str, str]:
        """The ids of the names that have been looked up before."""
        return {name: text for name, (text,) in self._values(platform, ("alias",), names).items() if text}

    def save_aliases(self, platform: str, ids_by_name: Mapping[str, str]) -> None:
        for cell, names in self.cells.split(platform, ids_by_name).items():
            self._client.hset(cell.place + "alias", mapping={name: ids_by_name[name] for name in names})

    def cell_places(self) -> list[str]:
        """The place of each cell that is in use."""
        return [cell.place for cell in self._all_cells()]

    def _all_cells(self) -> list[Cell]:
        return [cell for cells in self.cells.in_use().values() for cell in cells]

    def _values(self, platform: str, kinds: Sequence[str], ids: Sequence[str]) -> dict[str, list[str | None]]:
        """What is kept of each, of these kinds, in as few round trips as will do."""
        found: dict[str, list[str | None]] = {}
        for some in chunks(ids):
            split, pipe = self.cells.split(platform, some), self._client.pipeline(transaction=False)
            for cell, own in split.items():
                for kind in kinds:
                    pipe.hmget(cell.place + kind, own)
            answers = iter(pipe.execute())
            for own in split.values():
                texts = [next(answers) for _ in kinds]
                found |= {each: list(row) for each, *row in zip(own, *texts, strict=True)}
        return {each: found[each] for each in ids}

    def _forget_unfollowed(self, cell: Cell, before: float) -> int:
        """Forgets also why targets were told or not told of them."""
        forget_script, cursor, forgotten = lua_script(self._client, "forget"), "", 0
        while cursor != "0":
            cursor, ids = forget_script(cell.place, cursor or "0", FORGOTTEN_AT_ONCE, before)
            forgotten += len(ids)
            pipe = self._client.pipeline(transaction=False)
            for target in self._client.hkeys(TARGETS_KEY) if ids else ():
                pipe.hdel(f"{target_place(target)}notes", *(f"{cell.platform}/{each}" for each in ids))
            pipe.execute()
        return forgotten


def newest_key(record: StreamerRecord) -> tuple[bool, bool, float, str, str]:
    """The order of `live --all`: who is live, the latest start first; then by the last end, the latest first."""
    is_live = record.state is State.LIVE
    last_at = record.started_at if is_live else record.ended_at
    return not is_live, record.state is None, -(last_at or 0.0), record.platform, record.id
