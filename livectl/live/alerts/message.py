"""Builds alerts: the messages that targets are sent about changes."""

from __future__ import annotations

import hashlib
from contextlib import suppress
from typing import TYPE_CHECKING, Literal, NamedTuple

import msgspec

from livectl import placeholders
from livectl.errors import LivectlError
from livectl.live import platforms
from livectl.live.alerts import words
from livectl.live.alerts.words import Style  # noqa: TC001 - msgspec reads the annotations
from livectl.models import Change  # noqa: TC001 - msgspec reads the annotations
from livectl.units import format_count, format_local_time

if TYPE_CHECKING:
    from collections.abc import Sequence

    from livectl.settings import Target


KEY_DIGITS = 32  # hexadecimal: no two alerts have the same key by chance
ONCE_PER_SESSION = {"live", "end"}  # a session has one alert of each
ALERT_KINDS = {
    "began": "live",
    "retitled": "title",
    "recategorised": "category",
    "ended": "end",
    "troubled": "trouble",
    "reported": "job",
}
MAX_TIMEOUT_S = 20.0  # a command that may take longer runs on alone
MAX_NAMES = 5  # streamers named in one line; the others are counted
ADDRESSES = ("url", "cover", "avatar", "recording")  # of the placeholders
WEB_SCHEMES = ("https://", "http://")
OWN_SESSION = "at:"  # begins the session keys that livectl makes where a platform has none

AlertKind = Literal["live", "title", "category", "end", "trouble", "job", "late", "missed", "digest", "test"]


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
    style: Style = "text"  # what the body is written in
    usual: str = ""  # when the streamer usually streams

    @property
    def key(self) -> str:
        """Identifies the alert: every sending of it, from any machine, has the same key."""
        change = self.changes[0] if self.changes else None
        if change is not None and self.kind in ONCE_PER_SESSION:
            return _hash_key(self.target, self.kind, change.platform, change.id, change.session)
        if change is not None and self.kind in ALERT_KINDS.values():  # its number differs where a failover took it back
            return _hash_key(self.target, self.kind, change.platform, change.id, change.session, repr(change.at))
        return _hash_key(self.target, self.kind, self.first)


class DeliveryOutcome(NamedTuple):
    """What a target answered to an alert."""

    sent: bool
    detail: str = ""  # the answer, for a person; no secrets
    retry_after_s: float = 0.0  # the target asked for no alert before that
    permanent: bool = False  # the target will never take this alert
    target_down: bool = False  # the target takes no alert at all now, neither this one nor another


def build_alert(name: str, target: Target, change: Change, zone: str, usual: str = "") -> Alert:
    """The alert about one change, in the target's own words if its settings have a template."""
    kind, style = alert_kind(change), words.style_of(target)
    title, body = words.say(change, kind, display_name(change), recording_address(change), target)
    if change.is_of_stream:
        values = placeholder_values(change, zone, usual)
        if target.template.title:
            title = placeholders.fill(target.template.title, values)
        if target.template.body:
            body = placeholders.fill(target.template.body, _values_in(target.template.format, style, values))
            style = target.template.format
    return Alert(
        target=name,
        kind=kind,
        title=words.heading(single_line(title), style),
        body=body.strip(),
        first=change.number,
        last=change.number,
        changes=(change,),
        style=style,
        usual=usual,
    )


def build_late_alert(name: str, target: Target, changes: Sequence[Change], first: str = "", last: str = "") -> Alert:
    """One alert about changes that are too old for an alert each.

    A repetition gives the `first` and `last` of the original: they make the key.
    """
    names = join_names(list(dict.fromkeys(display_name(change) for change in changes)))
    return plain_alert(
        name,
        target,
        "late",
        f"{format_count(len(changes), 'late alert')}: {names}",
        ["These could not be told in time."],
        (first or changes[0].number, last or changes[-1].number),
        changes,
    )


def plain_alert(
    name: str,
    target: Target,
    kind: AlertKind,
    title: str,
    lines: Sequence[str],
    numbers: tuple[str, str],
    changes: Sequence[Change] = (),
) -> Alert:
    """An alert in lines of plain words, which show as such at every service."""
    style = words.style_of(target)
    return Alert(
        target=name,
        kind=kind,
        title=words.heading(single_line(title), style),
        body=words.styled_lines(lines, style),
        first=numbers[0],
        last=numbers[1],
        changes=tuple(changes),
        style=style,
    )


def placeholder_values(change: Change, zone: str, usual: str = "") -> dict[str, str]:
    """The values of the placeholders, without line breaks and control characters: strangers wrote them."""
    values = {
        "url": change.url,
        "name": display_name(change),
        "title": change.title,
        "platform": change.platform,
        "id": change.id,
        "started": "" if change.started_at is None else format_local_time(change.started_at, zone),
        "category": change.category,
        "kind": alert_kind(change),
        "viewers": "" if change.viewers is None else str(change.viewers),
        "cover": web_address(change.cover),
        "avatar": web_address(change.avatar),
        "usual": usual,
        "recording": recording_address(change),
        "details": change.before if change.kind == "reported" else "",
    }
    return {name: single_line(text) for name, text in values.items()}


def _values_in(style: Style, service_style: Style, values: dict[str, str]) -> dict[str, str]:
    """The values as a template takes them: those that strangers wrote are no markup, and call nobody."""
    safe = {name: words.escape(text, style) for name, text in values.items() if name not in ADDRESSES}
    if style == "text" and service_style != "text":
        safe = {name: words.uncalled(text) for name, text in safe.items()}
    return values | safe


def wants_usual_hours(target: Target) -> bool:
    """Whether its words have a place for them: they are read from the sessions."""
    return any("{usual}" in text for text in (target.template.title, target.template.body, *target.command))


def recording_address(change: Change) -> str:
    """Where a session that ended can be watched, if its platform has the same address for it as before."""
    if change.kind != "ended" or not change.session or change.session.startswith(OWN_SESSION):
        return ""
    with suppress(LivectlError):  # a platform of a package that is gone
        recording = platforms.get(change.platform).recording
        return recording(change.session) if recording else ""
    return ""


def web_address(text: str) -> str:
    """The address; empty where it is none that a browser opens."""
    text = f"https:{text}" if text.startswith("//") else text
    return text if text.startswith(WEB_SCHEMES) else ""


def alert_kind(change: Change) -> AlertKind:
    kind: AlertKind = ALERT_KINDS[change.kind]  # type: ignore[assignment]
    return kind


def join_names(names: Sequence[str], count: int | None = None) -> str:
    """The first names, and how many more there are: of these, or of so many."""
    shown, hidden_count = names[:MAX_NAMES], (len(names) if count is None else count) - MAX_NAMES
    return ", ".join(shown) + (f" and {hidden_count} more" if hidden_count > 0 else "")


def send_timeout(target: Target) -> float:
    """Seconds that a worker waits for this target."""
    return min(target.timeout, MAX_TIMEOUT_S)


def _hash_key(*parts: str) -> str:
    return hashlib.sha256("\n".join(parts).encode()).hexdigest()[:KEY_DIGITS]


def display_name(change: Change) -> str:
    return change.name or f"{change.platform}/{change.id}"


def single_line(text: str) -> str:
    return "".join(letter if letter.isprintable() else " " for letter in text).strip()
