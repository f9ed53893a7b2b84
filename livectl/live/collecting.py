"""Collects the changes of all cells into one outbox, which everybody reads who tells of changes.

Each cell keeps its changes in an outbox of its own, written in the same step as the state. From there each is taken
once, in the order of its cell, which is that of its streamers' sessions. Who records collects what they made, and
whoever delivers collects what was left: a process may end at any point. Cells keep their changes for a while after
that, so that what a failover took from the one outbox is collected again.
"""

from __future__ import annotations

from itertools import chain
from typing import TYPE_CHECKING, Any, NamedTuple

import msgspec

from livectl import redis_client, replicas
from livectl.live.cells import COMMON
from livectl.live.lua_scripts import lua_script

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

TAKEN_KEY = f"{COMMON}taken"  # place of a cell -> number of its last change that was taken
MAX_TAKEN = 500  # changes of a cell that are read at once, and changes in one call: a few milliseconds
MAX_ROUNDS = 20  # what is left then is for whoever collects next
START = "0-0"
KEPT_SECONDS = 3600.0  # that a cell keeps a change after it was taken


class CellChange(NamedTuple):
    """A change in the outbox of a cell."""

    number: str
    place: str
    change: str
    page: str


def collect(client: Any, places: Sequence[str]) -> int:
    """Takes what is new in the outboxes of these cells. Returns how many changes; it may be repeated at any time."""
    count, waiting = 0, list(places)
    for _ in range(MAX_ROUNDS):
        if not waiting:
            break
        starts = _read_taken(client, waiting)
        found = _read_changes(client, starts)
        found = _confirmed(client, starts, found)
        waiting = [place for place, some in found.items() if len(some) == MAX_TAKEN]
        changes = sorted(chain.from_iterable(found.values()), key=_order_of)
        for at in range(0, len(changes), MAX_TAKEN):
            took = _take(client, starts, changes[at : at + MAX_TAKEN])
            if took < 0:
                waiting = list(starts)
                break
            count += took
    return count


def collect_all(client: Any, places: Sequence[str]) -> None:
    """Takes all that is new in the outboxes of these cells, however much it is."""
    while collect(client, places):
        pass


def trim(client: Any, places: Sequence[str], now: float) -> None:
    """Drops what was taken long enough ago."""
    oldest = f"{int((now - KEPT_SECONDS) * 1000)}-0"
    pipe = client.pipeline(transaction=False)
    for place, number in _read_taken(client, places).items():
        pipe.xtrim(f"{place}outbox", minid=min(oldest, number, key=order), approximate=False)
    pipe.execute()


def _read_taken(client: Any, places: Sequence[str]) -> dict[str, str]:
    numbers = client.hmget(TAKEN_KEY, list(places)) if places else []
    return {place: number or START for place, number in zip(places, numbers, strict=True)}


def _read_changes(client: Any, taken: Mapping[str, str]) -> dict[str, list[CellChange]]:
    """What each cell has after these numbers, in one round trip."""
    pipe = client.pipeline(transaction=False)
    for place, number in taken.items():
        pipe.xrange(f"{place}outbox", min=f"({number}", count=MAX_TAKEN)
    return {
        place: [CellChange(number, place, fields["change"], fields["page"]) for number, fields in entries]
        for place, entries in zip(taken, pipe.execute(), strict=True)
    }


def _confirmed(
    client: Any, starts: Mapping[str, str], found: dict[str, list[CellChange]]
) -> dict[str, list[CellChange]]:
    """Those of these changes that a failover cannot take: they would be recorded once more, and be told twice. Of a
    server that has taken over meanwhile it is those that it has as well.
    """
    places = [place for place, some in found.items() if some]
    if not places or redis_client.is_one_server(client):
        return found
    replicas.confirm(client, places)
    again = _read_changes(client, {place: starts[place] for place in places})
    kept = set(chain.from_iterable(again.values()))
    return {place: [each for each in some if each in kept] for place, some in found.items()}


def _take(client: Any, starts: dict[str, str], changes: Sequence[CellChange]) -> int:
    """Returns how many of them were new; -1 where a cell has to be read from further back."""
    read_after = {change.place: starts[change.place] for change in changes}
    words = [word for each in changes for word in (each.place, each.number, each.change, each.page)]
    return int(lua_script(client, "collect")(COMMON, msgspec.json.encode(read_after).decode(), *words))


def _order_of(change: CellChange) -> tuple[tuple[int, int], str]:
    return order(change.number), change.place


def order(number: str) -> tuple[int, int]:
    """What changes are sorted by: the number of a change is a time, and a count within it."""
    time, _, count = number.partition("-")
    return int(time), int(count or 0)
