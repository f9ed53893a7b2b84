"""Shows a streamer's sessions, and a heat map of the hours of the week in which the streamer was live."""

from __future__ import annotations

from datetime import datetime
from typing import TYPE_CHECKING, Any
from zoneinfo import ZoneInfo

import msgspec

from livectl.live import views
from livectl.render import Column, Stack, View, table
from livectl.units import format_count, format_duration, format_local_time, utc_datetime

if TYPE_CHECKING:
    from collections.abc import Sequence

    from livectl.live.store_reader import StreamerHistory
    from livectl.models import Session
    from livectl.render import Renderable


MAX_SESSIONS_SHOWN = 20  # in a terminal; JSON has them all

HOUR_SECONDS = 3_600.0
WEEK_SECONDS = 7 * 86_400.0
DAYS_PER_WEEK, HOURS_PER_DAY = 7, 24
MAX_WEEKS = 12  # looked back: habits change with the seasons
STEP_SECONDS = 900.0  # the offset of every zone from UTC is a multiple of it
MAX_USUAL_HOURS = 3

SHADES = " ░▒▓█"
DAY_NAMES = ("Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun")
LABEL_EVERY_HOURS = 3
SESSION_COLUMNS = (
    Column("began", "whole"),
    Column("length", "number", rank=1),
    Column("title"),
    Column("category", rank=2),
)


class HeatMap(msgspec.Struct, frozen=True, kw_only=True):
    """In which share of the last weeks a streamer was live, from 0 to 1: a row a weekday from Monday on, a column an
    hour of the day, in this zone."""

    timezone: str
    weeks: float
    shares: tuple[tuple[float, ...], ...]

    @property
    def usual_hours(self) -> list[tuple[int, int]]:
        """The hours in which the streamer was live most often, as weekday and hour; at most one a day."""
        best = [(max(row), day, row.index(max(row))) for day, row in enumerate(self.shares)]
        return [(day, hour) for share, day, hour in sorted(best, key=lambda item: -item[0])[:MAX_USUAL_HOURS] if share]


def history_view(streamer_history: StreamerHistory, zone: str, now: float) -> View:
    record, sessions = streamer_history
    heat_map = compute_heat_map(sessions, record.first, now, zone)
    data = history_json(streamer_history, heat_map)
    return View(data, lambda: _render_history(streamer_history, heat_map, now))


def history_json(streamer_history: StreamerHistory, heat_map: HeatMap) -> dict[str, Any]:
    """A streamer's history as `livectl history --json` has it."""
    record, sessions = streamer_history
    streamer = views.from_record(record)
    return {
        "platform": streamer.platform,
        "id": streamer.id,
        "name": streamer.name,
        "state": streamer.state,
        "timezone": heat_map.timezone,
        "sessions": [_session_json(session) for session in sessions],
        "hours": heat_map.shares,
    }


def compute_heat_map(sessions: Sequence[Session], first_asked: float | None, now: float, zone: str) -> HeatMap:
    """Counts the weeks since the streamer was first asked about, or since the first session if that is longer ago."""
    since = min([first_asked or now, *(session.started_at for session in sessions)])
    weeks = max(1.0, min((now - since) / WEEK_SECONDS, MAX_WEEKS))
    shares = tuple(map(tuple, hourly_shares(sessions, since, now, zone)))
    return HeatMap(timezone=zone, weeks=round(weeks, 1), shares=shares)


def hourly_shares(sessions: Sequence[Session], since: float, now: float, zone: str) -> list[list[float]]:
    """The share of each hour of the week, in this zone, that was live: a row a day, from Monday on."""
    begin = max(since, now - MAX_WEEKS * WEEK_SECONDS)
    weeks = max(1.0, (now - begin) / WEEK_SECONDS)
    totals = [[0.0] * HOURS_PER_DAY for _ in range(DAYS_PER_WEEK)]
    timezone = ZoneInfo(zone)
    for session in sessions:
        at, end = max(session.started_at, begin), min(session.ended_at or now, now)
        while at < end:
            until = min(end, (at // STEP_SECONDS + 1) * STEP_SECONDS)
            local = datetime.fromtimestamp(at, timezone)
            totals[local.weekday()][local.hour] += (until - at) / HOUR_SECONDS / weeks
            at = until
    return [[round(min(1.0, hour), 3) for hour in day] for day in totals]


def describe_usual_hours(streamer_history: StreamerHistory, now: float, zone: str) -> str:
    """`Mon 20:00, Wed 21:00`: the hours of the week in which they are live most often; empty where none is known."""
    record, sessions = streamer_history
    usual_hours = compute_heat_map(sessions, record.first, now, zone).usual_hours
    return ", ".join(f"{DAY_NAMES[day]} {hour:02}:00" for day, hour in sorted(usual_hours))


def render_hours(shares: Sequence[Sequence[float]]) -> str:
    """The heat map in text: a line a day, two characters an hour, darker for a higher share."""
    heading = "".join(f"{hour:<{2 * LABEL_EVERY_HOURS}}" for hour in range(0, HOURS_PER_DAY, LABEL_EVERY_HOURS))
    days = (
        f"{name}  {''.join(_shade(share) * 2 for share in day)}" for name, day in zip(DAY_NAMES, shares, strict=True)
    )
    return "\n".join([f"     {heading}".rstrip(), *(day.rstrip() for day in days)])


def _session_json(session: Session) -> dict[str, Any]:
    return {
        "session": session.session or None,
        "started_at": utc_datetime(session.started_at),
        "ended_at": utc_datetime(session.ended_at),
        "length": None if session.ended_at is None else session.ended_at - session.started_at,
        "title": session.title or None,
        "category": session.category or None,
    }


def _render_history(streamer_history: StreamerHistory, heat_map: HeatMap, now: float) -> Renderable:
    record, sessions = streamer_history
    title = f"{record.platform}/{record.id}  {record.name}".rstrip()
    if not sessions:
        return f"{title}: no sessions noted yet"
    zone = heat_map.timezone
    rows = [
        (format_local_time(session.started_at, zone), _format_length(session, now), session.title, session.category)
        for session in list(reversed(sessions))[:MAX_SESSIONS_SHOWN]
    ]
    session_table = table(SESSION_COLUMNS, rows, None, empty="").to_renderable()
    heading = f"{title}, {format_count(len(sessions), 'session')}; times in {zone}"
    parts: list[Renderable] = [heading, "", session_table]
    if len(sessions) > MAX_SESSIONS_SHOWN:
        parts.append(f"and {len(sessions) - MAX_SESSIONS_SHOWN} older ones")
    return Stack(*parts, "", render_hours(heat_map.shares))


def _format_length(session: Session, now: float) -> str:
    if session.ended_at is None:
        return f"{format_duration(now - session.started_at)}, on"
    return format_duration(session.ended_at - session.started_at)


def _shade(share: float) -> str:
    """Blank for never, then darker from now and then to nearly always."""
    return SHADES[0] if not share else SHADES[min(len(SHADES) - 1, 1 + int(share * (len(SHADES) - 1)))]
