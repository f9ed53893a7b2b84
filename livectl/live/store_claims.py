"""Claims who is due: a portion of each platform's budget, shared out to its cells.

Any number of sweeps may claim. A portion belongs to one of them; what is due belongs to whoever takes it from its cell
first, and what of a portion finds nobody is given back. A sweep that ends in between costs a portion of the budget,
which fills again, or what it took, which is due again when its claim lapses.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any, NamedTuple

import msgspec

from livectl.live import store_records
from livectl.live.cells import exit_of, platform_place
from livectl.live.lua_scripts import ScriptCall, run_scripts
from livectl.live.standing import Standing, look_at

if TYPE_CHECKING:
    from collections.abc import Sequence

    from livectl.live.cells import Cell, Cells
    from livectl.live.standing import CellLook
    from livectl.models import PollingLimits

EXACTLY = 1000  # streamers whose due times are compared one by one; of more, whole cells are taken


IDS = msgspec.json.Decoder(list[str])


class Share(NamedTuple):
    """What is to be taken from a cell: how many of those who are due, how many more; and of how many whom a list has
    not shown the rest is put off (None: nobody is).
    """

    due: int = 0
    more: int = 0
    kept: int | None = None


class Portion:
    """What may be claimed of a platform now: of all its cells, or of those that its exit serves."""

    def __init__(self, limits: PollingLimits, everywhere: dict[Cell, CellLook]) -> None:
        self.limits = limits
        self.everywhere = everywhere
        self.looks = {
            cell: look for cell, look in everywhere.items() if exit_of(cell.shard, limits.exits) == limits.exit_number
        }
        self.granted = self.spent = 0
        self.repace = self.totals = ""
        self.order: dict[str, tuple[float, str]] = {}  # of those whose due times are known
        self.shares: dict[Cell, Share] = {}

    @property
    def due(self) -> int:
        return sum(look.due for look in self.looks.values())

    @property
    def terms(self) -> str:
        return store_records.encode_json(self.limits)

    @property
    def needs_order(self) -> bool:
        """Whether it matters who of several cells comes first, and can be told at little cost."""
        waiting = [min(look.waiting, self.granted) for look in self.looks.values() if look.waiting]
        puts_off = self.limits.listed and self.due > self.granted
        return bool(
            self.granted and self.granted != self.due and len(waiting) > 1 and sum(waiting) <= EXACTLY and not puts_off
        )


def claim(
    client: Any, cells: Cells, limits: Sequence[PollingLimits], now: float, lease: float
) -> list[tuple[str, list[str]]]:
    """Takes the ids that are due, of each of these limits; those of one cell stand together where they are many."""
    in_use = cells.in_use()
    listed = {each.platform for each in limits if each.listed}
    looks = look_at(
        client, list({cell: None for each in limits for cell in in_use.get(each.platform, [])}), now, listed
    )
    portions = [Portion(each, {cell: looks[cell] for cell in in_use.get(each.platform, [])}) for each in limits]
    portions = [portion for portion in portions if portion.looks]
    _grant(client, portions, now)
    _share_out(client, portions, now)
    taken = _take(client, portions, now, lease)
    _give_back(client, portions, taken, now)
    return [(portion.limits.platform, ids) for portion, ids in zip(portions, taken, strict=True) if ids]


def _grant(client: Any, portions: list[Portion], now: float) -> None:
    calls = []
    for portion in portions:
        counts = {str(cell.shard): look.counts for cell, look in portion.everywhere.items()}
        sums = Standing(dict(enumerate(counts.values()))).sums
        noted = [word for shard, own in counts.items() for word in (shard, str(own))]
        args: tuple[str | float, ...] = (
            portion.terms,
            now,
            portion.due,
            sums.followed,
            sums.live,
            sums.learned,
            *noted,
        )
        calls.append(ScriptCall("grant", platform_place(portion.limits.platform), args, _account(portion.limits)))
    for portion, row in zip(portions, run_scripts(client, calls), strict=True):
        portion.granted, portion.spent, portion.repace, portion.totals = int(row[0]), int(row[1]), row[2], row[3]


def _account(limits: PollingLimits) -> dict[str, str]:
    """Which key has the budget and the circuit."""
    return {"health": limits.account}


def _share_out(client: Any, portions: list[Portion], now: float) -> None:
    asked = [
        (portion, cell)
        for portion in portions
        if portion.needs_order
        for cell, look in portion.looks.items()
        if look.waiting
    ]
    calls = [ScriptCall("head", cell.place, (now, portion.granted)) for portion, cell in asked]
    heads: dict[int, dict[Cell, list[tuple[float, str]]]] = {}
    for (portion, cell), flat in zip(asked, run_scripts(client, calls), strict=True):
        pairs = [(float(score), str(name)) for name, score in zip(flat[::2], flat[1::2], strict=True)]
        heads.setdefault(id(portion), {})[cell] = pairs
    for portion in portions:
        if portion.needs_order:
            portion.shares = _share_exactly(portion, heads[id(portion)], now)
        elif portion.granted >= portion.due:
            portion.shares = _share_all(portion)
        elif portion.limits.listed and portion.granted:
            portion.shares = _share_wanted(portion)
        else:
            portion.shares = _share_cells(portion)


def _share_exactly(portion: Portion, heads: dict[Cell, list[tuple[float, str]]], now: float) -> dict[Cell, Share]:
    """Who has been due for longest comes first; then those who are due next."""
    queue = sorted((score, name, cell) for cell, pairs in heads.items() for score, name in pairs)
    portion.order = {name: (score, name) for score, name, _ in queue}
    room, due, more = portion.granted, dict.fromkeys(portion.looks, 0), dict.fromkeys(portion.looks, 0)
    overdue = [cell for score, _, cell in queue if score <= now][:room]
    for cell in overdue:
        due[cell] += 1
    for cell in [cell for score, _, cell in queue if score > now][: room - len(overdue)]:
        more[cell] += 1
    return {cell: Share(due[cell], more[cell]) for cell in portion.looks}


def _share_all(portion: Portion) -> dict[Cell, Share]:
    """All who are due; the last request is filled up with some who are due next, of each cell alike."""
    room, shares = portion.granted - portion.due, {}
    left = sum(look.waiting - look.due for look in portion.looks.values())
    for cell, look in portion.looks.items():
        rest = look.waiting - look.due
        more = min(room, math.ceil(room * rest / left)) if left else 0
        shares[cell] = Share(look.due, more)
        room, left = room - more, left - rest
    return shares


def _share_cells(portion: Portion) -> dict[Cell, Share]:
    """More are due than may be asked: whole cells, first the one where somebody has been due for longest."""
    room, shares = portion.granted, {}
    for cell, look in sorted(portion.looks.items(), key=lambda pair: (pair[1].due_since is None, pair[1].due_since)):
        shares[cell] = Share(min(room, look.due))
        room -= shares[cell].due
    return shares


def _share_wanted(portion: Portion) -> dict[Cell, Share]:
    """A list stands in for asking: first whom it has shown and who is live, then some of the others."""
    room, wanted = portion.granted, {}
    for cell, look in portion.looks.items():
        wanted[cell] = min(room, look.wanted)
        room -= wanted[cell]
    shares = {}
    for cell, look in portion.looks.items():
        kept = min(room, max(0, look.due - look.wanted))
        shares[cell] = Share(wanted[cell] + kept, 0, kept)
        room -= kept
    return shares


def _take(client: Any, portions: list[Portion], now: float, lease: float) -> list[list[str]]:
    calls, asked = [], []
    for portion in portions:
        known = Standing({cell.shard: look.counts for cell, look in portion.everywhere.items()}, portion.totals)
        for cell, share in portion.shares.items():
            puts_off = share.kept is not None and portion.looks[cell].due
            if not (share.due + share.more or portion.repace or portion.looks[cell].left or puts_off):
                continue
            kept: str | float = share.kept if puts_off and share.kept is not None else ""
            terms = (portion.terms, known.others(cell), known.totals) if puts_off else ("", "", "")
            args: tuple[str | float, ...] = (now, lease, share.due, share.more, portion.repace, *terms, kept)
            calls.append(ScriptCall("claim", cell.place, args))
            asked.append(portion)
    taken: dict[int, list[str]] = {id(portion): [] for portion in portions}
    for portion, (is_paced, ids) in zip(asked, run_scripts(client, calls), strict=True):
        taken[id(portion)] += IDS.decode(ids)
        if not int(is_paced):
            portion.repace = ""  # it goes on with the next claim
    for portion in portions:
        if portion.order:
            taken[id(portion)].sort(key=lambda each, order=portion.order: order.get(each, (now, each)))  # type: ignore[misc]
    return [taken[id(portion)] for portion in portions]


def _give_back(client: Any, portions: list[Portion], taken: list[list[str]], now: float) -> None:
    """Gives back what was granted and not used, and says that a change of due times is done with."""
    calls = []
    for portion, ids in zip(portions, taken, strict=True):
        unused = portion.spent - math.ceil(len(ids) / portion.limits.batch)
        if unused > 0 or portion.repace:
            args: list[str | float] = [portion.terms, -max(0, unused), now]
            if portion.repace:
                args.append(portion.repace)
            calls.append(ScriptCall("spend", platform_place(portion.limits.platform), args, _account(portion.limits)))
    run_scripts(client, calls)
