"""An alert: what one target is told, in words and as data, with the key by which a repetition is known."""

from __future__ import annotations

import hashlib
from typing import Literal, NamedTuple

import msgspec

from livectl.model import Change  # noqa: TC001 - msgspec reads the annotations

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
