"""The digest: who streamed since the last one, for how long, and who could not be asked, in one message."""

from __future__ import annotations

from collections import Counter
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, NamedTuple
from zoneinfo import ZoneInfo

from livectl.live.alerts import listening, wording
from livectl.live.alerts.alert import Alert

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from livectl.config import Target
    from livectl.live.store import Store
    from livectl.model import StreamerRecord
    from livectl.quantity import TimeOfDay

MINUTES_PER_HOUR = 60  # minutes
MAX_STREAMERS_LISTED = 5  # sessions that are told one by one


class StreamerActivity(NamedTuple):
    """What one streamer did in the time of a digest."""

    name: str
    seconds: float
    title: str
    is_live: bool


def last_due_time(at: TimeOfDay, now: float, zone: str) -> float:
    """The latest of these times of day that has come."""
    local = datetime.fromtimestamp(now, ZoneInfo(zone))
    due = local.replace(hour=at // MINUTES_PER_HOUR, minute=at % MINUTES_PER_HOUR, second=0, microsecond=0, fold=0)
    if due > local:
        due = (due - timedelta(days=1)).replace(fold=0)
    return due.timestamp()


def build_digest(name: str, target: Target, store: Store, since: float, due: float, zone: str) -> Alert | None:
    """None when there is nothing to tell."""
    records = [
        one for one in store.all_streamers() if one.streamer and listening.accepts_streamer(name, target, one.streamer)
    ]
    activities = sorted(_find_activities(store, records, since, due), key=lambda one: one.seconds, reverse=True)
    unasked_lines = _unasked_lines(records)
    if not activities and not unasked_lines:
        return None
    headline = f"{len(activities) or 'nobody'} streamed since {wording.format_local_time(since, zone)}"
    title = f"{headline}, {live_count} live now" if (live_count := sum(one.is_live for one in activities)) else headline
    lines = [_activity_line(one) for one in activities[:MAX_STREAMERS_LISTED]]
    if others := activities[MAX_STREAMERS_LISTED:]:
        lines.append(f"Also {wording.join_names([one.name for one in others])}.")
    lines += unasked_lines
    number = f"{int(due * 1000)}-0"
    return Alert(target=name, kind="digest", title=title, body="\n".join(lines), first=number, last=number)


def _find_activities(
    store: Store, records: Sequence[StreamerRecord], since: float, due: float
) -> Iterable[StreamerActivity]:
    for platform in {record.platform for record in records}:
        platform_records = [record for record in records if record.platform == platform]
        sessions = store.sessions(platform, [record.id for record in platform_records])
        for record in platform_records:
            overlapping = [
                session
                for session in sessions[record.id]
                if session.started_at < due and (session.ended_at or due) > since
            ]
            if overlapping:
                seconds = sum(min(session.ended_at or due, due) - session.started_at for session in overlapping)
                is_live = overlapping[-1].ended_at is None
                yield StreamerActivity(
                    _display_name(record), seconds, record.title if is_live else overlapping[-1].title, is_live
                )


def _unasked_lines(records: Iterable[StreamerRecord]) -> list[str]:
    """How many of each platform there is no newer reading of, and why."""
    troubles = Counter((record.platform, record.trouble) for record in records if record.trouble)
    return [
        f"Could not be asked: {count} of {platform} ({trouble.replace('_', ' ')})"
        for (platform, trouble), count in sorted(troubles.items())
        if trouble
    ]


def _activity_line(activity: StreamerActivity) -> str:
    text = f"{activity.name}: {wording.format_duration(activity.seconds)}{', live now' if activity.is_live else ''}"
    return f"{text} ({activity.title})" if activity.title else text


def _display_name(record: StreamerRecord) -> str:
    return record.name or f"{record.platform}/{record.id}"
