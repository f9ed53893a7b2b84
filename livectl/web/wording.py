"""A language of the page: its sentences, and how it says numbers and times."""

from __future__ import annotations

from datetime import datetime
from functools import cache
from zoneinfo import ZoneInfo

from livectl.web.strings import LANGUAGES, TABLE

MINUTE, HOUR, DAY = 60, 3600, 86_400  # seconds
MONTH = 30 * DAY
LONG_DAYS = 2 * DAY  # from here on days are said, below hours
THOUSAND, MYRIAD, MILLION = 1_000, 10_000, 1_000_000
MANY = 10  # of a unit: from here on without a decimal


class Words:
    """One column of the table."""

    def __init__(self, language: str) -> None:
        self.language = language
        self._column = LANGUAGES.index(language)

    def __call__(self, key: str, **filled: object) -> str:
        said = TABLE[key][self._column]
        return said.format(**filled) if filled else said

    def span(self, seconds: float) -> str:
        """How long, in one or two units."""
        minutes = int(seconds // MINUTE)
        if seconds < HOUR:
            return self("minutes", n=minutes)
        if seconds < DAY:
            hours, rest = divmod(minutes, MINUTE)
            return self("hours_minutes", n=hours, m=rest) if rest else self("hours", n=hours)
        if seconds < LONG_DAYS:
            return self("hours", n=int(seconds // HOUR))
        return (
            self("many_days", n=int(seconds // DAY)) if seconds < 3 * MONTH else self("months", n=int(seconds // MONTH))
        )

    def ago(self, seconds: float) -> str:
        """How long since, roughly: nobody wants the minutes of yesterday."""
        if seconds < MINUTE:
            return self("now")
        rough = seconds if seconds < HOUR else seconds // HOUR * HOUR
        return self("ago", span=self.span(rough))

    def ahead(self, seconds: float) -> str:
        if seconds <= 0:
            return self("soon")
        return self("ahead", span=self.seconds(seconds) if seconds < MINUTE else self.span(seconds))

    def seconds(self, seconds: float) -> str:
        """How long, where seconds matter."""
        return self("seconds", n=round(seconds)) if seconds < MINUTE else self.span(seconds)

    def count(self, number: int) -> str:
        """A number of viewers, short."""
        if self.language == "zh-Hans":
            return self("myriad", n=_short(number / MYRIAD)) if number >= MYRIAD else str(number)
        if number >= MILLION:
            return self("million", n=_short(number / MILLION))
        return self("thousand", n=_short(number / THOUSAND)) if number >= MYRIAD else f"{number:,}"

    def platform(self, name: str) -> str:
        return self(key) if (key := f"platform_name_{name}") in TABLE else name

    def days(self) -> list[str]:
        return self("days").split()


def of(accepted: str | None) -> Words:
    """By what `best_match` found; English where it found nothing."""
    return _words("zh-Hans" if accepted and accepted.lower().startswith("zh") else "en")


@cache
def _words(language: str) -> Words:
    return Words(language)


def local(at: float, zone: str) -> str:
    return f"{datetime.fromtimestamp(at, ZoneInfo(zone)):%Y-%m-%d %H:%M}"


def _short(number: float) -> str:
    return f"{number:.0f}" if number >= MANY and number == int(number) else f"{number:.1f}".removesuffix(".0")
