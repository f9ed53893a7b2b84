"""Moves all that the store knows into cells: out of an older store, and where their number changes.

Everything moves piece by piece: it is written where it belongs, then taken away where it was. So this may end anywhere
and be begun again: what is still in the old place is what is left to do. Meanwhile all others are refused, and whoever
was at work is given the time to notice; one process at a time moves.
"""

from __future__ import annotations

import time
from collections import defaultdict
from itertools import chain, product
from typing import TYPE_CHECKING, Any, NamedTuple, cast

from livectl import replicas
from livectl.errors import ServerError
from livectl.live import collecting, old_keys, standing, store_records
from livectl.live.cells import (
    COMMON,
    DEFAULT_SHARDS,
    KEYS_VERSION,
    MIGRATING_KEY,
    NOTED_SECONDS,
    OLD_VERSION_KEY,
    SHARDS_KEY,
    VERSION_KEY,
    Cell,
    Cells,
    bucket_of,
    half_done,
    pack_cells,
    platform_place,
    require_no_newer,
    require_no_older,
)
from livectl.live.fence import alone
from livectl.live.lua_scripts import lua_script
from livectl.live.store_follows import PIECE, apply_pieces, chunks, scan_hash, scan_pages
from livectl.setting_types import MAX_SHARDS

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence

    from livectl.live.fence import Fence
    from livectl.live.lua_scripts import ScriptCall

SMALL = 10_000  # streamers that are brought over at a start: a second or two
PULLS_AT_ONCE = 500  # streamers: some 5 ms of the server's time
PROBED_AT_ONCE = 128  # cells that are looked into in one round trip
HASHES = ("follows", "now", "page", "log", "recent", "viewers", "listed", "alias")
SCORED = ("live", "ending", "others", "due", "claimed", "pushed")
SETS = ("unlearned", "shown")
MOVED = (*HASHES, *SCORED, *SETS, "pull")  # in this order: of whom nobody is followed nothing is recorded any more
DROPPED = ("pulls", "leases", "repaced", "confirmed")  # of a cell that is not in use any more
OLD_PLATFORMS_KEY, OLD_APPLYING_KEY = "livectl:platforms", "livectl:applying"
GONE = "brought over to a newer version"  # in place of a list and a set: an older livectl that runs follows nobody


def prepare(client: Any, shards: int | None = None) -> None:
    """Makes an empty store one of ours, and brings a small older one over. ServerError for one that cannot be used."""
    require_fit(client, shards)
    if client.exists(MIGRATING_KEY) or _is_older(client):
        bring_over(client, shards or DEFAULT_SHARDS)
    if client.get(VERSION_KEY) is None:
        client.set(SHARDS_KEY, shards or DEFAULT_SHARDS, nx=True)
        client.set(VERSION_KEY, KEYS_VERSION)
        client.set(OLD_VERSION_KEY, KEYS_VERSION)
    _require_shards(client, shards)


def require_fit(client: Any, shards: int | None = None) -> None:
    """ServerError for a store that `prepare` would refuse. Nothing is changed."""
    migrating = client.hgetall(MIGRATING_KEY)
    require_no_newer(max(int(client.get(key) or 0) for key in (VERSION_KEY, OLD_VERSION_KEY)))
    if migrating.keys() & {"to", "copy"}:
        raise half_done(migrating)
    if (migrating or _is_older(client)) and _count_old(client) > SMALL:
        if migrating:
            raise half_done(migrating)
        require_no_older(client)
    if not migrating:
        _require_shards(client, shards)


def _require_shards(client: Any, shards: int | None) -> None:
    noted = client.get(SHARDS_KEY)
    if shards is not None and noted is not None and shards != int(noted):
        raise ServerError(
            f"The store keeps each platform in {noted} shards, and polling.shards is {shards}.",
            f"Say `livectl store migrate --shards {shards}`, or write {noted} in the settings.",
        )


