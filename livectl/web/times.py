"""Says when something was or will be: in words, in full, and for programs."""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

from livectl.units import format_instant, format_local_time

if TYPE_CHECKING:
    from datetime import datetime

    from livectl.web.i18n import Translations


class FormattedTime(msgspec.Struct, frozen=True):
    """A point in time in words, in full, and for programs."""

    words: str
    long: str
    iso: str


class NearTimeFormatter:
    """Says how far from now a time is, in one language and zone."""

    def __init__(self, translate: Translations, now: float, zone: str) -> None:
        self._translate, self._now, self._zone = translate, now, zone

    def past(self, at: float | None) -> FormattedTime | None:
        """A time that has been, in seconds since the epoch. One of a server whose clock is ahead is now."""
        ago = max(0.0, self._now - at) if at is not None else 0.0
        return self._formatted(at, self._past_words(ago))

    def coming(self, at: float | None) -> FormattedTime | None:
        """A time that is to come, in seconds since the epoch. One that has gone by is any moment."""
        return self._formatted(at, self._translate.ahead(at - self._now if at is not None else 0.0))

    def past_datetime(self, moment: datetime | None) -> FormattedTime | None:
        return self.past(moment.timestamp() if moment else None)

    def _past_words(self, ago: float) -> str:
        return self._translate("ago", span=self._translate.seconds(ago)) if ago >= 1 else self._translate("now")

    def _formatted(self, at: float | None, words: str) -> FormattedTime | None:
        return None if at is None else FormattedTime(words, format_local_time(at, self._zone), format_instant(at))
