"""Reads and writes quantities as people do: durations, instants, rates, times of day, zones, counts, names."""

from __future__ import annotations

import re
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Annotated, Any, NamedTuple

from livectl.errors import SettingsError
from livectl.suggestions import nearest

if TYPE_CHECKING:
    from collections.abc import Iterable

UNIT_SECONDS = {"w": 604800.0, "d": 86400.0, "h": 3600.0, "m": 60.0, "s": 1.0, "ms": 0.001}
MS_PER_SECOND = 1_000
MICROSECONDS_PER_MS = 1_000
MAX_DURATION_S = 10 * 365 * UNIT_SECONDS["d"]  # longer ones are slips of the keyboard
NUMBER = r"[0-9]+(?:\.[0-9]+)?"
DURATION = re.compile("".join(rf"(?:(?P<{unit}>{NUMBER}){unit})?" for unit in UNIT_SECONDS))
TIMES = re.compile(r"(\d+(?:\.\d+)?) ?x")
TIMES = re.compile(r"(\d{1,6}(?:\.\d{1,6})?) ?x")
RATE = re.compile(rf"({NUMBER})/([smhd])")
BYTE_SIZE = re.compile(rf"({NUMBER})\s*(k|M|G)?B?")
BYTES_OF_PREFIX = {None: 1, "k": 1_000, "M": 1_000_000, "G": 1_000_000_000}
TIME_OF_DAY = re.compile(r"([01]?[0-9]|2[0-3]):([0-5][0-9])")
WHOLE_UNITS = ("d", "h", "m")
MAX_RATE = 1e9
MAX_ZONE_NAME_CHARS = 40  # in a message; the longest name there is has 32

Duration = Annotated[float, "seconds"]
ByteSize = Annotated[int, "bytes"]
Times = Annotated[float, "times as long"]
TimeOfDay = Annotated[int, "minutes since midnight"]
Timezone = Annotated[str, "a zone that this machine knows"]


class Rate(NamedTuple):
    """An amount in a number of seconds."""

    amount: float
    seconds: float

    @property
    def per_second(self) -> float:
        return self.amount / self.seconds


class Window(NamedTuple):
    """From one time of day to another; over midnight when the end is before the start."""

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
    if re.fullmatch(NUMBER, text[:-1]) and text[-1] in UNIT_SECONDS:  # as most are: one number, and one letter
        return float(text[:-1]) * UNIT_SECONDS[text[-1]]
    match = DURATION.fullmatch(text)
    if not text or not match:
        return None
    return sum(float(number) * UNIT_SECONDS[unit] for unit, number in match.groupdict().items() if number)


def parse_byte_size(value: str | int) -> ByteSize:
    """`1MB`, `500kB`, or a number of bytes."""
    match = BYTE_SIZE.fullmatch(value) if isinstance(value, str) else None
    if match:
        return int(float(match[1]) * BYTES_OF_PREFIX[match[2]])
    if type(value) is not int or value < 0:
        raise SettingsError("a size is a number of bytes with its unit", "Write 1MB, 500kB, or bytes.")
    return value


def parse_rate(text: str) -> Rate:
    """`10/s`, `600/m`, `100/h`, `10000/d`."""
    match = RATE.fullmatch(text.replace(" ", ""))
    if not match or not 0 < float(match[1]) <= MAX_RATE:
        raise SettingsError("a rate is a number in a unit of time", "Write 10/s, 600/m, 100/h or 10000/d.")
    return Rate(float(match[1]), UNIT_SECONDS[match[2]])


def parse_times(value: Any) -> Times:
    """`3x`: how many times as long."""
    match = TIMES.fullmatch(value.strip()) if isinstance(value, str) else None
    if not match or float(match[1]) <= 1:
        raise SettingsError("this is not how many times as long as usual", "Write 3x; more than 1x.")
    return float(match[1])


def format_rate(rate: Rate) -> str:
    """A rate as `parse_rate` reads it: `600/m`."""
    unit = next(unit for unit, seconds in UNIT_SECONDS.items() if seconds == rate.seconds)
    return f"{rate.amount:.15g}/{unit}"


def parse_time_of_day(text: str) -> TimeOfDay:
    """`09:00`, `23:30`."""
    match = TIME_OF_DAY.fullmatch(text.strip())
    if not match:
        raise SettingsError("a time of day is hours and minutes", "Write 09:00 or 23:30.")
    return int(match[1]) * 60 + int(match[2])


def format_time_of_day(at: TimeOfDay) -> str:
    """A time of day as `parse_time_of_day` reads it: `09:00`."""
    return f"{at // 60:02}:{at % 60:02}"


def parse_window(text: str) -> Window:
    """`23:00-07:30`."""
    start, dash, end = text.partition("-")
    if not dash:
        raise SettingsError("hours are from one time of day to another", "Write 23:00-07:30.")
    return Window(parse_time_of_day(start), parse_time_of_day(end))