def migrate(
    client: Any,
    shards: int | None = None,
    wait: Callable[[float], None] = time.sleep,
    *,
    shards_of_new: int | None = None,
) -> None:
    """Brings an older store over, whatever its size; changes the number of shards; goes on with what was half done.

    A store that was in no shards yet gets `shards_of_new`, where no other number is asked for.
    """
    migrating = client.hgetall(MIGRATING_KEY)
    if "copy" in migrating or ("to" in migrating and shards is not None and str(shards) != migrating["to"]):
        raise half_done(migrating)
    if "to" in migrating:
        shards = int(migrating["to"])
    elif migrating or _is_older(client):
        bring_over(client, shards or shards_of_new or DEFAULT_SHARDS)
    if not migrating and client.get(SHARDS_KEY) is None:
        prepare(client, shards or shards_of_new)
    if shards is not None and ("to" in migrating or shards != int(client.get(SHARDS_KEY) or DEFAULT_SHARDS)):
        change_shards(client, shards, wait)


def bring_over(client: Any, shards: int) -> None:
    """Brings a store without cells over. An older livectl that still runs can do nothing there any more."""
    with alone(client) as fence:
        platforms = _old_platforms(client)
        begun = client.hgetall(MIGRATING_KEY)
        shards = int(begun.get("shards", shards))
        fence.close([COMMON, *(cell.place for name in platforms for cell in _first_cells(name, shards))])
        if not client.exists(MIGRATING_KEY):
            if not _is_older(client):
                return  # another has done it meanwhile
            begun = {"from": client.get(OLD_VERSION_KEY), "shards": str(shards)}
            fence.change(COMMON, "migrating", "HSET", *chain.from_iterable(begun.items()))
        fence.change(COMMON, "shards", "SET", shards)
        client.set(OLD_VERSION_KEY, KEYS_VERSION)
        client.set(OLD_APPLYING_KEY, GONE)  # what was to be applied comes again: the file is compared with the store
        used: list[Cell] = []
        for platform in platforms:
            _move(client, fence, Origin(platform), shards)
            client.delete(f"livectl:pulls:{platform}")
            used += _note_used(client, fence, platform, _first_cells(platform, shards))
        old_keys.rename_keys(client)
        standing.refresh(client, Cells(client, changing=True), used)
        if int(begun["from"]) < 2:
            put_in_place(client, used, float(client.time()[0]))
        fence.change(COMMON, "version", "SET", KEYS_VERSION)
        client.set(OLD_PLATFORMS_KEY, GONE)
        fence.change(COMMON, "migrating", "DEL")


def change_shards(client: Any, shards: int, wait: Callable[[float], None] = time.sleep) -> None:
    """Moves everybody into so many cells a platform."""
    cells = Cells(client, changing=True)
    with alone(client) as fence:
        fence.close([COMMON])
        if not (begun := client.hgetall(MIGRATING_KEY)):
            if cells.shards == shards:
                return  # another has done it meanwhile
            begun = {"from": str(cells.shards), "to": str(shards)}
            fence.change(COMMON, "migrating", "HSET", *chain.from_iterable(begun.items()))
            for _ in range(2):
                wait(NOTED_SECONDS)
                fence.keep_on()
        if begun.get("to") != str(shards):
            raise half_done(begun)
        apply_pieces(client, cells)
        before = int(begun["from"])
        for platform in cells.in_use():
            possible = _first_cells(platform, max(before, shards))
            fence.close([platform_place(platform), *(cell.place for cell in possible)])
            for cell in possible:
                _move(client, fence, Origin(platform, cell.place, before), shards)
            # Where nobody is any more nothing is recorded: these are the last changes.
            collecting.collect_all(client, [cell.place for cell in possible])
            _empty(fence, possible[shards:])
            fence.change(platform_place(platform), "standing", "DEL")
            standing.refresh(client, cells, _note_used(client, fence, platform, possible[:shards]))
            replicas.confirm(client, [cell.place for cell in possible])
        fence.change(COMMON, "generation", "INCR")  # of the list: whoever compared it before does so again
        fence.change(COMMON, "shards", "SET", shards)
        fence.change(COMMON, "migrating", "DEL")


