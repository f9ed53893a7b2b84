"""Writes all that the store knows of streamers as lines of JSON, and reads such lines into an empty store.

The first line says what the file is. Poll weights, due times and tokens of platforms are not in it: they are learned,
reckoned and fetched again. Whatever else is in it keeps its place: who is live is so without a new alert.
"""

from __future__ import annotations

from collections import defaultdict
from itertools import islice
from typing import IO, TYPE_CHECKING, Any

import msgspec

from livectl.errors import FileError, Mistake, ServerError
from livectl.live import collecting, old_keys, standing, store_records, store_upkeep
from livectl.live.cells import COMMON, PLATFORMS_KEY, Cell, Cells, pack_cells, target_place
from livectl.live.store_follows import PIECE, UNRESOLVED_KEY, chunks, scan_hash, scan_pages
from livectl.live.store_upkeep import IMPORTING_KEY

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

FORMAT_VERSION = 1
KINDS = ("follows", "now", "page", "log", "recent", "viewers")  # what is kept of a streamer, in hashes of a platform
LEASE_FIELDS = ("token", "held_until")  # of a target, which mean nothing elsewhere
MAX_LINE_BYTES = 1_000_000
NAMED_LETTERS = 60  # of a line that cannot be read


class FileHead(msgspec.Struct, frozen=True, kw_only=True):
    """The first line."""

    livectl: str = "store"
    version: int = FORMAT_VERSION
    at: float = 0.0


class StreamerLine(msgspec.Struct, frozen=True, kw_only=True, tag="streamer", tag_field="kind", omit_defaults=True):
    """All that is known of one streamer, each as the store keeps it."""

    platform: str
    id: str
    follows: str = ""
    now: str = ""
    page: str = ""
    log: str = ""
    recent: str = ""
    viewers: str = ""


class HashLine(msgspec.Struct, frozen=True, kw_only=True, tag="fields", tag_field="kind"):
    """Fields of a hash: names that were looked up, lines that lead to nobody, where a target stands."""

    key: str
    fields: dict[str, str]


class ScoresLine(msgspec.Struct, frozen=True, kw_only=True, tag="scores", tag_field="kind"):
    """Members of a sorted set: the alerts that a target took."""

    key: str
    scores: dict[str, float]


class ChangeLine(msgspec.Struct, frozen=True, kw_only=True, tag="change", tag_field="kind"):
    """A change in the outbox."""

    number: str
    change: str
    page: str


Line = StreamerLine | HashLine | ScoresLine | ChangeLine
OUTBOX_KEY, TARGETS_KEY = f"{COMMON}outbox", f"{COMMON}targets"
ALIAS_PREFIX = "livectl:alias:"  # and a platform: in a copy the names of all its cells stand together
ALLOWED_KEYS = (ALIAS_PREFIX, "livectl:{target:")
ALLOWED_NAMES = (UNRESOLVED_KEY, TARGETS_KEY, f"{COMMON}troubles")


def export_lines(client: Any, now: float) -> Iterator[str]:
    """The lines of a copy, read in pieces."""
    cells = Cells(client)
    collecting.collect_all(client, [cell.place for used in cells.in_use().values() for cell in used])
    yield _encode(FileHead(at=now))
    for line in _read_all(client):
        yield _encode(line)


def read_copy(file: IO[bytes], name: str) -> int:
    """How many lines follow the first. FileError for a file that cannot be read as a whole; nothing is written."""
    return sum(1 for _ in _parse(file, name))


def import_lines(client: Any, file: IO[bytes], name: str, now: float) -> int:
    """Brings a copy into a store that knows nobody, in pieces. Returns how many streamers.

    It may be repeated with the same file where it ended in the middle.
    """
    if not client.exists(IMPORTING_KEY):
        if client.exists(PLATFORMS_KEY):
            raise ServerError(
                "The store knows streamers already, and a copy is brought into an empty one.",
                "Name another database as `store:`, or empty that one.",
            )
        client.set(IMPORTING_KEY, name)
    cells, used = Cells(client), defaultdict[str, set[Cell]](set)
    count, lines, last = 0, _parse(file, name), _last_change(client)
    while piece := list(islice(lines, PIECE)):
        for line in piece:
            if isinstance(line, StreamerLine):
                used[line.platform].add(cells.find(line.platform, line.id))
        if used:
            client.hset(PLATFORMS_KEY, mapping={platform: pack_cells(some) for platform, some in used.items()})
        pipe = client.pipeline(transaction=False)
        for line in piece:
            if not isinstance(line, ChangeLine) or _parts(line.number) > last:
                _write(pipe, cells, line, now)
            count += isinstance(line, StreamerLine)
        pipe.execute()
    everywhere = [cell for some in used.values() for cell in some]
    store_upkeep.put_in_place(client, everywhere, now)
    standing.refresh(client, cells, everywhere)
    client.delete(IMPORTING_KEY)
    return count


def _last_change(client: Any) -> list[int]:
    """The number of the last change that is there already."""
    entries = client.xrevrange(OUTBOX_KEY, count=1)
    return _parts(entries[0][0]) if entries else [0, 0]


def _parts(number: str) -> list[int]:
    return [int(part) for part in number.split("-")]


