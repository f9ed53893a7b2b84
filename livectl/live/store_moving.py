"""Moves all that the store knows into cells: out of an older store, and where their number changes.

Everything moves piece by piece: it is written where it belongs, then taken away where it was. So this may end anywhere
and be begun again: what is still in the old place is what is left to do. Meanwhile all others are refused, and whoever
was at work is given the time to notice; one process at a time moves.
"""

from __future__ import annotations

import time
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any
from uuid import uuid4

from livectl.errors import ServerError
from livectl.live import collecting, old_keys, standing, store_records, store_upkeep
from livectl.live.cells import (
    BUCKETS,
    DEFAULT_SHARDS,
    KEYS_VERSION,
    MIGRATING_KEY,
    NOTED_SECONDS,
    OLD_VERSION_KEY,
    PLATFORMS_KEY,
    SHARDS_KEY,
    VERSION_KEY,
    Cell,
    Cells,
    half_done,
    lease_place,
    pack_cells,
    platform_place,
    require_no_older,
    shard_of,
)
from livectl.live.lua_scripts import lua_script
from livectl.live.store_follows import apply_pieces, chunks, scan_pages

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping

SMALL = 10_000  # streamers that are brought over at a start: a second or two
LEASE_SECONDS, LOOK_SECONDS = 30.0, 0.2
PULLS_AT_ONCE = 500  # streamers: some 5 ms of the server's time
HASHES = ("follows", "now", "page", "log", "recent", "viewers", "listed", "alias")
SCORED = ("live", "ending", "others", "due", "claimed", "pushed")
SETS = ("unlearned", "shown")
MOVED = (*HASHES, *SCORED, *SETS, "pull")
LEFT_BEHIND = ("pulls", "outbox", "applied", "repaced", "confirmed")  # in a cell that is not in use any more
OLD_PLATFORMS_KEY, OLD_APPLYING_KEY = "livectl:platforms", "livectl:applying"
GONE = "brought over to a newer version"  # in place of a list: an older livectl that still runs cannot follow anybody


def prepare(client: Any, shards: int | None = None) -> None:
    """Makes an empty store one of ours, and brings a small older one over. ServerError for one that cannot be used."""
    migrating, version, old_version = (
        client.hgetall(MIGRATING_KEY),
        client.get(VERSION_KEY),
        client.get(OLD_VERSION_KEY),
    )
    newest = max(int(version or 0), int(old_version or 0))
    if newest > KEYS_VERSION:
        raise ServerError(
            f"The store was written by a newer livectl: its keys are version {newest}, this one knows {KEYS_VERSION}.",
            "Upgrade this livectl, or name another store in the settings.",
        )
    if migrating and "to" in migrating:
        raise half_done(migrating)
    if migrating or (version is None and old_version is not None and int(old_version) < KEYS_VERSION):
        if _count_old(client) > SMALL:
            if migrating:
                raise half_done(migrating)
            require_no_older(client)
        bring_over(client, shards or DEFAULT_SHARDS)
    if version is None:
        client.set(SHARDS_KEY, shards or DEFAULT_SHARDS, nx=True)
        client.set(VERSION_KEY, KEYS_VERSION)
        client.set(OLD_VERSION_KEY, KEYS_VERSION)
    noted = int(client.get(SHARDS_KEY))
    if shards is not None and shards != noted:
        raise ServerError(
            f"The store keeps each platform in {noted} shards, and polling.shards is {shards}.",
            f"Say `livectl store migrate --shards {shards}`, or write {noted} in the settings.",
        )


def migrate(client: Any, shards: int | None = None, wait: Callable[[float], None] = time.sleep) -> None:
    """Brings an older store over, whatever its size; changes the number of shards; goes on with what was half done."""
    migrating = client.hgetall(MIGRATING_KEY)
    if "to" in migrating:
        if shards is not None and str(shards) != migrating["to"]:
            raise half_done(migrating)
        shards = int(migrating["to"])
    elif migrating or _is_older(client):
        bring_over(client, shards or DEFAULT_SHARDS)
    if not migrating and client.get(SHARDS_KEY) is None:
        prepare(client, shards)
    if shards is not None and ("to" in migrating or shards != int(client.get(SHARDS_KEY) or DEFAULT_SHARDS)):
        change_shards(client, shards, wait)


def bring_over(client: Any, shards: int) -> None:
    """Brings a store without cells over. An older livectl that still runs can do nothing there any more."""
    with _alone(client) as keep_on:
        if not client.exists(MIGRATING_KEY):
            if not _is_older(client):
                return  # another has done it meanwhile
            client.hset(MIGRATING_KEY, mapping={"from": client.get(OLD_VERSION_KEY), "shards": shards})
        begun = client.hgetall(MIGRATING_KEY)
        shards = int(begun["shards"])
        client.set(SHARDS_KEY, shards)
        client.set(OLD_VERSION_KEY, KEYS_VERSION)
        client.set(OLD_APPLYING_KEY, GONE)  # what was to be applied comes again: the file is compared with the store
        used: set[Cell] = set()
        for platform in sorted(client.smembers(OLD_PLATFORMS_KEY)):
            cells = [Cell(platform, shard) for shard in range(shards)]
            _move_kinds(client, platform, {kind: f"livectl:{kind}:{platform}" for kind in MOVED}, shards, keep_on)
            client.delete(f"livectl:pulls:{platform}")
            used |= {cell for cell in cells if client.exists(f"{cell.place}follows", f"{cell.place}now")}
            client.hset(PLATFORMS_KEY, platform, pack_cells(cell for cell in used if cell.platform == platform))
        old_keys.rename_keys(client)
        standing.refresh(client, Cells(client, changing=True), used)
        if int(begun["from"]) < 2:
            store_upkeep.put_in_place(client, sorted(used), float(client.time()[0]))
        client.set(VERSION_KEY, KEYS_VERSION)
        client.delete(OLD_PLATFORMS_KEY)
        client.delete(MIGRATING_KEY)


