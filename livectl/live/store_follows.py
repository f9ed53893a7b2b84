"""Brings the follow list into the store, a million lines as well as ten, and never for half.

What differs from the list in force is staged in pieces; it takes force in one small step, which sees that no other
list came in between; then the pieces are applied one by one, by this process or by the next one that looks. A process
that ends before that step leaves the old list in force. Lines are compared by bucket: one whose lines have the count
and the digest that the store has is not looked at any further.
"""

from __future__ import annotations

import hashlib
from collections import defaultdict
from typing import TYPE_CHECKING, Any, NamedTuple
from uuid import uuid4
from zlib import crc32

from livectl.errors import ServerError
from livectl.live import store_records
from livectl.live.lua_scripts import lua_script

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence

    from livectl.models import Streamer, UnresolvedFollow

PIECE = 1000  # lines in one call: a few milliseconds of the server's time
GONE_PIECE = 250  # of those who are gone, who are taken out of more places
BUCKETS = 1024  # of a platform: a bucket of a million streamers is a piece
DIGEST_BYTES = 9
STAGE_EXPIRES_S = 3600
MAX_ATTEMPTS = 20  # each is lost only to another list that took force


class ListChanges(NamedTuple):
    """What differs from the list in force: ids with their lines, ids that are gone, the buckets as they are now."""

    rows: dict[str, str]
    gone: list[str]
    buckets: dict[str, str]
    added: int


def follow(
    client: Any, streamers: Iterable[Streamer], unresolved: Iterable[UnresolvedFollow], now: float
) -> tuple[int, int]:
    """Follows exactly these. Returns how many were added and removed."""
    wanted: dict[str, dict[str, str]] = defaultdict(dict)
    for streamer in streamers:
        wanted[streamer.platform][streamer.id] = store_records.encode_follow(streamer)
    lines = {
        f"{each.streamer.platform}/{each.streamer.id}": store_records.encode_unresolved(each) for each in unresolved
    }
    for _ in range(MAX_ATTEMPTS):
        apply_pieces(client)
        generation = client.get("livectl:generation") or "0"
        names = sorted({*client.smembers("livectl:platforms"), *wanted})
        changes = {name: _platform_changes(client, name, wanted.get(name, {})) for name in names}
        stage = uuid4().hex
        _stage(client, stage, changes, _line_changes(client, lines), now)
        if lua_script(client, "commit")(stage, generation):
            apply_pieces(client)
            return sum(each.added for each in changes.values()), sum(len(each.gone) for each in changes.values())
        client.unlink(f"livectl:staged:{stage}")
    raise ServerError(
        "Others keep changing the follow list.", "Every sweep tries again; look who else uses this store."
    )


def apply_pieces(client: Any) -> None:
    """Applies what is in force and was not applied yet."""
    while client.exists("livectl:applying") and lua_script(client, "apply")():
        pass


def scan_hash(client: Any, key: str) -> Iterator[dict[str, str]]:
    """The fields of a hash in pages; one may come twice while the hash grows."""
    cursor = 0
    while True:
        cursor, rows = client.hscan(key, cursor, count=PIECE)
        if rows:
            yield rows
        if not int(cursor):
            return


def chunks(items: Sequence[str], size: int = PIECE) -> Iterator[Sequence[str]]:
    return (items[start : start + size] for start in range(0, len(items), size))


def _platform_changes(client: Any, platform: str, wanted: Mapping[str, str]) -> ListChanges:
    key = f"livectl:follows:{platform}"
    followed, listed = int(client.hlen(key)), client.hgetall(f"livectl:listed:{platform}")
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


def _find_gone(client: Any, key: str, wanted: Mapping[str, str]) -> list[str]:
    return list(dict.fromkeys(each for rows in scan_hash(client, key) for each in rows if each not in wanted))


def _line_changes(client: Any, lines: Mapping[str, str]) -> ListChanges:
    known: dict[str, str] = {}
    for rows in scan_hash(client, "livectl:unresolved"):
        known |= rows
    changed = {name: text for name, text in lines.items() if known.get(name) != text}
    return ListChanges(changed, [name for name in known if name not in lines], {}, 0)


def _group(wanted: Mapping[str, str]) -> tuple[dict[str, list[str]], dict[str, str]]:
    """The ids of each bucket, and the count and digest of its lines."""
    ids: dict[str, list[str]] = defaultdict(list)
    names = [str(number) for number in range(BUCKETS)]
    for each in wanted:
        ids[names[crc32(each.encode()) % BUCKETS]].append(each)
    buckets = {}
    for bucket, some in ids.items():
        text = "\n".join([f"{each} {wanted[each]}" for each in some])
        digest = hashlib.blake2b(text.encode(), digest_size=DIGEST_BYTES).hexdigest()
        buckets[bucket] = f"{len(some)} {digest}"
    return ids, buckets


def _stage(client: Any, stage: str, changes: Mapping[str, ListChanges], lines: ListChanges, now: float) -> None:
    key = f"livectl:staged:{stage}"
    for platform, each in (*changes.items(), ("", lines)):
        for piece in _pieces(platform, each, now):
            pipe = client.pipeline(transaction=False)
            pipe.rpush(key, piece)
            pipe.expire(key, STAGE_EXPIRES_S)
            pipe.execute()


def _pieces(platform: str, changes: ListChanges, now: float) -> Iterator[str]:
    """What apply.lua reads. The buckets come last: they say that all before them is applied."""
    for gone in chunks(changes.gone, GONE_PIECE):
        yield store_records.encode_json((platform, now, (), gone, {}))
    for some in chunks(list(changes.rows)):
        yield store_records.encode_json((platform, now, [(each, changes.rows[each]) for each in some], (), {}))
    if changes.buckets:
        yield store_records.encode_json((platform, now, (), (), changes.buckets))
