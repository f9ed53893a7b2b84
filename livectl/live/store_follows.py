"""Brings the follow list into the store, millions of lines as well as ten, and never for half.

The list is spooled by bucket; a bucket whose lines have the count and the digest that the store has is not looked at
any further. What differs from the list in force is staged in pieces; it takes force in one small step, which sees that
no other list came in between; then the pieces are applied one by one, each to its cell, by this process or by the next
one that looks. A cell knows the last piece that it took, by the stamp of its list and its number. A process that ends
before that step leaves the old list in force.
"""

from __future__ import annotations

import hashlib
import time
from collections import defaultdict
from itertools import islice
from typing import TYPE_CHECKING, Any, NamedTuple, TypeVar
from uuid import uuid4

import msgspec

from livectl import replicas
from livectl.errors import ServerError
from livectl.live import standing, store_records
from livectl.live.cells import COMMON, SHARDS_KEY, Cell, bucket_of, pack_cells
from livectl.live.list_spool import Row, Spool, merge_follows
from livectl.live.lua_scripts import lua_script

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence

    from livectl.live.cells import Cells
    from livectl.live.list_spool import SpooledList
    from livectl.models import Streamer, UnresolvedFollow

    TextRow = tuple[str, str]  # an id or a name, and what is written of it
    BucketRow = tuple[int, str, str]  # the bucket of an id, the id, and what is written of it

Item = TypeVar("Item")
Changes = TypeVar("Changes")

PIECE = 1000  # lines in one call: a few milliseconds of the server's time
GONE_PIECE = 250  # of those who are gone, who are taken out of more places
DIGEST_BYTES = 9
DIGEST_LIMIT = 256**DIGEST_BYTES
STAGE_EXPIRES_S = 3600
MAX_ATTEMPTS = 20  # each is lost only to another list that took force
GENERATION_KEY, STAMP_KEY, APPLYING_KEY = f"{COMMON}generation", f"{COMMON}stamp", f"{COMMON}applying"
UNRESOLVED_KEY = f"{COMMON}unresolved"
NO_CELL = Cell("", 0)  # of lines that lead to nobody


class ListApplied(NamedTuple):
    """What came of a list: streamers."""

    added: int = 0
    removed: int = 0
    followed: int = 0  # lines for the same one are one


class BucketDigest(NamedTuple):
    """How many lines a bucket has, and the sum of their digests: it does not depend on their order."""

    lines: int = 0
    total: int = 0

    @classmethod
    def parse(cls, text: str) -> BucketDigest:
        count, _, total = text.partition(" ")
        return cls(int(count), int(total, 16))

    @classmethod
    def of(cls, follows: Mapping[str, str]) -> BucketDigest:
        return cls(len(follows), sum(_digest(each, text) for each, text in follows.items()) % DIGEST_LIMIT)

    def __str__(self) -> str:
        return f"{self.lines} {self.total:x}"

    def plus(self, streamer_id: str, text: str) -> BucketDigest:
        return BucketDigest(self.lines + 1, (self.total + _digest(streamer_id, text)) % DIGEST_LIMIT)

    def minus(self, streamer_id: str, text: str) -> BucketDigest:
        return BucketDigest(self.lines - 1, (self.total - _digest(streamer_id, text)) % DIGEST_LIMIT)


def _digest(streamer_id: str, text: str) -> int:
    line = f"{streamer_id} {text}".encode()
    return int.from_bytes(hashlib.blake2b(line, digest_size=DIGEST_BYTES).digest(), "big")


def follow(client: Any, cells: Cells, wanted: SpooledList, now: float, *, keep: bool = False) -> ListApplied:
    """Follows exactly these; with `keep` also everybody who is followed already."""

    def compare(stage: Stage) -> ListApplied:
        buckets: dict[Cell, list[int]] = {cell: [] for used in stage.in_use.values() for cell in used}
        for platform, bucket in wanted.buckets():
            buckets.setdefault(Cell(platform, bucket % cells.shards), []).append(bucket)
        found = _read_cells(client, list(buckets))
        applied = [
            _CellComparison(client, stage, cell, wanted, known).run(buckets[cell], keep=keep)
            for cell, known in found.items()
        ]
        _compare_lines(client, stage, wanted)
        return ListApplied(*map(sum, zip(*applied, strict=True)))

    return _change(client, cells, now, compare)


def add(client: Any, cells: Cells, found: Mapping[str, Streamer], lines: Iterable[UnresolvedFollow], now: float) -> int:
    """Follows those whom lines lead to after all, by the names of these lines, and notes why others still lead to
    nobody. A line that another list took away meanwhile changes nothing. Returns how many are new.
    """
    told = {"/".join(each.streamer.key): store_records.encode_unresolved(each) for each in lines}

    def compare(stage: Stage) -> int:
        names = [*found, *told]
        there = {name for name, text in zip(names, client.hmget(UNRESOLVED_KEY, names), strict=True) if text}
        by_cell: dict[Cell, dict[str, str]] = defaultdict(dict)
        gone = [name for name in found if name in there]
        for streamer in map(found.__getitem__, gone):
            follows, text = by_cell[cells.find(*streamer.key)], store_records.encode_follow(streamer)
            before = follows.get(streamer.id)
            follows[streamer.id] = merge_follows(before, text) if before else text
        added = 0
        for cell, known in _read_cells(client, list(by_cell)).items():
            added += _add_to_cell(client, stage, cell, known, by_cell[cell])
        stage.put_lines([(name, text) for name, text in told.items() if name in there], gone)
        return added

    return _change(client, cells, now, compare) if found or told else 0


