"""A language of the page: its sentences, and how it says numbers and times."""

from __future__ import annotations

from datetime import datetime
from functools import cache
from zoneinfo import ZoneInfo

from livectl.web.strings import LANGUAGES, SENTENCES

MINUTE, HOUR, DAY = 60, 3600, 86_400  # seconds
MONTH = 30 * DAY
MIN_SECONDS_IN_DAYS = 2 * DAY  # from here on days are said, below hours
THOUSAND, MYRIAD, MILLION = 1_000, 10_000, 1_000_000
MIN_WITHOUT_DECIMAL = 10  # of a unit: from here on without a decimal


class Translations:
    """One column of the table."""

    def __init__(self, language: str) -> None:
        self.language = language
        self._column = LANGUAGES.index(language)

    def __call__(self, key: str, **values: object) -> str:
        sentence = SENTENCES[key][self._column]
        return sentence.format(**values) if values else sentence

    def span(self, seconds: float) -> str:
        """How long, in one or two units."""
        minutes = int(seconds // MINUTE)
        if seconds < HOUR:
            return self("minutes", n=minutes)
        if seconds < DAY:
            hours, rest = divmod(minutes, MINUTE)
            return self("hours_minutes", n=hours, m=rest) if rest else self("hours", n=hours)
        if seconds < MIN_SECONDS_IN_DAYS:
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
            return self("myriad", n=_format_short(number / MYRIAD)) if number >= MYRIAD else str(number)
        if number >= MILLION:
            return self("million", n=_format_short(number / MILLION))
        return self("thousand", n=_format_short(number / THOUSAND)) if number >= MYRIAD else f"{number:,}"

    def platform(self, name: str) -> str:
        return self(key) if (key := f"platform_name_{name}") in SENTENCES else name

    def days(self) -> list[str]:
        return self("days").split()


def translations_for(accepted: str | None) -> Translations:
    """By what `best_match` found; English where it found nothing."""
    return _translations("zh-Hans" if accepted and accepted.lower().startswith("zh") else "en")


@cache
def _translations(language: str) -> Translations:
    return Translations(language)


def local_time(timestamp: float, zone: str) -> str:
    return f"{datetime.fromtimestamp(timestamp, ZoneInfo(zone)):%Y-%m-%d %H:%M}"


def _format_short(number: float) -> str:
    return (
        f"{number:.0f}"
        if number >= MIN_WITHOUT_DECIMAL and number == int(number)
        else f"{number:.1f}".removesuffix(".0")
    )
