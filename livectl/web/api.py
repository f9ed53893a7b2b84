"""The JSON twins of the pages: the field names are those of the commands. docs/api.md describes them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import msgspec

from livectl.live.views import chronicle, sights
from livectl.live.views.glance import Past
from livectl.model import State

if TYPE_CHECKING:
    from livectl.errors import LivectlError
    from livectl.model import Known, Session
    from livectl.web.heat import Heat
    from livectl.web.jobs import Jobs, Part, Timetable
    from livectl.web.wall import Wall

VERSION = 1  # of these shapes: fields may join, none changes its name or meaning


def live(wall: Wall, *, everybody: bool) -> bytes:
    shown = [*wall.live, *(wall.others if everybody else ())]
    return _written({"version": VERSION, "live": [row(one) for one in shown]})


def row(one: Known) -> dict[str, Any]:
    """A streamer as `livectl live --json` has it, and what only the page tells."""
    return {
        **msgspec.structs.asdict(sights.known(one)),
        "ended_at": sights.instant(one.ended_at) if one.state is not State.LIVE else None,
        "trouble": one.trouble,
        "troubled_since": sights.instant(one.troubled_since) if one.trouble else None,
        "tags": one.streamer.tags if one.streamer else (),
    }


def streamer(one: Known, past: list[Session], heat: Heat, now: float) -> bytes:
    """As `livectl history --json` has it."""
    told = chronicle.view(Past(one, past), heat.timezone, now).data
    return _written({"version": VERSION, **told, **row(one), "followed": one.streamer is not None})


def jobs(found: Jobs, alerts: list[dict[str, Any]] | None) -> bytes:
    crew, depths = found.workers.found, found.queues.found
    parts: dict[str, Part[Any]] = {
        "workers": found.workers,
        "queues": found.queues,
        "jobs": found.recent,
        "dead": found.dead,
    }
    return _written(
        {
            "version": VERSION,
            "workers": crew.found if crew else None,
            "silent": crew.silent if crew else None,
            "queues": depths.queues if depths else None,
            "jobs": found.recent.found,
            "dead": found.dead.found,
            "alerts": alerts,
            "unknown": {name: part.why for name, part in parts.items() if part.why},
        }
    )


def schedule(found: Timetable) -> bytes:
    return _written(
        {
            "version": VERSION,
            "beats": found.beats,
            "looked_in": sights.instant(found.looked_in),
            "schedules": found.rows,
        }
    )


def error(found: LivectlError) -> bytes:
    return _written({"error": {"code": found.code, "message": found.message, "hint": found.hint}})


def _written(data: Any) -> bytes:
    return msgspec.json.encode(data, enc_hook=str) + b"\n"