class Strays(NamedTuple):
    """Some who are in a cell that is not theirs, with what is known of them there."""

    cell: Cell
    kind: str
    names: list[str]


def find_strays(client: Any) -> Iterator[Strays]:
    """Looks through all cells that there may ever have been."""
    cells = Cells(client)
    for platform in cells.in_use():
        every = _first_cells(platform, MAX_SHARDS)
        for some in (every[at : at + PROBED_AT_ONCE] for at in range(0, MAX_SHARDS, PROBED_AT_ONCE)):
            for cell, kind in product(_with_something(client, some, MOVED), MOVED):
                for page in scan_pages(_scan(client, kind), f"{cell.place}{kind}"):
                    shards = cells.shards  # ServerError where they begin to move meanwhile
                    names = [name for name, _ in _rows(kind, page) if _shard(kind, name, shards) != cell.shard]
                    if names:
                        yield Strays(cell, kind, names)


def send_home(client: Any, strays: Iterable[Strays]) -> None:
    """Moves these to where they belong. What is known of them there already is no older. Others work meanwhile."""
    with alone(client) as fence:
        cells, homes = Cells(client), defaultdict[Cell, set[Cell]](set)
        for cell, kind, names in strays:
            homes[cell] |= {_home(cell.platform, kind, name, cells.shards) for name in names}
        fence.close([COMMON, *(cell.place for cell in homes.keys() | set(chain(*homes.values())))])
        for cell, own in homes.items():
            lua_script(client, "use")(COMMON, cell.platform, pack_cells(own))
            _move(client, fence, Origin(cell.platform, cell.place, cells.shards), cells.shards)
            if cell.shard >= cells.shards:
                _empty(fence, [cell])
            standing.refresh(client, cells, own)


def put_in_place(client: Any, cells: Sequence[Cell], now: float) -> int:
    """Gives everybody of these cells the place that readers look at; returns how many had another."""
    place = lua_script(client, "place")
    return sum(
        len(place(cell.place, now, 1, *rows)) for cell in cells for rows in scan_hash(client, f"{cell.place}follows")
    )


def _is_older(client: Any) -> bool:
    version = client.get(OLD_VERSION_KEY)
    return version is not None and int(version) < KEYS_VERSION and client.get(VERSION_KEY) is None


def _count_old(client: Any) -> int:
    """Everybody who is followed and has to be moved still."""
    return sum(int(client.hlen(f"livectl:follows:{platform}")) for platform in _old_platforms(client))


def _old_platforms(client: Any) -> list[str]:
    """Those of a store without cells; none once they are brought over."""
    return sorted(client.smembers(OLD_PLATFORMS_KEY)) if client.type(OLD_PLATFORMS_KEY) == "set" else []


def _first_cells(platform: str, shards: int) -> list[Cell]:
    return [Cell(platform, shard) for shard in range(shards)]


def _with_something(client: Any, cells: Sequence[Cell], kinds: Sequence[str]) -> list[Cell]:
    """Those of these cells in which there is anything of these kinds."""
    pipe = client.pipeline(transaction=False)
    for cell in cells:
        pipe.exists(*(f"{cell.place}{kind}" for kind in kinds))
    return [cell for cell, count in zip(cells, pipe.execute() if cells else [], strict=True) if count]


def _note_used(client: Any, fence: Fence, platform: str, cells: Sequence[Cell]) -> list[Cell]:
    """Notes which of these cells are in use."""
    used = _with_something(client, cells, ("follows", "now"))
    fence.change(COMMON, "platforms", "HSET", platform, pack_cells(used))
    return used


def _empty(fence: Fence, cells: Sequence[Cell]) -> None:
    """Takes out what is of no use where nobody is. The last piece of the list that came there stays noted, and the
    number of the last change: neither may come again.
    """
    for cell in cells:
        fence.run(
            [
                *(fence.call(cell.place, kind, "DEL") for kind in DROPPED),
                fence.call(cell.place, "outbox", "XTRIM", "MAXLEN", 0),
            ]
        )
        fence.keep_on()