def parse_timezone(text: str) -> Timezone:
    """`UTC`, `Europe/Paris`."""
    from zoneinfo import ZoneInfo

    try:
        ZoneInfo(text)
    except (OSError, ValueError, LookupError):  # a folder of zones, a path, a name that no zone has
        hint = f"Write {nearest_zone(text) or 'a name such as Europe/Paris or UTC'}."
        raise SettingsError(f"no timezone is called {text[:MAX_ZONE_NAME_CHARS]}", hint) from None
    return text


def nearest_zone(name: str) -> str:
    """The time zone with the nearest name, or the nearest city; nothing when none is near."""
    from zoneinfo import available_timezones

    names = sorted(available_timezones())
    zones = {zone.rpartition("/")[2].lower(): zone for zone in names} | {zone.lower(): zone for zone in names}
    match = nearest(name[:MAX_ZONE_NAME_CHARS].replace(" ", "_"), zones)
    return zones[match] if match else ""


def format_duration(seconds: float) -> str:
    """`2.5 h`, `14 h`, `7 min`, `42 s`: in the largest unit that still says something."""
    for unit, name in (("d", "d"), ("h", "h"), ("m", "min")):
        size = UNIT_SECONDS[unit]
        if seconds >= size:
            decimals = 0 if unit == "m" or seconds >= 10 * size else 1
            return f"{seconds / size:.{decimals}f} {name}"
    return f"{max(0.0, seconds):.0f} s"


def format_precise_duration(seconds: float) -> str:
    """`2.5 h`, `14.2 h`, `7.1 min`, `42 s`, `0.31 s`: for how long a job waited or ran."""
    for unit, name in (("d", "d"), ("h", "h"), ("m", "min")):
        if seconds >= UNIT_SECONDS[unit]:
            return f"{seconds / UNIT_SECONDS[unit]:.1f} {name}"
    seconds = max(0.0, seconds)  # between the clocks of two servers
    return f"{seconds:.2f} s" if seconds < 10 else f"{seconds:.0f} s"


def format_hours_and_minutes(seconds: float) -> str:
    """`2 h 13 min`, `7 min`: for how long somebody streamed."""
    hours, minutes = divmod(int(seconds // UNIT_SECONDS["m"]), 60)
    return f"{hours} h {minutes:02} min" if hours else f"{minutes} min"


def format_yaml_duration(seconds: float) -> str:
    """`90s`, `5m`, `2h`, `0.25s`: as parse_duration reads it, in the largest unit that it is a whole number of."""
    for unit in WHOLE_UNITS:
        if seconds and seconds % UNIT_SECONDS[unit] == 0:
            return f"{int(seconds / UNIT_SECONDS[unit])}{unit}"
    from decimal import Decimal

    return f"{Decimal(repr(seconds)).normalize():f}s"  # never 1e+06


def format_instant(seconds: float, precision: str = "seconds") -> str:
    """`2026-11-28T09:00:00Z`: seconds since the epoch as ISO 8601 in UTC; `precision` may be `milliseconds`."""
    return datetime.fromtimestamp(seconds, UTC).isoformat(timespec=precision).replace("+00:00", "Z")


def utc_datetime(seconds: float | None) -> datetime | None:
    """Seconds since the epoch as a time in UTC, to the second: JSON shows it as format_instant does."""
    return None if seconds is None else datetime.fromtimestamp(seconds, UTC).replace(microsecond=0)


def format_local_time(seconds: float, zone: str) -> str:
    """`2026-11-28 10:00`: seconds since the epoch in this zone."""
    from zoneinfo import ZoneInfo

    return f"{datetime.fromtimestamp(seconds, ZoneInfo(zone)):%Y-%m-%d %H:%M}"


def format_moment(seconds: float, zone: str) -> str:
    """`2026-11-28 10:00:07 Europe/Paris`: seconds since the epoch in this zone, which is named."""
    from zoneinfo import ZoneInfo

    return f"{datetime.fromtimestamp(seconds, ZoneInfo(zone)):%Y-%m-%d %H:%M:%S} {zone}"


def format_names(names: Iterable[str], most: int = 10) -> str:
    """`a, b and 3 more`: names in their order, as many as one line has room for."""
    ordered = sorted(names)
    hidden_count = len(ordered) - most
    return ", ".join(ordered[:most]) + (f" and {hidden_count} more" if hidden_count > 0 else "")


def format_count(number: int, noun: str, *, plural: str = "", zero: str = "0") -> str:
    """`1 file`, `2 files`, `0 files`, `1,000 files`; `zero` is what to write for 0."""
    return f"{f'{number:,}' if number else zero} {noun if number == 1 else plural or f'{noun}s'}"
