"""Brings the follow list into the store, a million lines as well as ten, and never for half.

What differs from the list in force is staged in pieces; it takes force in one small step, which sees that no other
list came in between; then the pieces are applied one by one, each to its cell, by this process or by the next one that
looks. A cell knows the last piece that it took, by the stamp of its list and its number. A process
that ends before that step leaves the old list in force. Lines are compared by bucket: one whose lines have the count
and the digest that the store has is not looked at any further.
"""

from __future__ import annotations

import hashlib
import time
from collections import defaultdict
from typing import TYPE_CHECKING, Any, NamedTuple
from uuid import uuid4
from zlib import crc32

import msgspec

from livectl.errors import ServerError
from livectl.live import replicas, standing, store_records
from livectl.live.cells import BUCKETS, COMMON, SHARDS_KEY, Cell, pack_cells
from livectl.live.lua_scripts import lua_script

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence

    from livectl.live.cells import Cells
    from livectl.models import Streamer, UnresolvedFollow

PIECE = 1000  # lines in one call: a few milliseconds of the server's time
GONE_PIECE = 250  # of those who are gone, who are taken out of more places
BUCKET_NAMES = [str(number) for number in range(BUCKETS)]
DIGEST_BYTES = 9
STAGE_EXPIRES_S = 3600
MAX_ATTEMPTS = 20  # each is lost only to another list that took force
GENERATION_KEY, STAMP_KEY, APPLYING_KEY = f"{COMMON}generation", f"{COMMON}stamp", f"{COMMON}applying"
UNRESOLVED_KEY = f"{COMMON}unresolved"


class ListChanges(NamedTuple):
    """What differs from the list in force: ids with their lines, ids that are gone, the buckets as they are now."""

    rows: dict[str, str]
    gone: list[str]
    buckets: dict[str, str]
    added: int


def follow(
    client: Any, cells: Cells, streamers: Iterable[Streamer], unresolved: Iterable[UnresolvedFollow], now: float
) -> tuple[int, int]:
    """Follows exactly these. Returns how many were added and removed."""
    wanted: dict[Cell, dict[str, str]] = defaultdict(dict)
    for streamer in streamers:
        wanted[cells.find(streamer.platform, streamer.id)][streamer.id] = store_records.encode_follow(streamer)
    lines = {
        f"{each.streamer.platform}/{each.streamer.id}": store_records.encode_unresolved(each) for each in unresolved
    }
    client.set(SHARDS_KEY, cells.shards, nx=True)
    for _ in range(MAX_ATTEMPTS):
        apply_pieces(client, cells)
        generation = client.get(GENERATION_KEY) or "0"
        in_use = cells.in_use()
        changes = _changes(client, sorted({*wanted, *(cell for used in in_use.values() for cell in used)}), wanted)
        stage, stamp = uuid4().hex, max(int(client.get(STAMP_KEY) or 0) + 1, int(time.time() * 1000))
        _stage(client, stage, changes, _line_changes(client, lines), stamp, now)
        named = [word for pair in _new_cells(in_use, wanted).items() for word in pair]
        if lua_script(client, "commit")(COMMON, generation, stamp, *named, staged=f"staged:{stage}"):
            replicas.confirm(client, [COMMON])
            apply_pieces(client, cells)
            return sum(each.added for each in changes.values()), sum(len(each.gone) for each in changes.values())
        client.unlink(f"{COMMON}staged:{stage}")
    raise ServerError(
        "Others keep changing the follow list.", "Every sweep tries again; look who else uses this store."
    )


def apply_pieces(client: Any, cells: Cells) -> None:
    """Applies what is in force and was not applied yet. Any number may do so at once: a cell takes each piece once, in
    its turn, and drops it afterwards.
    """
    changed: dict[Cell, None] = {}
    while text := client.lindex(APPLYING_KEY, 0):
        head, _, body = text.partition("\n")
        stamp, number, platform, shard = msgspec.json.decode(head)
        if not platform:
            lua_script(client, "lines")(COMMON, head)
            continue
        cell = Cell(platform, shard)
        if lua_script(client, "apply")(cell.place, stamp, number, body):
            changed[cell] = None
        replicas.confirm(client, [cell.place])
        lua_script(client, "drop")(COMMON, head)
    standing.refresh(client, cells, changed)


def scan_hash(client: Any, key: str) -> Iterator[dict[str, str]]:
    """The fields of a hash in pages; one may come twice while the hash grows."""
    return scan_pages(client.hscan, key)


def scan_pages(scan: Callable[..., Any], key: str) -> Iterator[Any]:
    """What lies under a key, in pages, by the client's own way to scan keys of its kind."""
    cursor = 0
    while True:
        cursor, rows = scan(key, cursor, count=PIECE)
        if rows:
            yield rows
        if not int(cursor):
            return


