"""Writes all that the store knows of streamers as lines of JSON, and reads such lines into an empty store.

The first line says what the file is, and the last how many are between them: a copy that was cut off is none. Poll
weights, due times and tokens of platforms are not in it: they are learned, reckoned and fetched again. Whatever else is
in it keeps its place: who is live is so without a new alert.
"""

from __future__ import annotations

import hashlib
from collections import defaultdict
from itertools import chain, islice
from typing import IO, TYPE_CHECKING, Any, NamedTuple

import msgspec

from livectl import replicas
from livectl.errors import FileError, Mistake, ServerError
from livectl.live import collecting, old_keys, standing, store_moving, store_records, store_sessions
from livectl.live.cells import COMMON, MIGRATING_KEY, Cell, Cells, half_done, target_place
from livectl.live.fence import alone
from livectl.live.lua_scripts import lua_script
from livectl.live.store_follows import PIECE, UNRESOLVED_KEY, chunks, scan_hash, scan_pages

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from livectl.live.fence import Fence
    from livectl.live.lua_scripts import ScriptCall

FORMAT_VERSION = 1
KINDS = ("now", "page", "log", "recent", "viewers", "follows")  # of a streamer; follows last: who has it is asked
LEASE_FIELDS = ("token", "held_until")  # of a target, which mean nothing elsewhere
MAX_LINE_BYTES = 1_000_000
NAMED_LETTERS = 60  # of a line that cannot be read
EXPORT_AGAIN = "export the store again"
DIGEST_BYTES = 16  # of a copy: whoever goes on must have the same


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


class EndLine(msgspec.Struct, frozen=True, kw_only=True, tag="end", tag_field="kind"):
    """The last line."""

    lines: int  # between the first and this one


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
    count = 0
    for line in _read_all(client):
        yield _encode(line)
        count += 1
    yield _encode(EndLine(lines=count))


class Copy(NamedTuple):
    """A file that was read as a whole."""

    digest: str
    platforms: set[str]
    places: set[str]  # beside cells and what belongs to nobody
    targets: set[str]
    last_change: str  # its number


def read_copy(file: IO[bytes], name: str) -> Copy:
    """FileError for a file that cannot be read as a whole; nothing is written."""
    digest, platforms, places = hashlib.blake2b(digest_size=DIGEST_BYTES), set[str](), set[str]()
    targets, last_change = set[str](), ""
    for line in _parse(file, name, digest):
        if isinstance(line, StreamerLine):
            platforms.add(line.platform)
        elif isinstance(line, ChangeLine):
            last_change = line.number
        elif line.key.startswith(ALIAS_PREFIX):
            platforms.add(line.key.removeprefix(ALIAS_PREFIX))
        else:
            places.add(_place_and_kind(line.key)[0])
            if isinstance(line, HashLine) and line.key == TARGETS_KEY:
                targets |= line.fields.keys()
    return Copy(digest.hexdigest(), platforms, places, targets, last_change)


def import_lines(client: Any, file: IO[bytes], name: str, now: float, shards: int | None = None) -> int:
    """Brings a copy into a store that knows nobody, in pieces. Returns how many streamers. Meanwhile all others are
    refused.

    It may be repeated with the same file where it ended in the middle.
    """
    copy, cells = read_copy(file, name), Cells(client, changing=True)
    if "copy" not in client.hgetall(MIGRATING_KEY):
        store_moving.prepare(client, shards)
    with alone(client) as fence:
        possible = [cell.place for platform in copy.platforms for cell in cells.possible(platform)]
        fence.close([COMMON, *copy.places, *possible])
        _begin(client, fence, copy, name)
        # What targets took comes before the changes, and these before anybody is asked: nothing is told twice, and what
        # is told of next comes behind.
        _start_new_targets(client, fence, copy)
        _fill(client, fence, cells, _only(file, name, HashLine | ScoresLine), now)
        _bring_changes(client, fence, _only(file, name, ChangeLine))
        streamers, used = _fill(client, fence, cells, _only(file, name, StreamerLine), now)
        store_moving.put_in_place(client, used, now)
        standing.refresh(client, cells, used)
        fence.change(COMMON, "migrating", "DEL")
    return streamers


def _begin(client: Any, fence: Fence, copy: Copy, name: str) -> None:
    """ServerError for a store that knows somebody already, and where another copy is half brought in."""
    if begun := client.hgetall(MIGRATING_KEY):
        if begun.get("digest") != copy.digest:
            raise half_done(begun)
    elif not fence.begin_copy(name, copy.digest):
        raise ServerError(
            "The store knows streamers already, and a copy is brought into an empty one.",
            "Name another database as `store:`, or empty that one.",
        )


def _start_new_targets(client: Any, fence: Fence, copy: Copy) -> None:
    """A target that this store knows and the copy does not is told of what comes after the copy."""
    for name in client.hkeys(TARGETS_KEY):
        if name.strip() and name not in copy.targets and copy.last_change:
            fence.close([target_place(name)])
            fence.change(target_place(name), "state", "HSET", "cursor", copy.last_change)


def _only(file: IO[bytes], name: str, kinds: Any) -> Iterator[Any]:
    """The lines of these kinds."""
    return (line for line in _parse(file, name) if isinstance(line, kinds))


