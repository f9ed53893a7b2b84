"""An alert: what one target is told, in words and as data, with the key by which a repetition is known."""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING, Literal, NamedTuple

import msgspec

from livectl import placeholders
from livectl.models import Change  # noqa: TC001 - msgspec reads the annotations
from livectl.units import format_hours_and_minutes, format_local_time

if TYPE_CHECKING:
    from collections.abc import Sequence

    from livectl.settings import Target


KEY_DIGITS = 32  # hexadecimal digits: nobody meets another alert of the same key
ONCE_PER_SESSION = {"live", "end"}  # a session has one of each
ALERT_KINDS = {"began": "live", "retitled": "title", "recategorised": "category", "ended": "end", "troubled": "trouble"}

AlertKind = Literal["live", "title", "category", "end", "trouble", "late", "digest", "test"]


class Alert(msgspec.Struct, frozen=True, kw_only=True):
    """One message. `first` and `last` are the numbers of the changes it tells, in the order of the outbox."""

    target: str
    kind: AlertKind
    title: str
    body: str
    first: str = ""
    last: str = ""
    changes: tuple[Change, ...] = ()

    @property
    def key(self) -> str:
        """The same for every sending of this alert, on any machine."""
        change = self.changes[0] if self.changes else None
        if change is not None and self.kind in ONCE_PER_SESSION:
            return _hash_key(self.target, self.kind, change.platform, change.id, change.session)
        return _hash_key(self.target, self.kind, self.first)


class DeliveryOutcome(NamedTuple):
    """What came of one sending."""

    sent: bool
    detail: str = ""  # what the target answered, for a person; no secrets
    retry_after_s: float = 0.0  # seconds it asked to be left alone
    permanent: bool = False  # it will never take this alert


def _hash_key(*parts: str) -> str:
    return hashlib.sha256("\n".join(parts).encode()).hexdigest()[:KEY_DIGITS]


def alert_kind(change: Change) -> AlertKind:
    kind: AlertKind = ALERT_KINDS[change.kind]  # type: ignore[assignment]
    return kind


MAX_TIMEOUT_S = 20.0  # seconds; a command that takes longer runs on alone


def send_timeout(target: Target) -> float:
    """For this one: as long as it was given, within reason."""
    return min(target.timeout, MAX_TIMEOUT_S)


MAX_NAMES = 5  # streamers named in one line; the rest is a number


def build_alert(name: str, target: Target, change: Change, zone: str) -> Alert:
    """One change, in the target's own words if it has any."""
    kind = alert_kind(change)
    title, body = _default_text(change, kind)
    if kind != "trouble":
        fields = placeholder_values(change, zone)
        title = placeholders.fill(target.template.title, fields) if target.template.title else title
        body = placeholders.fill(target.template.body, fields) if target.template.body else body
    number = change.number
    return Alert(
        target=name,
        kind=kind,
        title=_single_line(title),
        body=body.strip(),
        first=number,
        last=number,
        changes=(change,),
    )


def build_late_alert(name: str, changes: Sequence[Change], first: str = "", last: str = "") -> Alert:
    """Those that are too old to be told one by one, in one line. Sent again, it is still the one from `first` on."""
    names = join_names(list(dict.fromkeys(_display_name(change) for change in changes)))
    number = len(changes)
    title = f"{number} late alert{'s' if number > 1 else ''}: {names}"
    first, last = first or changes[0].number, last or changes[-1].number
    body = "These could not be told in time."
    return Alert(target=name, kind="late", title=title, body=body, first=first, last=last, changes=tuple(changes))


def placeholder_values(change: Change, zone: str) -> dict[str, str]:
    """What the names in braces stand for. No line breaks or control characters: all of it was written by strangers."""
    fields = {
        "url": change.url,
        "name": _display_name(change),
        "title": change.title,
        "platform": change.platform,
        "id": change.id,
        "started": "" if change.started_at is None else format_local_time(change.started_at, zone),
        "category": change.category,
        "kind": alert_kind(change),
    }
    return {name: _single_line(text) for name, text in fields.items()}


def join_names(names: Sequence[str]) -> str:
    shown, hidden_count = names[:MAX_NAMES], len(names) - MAX_NAMES
    return ", ".join(shown) + (f" and {hidden_count} more" if hidden_count > 0 else "")


def _default_text(change: Change, kind: str) -> tuple[str, str]:
    name = _display_name(change)
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
        return f"{name} was live for {format_hours_and_minutes(lasted)}", page
    return change.title, change.before


def _display_name(change: Change) -> str:
    return change.name or f"{change.platform}/{change.id}"


def _single_line(text: str) -> str:
    return "".join(letter if letter.isprintable() else " " for letter in text).strip()