def _read_all(client: Any) -> Iterator[Line]:
    cells = Cells(client)
    for platform, in_use in cells.in_use().items():
        for cell in in_use:
            yield from _cell(client, cell)
        for cell in cells.possible(platform):
            yield from _hashes(client, f"{cell.place}alias", name=f"{ALIAS_PREFIX}{platform}")
    for key in ALLOWED_NAMES:
        yield from _hashes(client, key)
    for name in client.hkeys(TARGETS_KEY):
        if name.strip():
            yield from _target(client, name)
    yield from _changes(client)


def _cell(client: Any, cell: Cell) -> Iterator[Line]:
    seen: set[str] = set()
    for kind in ("follows", "now"):
        for rows in scan_hash(client, f"{cell.place}{kind}"):
            yield from _streamers(client, cell, [each for each in rows if each not in seen])
            seen.update(rows)


def _streamers(client: Any, cell: Cell, ids: Sequence[str]) -> Iterator[Line]:
    for some in chunks(ids):
        pipe = client.pipeline(transaction=False)
        for kind in KINDS:
            pipe.hmget(f"{cell.place}{kind}", list(some))
        for each, *texts in zip(some, *pipe.execute(), strict=True):
            known = {kind: text for kind, text in zip(KINDS, texts, strict=True) if text}
            yield StreamerLine(platform=cell.platform, id=each, **known)


def _hashes(client: Any, key: str, without: Sequence[str] = (), name: str = "") -> Iterator[Line]:
    for rows in scan_hash(client, key):
        for fields in chunks([field for field in rows if field not in without]):
            yield HashLine(key=name or key, fields={field: rows[field] for field in fields})


def _target(client: Any, name: str) -> Iterator[Line]:
    yield from _hashes(client, f"{target_place(name)}state", LEASE_FIELDS)
    yield from _hashes(client, f"{target_place(name)}lanes")
    yield from _hashes(client, f"{target_place(name)}notes")
    key = f"{target_place(name)}told"
    for pairs in scan_pages(client.zscan, key):
        yield ScoresLine(key=key, scores=dict(pairs))


def _changes(client: Any) -> Iterator[Line]:
    after = "-"
    while entries := client.xrange(OUTBOX_KEY, min=after, count=PIECE):
        for number, fields in entries:
            yield ChangeLine(number=number, change=fields["change"], page=fields["page"])
        after = f"({entries[-1][0]}"


def _parse(file: IO[bytes], name: str) -> Iterator[Line]:
    """The lines after the first; each is looked at before it is used."""
    file.seek(0)
    decoder = msgspec.json.Decoder(Line)
    head_text = file.readline(MAX_LINE_BYTES)
    try:
        head = msgspec.json.decode(head_text, type=FileHead)
    except msgspec.MsgspecError:
        raise _mistake(name, 1, "this is no copy of a store", "livectl store export writes one") from None
    if head.livectl != "store" or not 1 <= head.version <= FORMAT_VERSION:
        hint = f"this livectl reads version {FORMAT_VERSION}; a newer one wrote the file"
        raise _mistake(name, 1, f"a copy of version {head.version}", hint)
    for number, text in enumerate(iter(lambda: file.readline(MAX_LINE_BYTES), b""), 2):
        try:
            line = decoder.decode(text)
            _look_at(line)
        except (msgspec.MsgspecError, ValueError) as error:
            raise _mistake(name, number, f"not a line of a copy: {error}", "export the store again") from None
        yield line


def _look_at(line: Line) -> None:
    """ValueError for what the store could not read again."""
    if isinstance(line, StreamerLine):
        if not line.platform or not line.id or "/" in line.platform or ":" in line.platform:
            raise ValueError("it names no streamer")
        store_records.decode_record(line.platform, (line.id, line.follows, line.now or "{}", line.page or "{}"))
        store_records.decode_sessions(line.log, line.recent, line.now, line.page)
    elif isinstance(line, HashLine | ScoresLine):
        key = old_keys.name_of_now(line.key)
        if key not in ALLOWED_NAMES and not key.startswith(ALLOWED_KEYS):
            raise ValueError(f"{line.key[:NAMED_LETTERS]} is not in a copy")
    else:
        _parts(line.number)
        store_records.decode_change(line.number, line.change, line.page)


def _write(pipe: Any, cells: Cells, line: Line, now: float) -> None:
    if isinstance(line, StreamerLine):
        place = cells.find(line.platform, line.id).place
        for kind in KINDS:
            if text := getattr(line, kind):
                pipe.hset(f"{place}{kind}", line.id, text)
        if line.follows:
            pipe.zadd(f"{place}due", {line.id: now})
            pipe.sadd(f"{place}unlearned", line.id)
    elif isinstance(line, HashLine) and line.key.startswith(ALIAS_PREFIX):
        for cell, names in cells.split(line.key.removeprefix(ALIAS_PREFIX), line.fields).items():
            pipe.hset(f"{cell.place}alias", mapping={name: line.fields[name] for name in names})
    elif isinstance(line, HashLine):
        pipe.hset(old_keys.name_of_now(line.key), mapping=line.fields)
    elif isinstance(line, ScoresLine):
        pipe.zadd(old_keys.name_of_now(line.key), line.scores)
    else:
        pipe.xadd(OUTBOX_KEY, {"change": line.change, "page": line.page}, id=line.number)


def _encode(line: Any) -> str:
    return msgspec.json.encode(line).decode()


def _mistake(name: str, line: int, problem: str, hint: str) -> FileError:
    return FileError([Mistake(name, line, 1, problem, hint)])
