"""Time as people write it: durations, rates, times of day, zones."""

from __future__ import annotations

import re
from typing import NamedTuple

from livectl.errors import SettingsError

SECONDS = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0, "w": 604800.0}
_DURATION = re.compile(r"(?:\d+(?:\.\d+)?(?:ms|[smhdw]))+")
_PART = re.compile(r"(\d+(?:\.\d+)?)(ms|[smhdw])")
_RATE = re.compile(r"(\d+(?:\.\d+)?)/(?:1)?([smhd])")
_TIME = re.compile(r"([01]?\d|2[0-3]):([0-5]\d)")
LONGEST = 10 * 365 * SECONDS["d"]  # nobody waits ten years; more digits are a slip


class Duration(float):
    """Seconds."""


class Rate(NamedTuple):
    """So many in so many seconds."""

    amount: float
    seconds: float

    @property
    def per_second(self) -> float:
        return self.amount / self.seconds


class Daytime(int):
    """Minutes since midnight."""


class Window(NamedTuple):
    """From one time of day to another, over midnight when it ends before it starts."""

    start: Daytime
    end: Daytime


def parse_duration(value: str | float) -> Duration:
    """`30s`, `5m`, `1h30m`, `250ms`, or a number of seconds."""
    text = str(value).strip()
    if isinstance(value, str) and not re.fullmatch(r"\d+(\.\d+)?", text):
        if not _DURATION.fullmatch(text):
            raise SettingsError("a duration is a number with its unit", "Write 30s, 5m, 1h30m, 2d, or seconds.")
        seconds = sum(float(number) * SECONDS[unit] for number, unit in _PART.findall(text))
    else:
        seconds = float(text)
    if isinstance(value, bool) or not 0 <= seconds <= LONGEST:
        raise SettingsError("a duration is neither negative nor longer than ten years", "Write 30s, 5m, 1h30m, 2d.")
    return Duration(seconds)


def parse_rate(text: str) -> Rate:
    """`10/s`, `600/m`, `100/h`, `10000/d`."""
    found = _RATE.fullmatch(str(text).replace(" ", ""))
    if not found or not float(found[1]):
        raise SettingsError("a rate is a number in a unit of time", "Write 10/s, 600/m, 100/h or 10000/d.")
    return Rate(float(found[1]), SECONDS[found[2]])


def parse_daytime(text: str) -> Daytime:
    """`09:00`, `23:30`."""
    found = _TIME.fullmatch(str(text).strip())
    if not found:
        raise SettingsError("a time of day is hours and minutes", "Write 09:00 or 23:30.")
    return Daytime(int(found[1]) * 60 + int(found[2]))


def parse_window(text: str) -> Window:
    """`23:00-07:30`."""
    start, dash, end = str(text).partition("-")
    if not dash:
        raise SettingsError("quiet hours are from one time of day to another", "Write 23:00-07:30.")
    return Window(parse_daytime(start), parse_daytime(end))


class Timezone(str):
    """The name of a zone that this machine knows."""

    __slots__ = ()


def parse_timezone(text: str) -> Timezone:
    """`UTC`, `Europe/Paris`."""
    from zoneinfo import ZoneInfo, available_timezones

    try:
        ZoneInfo(text)
    except (OSError, ValueError, KeyError):  # a folder of zones, a path, a name that is none
        from difflib import get_close_matches

        near = get_close_matches(str(text), available_timezones(), 1)
        hint = f"Write {near[0]}." if near else "Write a name such as Europe/Paris or UTC."
        raise SettingsError(f"no timezone is called {str(text)[:40]}", hint) from None
    return Timezone(text)
