"""Decides which changes a target is told of and why not of others, when it must not be disturbed, and which troubles
need an alert. Nothing else decides that: what is told, what waits, and what `alerts why` says come from here.
"""

from __future__ import annotations

from datetime import datetime, timedelta
from fnmatch import fnmatchcase
from itertools import chain
from typing import TYPE_CHECKING, NamedTuple, TypeAlias
from zoneinfo import ZoneInfo

from livectl.live.alerts.message import alert_kind
from livectl.models import Change, PlatformHealth, State
from livectl.units import format_count, format_duration, format_names, format_time_of_day, format_yaml_duration

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence

    from livectl.models import Session, Streamer, StreamerRecord
    from livectl.settings import Target
    from livectl.units import Window

    StreamerKey: TypeAlias = tuple[str, str]  # platform and id

MINUTES_PER_HOUR = 60
LOG_UNIT_S = 60.0  # sessions that ended are kept to the minute
BLOCKED_ALERT_DELAY_S = 3600.0  # most blocks are over before that
DAYS = ("mon", "tue", "wed", "thu", "fri", "sat", "sun")
SAMPLE_TROUBLE = PlatformHealth(platform="demo", followed=1, auth_since=0.0)
EXCEPT = "!"  # before a pattern that must not fit


class Objection(NamedTuple):
    """Why a target is not told of a change: the key of the settings that says so, or what else does; and in words."""

    rule: str
    words: str


class Knowledge(NamedTuple):
    """What rules look at besides the change itself."""

    zone: str
    records: Mapping[StreamerKey, StreamerRecord]
    sessions: Mapping[StreamerKey, Sequence[Session]] = {}  # for first_in
    peaks: Mapping[StreamerKey, int] = {}  # the most who watched the last session: for the viewers of an end


def find_objection(name: str, target: Target, change: Change, knowledge: Knowledge) -> Objection | None:
    """The first rule that keeps a target from being told of a change; None when it is told."""
    return next(_objections(name, target, change, knowledge), None)


def accepts_streamer(name: str, target: Target, streamer: Streamer) -> bool:
    """Whether the target may be told of the streamer at all: the settings and the follow list must both allow it."""
    return next(_objections_to_streamer(name, target, streamer), None) is None


def is_summed_up(target: Target, change: Change, zone: str) -> bool:
    """Whether the change came in quiet hours: the target is told of it afterwards, in one message with the others.

    Commands are run for a change each, or not at all.
    """
    return not target.command and in_window(target.quiet, change.at, zone)


def in_window(window: Window | None, at: float, zone: str) -> bool:
    if window is None:
        return False
    local = datetime.fromtimestamp(at, ZoneInfo(zone))
    minute = local.hour * MINUTES_PER_HOUR + local.minute
    if window.start <= window.end:
        return window.start <= minute < window.end
    return minute >= window.start or minute < window.end


def _objections(name: str, target: Target, change: Change, knowledge: Knowledge) -> Iterator[Objection]:
    kind = alert_kind(change)
    if change.quiet:
        yield Objection("earlier", "had been live for more than 15 minutes when first seen")
    if kind not in target.on:
        yield Objection("on", f"listens to {', '.join(target.on) or 'nothing'}")
    if kind == "job":
        yield from _objections_to_time(target, change, knowledge)
    if not change.is_of_stream:
        return
    record = knowledge.records.get((change.platform, change.id))
    if record is None or record.streamer is None:
        yield Objection("follows", "nobody follows them now")
        return
    yield from _objections_to_streamer(name, target, record.streamer)
    yield from _objections_to_words(target, change)
    yield from _objections_to_viewers(target, change, knowledge)
    yield from _objections_to_time(target, change, knowledge)
    if _is_over(target, change, record) and not is_summed_up(target, change, knowledge.zone):
        yield Objection("over", "over before it could be told")


def _objections_to_streamer(name: str, target: Target, streamer: Streamer) -> Iterator[Objection]:
    if streamer.alerts is not None and name not in streamer.alerts:
        yield Objection("alerts", f"the follow list tells {format_names(streamer.alerts) or 'nobody'}")
    if target.tags and not set(target.tags) & set(streamer.tags):
        yield Objection("tags", f"has none of the tags {', '.join(target.tags)}")
    names = {f"{streamer.platform}/{streamer.id}".lower(), streamer.name.lower()}
    if target.streamers and not any(wanted.lower() in names for wanted in target.streamers):
        yield Objection("streamers", "not one of its streamers")
    if target.platforms and streamer.platform not in target.platforms:
        yield Objection("platforms", f"only of {', '.join(target.platforms)}")


