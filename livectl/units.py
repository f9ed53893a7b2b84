"""Time as people write it: durations, rates, times of day, zones."""

from __future__ import annotations

import re
from difflib import get_close_matches
from typing import Annotated, NamedTuple

from livectl.errors import SettingsError

UNIT_SECONDS = {"w": 604800.0, "d": 86400.0, "h": 3600.0, "m": 60.0, "s": 1.0, "ms": 0.001}
MAX_DURATION_S = 10 * 365 * UNIT_SECONDS["d"]  # nobody waits ten years; more digits are a slip
NUMBER = r"[0-9]+(?:\.[0-9]+)?"
DURATION = re.compile("".join(rf"(?:(?P<{unit}>{NUMBER}){unit})?" for unit in UNIT_SECONDS))
RATE = re.compile(rf"({NUMBER})/([smhd])")
TIME_OF_DAY = re.compile(r"([01]?[0-9]|2[0-3]):([0-5][0-9])")
MAX_RATE = 1e9  # of a rate
MAX_ZONE_NAME_CHARS = 40  # characters of a zone's name; the longest there is has 32

Duration = Annotated[float, "seconds"]
TimeOfDay = Annotated[int, "minutes since midnight"]
Timezone = Annotated[str, "a zone that this machine knows"]


class Rate(NamedTuple):
    """So many in so many seconds."""

    amount: float
    seconds: float

    @property
    def per_second(self) -> float:
        return self.amount / self.seconds


class Window(NamedTuple):
    """From one time of day to another, over midnight when it ends before it starts."""

    start: TimeOfDay
    end: TimeOfDay


def parse_duration(value: str | float) -> Duration:
    """`30s`, `5m`, `1h30m`, `250ms`, or a number of seconds."""
    seconds = _to_seconds(value)
    if seconds is None:
        raise SettingsError("a duration is a number with its unit", "Write 30s, 5m, 1h30m, 2d, or seconds.")
    if not 0 <= seconds <= MAX_DURATION_S:
        raise SettingsError("a duration is neither negative nor longer than ten years", "Write 30s, 5m, 1h30m, 2d.")
    return seconds


def _to_seconds(value: str | float) -> float | None:
    if not isinstance(value, str):
        return float(value) if type(value) in {int, float} else None
    text = value.replace(" ", "")
    if re.fullmatch(NUMBER, text):
        return float(text)
    match = DURATION.fullmatch(text)
    if not text or not match:
        return None
    return sum(float(number) * UNIT_SECONDS[unit] for unit, number in match.groupdict(default="0").items())


def parse_rate(text: str) -> Rate:
    """`10/s`, `600/m`, `100/h`, `10000/d`."""
    match = RATE.fullmatch(text.replace(" ", ""))
    if not match or not 0 < float(match[1]) <= MAX_RATE:
        raise SettingsError("a rate is a number in a unit of time", "Write 10/s, 600/m, 100/h or 10000/d.")
    return Rate(float(match[1]), UNIT_SECONDS[match[2]])


def parse_time_of_day(text: str) -> TimeOfDay:
    """`09:00`, `23:30`."""
    match = TIME_OF_DAY.fullmatch(text.strip())
    if not match:
        raise SettingsError("a time of day is hours and minutes", "Write 09:00 or 23:30.")
    return int(match[1]) * 60 + int(match[2])


def parse_window(text: str) -> Window:
    """`23:00-07:30`."""
    start, dash, end = text.partition("-")
    if not dash:
        raise SettingsError("quiet hours are from one time of day to another", "Write 23:00-07:30.")
    return Window(parse_time_of_day(start), parse_time_of_day(end))


def parse_timezone(text: str) -> Timezone:
    """`UTC`, `Europe/Paris`."""
    from zoneinfo import ZoneInfo

    try:
        ZoneInfo(text)
    except (OSError, ValueError, LookupError):  # a folder of zones, a path, a name that is none
        name = text[:MAX_ZONE_NAME_CHARS]
        raise SettingsError(f"no timezone is called {name}", f"Write {_nearest_zone(name)}.") from None
    return text


def _nearest_zone(name: str) -> str:
    """By its whole name, or by its city."""
    from zoneinfo import available_timezones

    names = sorted(available_timezones())
    zones = {zone.rpartition("/")[2].lower(): zone for zone in names} | {zone.lower(): zone for zone in names}
    matches = get_close_matches(name.lower().replace(" ", "_"), zones, 1)
    return zones[matches[0]] if matches else "a name such as Europe/Paris or UTC"