class Origin(NamedTuple):
    """Where what is known of a platform's streamers lies: a cell, of so many then, or nowhere in particular."""

    platform: str
    place: str = ""
    shards: int = 0

    def key(self, kind: str) -> str:
        return f"{self.place}{kind}" if self.place else f"livectl:{kind}:{self.platform}"

    def is_home(self, kind: str, name: str) -> bool:
        """Whether this was the place of this one: what is known of them elsewhere is older."""
        return not self.place or _home(self.platform, kind, name, self.shards).place == self.place


def _home(platform: str, kind: str, name: str, shards: int) -> Cell:
    """The cell that this one belongs to."""
    return Cell(platform, _shard(kind, name, shards))


def _shard(kind: str, name: str, shards: int) -> int:
    return (int(name) if kind == "listed" else bucket_of(name)) % shards


def _move(client: Any, fence: Fence, origin: Origin, shards: int) -> None:
    """Moves what lies there to the cells that it belongs to, of so many: it is written there, then taken away."""
    for kind in MOVED:
        for page in scan_pages(_scan(client, kind), origin.key(kind)):
            rows = dict(_rows(kind, page))
            away = _split(rows, origin, kind, shards)
            fence.run(
                [
                    _put(fence, place, kind, {name: rows[name] for name in some}, over=over)
                    for (place, over), names in away.items()
                    for some in chunks(names, PULLS_AT_ONCE if kind == "pull" else PIECE)
                ]
            )
            # What a replica lacks may be gone after a failover, here as there.
            replicas.confirm(client, [origin.place or COMMON, *(place for place, _ in away)])
            for names in away.values():
                for some in chunks(names, PULLS_AT_ONCE if kind == "pull" else PIECE):
                    _drop(client, fence, origin, kind, some)
            fence.keep_on()


def _split(rows: Mapping[str, Any], origin: Origin, kind: str, shards: int) -> dict[tuple[str, bool], list[str]]:
    """Those that belong elsewhere, by where, and by whether they replace what is known there."""
    away: dict[tuple[str, bool], list[str]] = {}
    for name in rows:
        if (place := _home(origin.platform, kind, name, shards).place) != origin.place:
            away.setdefault((place, origin.is_home(kind, name)), []).append(name)
    return away


def _scan(client: Any, kind: str) -> Callable[..., Any]:
    """How keys of this kind are read in pages."""
    way = client.sscan if kind in SETS else client.zscan if kind in SCORED else client.hscan
    return cast("Callable[..., Any]", way)


def _rows(kind: str, page: Any) -> Iterable[tuple[str, Any]]:
    """What stands in a page, by name."""
    return ((name, "") for name in page) if kind in SETS else dict(page).items()


def _put(fence: Fence, place: str, kind: str, rows: Mapping[str, Any], *, over: bool) -> ScriptCall:
    """Writes these rows to where they belong, over what is there or beside it."""
    if kind == "pull":
        return fence.call_pulls(place, store_records.encode_json(list(rows.items())), over=over)
    if kind in SETS:
        return fence.call(place, kind, "SADD", *rows)
    if kind in SCORED:
        scores = ((score, name) for name, score in rows.items())
        return fence.call(place, kind, "ZADD", *(() if over else ("NX",)), *chain.from_iterable(scores))
    return fence.call(place, kind, "HSET" if over else "HSETNX", *chain.from_iterable(rows.items()))


def _drop(client: Any, fence: Fence, origin: Origin, kind: str, names: Sequence[str]) -> None:
    """Takes these away from where they were."""
    word = "SREM" if kind in SETS else "ZREM" if kind in SCORED else "HDEL"
    if not origin.place:
        client.execute_command(word, origin.key(kind), *names)
    elif kind == "pull":
        fence.run([fence.call_pulls(origin.place, store_records.encode_json([(name,) for name in names]))])
    else:
        fence.change(origin.place, kind, word, *names)
