"""Knows how the cells of a platform stand: each counts its own, and what all of them add up to lies with the platform.

Due times depend on how many are followed and live on the whole platform, and a call reaches but one cell: it is told of
the others. Whoever changes a count notes it, and each claim notes all of them anew.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

import msgspec

from livectl.live.cells import Cell, platform_place
from livectl.live.lua_scripts import ScriptCall, run_scripts

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Mapping, Sequence

    from livectl.live.cells import Cells

TOTALS = "totals"  # beside the cells: the sums of all pulls
TOTAL_DIGITS = 9


class CellCounts(NamedTuple):
    """Of a cell: how many are followed, live, live and seen gone once, and have learned poll weights."""

    followed: int = 0
    live: int = 0
    ending: int = 0
    learned: int = 0

    def __str__(self) -> str:
        return " ".join(map(str, self))


class CellLook(NamedTuple):
    """A look at a cell: look.lua says what."""

    counts: CellCounts
    waiting: int
    due: int
    due_since: float | None
    claimed: int
    left: int
    wanted: int


class Standing:
    """The counts of all cells of a platform, as they were last noted."""

    def __init__(self, counts: Mapping[int, CellCounts], totals: str = "") -> None:
        self.counts = counts
        self.totals = totals
        self.sums = CellCounts(*map(sum, zip(*counts.values(), strict=True))) if counts else CellCounts()

    @classmethod
    def parse(cls, fields: Mapping[str, str]) -> Standing:
        counts = {int(shard): CellCounts(*map(int, text.split())) for shard, text in fields.items() if shard != TOTALS}
        return cls(counts, fields.get(TOTALS, ""))

    def others(self, cell: Cell, live_read: float = 0.0) -> str:
        """What the scripts of this cell are told of the others."""
        own = self.counts.get(cell.shard, CellCounts())
        rest = [total - mine for total, mine in zip(self.sums, own, strict=True)]
        return msgspec.json.encode([*rest, live_read]).decode()


def look_at(
    client: Any, cells: Sequence[Cell], now: float, listed: Collection[str] = frozenset()
) -> dict[Cell, CellLook]:
    """Looks at these cells, in one round trip."""
    calls = [ScriptCall("look", cell.place, (now, int(cell.platform in listed))) for cell in cells]
    return {cell: _parse_look(row) for cell, row in zip(cells, run_scripts(client, calls), strict=True)}


def _parse_look(row: Sequence[Any]) -> CellLook:
    *counts, waiting, due, due_since, claimed, left, wanted = row
    since = float(due_since) if due_since != "" else None
    return CellLook(CellCounts(*map(int, counts)), int(waiting), int(due), since, int(claimed), int(left), int(wanted))


def read_standing(client: Any, platform: str) -> Standing:
    return Standing.parse(client.hgetall(platform_place(platform) + "standing"))


def refresh(client: Any, cells: Cells, changed: Iterable[Cell]) -> None:
    """Notes the counts of these cells, and the sums of all pulls of their platforms."""
    looks = look_at(client, list(changed), 0.0)
    names = sorted({cell.platform for cell in looks})
    if not names:
        return
    in_use = cells.in_use()
    pipe = client.pipeline(transaction=False)
    some = [cell for name in names for cell in in_use.get(name, [])]
    for cell in some:
        pipe.get(cell.place + "pulls")
    pulls = {
        cell: msgspec.json.decode(text or "[]", type=list[float])
        for cell, text in zip(some, pipe.execute(), strict=True)
    }
    pipe = client.pipeline(transaction=False)
    for name in names:
        fields = {str(cell.shard): str(look.counts) for cell, look in looks.items() if cell.platform == name}
        of_cells = [known for cell, known in pulls.items() if known and cell.platform == name]
        sums = [sum(hour) for hour in zip(*of_cells, strict=True)]
        fields[TOTALS] = f"[{','.join(f'{each:.{TOTAL_DIGITS}g}' for each in sums)}]" if sums else ""
        pipe.hset(platform_place(name) + "standing", mapping=fields)
    pipe.execute()
