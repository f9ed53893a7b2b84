"""Reads streamers out of their cells: some of them, everybody in pages, or the first of all.

No call reads more than a thousand, and no round trip much more: a pipeline keeps others waiting as one call does.
"""

from __future__ import annotations

import re
from collections import Counter
from itertools import chain
from typing import TYPE_CHECKING, Any, NamedTuple

from livectl.live import store_records
from livectl.live.lua_scripts import ScriptCall, run_scripts
from livectl.live.store_follows import UNRESOLVED_KEY, scan_hash
from livectl.live.store_records import NewestOfAll
from livectl.models import State

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from typing import Literal

    from livectl.live.cells import Cell, Cells
    from livectl.models import StreamerRecord

PAGE_SIZE = 1000  # streamers that are read in one round trip
ESCAPED = re.compile(r'[\x00-\x1f"\\/]')  # what JSON may write in another way
FEW = 50  # whose lines are looked for at once; before that of many it is asked whether there are any


class Tally(NamedTuple):
    """Of how many what was last read, None being nothing yet, and what keeps from a newer reading, by platform."""

    states: Counter[tuple[str, State | None]]
    troubles: Counter[tuple[str, State]]
    lines: int  # of the follow list that lead to nobody: they are among both


class FirstOfEach(NamedTuple):
    """How many are live, and are not; and the first of each."""

    live_count: int
    other_count: int
    live: list[StreamerRecord]
    others: list[StreamerRecord]


class _Orders(NamedTuple):
    """What the orders of cells say: platforms and ids of the first, and who is asked next."""

    followed: int
    live_count: int
    is_whole: bool  # everybody has their place
    live: list[tuple[str, str]]
    others: list[tuple[str, str]]
    first_due: tuple[float, str, str] | None


def read_some(client: Any, cells: Cells, keys: Sequence[tuple[str, str]]) -> list[StreamerRecord]:
    """These streamers, each by platform and id, in this order."""
    found: dict[tuple[str, str], StreamerRecord] = {}
    for start in range(0, len(keys), PAGE_SIZE):
        split: dict[Cell, list[str]] = {}
        for platform, each in keys[start : start + PAGE_SIZE]:
            split.setdefault(cells.find(platform, each), []).append(each)
        answers = run_scripts(client, [ScriptCall("read", cell.place, ("some", *ids)) for cell, ids in split.items()])
        rows = [(cell.platform, row) for cell, answer in zip(split, answers, strict=True) for row in answer]
        found |= {record.key: record for record in _records(client, rows)}
    return [found[key] for key in keys]


def read_pages(
    client: Any, cells: Sequence[Cell], kind: Literal["follows", "live"], containing: str = ""
) -> Iterator[list[StreamerRecord]]:
    """All who are followed, or live, in these cells.

    Of those of whom nothing that is written contains these words, whatever their case, most are left out.
    """
    words = max(ESCAPED.split(containing.casefold()), key=len)

    def call(cell: Cell, at: str) -> ScriptCall:
        return ScriptCall("read", cell.place, ("page", kind, at, PAGE_SIZE))

    for group in _groups(client, cells, kind):
        seen = set[tuple[str, str]]()
        for answers in _scan(client, group, call):
            rows = [(cell.platform, row) for cell, (_, some) in answers for row in some if _contains(row, words)]
            new = {record.key: record for record in _records(client, rows) if record.key not in seen}
            seen.update(new)
            yield list(new.values())


def _contains(row: Sequence[str], words: str) -> bool:
    streamer_id, follow, _, page = row
    return not words or words in f"{streamer_id}\n{follow}\n{page}".casefold()


def tally(client: Any, cells: Cells) -> Tally:
    """Counts all who are followed, and the lines that lead to nobody."""
    counted = Tally(Counter(), Counter(), 0)
    for cell, counts, _ in _read_tallies(client, cells):
        for words, count in counts.items():
            state, _, trouble = words.partition(" ")
            counted.states[cell.platform, State(state) if state else None] += count
            if trouble:
                counted.troubles[cell.platform, State(trouble)] += count
    lines = 0
    for page in read_lines(client, cells):
        for record in page:
            lines += 1
            counted.states[record.platform, None] += 1
            counted.troubles[record.platform, record.trouble or State.UNKNOWN] += 1
    return counted._replace(lines=lines)


def read_troubled(client: Any, cells: Cells) -> Iterator[list[StreamerRecord]]:
    """Those of whom something keeps from a newer reading; and the lines that cannot be read or lead to nobody."""
    seen = set[tuple[str, str]]()
    pages = (
        read_some(client, cells, [(cell.platform, each) for each in ids])
        for cell, _, ids in _read_tallies(client, cells)
        if ids
    )
    for page in chain(pages, _read_named(client, cells)):
        new = {record.key: record for record in page if record.trouble and record.key not in seen}
        seen.update(new)
        yield list(new.values())


