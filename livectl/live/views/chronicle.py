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

    from livectl.live.views.glance import StreamerHistory
    from livectl.model import Session

MAX_SESSIONS_SHOWN = 20  # sessions; programs get them all


def history_view(streamer_history: StreamerHistory, zone: str, now: float) -> View:
    record, sessions = streamer_history
    since = min([record.first or now, *(session.started_at for session in sessions)])
    hourly = hours.hourly_shares(sessions, since, now, zone)
    streamer = sights.from_record(record)
    data = {
        "platform": streamer.platform,
        "id": streamer.id,
        "name": streamer.name,
        "state": streamer.state,
        "timezone": zone,
        "sessions": [_session_json(session) for session in sessions],
        "hours": hourly,
    }
    return View(data, lambda: _render_page(streamer, sessions, hourly, zone, now))


def _session_json(session: Session) -> dict[str, Any]:
    return {
        "session": session.session or None,
        "started_at": sights.format_utc(session.started_at),
        "ended_at": sights.format_utc(session.ended_at),
        "length": None if session.ended_at is None else session.ended_at - session.started_at,
        "title": session.title or None,
        "category": session.category or None,
    }


def _render_page(
    streamer: sights.StreamerView, sessions: Sequence[Session], hourly: list[list[float]], zone: str, now: float
) -> RenderableType:
    from rich.console import Group

    title = f"{tables.address_text(streamer)}  {streamer.name or ''}".rstrip()
    if not sessions:
        return f"{title}: no sessions noted yet"
    timezone = ZoneInfo(zone)
    newest = list(reversed(sessions))[:MAX_SESSIONS_SHOWN]
    rows = [
        (_format_time(session.started_at, timezone), _format_length(session, now), session.title, session.category)
        for session in newest
    ]
    session_table = table(("began", "length", "title", "category"), rows, None, empty="").to_renderable()
    count = f"{len(sessions)} session{'s' if len(sessions) > 1 else ''}"
    parts: list[RenderableType] = [f"{title}, {count}; times in {zone}", "", session_table]
    if len(sessions) > MAX_SESSIONS_SHOWN:
        parts.append(f"and {len(sessions) - MAX_SESSIONS_SHOWN} older ones")
    return Group(*parts, "", hours.render_hours(hourly))


def _format_time(at: float, timezone: ZoneInfo) -> str:
    return f"{datetime.fromtimestamp(at, timezone):%Y-%m-%d %H:%M}"


def _format_length(session: Session, now: float) -> str:
    if session.ended_at is None:
        return f"{tables.format_duration(now - session.started_at)}, on"
    return tables.format_duration(session.ended_at - session.started_at)