def _objections_to_words(target: Target, change: Change) -> Iterator[Objection]:
    for rule, noun, text, patterns in (
        ("titles", "title", change.title, target.titles),
        ("categories", "category", change.category, target.categories),
    ):
        unwanted = next((pattern for pattern in patterns if pattern.startswith(EXCEPT) and fits(text, pattern[1:])), "")
        wanted = [pattern for pattern in patterns if not pattern.startswith(EXCEPT)]
        if unwanted:
            yield Objection(rule, f"the {noun} fits {unwanted}")
        elif wanted and not any(fits(text, pattern) for pattern in wanted):
            yield Objection(rule, f"the {noun} fits none of {', '.join(wanted)}")


def fits(text: str, pattern: str) -> bool:
    """Whether the pattern is in the text; one with `*` or `?` stands for the whole text. Case does not matter."""
    text, pattern = text.casefold(), pattern.casefold()
    if not {"*", "?"} & set(pattern):
        return pattern in text
    return fnmatchcase(text, pattern.replace("[", "[[]"))


def _objections_to_viewers(target: Target, change: Change, knowledge: Knowledge) -> Iterator[Objection]:
    viewers = change.viewers
    if alert_kind(change) == "end":
        viewers = knowledge.peaks.get((change.platform, change.id))
    if target.viewers and (viewers is None or viewers < target.viewers):
        seen = "nobody knows how many watch" if viewers is None else format_count(viewers, "viewer")
        yield Objection("viewers", f"{seen}; wants {target.viewers:,}")


def _objections_to_time(target: Target, change: Change, knowledge: Knowledge) -> Iterator[Objection]:
    if target.hours and not in_window(target.hours, change.at, knowledge.zone):
        yield Objection("hours", f"not within {format_window(target.hours)}")
    elif target.days and _day_of(target, change.at, knowledge.zone) not in target.days:
        yield Objection("days", f"only on {', '.join(target.days)}")
    yield from _objections_to_earlier_ones(target, change, knowledge)


def _objections_to_earlier_ones(target: Target, change: Change, knowledge: Knowledge) -> Iterator[Objection]:
    if not target.first_in:
        return
    start = change.started_at or change.at
    ends = [
        session.ended_at or start
        for session in knowledge.sessions.get((change.platform, change.id), ())
        if session.started_at < start - LOG_UNIT_S and (session.ended_at or start) > start - target.first_in
    ]
    if ends:
        ago, wanted = format_duration(max(0.0, start - max(ends))), format_yaml_duration(target.first_in)
        yield Objection("first_in", f"also live {ago} before; wants the first in {wanted}")


def _day_of(target: Target, at: float, zone: str) -> str:
    """The weekday; of hours over midnight, the one on which they begin."""
    local = datetime.fromtimestamp(at, ZoneInfo(zone))
    window = target.hours
    if window and window.start > window.end and local.hour * MINUTES_PER_HOUR + local.minute < window.end:
        local -= timedelta(days=1)
    return DAYS[local.weekday()]


def _is_over(target: Target, change: Change, record: StreamerRecord) -> bool:
    """Whether the session has ended, so that an alert would mislead. A target that listens to ends gets all alerts."""
    if alert_kind(change) == "end" or "end" in target.on:
        return False
    return record.state is not State.LIVE or record.session != change.session


def format_window(window: Window) -> str:
    return f"{format_time_of_day(window.start)}-{format_time_of_day(window.end)}"


def find_troubles(healths: Iterable[PlatformHealth], now: float) -> list[tuple[str, float, Change]]:
    """What a person must mend: its name, the seconds it must last before the alert, and the change to alert to."""
    return [
        (f"{trouble} {health.name}", min_seconds, _trouble_change(health.platform, trouble, title, cure, now))
        for health in chain.from_iterable(health.ways for health in healths)
        if health.followed
        for trouble, min_seconds, title, cure in _troubles_of(health)
    ]


def _troubles_of(health: PlatformHealth) -> Iterator[tuple[str, float, str, str]]:
    name = health.name
    if health.parser_broken is not None:
        yield "parser", 0.0, f"{name}: its answers cannot be read", "It may have changed: look for a newer livectl."
    if health.auth_since is not None:
        cure = f"Nobody is asked there until platforms.{health.platform} in livectl.yaml has new ones."
        yield "keys", 0.0, f"{name}: its keys are refused, or not set", cure
    if health.step:
        title, cure = f"{name}: it has refused us for an hour", "livectl keeps trying, every half hour."
        yield "blocked", BLOCKED_ALERT_DELAY_S, title, cure


def _trouble_change(platform: str, trouble: str, title: str, cure: str, now: float) -> Change:
    return Change(kind="troubled", platform=platform, id="", session=trouble, at=now, title=title, before=cure)
