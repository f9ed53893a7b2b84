"""An alert: what one target is told, in words and as data, with the key by which a repetition is known."""

from __future__ import annotations

import hashlib
from typing import Literal, NamedTuple

import msgspec

from livectl.model import Change  # noqa: TC001 - msgspec reads the annotations

KEY = 32  # hexadecimal digits: nobody meets another alert of the same key
ONCE = {"live", "end"}  # a session has one of each
KINDS = {"began": "live", "retitled": "title", "recategorised": "category", "ended": "end", "troubled": "trouble"}

Kind = Literal["live", "title", "category", "end", "trouble", "late", "digest", "test"]


class Alert(msgspec.Struct, frozen=True, kw_only=True):
    """One message. `first` and `last` are the numbers of the changes it tells, in the order of the outbox."""

    target: str
    kind: Kind
    title: str
    body: str
    first: str = ""
    last: str = ""
    changes: tuple[Change, ...] = ()

    @property
    def key(self) -> str:
        """The same for every sending of this alert, on any machine."""
        one = self.changes[0] if self.changes else None
        if one is not None and self.kind in ONCE:
            return _hashed(self.target, self.kind, one.platform, one.id, one.session)
        return _hashed(self.target, self.kind, self.first)


class Outcome(NamedTuple):
    """What came of one sending."""

    sent: bool
    said: str = ""  # what the target answered, for a person; no secrets
    wait: float = 0.0  # seconds it asked to be left alone
    hopeless: bool = False  # it will never take this alert


def _hashed(*parts: str) -> str:
    return hashlib.sha256("\n".join(parts).encode()).hexdigest()[:KEY]


def kind_of(change: Change) -> Kind:
    kind: Kind = KINDS[change.kind]  # type: ignore[assignment]
    return kind
