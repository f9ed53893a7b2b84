"""Reads everybody in the order that the store keeps, a page at a time: who is live, the latest start first; the others,
the latest end first; and then the lines that lead to nobody.

A page says at which place it ended, and anybody may go on from there at any time: nothing is kept for a reader. Who
goes live or ends between two pages changes places, and may come twice or not at all.
"""

from __future__ import annotations

import math
import re
from base64 import urlsafe_b64decode, urlsafe_b64encode
from itertools import chain
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

import msgspec

from livectl.errors import UsageError
from livectl.live.lua_scripts import ScriptCall, run_scripts
from livectl.live.store_follows import UNRESOLVED_KEY
from livectl.live.store_pages import read_some

if TYPE_CHECKING:
    from collections.abc import Sequence

    from livectl.live.cells import Cell, Cells
    from livectl.models import StreamerRecord

SCANNED = re.compile(r"[0-9]{0,20}")
LEAST_ASKED = 16  # of a cell, at once


class OrderPlace(NamedTuple):
    """Where a page ended: in which order, and behind whom there; without a score it begins."""

    order: Literal["live", "others", "lines"] = "live"
    score: str = ""  # as the server writes it; of lines, where its scan goes on
    platform: str = ""
    id: str = ""

    def __str__(self) -> str:
        return urlsafe_b64encode(msgspec.json.encode(self)).decode().rstrip("=")

    @classmethod
    def parse(cls, text: str) -> OrderPlace:
        """Without a text, the beginning. UsageError for what no page named."""
        if not text:
            return cls()
        try:
            place = msgspec.json.decode(urlsafe_b64decode(text + "=" * (-len(text) % 4)), type=OrderPlace)
            is_one = (
                SCANNED.fullmatch(place.score) if place.order == "lines" else math.isfinite(float(place.score or 0))
            )
        except ValueError:
            is_one = False
        if not is_one:
            raise UsageError("no page ended there", "Give what a page named, or begin without it.")
        return place


class OrderedPage(NamedTuple):
    """Some in their order, and where to go on; None at the end."""

    streamers: list[StreamerRecord]
    next: OrderPlace | None


class _Scored(NamedTuple):
    """Somebody in an order; of the same score the platforms follow each other, and in each the ids."""

    score: float
    platform: str
    id: str
    written: str = ""

    @property
    def place(self) -> tuple[float, str, str]:
        return self[:3]


def read_page(
    client: Any, cells: Cells, after: OrderPlace, size: int, platform: str = "", *, live_only: bool = False
) -> OrderedPage:
    """So many after this place, or fewer at the end of an order; of one platform, where one is named."""
    some = [cell for name, used in cells.in_use().items() for cell in used if platform in {"", name}]
    if after.order == "lines":
        return _read_lines(client, cells, after, platform, size)
    rows = _read_keys(client, some, after, size + 1)
    if len(rows) > size:
        last = rows[size - 1]
        following: OrderPlace | None = OrderPlace(after.order, last.written, last.platform, last.id)
    elif after.order == "live":
        following = None if live_only else OrderPlace("others")
    else:
        following = OrderPlace("lines") if client.hlen(UNRESOLVED_KEY) else None
    return OrderedPage(read_some(client, cells, [(row.platform, row.id) for row in rows[:size]]), following)


def _read_keys(client: Any, cells: Sequence[Cell], after: OrderPlace, count: int) -> list[_Scored]:
    """The first of all cells behind this place. Each is asked for its share and some more; where that is not enough
    for one, it is asked again before anybody who may stand behind its last is taken.
    """
    found: list[_Scored] = []
    is_live = after.order == "live"
    while cells and len(found) < count:
        asked = max(LEAST_ASKED, 2 * (count - len(found)) // len(cells))
        calls = [ScriptCall("order", cell.place, (after.order, asked, *_behind(after, cell))) for cell in cells]
        answers = [
            [
                _Scored(float(score), cell.platform, name, score)
                for name, score in zip(flat[::2], flat[1::2], strict=True)
            ]
            for cell, flat in zip(cells, run_scripts(client, calls), strict=True)
        ]
        ends = [answer[-1].place for answer in answers if len(answer) == asked]
        end = (max(ends) if is_live else min(ends)) if ends else None
        rows = sorted(chain.from_iterable(answers), key=lambda row: row.place, reverse=is_live)
        found += [row for row in rows if end is None or (row.place >= end if is_live else row.place <= end)]
        if end is None:
            break
        after = OrderPlace(after.order, found[-1].written, found[-1].platform, found[-1].id)
    return found[:count]


def _behind(after: OrderPlace, cell: Cell) -> tuple[str, ...]:
    """Where a cell goes on, as order.lua is told: of those of the same score, behind whom."""
    if not after.score:
        return ()
    if cell.platform == after.platform:
        return ("some", after.score, after.id)
    comes_later = cell.platform < after.platform if after.order == "live" else cell.platform > after.platform
    return ("all" if comes_later else "none", after.score)


def _read_lines(client: Any, cells: Cells, after: OrderPlace, platform: str, size: int) -> OrderedPage:
    """As many as the server has at hand: it keeps no order of them."""
    reached, lines = client.hscan(UNRESOLVED_KEY, int(after.score or 0), count=size)
    keys = [(name, written) for name, _, written in (line.partition("/") for line in lines) if platform in {"", name}]
    streamers = [record for record in read_some(client, cells, keys) if record.unresolved]
    return OrderedPage(streamers, OrderPlace("lines", str(reached)) if int(reached) else None)
