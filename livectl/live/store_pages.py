"""Reads streamers out of their cells: some of them, everybody in pages, or the first of all.

No call reads more than a thousand, and no round trip much more: a pipeline keeps others waiting as one call does.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from livectl.live import store_records
from livectl.live.lua_scripts import ScriptCall, run_scripts
from livectl.live.store_follows import UNRESOLVED_KEY, scan_hash
from livectl.live.store_records import NewestOfAll

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from typing import Literal

    from livectl.live.cells import Cell, Cells
    from livectl.models import StreamerRecord

PAGE_SIZE = 1000  # streamers that are read in one round trip
FEW = 50  # whose lines are looked for at once; before that of many it is asked whether there are any


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


def read_pages(client: Any, cells: Sequence[Cell], kind: Literal["follows", "live"]) -> Iterator[list[StreamerRecord]]:
    """All who are followed, or live, in these cells. One may come twice while others change there."""
    pipe = client.pipeline(transaction=False)
    for cell in cells:
        if kind == "live":
            pipe.zcard(cell.place + kind)
        else:
            pipe.hlen(cell.place + kind)
    for group in _groups(dict(zip(cells, map(int, pipe.execute() if cells else []), strict=True))):
        cursors = dict.fromkeys(group, "0")
        while cursors:
            calls = [ScriptCall("read", cell.place, ("page", kind, at, PAGE_SIZE)) for cell, at in cursors.items()]
            answers = run_scripts(client, calls)
            rows = [(cell.platform, row) for cell, (_, some) in zip(cursors, answers, strict=True) for row in some]
            yield _records(client, rows)
            cursors = {cell: at for cell, (at, _) in zip(cursors, answers, strict=True) if int(at)}


def _groups(sizes: dict[Cell, int]) -> Iterator[list[Cell]]:
    """Cells that are read together; one with many alone."""
    group: list[Cell] = []
    count = 0
    for cell, size in sizes.items():
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
    for lines in scan_hash(client, UNRESOLVED_KEY):
        keys = [(platform, written) for platform, _, written in (name.partition("/") for name in lines)]
        yield [record for record in read_some(client, cells, keys) if record.unresolved]


def read_newest(client: Any, cells: Cells, limit: int) -> NewestOfAll:
    """The first of all, in the order of `live --all`."""
    some = [cell for used in cells.in_use().values() for cell in used]
    answers = run_scripts(client, [ScriptCall("newest", cell.place, (limit,)) for cell in some])
    followed, live, others = (sum(int(answer[at]) for answer in answers) for at in range(3))
    first = _first_of(some, [answer[3] for answer in answers], -1, limit)
    if len(first) < limit:
        first += _first_of(some, [answer[4] for answer in answers], 1, limit - len(first))
    streamers = read_some(client, cells, list(dict.fromkeys(first)))
    dues = [
        (float(answer[5][1]), cell.platform, answer[5][0])
        for cell, answer in zip(some, answers, strict=True)
        if answer[5]
    ]
    return NewestOfAll(followed, live, live + others == followed, streamers, min(dues, default=None))


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
