"""Builds the messages that sum up: the digest of a day, and what was missed in quiet hours."""

from __future__ import annotations

import heapq
from collections import Counter
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, NamedTuple
from zoneinfo import ZoneInfo

from livectl.live.alerts import rules
from livectl.live.alerts.message import MAX_NAMES, display_name, join_names, plain_alert, recording_address, single_line
from livectl.models import State
from livectl.units import format_hours_and_minutes, format_local_time

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence

    from livectl.live.alerts.message import Alert
    from livectl.live.store import Store
    from livectl.models import Change, StreamerRecord
    from livectl.settings import Target
    from livectl.units import TimeOfDay


MINUTES_PER_HOUR = 60
MAX_STREAMERS_LISTED = 5  # in a digest, a line each
MAX_NAMED = MAX_STREAMERS_LISTED + MAX_NAMES  # the others are counted
MAX_LINES = 20  # of a message about what was missed


def build_missed_alert(
    name: str, target: Target, told: Sequence[Change], all_changes: Iterable[Change], through: str, zone: str
) -> Alert:
    """One alert about what came in quiet hours, those first whose session has not ended meanwhile.

    `all_changes` are those from the first to the last that was told of, whether or not the target listens to them: they
    say when a session ended. `through` is the number of the last of them.
    """
    ended = {session_key(change): change for change in all_changes if change.kind == "ended"}
    latest = {session_key(change): change for change in told}  # of each session, in the order in which they began
    still_on = [change for key, change in latest.items() if key not in ended and change.is_of_stream]
    over = [change for key, change in latest.items() if key in ended or not change.is_of_stream]
    lines = [_missed_line(change, ended.get(session_key(change)), zone) for change in (*still_on, *over)]
    if len(lines) > MAX_LINES:
        lines = [*lines[:MAX_LINES], f"and {len(lines) - MAX_LINES} more"]
    names = join_names(list(dict.fromkeys(display_name(change) for change in (*still_on, *over))))
    return plain_alert(name, target, "missed", f"While it was quiet: {names}", lines, (told[0].number, through), told)


def session_key(change: Change) -> tuple[str, str, str]:
    return change.platform, change.id, change.session


def _missed_line(change: Change, ended: Change | None, zone: str) -> str:
    if not change.is_of_stream:
        return single_line(f"{change.title}. {change.before}")
    start = format_local_time(change.started_at or change.at, zone).partition(" ")[2]
    end = format_local_time(ended.ended_at or ended.at, zone).partition(" ")[2] if ended else ""
    times = f"{start} to {end}" if ended else f"live since {start}"
    title = f" ({change.title})" if change.title else ""
    link = (recording_address(ended) if ended else change.url) or ""
    return single_line(f"{display_name(change)}: {times}{title} {link}")


class StreamerActivity(NamedTuple):
    """What one streamer did in the time of a digest."""

    name: str
    seconds: float
    title: str
    is_live: bool


def last_due_time(at: TimeOfDay, now: float, zone: str) -> float:
    """When this time of day last came."""
    local = datetime.fromtimestamp(now, ZoneInfo(zone))
    due = local.replace(hour=at // MINUTES_PER_HOUR, minute=at % MINUTES_PER_HOUR, second=0, microsecond=0, fold=0)
    if due > local:
        due = (due - timedelta(days=1)).replace(fold=0)
    return due.timestamp()


def build_digest(name: str, target: Target, store: Store, since: float, due: float, zone: str) -> Alert | None:
    """One alert that sums up who streamed and who could not be checked; None if there is nothing to report."""
    longest: list[StreamerActivity] = []
    count = live_count = 0
    troubles: Counter[tuple[str, State]] = Counter()
    for page in store.pages():  # a thousand at a time, of however many
        records = [
            record for record in page if record.streamer and rules.accepts_streamer(name, target, record.streamer)
        ]
        activities = list(_find_activities(store, records, since, due))
        count, live_count = count + len(activities), live_count + sum(activity.is_live for activity in activities)
        longest = heapq.nlargest(MAX_NAMED, [*longest, *activities], key=lambda activity: activity.seconds)
        troubles.update((record.platform, record.trouble) for record in records if record.trouble)
    unchecked_lines = _unchecked_lines(troubles)
    if not longest and not unchecked_lines:
        return None
    title = f"{count or 'nobody'} streamed since {format_local_time(since, zone)}"
    if live_count:
        title += f", {live_count} live now"
    lines = [_activity_line(activity) for activity in longest[:MAX_STREAMERS_LISTED]]
    if others := longest[MAX_STREAMERS_LISTED:]:
        names = [activity.name for activity in others]
        lines.append(f"Also {join_names(names, count - MAX_STREAMERS_LISTED)}.")
    number = digest_number(due)
    return plain_alert(name, target, "digest", title, lines + unchecked_lines, (number, number))


def digest_number(due: float) -> str:
    """The number that a change of this time would have."""
    return f"{int(due * 1000)}-0"


def _find_activities(
    store: Store, records: Sequence[StreamerRecord], since: float, due: float
) -> Iterator[StreamerActivity]:
    """What those did who were live since: the end of the last session says who was not."""
    recent = [record for record in records if record.state is State.LIVE or (record.ended_at or 0.0) > since]
    for platform in dict.fromkeys(record.platform for record in recent):
        platform_records = [record for record in recent if record.platform == platform]
        sessions_by_id = store.sessions(platform, [record.id for record in platform_records], since)
        for record in platform_records:
            sessions = [session for session in sessions_by_id[record.id] if session.started_at < due]
            if sessions:
                seconds = sum(min(session.ended_at or due, due) - session.started_at for session in sessions)
                name, last = record.name or f"{record.platform}/{record.id}", sessions[-1]
                yield StreamerActivity(name, seconds, last.title, is_live=last.ended_at is None)


def _activity_line(activity: StreamerActivity) -> str:
    live_text = ", live now" if activity.is_live else ""
    text = f"{activity.name}: {format_hours_and_minutes(activity.seconds)}{live_text}"
    return f"{text} ({activity.title})" if activity.title else text


def _unchecked_lines(troubles: Mapping[tuple[str, State], int]) -> list[str]:
    """How many streamers of each platform have no newer reading, and why."""
    return [
        f"Could not be asked: {count} of {platform or 'the follow list'} ({trouble.words})"
        for (platform, trouble), count in sorted(troubles.items())
    ]
