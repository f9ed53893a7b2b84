"""The follow list, shown: what people and programs see of it and of its changes."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from livectl import render
from livectl.live.follows import export as follow_export

if TYPE_CHECKING:
    from collections.abc import Sequence

    from livectl.live.follows.edit import Edit
    from livectl.model import Streamer
    from livectl.render import View

EMPTY = "Nobody is followed yet: livectl follow add ADDRESS"


def everyone(streamers: Sequence[Streamer]) -> View:
    rows = [(address(one), one.name, " ".join(one.tags), alerts(one), weight(one)) for one in streamers]
    return render.table(("streamer", "name", "tags", "alerts", "weight"), rows, data(streamers), empty=EMPTY)


def edited(edit: Edit, done: str, otherwise: str) -> View:
    """Who was added or removed, and who not; programs get those that were."""
    lines = [f"{done} {address(one)}" for one in edit.changed]
    lines += [f"{otherwise} {address(one)}" for one in edit.unchanged]
    return render.sentence("\n".join(lines), data(edit.changed))


def imported(edit: Edit, refused: int) -> View:
    """How an import went, in numbers."""
    added, known = len(edit.changed), len(edit.unchanged)
    text = f"{added} added, {known} followed already, {refused} refused"
    return render.sentence(text, {"added": data(edit.changed), "known": known, "refused": refused})


def exported(streamers: Sequence[Streamer], kind: str) -> View:
    return render.sentence(follow_export.FORMATS[kind](streamers).rstrip("\n"), data(streamers))


def data(streamers: Sequence[Streamer]) -> list[dict[str, Any]]:
    """As `follow list` gives them: alerts null where every target listens."""
    return [
        {
            "platform": one.platform,
            "id": one.id,
            "url": one.url,
            "name": one.name,
            "tags": one.tags,
            "alerts": one.alerts,
            "weight": one.weight,
        }
        for one in streamers
    ]


def address(one: Streamer) -> str:
    return f"{one.platform}/{one.id}"


def alerts(one: Streamer) -> str:
    return "all" if one.alerts is None else " ".join(one.alerts) or "none"


def weight(one: Streamer) -> str:
    return "" if one.weight == 1 else f"{one.weight:g}"
