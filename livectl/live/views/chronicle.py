"""A streamer's chronicle: their sessions and their usual hours, as `history` shows them."""

from __future__ import annotations

from datetime import datetime
from typing import TYPE_CHECKING, Any
from zoneinfo import ZoneInfo

from livectl.live.views import hours, sights, tables
from livectl.render import View, table

if TYPE_CHECKING:
    from collections.abc import Sequence

    from rich.console import RenderableType

    from livectl.live.views.glance import Past
    from livectl.model import Session

SHOWN = 20  # sessions; programs get them all


def view(past: Past, zone: str, now: float) -> View:
    known, sessions = past
    since = min([known.first or now, *(session.started_at for session in sessions)])
    found = hours.shares(sessions, since, now, zone)
    told = sights.known(known)
    data = {
        "platform": told.platform,
        "id": told.id,
        "name": told.name,
        "state": told.state,
        "timezone": zone,
        "sessions": [_row(session) for session in sessions],
        "hours": found,
    }
    return View(data, lambda: _page(told, sessions, found, zone, now))


def _row(session: Session) -> dict[str, Any]:
    return {
        "session": session.session or None,
        "started_at": sights.instant(session.started_at),
        "ended_at": sights.instant(session.ended_at),
        "length": None if session.ended_at is None else session.ended_at - session.started_at,
        "title": session.title or None,
        "category": session.category or None,
    }


def _page(
    told: sights.Sight, sessions: Sequence[Session], found: list[list[float]], zone: str, now: float
) -> RenderableType:
    from rich.console import Group

    title = f"{tables.address(told)}  {told.name or ''}".rstrip()
    if not sessions:
        return f"{title}: no sessions noted yet"
    clock = ZoneInfo(zone)
    newest = list(reversed(sessions))[:SHOWN]
    rows = [(_time(one.started_at, clock), _length(one, now), one.title, one.category) for one in newest]
    drawn = table(("began", "length", "title", "category"), rows, None, empty="").people()
    count = f"{len(sessions)} session{'s' if len(sessions) > 1 else ''}"
    parts: list[RenderableType] = [f"{title}, {count}; times in {zone}", "", drawn]
    if len(sessions) > SHOWN:
        parts.append(f"and {len(sessions) - SHOWN} older ones")
    return Group(*parts, "", hours.drawn(found))


def _time(at: float, clock: ZoneInfo) -> str:
    return f"{datetime.fromtimestamp(at, clock):%Y-%m-%d %H:%M}"


def _length(session: Session, now: float) -> str:
    if session.ended_at is None:
        return f"{tables.span(now - session.started_at)}, on"
    return tables.span(session.ended_at - session.started_at)