def _change(client: Any, cells: Cells, now: float, compare: Callable[[Stage], Changes]) -> Changes:
    """Puts in force what `compare` stages; it is called again where another list came in between."""
    client.set(SHARDS_KEY, cells.shards, nx=True)
    for _ in range(MAX_ATTEMPTS):
        apply_pieces(client, cells)
        generation = client.get(GENERATION_KEY) or "0"
        stage = Stage(client, cells.in_use(), cells.shards, now)
        changes = compare(stage)
        if stage.put_in_force(generation):
            apply_pieces(client, cells)
            return changes
        stage.drop()
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


def chunks(items: Iterable[Item], size: int = 0) -> Iterator[list[Item]]:
    """The items in pieces of this size."""
    left = iter(items)
    while some := list(islice(left, size or PIECE)):
        yield some


class Stage:
    """Changes of the follow list, in pieces, that are not in force yet."""

    def __init__(self, client: Any, in_use: Mapping[str, Sequence[Cell]], shards: int, now: float) -> None:
        self.in_use = in_use  # the cells that the store had before
        self._shards = shards  # of a platform, which the pieces are for
        self._client = client
        self._now = now
        self._name = f"staged:{uuid4().hex}"
        self._stamp = max(int(client.get(STAMP_KEY) or 0) + 1, int(time.time() * 1000))
        self._number = 0
        self._cells: set[Cell] = set()

    def put(
        self,
        cell: Cell,
        rows: Sequence[TextRow] = (),
        gone: Sequence[str] = (),
        buckets: Mapping[str, str] | None = None,
    ) -> None:
        """A piece, as apply.lua reads it."""
        if not (rows or gone or buckets):
            return
        if rows:
            self._cells.add(cell)
        self._number += 1
        head = store_records.encode_json((self._stamp, self._number, *cell))
        body = store_records.encode_json((self._now, rows, gone, buckets or {}))
        pipe = self._client.pipeline(transaction=False)
        pipe.rpush(COMMON + self._name, f"{head}\n{body}")
        pipe.expire(COMMON + self._name, STAGE_EXPIRES_S)
        pipe.execute()

    def put_lines(self, rows: Sequence[TextRow], gone: Sequence[str]) -> None:
        """The same of lines that lead to nobody."""
        self.put(NO_CELL, rows, gone)

    def put_in_force(self, generation: str) -> bool:
        """Whether the list is still of this generation, its cells where they were, and these changes in force now."""
        named = [word for pair in _new_cells(self.in_use, self._cells - {NO_CELL}).items() for word in pair]
        commit = lua_script(self._client, "commit")
        if not commit(COMMON, generation, self._shards, self._stamp, *named, staged=self._name):
            return False
        replicas.confirm(self._client, [COMMON])
        return True

    def drop(self) -> None:
        self._client.unlink(COMMON + self._name)


class KnownCell(NamedTuple):
    """What the store says of the follow list in a cell."""

    followed: int
    listed: dict[str, str]  # bucket -> count and digest

    def digests(self) -> dict[int, BucketDigest]:
        """By bucket; none where somebody else wrote to the cell: then nothing of it is trusted."""
        digests = {int(bucket): BucketDigest.parse(text) for bucket, text in self.listed.items()}
        return digests if sum(digest.lines for digest in digests.values()) == self.followed else {}


def _read_cells(client: Any, cells: Sequence[Cell]) -> dict[Cell, KnownCell]:
    pipe = client.pipeline(transaction=False)
    for cell in cells:
        pipe.hlen(f"{cell.place}follows")
        pipe.hgetall(f"{cell.place}listed")
    known = pipe.execute() if cells else []
    return {cell: KnownCell(*pair) for cell, *pair in zip(cells, known[::2], known[1::2], strict=True)}


