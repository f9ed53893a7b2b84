"""Builds alerts: the messages that targets are sent about changes."""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING, Literal, NamedTuple

import msgspec

from livectl import placeholders
from livectl.models import Change  # noqa: TC001 - msgspec reads the annotations
from livectl.units import format_count, format_hours_and_minutes, format_local_time

if TYPE_CHECKING:
    from collections.abc import Sequence

    from livectl.settings import Target


KEY_DIGITS = 32  # hexadecimal: no two alerts have the same key by chance
ONCE_PER_SESSION = {"live", "end"}  # a session has one alert of each
ALERT_KINDS = {"began": "live", "retitled": "title", "recategorised": "category", "ended": "end", "troubled": "trouble"}
MAX_TIMEOUT_S = 20.0  # a command that may take longer runs on alone
MAX_NAMES = 5  # streamers named in one line; the others are counted

AlertKind = Literal["live", "title", "category", "end", "trouble", "late", "digest", "test"]


ALLOW_PRIVATE_HINT = "; allow_private: true lets the target reach it"


class Alert(msgspec.Struct, frozen=True, kw_only=True):
    """One message to one target. `first` and `last` are the numbers of its changes, in the order of the outbox."""

    target: str
    kind: AlertKind
    title: str
    body: str
    first: str = ""
    last: str = ""
    changes: tuple[Change, ...] = ()

    @property
    def key(self) -> str:
        """Identifies the alert: every sending of it, from any machine, has the same key."""
        change = self.changes[0] if self.changes else None
        if change is not None and self.kind in ONCE_PER_SESSION:
            return _hash_key(self.target, self.kind, change.platform, change.id, change.session)
        return _hash_key(self.target, self.kind, self.first)


class DeliveryOutcome(NamedTuple):
    """What a target answered to an alert."""

    sent: bool
    detail: str = ""  # the answer, for a person; no secrets
    retry_after_s: float = 0.0  # the target asked for no alert before that
    permanent: bool = False  # the target will never take this alert
    target_down: bool = False  # the target takes no alert at all now, neither this one nor another


def build_alert(name: str, target: Target, change: Change, zone: str) -> Alert:
    """The alert about one change, in the target's own words if its settings have a template."""
    kind = alert_kind(change)
    title, body = _default_text(change, kind)
    if kind != "trouble":
        values = placeholder_values(change, zone)
        title = placeholders.fill(target.template.title, values) if target.template.title else title
        body = placeholders.fill(target.template.body, values) if target.template.body else body
    return Alert(
        target=name,
        kind=kind,
        title=_single_line(title),
        body=body.strip(),
        first=change.number,
        last=change.number,
        changes=(change,),
    )


def build_late_alert(name: str, changes: Sequence[Change], first: str = "", last: str = "") -> Alert:
    """One alert about changes that are too old for an alert each.

    A repetition gives the `first` and `last` of the original: they make the key.
    """
    names = join_names(list(dict.fromkeys(_display_name(change) for change in changes)))
    return Alert(
        target=name,
        kind="late",
        title=f"{format_count(len(changes), 'late alert')}: {names}",
        body="These could not be told in time.",
        first=first or changes[0].number,
        last=last or changes[-1].number,
        changes=tuple(changes),
    )


def placeholder_values(change: Change, zone: str) -> dict[str, str]:
    """The values of the placeholders, without line breaks and control characters: strangers wrote them."""
    values = {
        "url": change.url,
        "name": _display_name(change),
        "title": change.title,
        "platform": change.platform,
        "id": change.id,
        "started": "" if change.started_at is None else format_local_time(change.started_at, zone),
        "category": change.category,
        "kind": alert_kind(change),
    }
    return {name: _single_line(text) for name, text in values.items()}


def alert_kind(change: Change) -> AlertKind:
    kind: AlertKind = ALERT_KINDS[change.kind]  # type: ignore[assignment]
    return kind


def join_names(names: Sequence[str]) -> str:
    shown, hidden_count = names[:MAX_NAMES], len(names) - MAX_NAMES
    return ", ".join(shown) + (f" and {hidden_count} more" if hidden_count > 0 else "")


def send_timeout(target: Target) -> float:
    """Seconds that a worker waits for this target."""
    return min(target.timeout, MAX_TIMEOUT_S)


def _hash_key(*parts: str) -> str:
    return hashlib.sha256("\n".join(parts).encode()).hexdigest()[:KEY_DIGITS]


def _default_text(change: Change, kind: AlertKind) -> tuple[str, str]:
    name = _display_name(change)
    category_and_platform = " · ".join(filter(None, (change.category, change.platform)))
    page = "\n".join(filter(None, (change.title, category_and_platform, change.url)))
    if kind == "live":
        return f"{name} is live", page
    if kind == "title":
        return f"{name} has a new title", page
    if kind == "category":
        return f"{name} moved to {change.category or 'another category'}", page
    if kind == "end":
        length = (change.ended_at or change.at) - (change.started_at or change.at)
        return f"{name} was live for {format_hours_and_minutes(length)}", page
    return change.title, change.before


def _display_name(change: Change) -> str:
    return change.name or f"{change.platform}/{change.id}"


def _single_line(text: str) -> str:
    return "".join(letter if letter.isprintable() else " " for letter in text).strip()
