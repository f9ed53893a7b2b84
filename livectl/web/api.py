"""The JSON twins of the pages: the field names are those of the commands. docs/api.md describes them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import msgspec

from livectl.model import State
from livectl.web.wording import iso

if TYPE_CHECKING:
    from collections.abc import Sequence

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
    """A streamer as `livectl live --json` has it."""
    return {
        "platform": one.platform,
        "id": one.id,
        "state": str(one.state or State.UNKNOWN),
        "name": one.name or None,
        "title": one.title or None,
        "category": one.category or None,
        "viewers": one.viewers,
        "started_at": iso(one.started_at),
        "ended_at": iso(one.ended_at),
        "url": one.url or None,
        "cover": one.cover or None,
        "session": one.session or None,
        "checked_at": iso(one.seen),
        "trouble": str(one.trouble) if one.trouble else None,
        "troubled_since": iso(one.troubled_since) if one.trouble else None,
        "problem": one.problem or None,
        "tags": one.streamer.tags if one.streamer else (),
    }


def streamer(one: Known, past: Sequence[Session], heat: Heat) -> bytes:
    """Sessions, the newest first; hours as shares of the weeks looked at, from Monday 0:00 on."""
    return _written(
        {
            "version": VERSION,
            "streamer": row(one),
            "followed": one.streamer is not None,
            "sessions": [_session(each) for each in reversed(past)],
            "hours": heat,
        }
    )


def jobs(found: Jobs) -> bytes:
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
            "unknown": {name: part.why for name, part in parts.items() if part.why},
        }
    )


def schedule(found: Timetable) -> bytes:
    return _written(
        {
            "version": VERSION,
            "beats": found.beats,
            "looked_in": iso(found.looked_in),
            "schedules": found.rows,
        }
    )


def error(found: LivectlError) -> bytes:
    return _written({"error": {"code": found.code, "message": found.message, "hint": found.hint}})


def _session(one: Session) -> dict[str, Any]:
    return {
        "session": one.session or None,
        "started_at": iso(one.started_at),
        "ended_at": iso(one.ended_at),
        "title": one.title or None,
        "category": one.category or None,
    }


def _written(data: Any) -> bytes:
    return msgspec.json.encode(data, enc_hook=str) + b"\n"