def chunks(items: Sequence[str], size: int = PIECE) -> Iterator[Sequence[str]]:
    return (items[start : start + size] for start in range(0, len(items), size))


def _changes(client: Any, cells: Sequence[Cell], wanted: Mapping[Cell, dict[str, str]]) -> dict[Cell, ListChanges]:
    """What differs in each cell."""
    pipe = client.pipeline(transaction=False)
    for cell in cells:
        pipe.hlen(f"{cell.place}follows")
        pipe.hgetall(f"{cell.place}listed")
    known = pipe.execute() if cells else []
    return {
        cell: _cell_changes(client, cell, wanted.get(cell, {}), int(followed), listed)
        for cell, followed, listed in zip(cells, known[::2], known[1::2], strict=True)
    }


def _cell_changes(
    client: Any, cell: Cell, wanted: Mapping[str, str], followed: int, listed: dict[str, str]
) -> ListChanges:
    key = f"{cell.place}follows"
    counts = {bucket: int(text.partition(" ")[0]) for bucket, text in listed.items()}
    if sum(counts.values()) != followed:  # somebody else wrote there: nothing of it is trusted
        listed = {}
    ids, buckets = _group(wanted)
    unequal = [bucket for bucket, text in buckets.items() if listed.get(bucket) != text]
    kept = sum(counts[bucket] for bucket in buckets.keys() - unequal)
    rows: dict[str, str] = {}
    added = 0
    for some in chunks([each for bucket in unequal for each in ids[bucket]]):
        known = client.hmget(key, some) if followed else [None] * len(some)
        rows |= {each: wanted[each] for each, text in zip(some, known, strict=True) if text != wanted[each]}
        added += known.count(None)
        kept += len(some) - known.count(None)
    gone = [] if kept == followed else _find_gone(client, key, wanted)
    new_buckets = {bucket: buckets[bucket] for bucket in unequal} | dict.fromkeys(listed.keys() - buckets.keys(), "")
    return ListChanges(rows, gone, new_buckets, added)


def _new_cells(in_use: Mapping[str, Sequence[Cell]], wanted: Iterable[Cell]) -> dict[str, str]:
    """The platforms that have more cells from now on, and all of these."""
    cells = {platform: set(used) for platform, used in in_use.items()}
    for cell in wanted:
        cells.setdefault(cell.platform, set()).add(cell)
    return {name: pack_cells(some) for name, some in cells.items() if len(some) > len(in_use.get(name, ()))}


def _find_gone(client: Any, key: str, wanted: Mapping[str, str]) -> list[str]:
    return list(dict.fromkeys(each for rows in scan_hash(client, key) for each in rows if each not in wanted))


def _line_changes(client: Any, lines: Mapping[str, str]) -> ListChanges:
    known: dict[str, str] = {}
    for rows in scan_hash(client, UNRESOLVED_KEY):
        known |= rows
    changed = {name: text for name, text in lines.items() if known.get(name) != text}
    return ListChanges(changed, [name for name in known if name not in lines], {}, 0)


def _group(wanted: Mapping[str, str]) -> tuple[dict[str, list[str]], dict[str, str]]:
    """The ids of each bucket, and the count and digest of its lines."""
    ids: dict[str, list[str]] = defaultdict(list)
    for each in wanted:
        ids[BUCKET_NAMES[crc32(each.encode()) % BUCKETS]].append(each)
    buckets = {}
    for bucket, some in ids.items():
        text = "\n".join([f"{each} {wanted[each]}" for each in some])
        digest = hashlib.blake2b(text.encode(), digest_size=DIGEST_BYTES).hexdigest()
        buckets[bucket] = f"{len(some)} {digest}"
    return ids, buckets


def _stage(
    client: Any, stage: str, changes: Mapping[Cell, ListChanges], lines: ListChanges, stamp: int, now: float
) -> None:
    key, number = f"{COMMON}staged:{stage}", 0
    for cell, each in (*changes.items(), (Cell("", 0), lines)):
        for piece in _pieces(each, now):
            number += 1
            pipe = client.pipeline(transaction=False)
            pipe.rpush(key, f"{store_records.encode_json((stamp, number, *cell))}\n{piece}")
            pipe.expire(key, STAGE_EXPIRES_S)
            pipe.execute()


def _pieces(changes: ListChanges, now: float) -> Iterator[str]:
    """What apply.lua reads. The buckets come last: they say that all before them is applied."""
    for gone in chunks(changes.gone, GONE_PIECE):
        yield store_records.encode_json((now, (), gone, {}))
    some: Sequence[str] = ()
    for some in chunks(list(changes.rows)):
        if len(some) == PIECE:
            yield store_records.encode_json((now, [(each, changes.rows[each]) for each in some], (), {}))
            some = ()
    if some or changes.buckets:
        yield store_records.encode_json((now, [(each, changes.rows[each]) for each in some], (), changes.buckets))
