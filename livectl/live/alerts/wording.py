"""The words of an alert: what a change, a heap of late ones or a sample is called."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING
from zoneinfo import ZoneInfo

from livectl import placeholder
from livectl.live.alerts.alert import Alert, kind_of

if TYPE_CHECKING:
    from collections.abc import Sequence

    from livectl.config import Target
    from livectl.model import Change

MINUTE, HOUR = 60, 3600  # seconds
NAMED = 5  # streamers named in one line; the rest is a number


def tell(name: str, target: Target, change: Change, zone: str) -> Alert:
    """One change, in the target's own words if it has any."""
    kind = kind_of(change)
    title, body = _own_words(change, kind)
    if kind != "trouble":
        known = values(change, zone)
        title = placeholder.fill(target.template.title, known) if target.template.title else title
        body = placeholder.fill(target.template.body, known) if target.template.body else body
    number = change.number
    return Alert(
        target=name, kind=kind, title=_line(title), body=body.strip(), first=number, last=number, changes=(change,)
    )


def late(name: str, changes: Sequence[Change], first: str = "", last: str = "") -> Alert:
    """Those that are too old to be told one by one, in one line. Sent again, it is still the one from `first` on."""
    who = people(list(dict.fromkeys(_called(change) for change in changes)))
    number = len(changes)
    title = f"{number} late alert{'s' if number > 1 else ''}: {who}"
    first, last = first or changes[0].number, last or changes[-1].number
    body = "These could not be told in time."
    return Alert(target=name, kind="late", title=title, body=body, first=first, last=last, changes=tuple(changes))


def values(change: Change, zone: str) -> dict[str, str]:
    """What the names in braces stand for. No line breaks or control characters: all of it was written by strangers."""
    said = {
        "url": change.url,
        "name": _called(change),
        "title": change.title,
        "platform": change.platform,
        "id": change.id,
        "started": clock(change.started_at, zone),
        "category": change.category,
        "kind": kind_of(change),
    }
    return {name: _line(text) for name, text in said.items()}


def clock(at: float | None, zone: str) -> str:
    return "" if at is None else f"{datetime.fromtimestamp(at, ZoneInfo(zone)):%Y-%m-%d %H:%M}"


def instant(at: float) -> str:
    """ISO 8601 in UTC, to the second."""
    return f"{datetime.fromtimestamp(at, UTC):%Y-%m-%dT%H:%M:%SZ}"


def people(names: Sequence[str]) -> str:
    shown, more = names[:NAMED], len(names) - NAMED
    return ", ".join(shown) + (f" and {more} more" if more > 0 else "")


def length(seconds: float) -> str:
    """`2 h 13 min`, `7 min`."""
    hours, minutes = int(seconds // HOUR), int(seconds % HOUR // MINUTE)
    return f"{hours} h {minutes:02} min" if hours else f"{minutes} min"


def _own_words(change: Change, kind: str) -> tuple[str, str]:
    name = _called(change)
    where = " · ".join(filter(None, (change.category, change.platform)))
    page = "\n".join(filter(None, (change.title, where, change.url)))
    if kind == "live":
        return f"{name} is live", page
    if kind == "title":
        return f"{name} has a new title", page
    if kind == "category":
        return f"{name} moved to {change.category or 'another category'}", page
    if kind == "end":
        lasted = (change.ended_at or change.at) - (change.started_at or change.at)
        return f"{name} was live for {length(lasted)}", page
    return change.title, change.before


def _called(change: Change) -> str:
    return change.name or f"{change.platform}/{change.id}"


def _line(text: str) -> str:
    return "".join(letter if letter.isprintable() else " " for letter in text).strip()
