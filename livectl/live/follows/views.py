"""Shows the follow list and changes to it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from livectl import render
from livectl.live.follows import formats

if TYPE_CHECKING:
    from collections.abc import Sequence

    from livectl.live.follows.edit import FollowEdit
    from livectl.models import Streamer
    from livectl.render import View


NOBODY_FOLLOWED = "Nobody is followed yet: livectl follow add ADDRESS"


def list_view(streamers: Sequence[Streamer]) -> View:
    rows = [
        (address_text(streamer), streamer.name, " ".join(streamer.tags), alerts_text(streamer), weight_text(streamer))
        for streamer in streamers
    ]
    return render.table(
        ("streamer", "name", "tags", "alerts", "weight"), rows, streamers_json(streamers), empty=NOBODY_FOLLOWED
    )


def edit_view(edit: FollowEdit, done: str, otherwise: str) -> View:
    """The streamers that were added or removed, and those that were not; JSON has the former."""
    lines = [f"{done} {address_text(streamer)}" for streamer in edit.changed]
    lines += [f"{otherwise} {address_text(streamer)}" for streamer in edit.unchanged]
    return render.sentence("\n".join(lines), streamers_json(edit.changed))


def import_view(edit: FollowEdit, refused: int) -> View:
    """How many streamers an import added."""
    added, known = len(edit.changed), len(edit.unchanged)
    text = f"{added} added, {known} followed already, {refused} refused"
    return render.sentence(text, {"added": streamers_json(edit.changed), "known": known, "refused": refused})


def export_view(streamers: Sequence[Streamer], kind: str) -> View:
    return render.sentence(formats.EXPORT_FORMATS[kind](streamers).rstrip("\n"), streamers_json(streamers))


def streamers_json(streamers: Sequence[Streamer]) -> list[dict[str, Any]]:
    """The streamers as `follow list --json` has them; alerts is null where every target listens."""
    return [
        {
            "platform": streamer.platform,
            "id": streamer.id,
            "url": streamer.url,
            "name": streamer.name,
            "tags": streamer.tags,
            "alerts": streamer.alerts,
            "weight": streamer.weight,
        }
        for streamer in streamers
    ]


def address_text(streamer: Streamer) -> str:
    return f"{streamer.platform}/{streamer.id}"


def alerts_text(streamer: Streamer) -> str:
    return "all" if streamer.alerts is None else " ".join(streamer.alerts) or "none"


def weight_text(streamer: Streamer) -> str:
    return "" if streamer.weight == 1 else f"{streamer.weight:g}"