class _CellComparison:
    """Compares a cell with the list, bucket by bucket, and stages what differs."""

    def __init__(self, client: Any, stage: Stage, cell: Cell, wanted: SpooledList, known: KnownCell) -> None:
        self._client = client
        self._stage = stage
        self._cell = cell
        self._wanted = wanted
        self._known = known
        self._digests = known.digests()
        self._here: dict[int, int] = defaultdict(int)  # of each bucket, how many of the list the store has
        self._rows: list[TextRow] = []
        self._added = self._removed = 0

    def run(self, buckets: Sequence[int], *, keep: bool) -> ListApplied:
        new: dict[int, BucketDigest] = {}
        for some in chunks(self._differing(buckets, new)):
            self._look(some)
        wanted_count = sum(digest.lines for digest in new.values())
        for some in chunks(self._others(), GONE_PIECE):
            if keep:
                for bucket, each, text in some:
                    new[bucket] = new.get(bucket, BucketDigest()).plus(each, text)
                continue
            self._removed += len(some)
            self._stage.put(self._cell, gone=[each for _, each, _ in some])
        self._stage.put(self._cell, self._rows, buckets=self._changed(new))
        return ListApplied(self._added, self._removed, wanted_count)

    def _differing(self, buckets: Sequence[int], new: dict[int, BucketDigest]) -> Iterator[BucketRow]:
        """The lines of buckets that are not as the store has them; the digests of all are put into `new`."""
        for bucket in buckets:
            follows = self._wanted.follows((self._cell.platform, bucket))
            new[bucket] = BucketDigest.of(follows)
            if new[bucket] == self._digests.get(bucket):
                self._here[bucket] = len(follows)
            else:
                yield from ((bucket, each, text) for each, text in follows.items())

    def _look(self, some: Sequence[BucketRow]) -> None:
        ids = [each for _, each, _ in some]
        known = self._client.hmget(f"{self._cell.place}follows", ids) if self._known.followed else [None] * len(ids)
        for (bucket, each, text), there in zip(some, known, strict=True):
            self._here[bucket] += there is not None
            self._added += there is None
            if there != text:
                self._rows.append((each, text))
        if len(self._rows) >= PIECE:
            self._stage.put(self._cell, self._rows[:PIECE])
            del self._rows[:PIECE]

    def _others(self) -> Iterator[BucketRow]:
        """Who is followed there and is not on the list. Buckets that have nobody else are not looked at."""
        if sum(self._here.values()) == self._known.followed:
            return
        short = {bucket for bucket, digest in self._digests.items() if digest.lines > self._here[bucket]}
        names = Spool()
        try:
            for rows in scan_hash(self._client, f"{self._cell.place}follows"):
                for each, text in rows.items():
                    bucket = bucket_of(each)
                    if bucket in short or not self._digests:
                        names.add((self._cell.platform, bucket), Row(each, text))
            for (_, bucket), row in self._wanted.gone(names):
                yield bucket, row.name, row.text
        finally:
            names.close()

    def _changed(self, new: Mapping[int, BucketDigest]) -> dict[str, str]:
        """The buckets as they are from now on, as far as that is not what the store has."""
        texts = {str(bucket): str(digest) for bucket, digest in new.items()}
        texts |= dict.fromkeys(self._known.listed.keys() - texts.keys(), "")
        return {bucket: text for bucket, text in texts.items() if self._known.listed.get(bucket) != text}


def _add_to_cell(client: Any, stage: Stage, cell: Cell, known: KnownCell, follows: Mapping[str, str]) -> int:
    """Stages these for a cell, beside those who are followed there. Returns how many are new."""
    digests, rows, buckets = known.digests(), list[tuple[str, str]](), dict[str, str]()
    is_trusted = bool(digests) or not known.followed
    there = client.hmget(f"{cell.place}follows", list(follows))
    for (each, text), before in zip(follows.items(), there, strict=True):
        bucket, merged = bucket_of(each), merge_follows(before, text) if before else text
        if merged == before:
            continue
        digest = digests.get(bucket, BucketDigest())
        digests[bucket] = (digest.minus(each, before) if before else digest).plus(each, merged)
        buckets[str(bucket)] = str(digests[bucket]) if is_trusted else ""
        rows.append((each, merged))
    stage.put(cell, rows, buckets=buckets)
    return sum(before is None for before in there)


def _compare_lines(client: Any, stage: Stage, wanted: SpooledList) -> None:
    """Stages the lines that lead to nobody, as far as they differ from those that the store has."""
    here = 0
    for some in chunks(wanted.unresolved()):
        known = client.hmget(UNRESOLVED_KEY, [row.name for row in some])
        stage.put_lines([(row.name, row.text) for row, text in zip(some, known, strict=True) if text != row.text], ())
        here += len(some) - known.count(None)
    if here == int(client.hlen(UNRESOLVED_KEY)):
        return
    names = Spool()
    try:
        for rows in scan_hash(client, UNRESOLVED_KEY):
            for name in rows:
                platform, _, written = name.partition("/")
                names.add((platform, bucket_of(written)), Row(written, ""))
        gone = (f"{platform}/{row.name}" for (platform, _), row in wanted.gone(names, of_lines=True))
        for some_gone in chunks(gone, GONE_PIECE):
            stage.put_lines((), some_gone)
    finally:
        names.close()


def _new_cells(in_use: Mapping[str, Sequence[Cell]], wanted: Iterable[Cell]) -> dict[str, str]:
    """The platforms that have more cells from now on, and all of these."""
    cells = {platform: set(used) for platform, used in in_use.items()}
    for cell in wanted:
        cells.setdefault(cell.platform, set()).add(cell)
    return {name: pack_cells(some) for name, some in cells.items() if len(some) > len(in_use.get(name, ()))}
