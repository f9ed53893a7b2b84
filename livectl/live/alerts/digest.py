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
    from livectl.model import Known
    from livectl.quantity import Daytime

HOUR = 60  # minutes
LONGEST = 5  # sessions that are told one by one


class Past(NamedTuple):
    """What one streamer did in the time of a digest."""

    name: str
    seconds: float
    title: str
    is_live: bool


def last_due(at: Daytime, now: float, zone: str) -> float:
    """The latest of these times of day that has come."""
    local = datetime.fromtimestamp(now, ZoneInfo(zone))
    due = local.replace(hour=at // HOUR, minute=at % HOUR, second=0, microsecond=0, fold=0)
    if due > local:
        due = (due - timedelta(days=1)).replace(fold=0)
    return due.timestamp()


def compose(name: str, target: Target, store: Store, since: float, due: float, zone: str) -> Alert | None:
    """None when there is nothing to tell."""
    heard = [one for one in store.everyone() if one.streamer and listening.hears_of(name, target, one.streamer)]
    past = sorted(_past(store, heard, since, due), key=lambda one: one.seconds, reverse=True)
    unasked = _unasked(heard)
    if not past and not unasked:
        return None
    who = f"{len(past) or 'nobody'} streamed since {wording.clock(since, zone)}"
    title = f"{who}, {live} live now" if (live := sum(one.is_live for one in past)) else who
    lines = [_line(one) for one in past[:LONGEST]]
    if more := past[LONGEST:]:
        lines.append(f"Also {wording.people([one.name for one in more])}.")
    lines += unasked
    number = f"{int(due * 1000)}-0"
    return Alert(target=name, kind="digest", title=title, body="\n".join(lines), first=number, last=number)


def _past(store: Store, heard: Sequence[Known], since: float, due: float) -> Iterable[Past]:
    for platform in {one.platform for one in heard}:
        there = [one for one in heard if one.platform == platform]
        sessions = store.sessions(platform, [one.id for one in there])
        for one in there:
            met = [each for each in sessions[one.id] if each.started_at < due and (each.ended_at or due) > since]
            if met:
                seconds = sum(min(each.ended_at or due, due) - each.started_at for each in met)
                live = met[-1].ended_at is None
                yield Past(_called(one), seconds, one.title if live else met[-1].title, live)


def _unasked(heard: Iterable[Known]) -> list[str]:
    """How many of each platform there is no newer reading of, and why."""
    troubles = Counter((one.platform, one.trouble) for one in heard if one.trouble)
    return [
        f"Could not be asked: {count} of {platform} ({trouble.replace('_', ' ')})"
        for (platform, trouble), count in sorted(troubles.items())
        if trouble
    ]


def _line(one: Past) -> str:
    said = f"{one.name}: {wording.length(one.seconds)}{', live now' if one.is_live else ''}"
    return f"{said} ({one.title})" if one.title else said


def _called(known: Known) -> str:
    return known.name or f"{known.platform}/{known.id}"