def _bring_changes(client: Any, fence: Fence, changes: Iterator[ChangeLine]) -> None:
    last = _last_change(client)
    left = (change for change in changes if _parts(change.number) > last)
    while piece := list(islice(left, PIECE)):
        fence.run(
            [
                fence.call(COMMON, "outbox", "XADD", each.number, "change", each.change, "page", each.page)
                for each in piece
            ]
        )
        replicas.confirm(client, [COMMON])
        fence.keep_on()


def _fill(
    client: Any, fence: Fence, cells: Cells, lines: Iterator[StreamerLine | HashLine | ScoresLine], now: float
) -> tuple[int, list[Cell]]:
    """Returns how many streamers there are, and in which cells."""
    used, count = dict[Cell, None](), 0
    while piece := list(islice(lines, PIECE)):
        streamers = [line for line in piece if isinstance(line, StreamerLine)]
        new = dict.fromkeys(cells.find(line.platform, line.id) for line in streamers)
        if new.keys() - used.keys():
            used |= new
            lua_script(client, "use")(COMMON, *_words((cell.platform, str(cell.shard)) for cell in new))
        calls = [*_streamer_calls(fence, cells, streamers, now)]
        for line in piece:
            if not isinstance(line, StreamerLine):
                calls += _calls(fence, cells, line)
        fence.run(calls)
        replicas.confirm(client, {call.place for call in calls})
        fence.keep_on()
        count += len(streamers)
    return count, list(used)


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


def _parse(file: IO[bytes], name: str, digest: Any = None) -> Iterator[Line]:
    """The lines after the first. Whoever wants a digest of them reads them for the first time: each is looked at."""
    file.seek(0)
    decoder, is_whole, number = msgspec.json.Decoder(Line | EndLine), False, 1
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
            if is_whole:
                raise ValueError("it stands behind the end")
            if digest is not None:
                digest.update(text)
                _look_at(line, number)
        except (msgspec.MsgspecError, ValueError) as error:
            raise _mistake(name, number, f"not a line of a copy: {error}", EXPORT_AGAIN) from None
        if isinstance(line, EndLine):
            is_whole = True
        else:
            yield line
    if not is_whole:
        raise _mistake(name, number, "the copy is cut off behind this line", EXPORT_AGAIN)


def _look_at(line: Line | EndLine, number: int) -> None:
    """ValueError for what the store could not read again, and for an end that misses lines before it."""
    if isinstance(line, EndLine):
        if line.lines != number - 2:
            raise ValueError(f"{line.lines} lines should be before it")
    elif isinstance(line, StreamerLine):
        if not line.platform or not line.id or "/" in line.platform or ":" in line.platform:
            raise ValueError("it names no streamer")
        store_records.decode_record(line.platform, (line.id, line.follows, line.now or "{}", line.page or "{}"))
        store_sessions.decode_sessions(line.log, line.recent, line.now, line.page)
    elif isinstance(line, HashLine | ScoresLine):
        key = old_keys.name_of_now(line.key)
        if key not in ALLOWED_NAMES and not key.startswith(ALLOWED_KEYS):
            raise ValueError(f"{line.key[:NAMED_LETTERS]} is not in a copy")
    else:
        _parts(line.number)
        store_records.decode_change(line.number, line.change, line.page)


def _streamer_calls(fence: Fence, cells: Cells, lines: Sequence[StreamerLine], now: float) -> Iterator[ScriptCall]:
    """Writes what is known of these, cell by cell and kind by kind."""
    split: dict[Cell, list[StreamerLine]] = defaultdict(list)
    for line in lines:
        split[cells.find(line.platform, line.id)].append(line)
    for cell, some in split.items():
        followed = [line.id for line in some if line.follows]
        if followed:
            yield fence.call(cell.place, "due", "ZADD", *_words((now, each) for each in followed))
            yield fence.call(cell.place, "unlearned", "SADD", *followed)
        for kind in KINDS:
            texts = [(line.id, text) for line in some if (text := getattr(line, kind))]
            if texts:
                yield fence.call(cell.place, kind, "HSET", *_words(texts))


def _calls(fence: Fence, cells: Cells, line: HashLine | ScoresLine) -> Iterator[ScriptCall]:
    """Writes any other line."""
    if isinstance(line, ScoresLine):
        place, kind = _place_and_kind(line.key)
        yield fence.call(place, kind, "ZADD", *_words((score, name) for name, score in line.scores.items()))
    elif line.key.startswith(ALIAS_PREFIX):
        for cell, names in cells.split(line.key.removeprefix(ALIAS_PREFIX), line.fields).items():
            yield fence.call(cell.place, "alias", "HSET", *_words((name, line.fields[name]) for name in names))
    else:
        place, kind = _place_and_kind(line.key)
        yield fence.call(place, kind, "HSET", *_words(line.fields.items()))


def _words(pairs: Iterable[tuple[str | float, str]]) -> Iterator[str | float]:
    return chain.from_iterable(pairs)


def _place_and_kind(key: str) -> tuple[str, str]:
    """Where a key of a copy lies by now, and its name there."""
    place, brace, kind = old_keys.name_of_now(key).rpartition("}:")
    return place + brace, kind


def _encode(line: Any) -> str:
    return msgspec.json.encode(line).decode()


def _mistake(name: str, line: int, problem: str, hint: str) -> FileError:
    return FileError([Mistake(name, line, 1, problem, hint)])
