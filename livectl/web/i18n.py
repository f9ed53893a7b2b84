"""Translates the page: each language has its sentences in a file of languages/, and writes times and numbers its way.

English has every sentence. Whatever another file lacks, or has wrong, is said in English; a file that cannot be read
is no language.
"""

from __future__ import annotations

import logging
from functools import cache
from importlib import resources

import msgspec

BASE_LANGUAGE = "en"

log = logging.getLogger(__name__)


@cache
def sentences(language: str) -> dict[str, str]:
    """The sentences of a language by their keys; {names} in them are filled in. None for a file that cannot be read."""
    try:
        text = (resources.files("livectl.web") / "languages" / f"{language}.json").read_bytes()
        return msgspec.json.decode(text, type=dict[str, str])
    except (OSError, msgspec.MsgspecError, UnicodeDecodeError) as error:
        log.warning("the page's sentences in %s cannot be read: %s", language, error)
        return {}


@cache
def languages() -> tuple[str, ...]:
    """The languages that can be read, English first."""
    names = (file.name for file in (resources.files("livectl.web") / "languages").iterdir())
    others = sorted(name.removesuffix(".json") for name in names if name.endswith(".json"))
    return (BASE_LANGUAGE, *(name for name in others if name != BASE_LANGUAGE and sentences(name)))


MINUTE, HOUR, DAY = 60, 3600, 86_400  # seconds
MONTH = 30 * DAY
HALF_A_SECOND = 0.5
MIN_SECONDS_IN_DAYS = 2 * DAY  # below, hours say more than days
MIN_SECONDS_IN_MONTHS = 3 * MONTH
THOUSAND, MYRIAD, MILLION = 1_000, 10_000, 1_000_000
MIN_WITHOUT_DECIMAL = 10  # of a unit: a whole number from here on has no decimal


class Translations:
    """The sentences of one language. Called with a key and values, it gives the sentence."""

    def __init__(self, language: str) -> None:
        self.language = language
        self._sentences = sentences(language)

    def __call__(self, key: str, **values: object) -> str:
        for known in (self._sentences, sentences(BASE_LANGUAGE)):
            try:
                return known[key].format(**values) if values else known[key]
            except (KeyError, IndexError, ValueError, AttributeError):  # a sentence that is missing or wrong
                continue
        return key.replace("_", " ")

    def knows(self, key: str) -> bool:
        return key in self._sentences or key in sentences(BASE_LANGUAGE)

    def span(self, seconds: float) -> str:
        """A duration in one or two units."""
        minutes = int(seconds // MINUTE)
        if seconds < HOUR:
            return self("minutes", n=minutes)
        if seconds < DAY:
            hours, rest = divmod(minutes, MINUTE)
            return self("hours_minutes", n=hours, m=rest) if rest else self("hours", n=hours)
        if seconds < MIN_SECONDS_IN_DAYS:
            return self("hours", n=int(seconds // HOUR))
        if seconds < MIN_SECONDS_IN_MONTHS:
            return self("many_days", n=int(seconds // DAY))
        return self("months", n=int(seconds // MONTH))

    def ago(self, seconds: float) -> str:
        """How long ago, in whole hours after the first: nobody needs the minutes of yesterday."""
        if seconds < MINUTE:
            return self("now")
        rough = seconds if seconds < HOUR else seconds // HOUR * HOUR
        return self("ago", span=self.span(rough))

    def ahead(self, seconds: float) -> str:
        """How far ahead."""
        if seconds < HALF_A_SECOND:  # what rounds to nought
            return self("soon")
        return self("ahead", span=self.seconds(seconds) if seconds < MINUTE else self.span(seconds))

    def seconds(self, seconds: float) -> str:
        """A duration where seconds matter."""
        return self("seconds", n=round(seconds)) if seconds < MINUTE else self.span(seconds)

    def count(self, number: int) -> str:
        """A number of viewers, rounded as people of this language round."""
        if self.language == "zh-Hans":
            return self("myriad", n=_format_short(number / MYRIAD)) if number >= MYRIAD else str(number)
        if number >= MILLION:
            return self("million", n=_format_short(number / MILLION))
        return self("thousand", n=_format_short(number / THOUSAND)) if number >= MYRIAD else f"{number:,}"

    def platform(self, name: str) -> str:
        return self(key) if self.knows(key := f"platform_name_{name}") else name

    def days(self) -> list[str]:
        """The weekdays, from Monday on."""
        return self("days").split()


def translations_for(accepted: str | None) -> Translations:
    """The language that fits what the browser accepts best; English where none does."""
    wanted = (accepted or "").lower()
    family = wanted.partition("-")[0]
    known = languages()
    exact = [name for name in known if name.lower() == wanted]
    alike = [name for name in known if name.lower().partition("-")[0] == family]
    return _translations((*exact, *alike, BASE_LANGUAGE)[0])


@cache
def _translations(language: str) -> Translations:
    return Translations(language)


def _format_short(number: float) -> str:
    return (
        f"{number:.0f}"
        if number >= MIN_WITHOUT_DECIMAL and number == int(number)
        else f"{number:.1f}".removesuffix(".0")
    )