def change_shards(client: Any, shards: int, wait: Callable[[float], None] = time.sleep) -> None:
    """Moves everybody into so many cells a platform."""
    cells = Cells(client, changing=True)
    with _alone(client) as keep_on:
        if not client.exists(MIGRATING_KEY):
            client.hset(MIGRATING_KEY, mapping={"from": cells.shards, "to": shards})
            wait(2 * NOTED_SECONDS)
        apply_pieces(client, cells)
        before = cells.in_use()
        collecting.collect_all(client, [cell.place for used in before.values() for cell in used])
        most = max(int(client.hget(MIGRATING_KEY, "from")), shards)
        for platform in before:
            possible = [Cell(platform, shard) for shard in range(most)]
            for cell in possible:
                _move_kinds(client, platform, {kind: f"{cell.place}{kind}" for kind in MOVED}, shards, keep_on)
            for cell in possible[shards:]:
                client.delete(*(f"{cell.place}{kind}" for kind in LEFT_BEHIND))
            used = [cell for cell in possible if client.exists(f"{cell.place}follows", f"{cell.place}now")]
            client.delete(f"{platform_place(platform)}standing")
            client.hset(PLATFORMS_KEY, platform, pack_cells(used))
            standing.refresh(client, cells, used)
        client.set(SHARDS_KEY, shards)
        client.delete(MIGRATING_KEY)


def _is_older(client: Any) -> bool:
    version = client.get(OLD_VERSION_KEY)
    return version is not None and int(version) < KEYS_VERSION and client.get(VERSION_KEY) is None


def _count_old(client: Any) -> int:
    """Everybody who is followed and has to be moved still."""
    return sum(int(client.hlen(f"livectl:follows:{platform}")) for platform in client.smembers(OLD_PLATFORMS_KEY))


@contextmanager
def _alone(client: Any) -> Iterator[Callable[[], None]]:
    """Waits until no other process moves anything here; what it gives is called between pieces."""
    token, place = uuid4().hex, lease_place("migrate")
    lease, leave = lua_script(client, "lease"), lua_script(client, "leave")

    def keep_on() -> None:
        if not lease(place, token, LEASE_SECONDS):
            raise ServerError("Another process brings the store over.", "Wait until it has, or say it again.")

    while not lease(place, token, LEASE_SECONDS):
        time.sleep(LOOK_SECONDS)
    try:
        yield keep_on
    finally:
        leave(place, token)


def _router(platform: str, kind: str, shards: int) -> Callable[[str], str]:
    """The key that a field belongs to."""
    if kind == "listed":
        return lambda bucket: f"{Cell(platform, int(bucket) % BUCKETS % shards).place}{kind}"
    return lambda each: f"{Cell(platform, shard_of(each, shards)).place}{kind}"


def _move_kinds(
    client: Any, platform: str, sources: Mapping[str, str], shards: int, keep_on: Callable[[], None]
) -> None:
    """Moves what lies under these keys to the cells that it belongs to, of so many."""
    for kind, source in sources.items():
        move = _move_pulls if kind == "pull" else _move
        move(client, source, kind, _router(platform, kind, shards), keep_on)


def _move(client: Any, source: str, kind: str, route: Callable[[str], str], keep_on: Callable[[], None]) -> None:
    scan, write, drop = _ways(client, kind)
    for page in scan_pages(scan, source):
        rows = dict.fromkeys(page) if kind in SETS else dict(page)
        away = _split(rows, source, route)
        pipe = client.pipeline(transaction=False)
        for target, names in away.items():
            write(pipe, target, {name: rows[name] for name in names})
        pipe.execute()
        for names in away.values():
            drop(source, *names)
        keep_on()


def _ways(client: Any, kind: str) -> tuple[Callable[..., Any], Callable[[Any, str, dict[str, Any]], Any], Any]:
    """How keys of this kind are read in pages, what is in them is written, and taken away."""
    if kind in SETS:
        return client.sscan, lambda pipe, key, rows: pipe.sadd(key, *rows), client.srem
    if kind in SCORED:
        return client.zscan, lambda pipe, key, rows: pipe.zadd(key, rows), client.zrem
    return client.hscan, lambda pipe, key, rows: pipe.hset(key, mapping=rows), client.hdel


def _move_pulls(client: Any, source: str, kind: str, route: Callable[[str], str], keep_on: Callable[[], None]) -> None:
    """Poll weights change the sums of their cells with them."""
    pulls = lua_script(client, "pulls")
    is_cell = source.startswith("livectl:{")
    for rows in scan_pages(client.hscan, source):
        for target, ids in _split(rows, source, route).items():
            for some in chunks(ids, PULLS_AT_ONCE):
                pulls(target.removesuffix(kind), store_records.encode_json([(each, rows[each]) for each in some]))
                if is_cell:
                    pulls(source.removesuffix(kind), store_records.encode_json([(each,) for each in some]))
                else:
                    client.hdel(source, *some)
        keep_on()


def _split(names: Iterable[str] | Mapping[str, Any], source: str, route: Callable[[str], str]) -> dict[str, list[str]]:
    """Those that belong elsewhere, by where."""
    away: dict[str, list[str]] = {}
    for name in names:
        if (target := route(name)) != source:
            away.setdefault(target, []).append(name)
    return away