def _read_tallies(client: Any, cells: Cells) -> Iterator[tuple[Cell, dict[str, int], list[str]]]:
    some = [cell for used in cells.in_use().values() for cell in used]
    for group in _groups(client, some, "follows"):
        for answers in _scan(client, group, lambda cell, at: ScriptCall("tally", cell.place, (at, PAGE_SIZE))):
            for cell, (_, flat, troubled) in answers:
                yield cell, dict(zip(flat[::2], map(int, flat[1::2]), strict=True)), troubled


def _scan(
    client: Any, cells: Sequence[Cell], call: Callable[[Cell, str], ScriptCall]
) -> Iterator[list[tuple[Cell, Any]]]:
    """The answers of these calls, which begin with the next cursor, from all of these cells."""
    cursors = dict.fromkeys(cells, "0")
    while cursors:
        answers = run_scripts(client, [call(cell, at) for cell, at in cursors.items()])
        yield list(zip(cursors, answers, strict=True))
        cursors = {cell: answer[0] for cell, answer in zip(cursors, answers, strict=True) if int(answer[0])}


def _groups(client: Any, cells: Sequence[Cell], kind: str) -> Iterator[list[Cell]]:
    """Cells that are read together; one with many alone, and none with nobody."""
    pipe = client.pipeline(transaction=False)
    for cell in cells:
        if kind == "live":
            pipe.zcard(cell.place + kind)
        else:
            pipe.hlen(cell.place + kind)
    group: list[Cell] = []
    count = 0
    for cell, size in zip(cells, map(int, pipe.execute() if cells else []), strict=True):
        if group and count + size > PAGE_SIZE:
            yield group
            group, count = [], 0
        if size:
            group.append(cell)
            count += size
    if group:
        yield group


def read_lines(client: Any, cells: Cells) -> Iterator[list[StreamerRecord]]:
    """The lines of the follow list that lead to nobody who is followed."""
    seen = set[tuple[str, str]]()
    for page in _read_named(client, cells):
        new = {record.key: record for record in page if record.unresolved and record.key not in seen}
        seen.update(new)
        yield list(new.values())


def _read_named(client: Any, cells: Cells) -> Iterator[list[StreamerRecord]]:
    """Lines that lead to nobody, or who is followed by their names."""
    for lines in scan_hash(client, UNRESOLVED_KEY):
        keys = [(platform, written) for platform, _, written in (name.partition("/") for name in lines)]
        yield read_some(client, cells, keys)


def read_newest(client: Any, cells: Cells, limit: int) -> NewestOfAll:
    """The first of all, in the order of `live --all`."""
    some = [cell for used in cells.in_use().values() for cell in used]
    orders = _read_orders(client, some, limit)
    first = orders.live
    if len(first) < limit:
        first += orders.others[: limit - len(first)]
    streamers = read_some(client, cells, list(dict.fromkeys(first)))
    return NewestOfAll(orders.followed, orders.live_count, orders.is_whole, streamers, orders.first_due)


def read_first_of_each(client: Any, cells: Cells, platform: str, limit: int) -> FirstOfEach:
    """The first of those who are live, and of the others; on one platform, or on all."""
    some = [cell for name, used in cells.in_use().items() for cell in used if platform in {"", name}]
    orders = _read_orders(client, some, limit)
    live, others = (read_some(client, cells, keys) for keys in (orders.live, orders.others))
    return FirstOfEach(orders.live_count, orders.followed - orders.live_count, live, others)


def _read_orders(client: Any, cells: Sequence[Cell], limit: int) -> _Orders:
    answers = run_scripts(client, [ScriptCall("newest", cell.place, (limit,)) for cell in cells])
    followed, live, others = (sum(int(answer[at]) for answer in answers) for at in range(3))
    dues = [
        (float(answer[5][1]), cell.platform, answer[5][0])
        for cell, answer in zip(cells, answers, strict=True)
        if answer[5]
    ]
    return _Orders(
        followed,
        live,
        live + others == followed,
        _first_of(cells, [answer[3] for answer in answers], -1, limit),
        _first_of(cells, [answer[4] for answer in answers], 1, limit),
        min(dues, default=None),
    )


def _first_of(cells: Sequence[Cell], lists: Sequence[list[Any]], sign: int, limit: int) -> list[tuple[str, str]]:
    """The first of all cells, by score, then by name."""
    scored = [
        (sign * float(score), cell.platform, name)
        for cell, flat in zip(cells, lists, strict=True)
        for name, score in zip(flat[::2], flat[1::2], strict=True)
    ]
    return [(platform, name) for _, platform, name in sorted(scored)[:limit]]


def _records(client: Any, rows: Sequence[tuple[str, Sequence[str]]]) -> list[StreamerRecord]:
    if not rows:
        return []
    lines = [None] * len(rows)
    if len(rows) <= FEW or client.hlen(UNRESOLVED_KEY):
        lines = client.hmget(UNRESOLVED_KEY, [f"{platform}/{row[0]}" for platform, row in rows])
    return [store_records.decode_record(*pair, line) for pair, line in zip(rows, lines, strict=True)]
