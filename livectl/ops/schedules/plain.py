"""Plain values of a file: text, switches, mappings, durations. What a value is not, is noted at its spot."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from livectl.errors import SettingsError
from livectl.ops.schedules.spot import did_you_mean, quoted
from livectl.quantity import parse_duration

if TYPE_CHECKING:
    from livectl.ops.schedules.spot import Spot

DURATIONS = "such as 30s, 5m or 1h30m"


def text(spot: Spot, value: Any) -> str:
    if not isinstance(value, str) or not value:
        spot.wrong(f"{quoted(value)} is no text", f'"{value}"' if isinstance(value, int | float) else "")
    return str(value)


def switch(spot: Spot, value: Any) -> bool:
    if not isinstance(value, bool):
        spot.wrong(f"{quoted(value)} is neither true nor false", "true or false")
    return bool(value)


def mapping(spot: Spot, value: Any) -> dict[str, Any]:
    if isinstance(value, dict):
        return value
    spot.wrong(f"{quoted(value)} is no mapping", "{name: value}")
    return {}


def duration(spot: Spot, value: Any) -> float | int:
    """Seconds, more than none: a number, or text such as 1h30m."""
    if not is_number(value) and not isinstance(value, str):
        spot.wrong(f"{quoted(value)} is no duration", DURATIONS)
        return 0
    try:
        seconds = float(parse_duration(value))
    except SettingsError as error:
        negative = str(value).startswith("-")
        said = " must be more than zero" if negative else f": {error.message}"
        spot.wrong(f"{quoted(value)}{said}", DURATIONS)
        return 0
    if seconds == 0:
        spot.wrong(f"{quoted(value)} must be more than zero", DURATIONS)
    return int(seconds) if seconds.is_integer() else seconds


def is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def choice(spot: Spot, value: Any, known: tuple[str, ...]) -> Any:
    if value not in known:
        hint = did_you_mean(value, known) if isinstance(value, str) else ""
        spot.wrong(f"{quoted(value)} is neither {' nor '.join(known)}", hint)
    return value


def zone(spot: Spot, value: Any) -> str:
    """The name of a time zone; UTC stands in for one that is wrong, so that reading can go on."""
    from zoneinfo import ZoneInfo, available_timezones

    try:
        ZoneInfo(value)
    except (ValueError, TypeError, OSError, LookupError, AttributeError):
        nearest = _nearest_zone(str(value), sorted(available_timezones()))
        spot.wrong(f"{quoted(value)} is no time zone", nearest or "such as Europe/Paris or UTC")
        return "UTC"
    return str(value)


def _nearest_zone(word: str, zones: list[str]) -> str:
    """By its whole name, or by its city."""
    cities = {name.rpartition("/")[2].lower(): name for name in zones if "/" in name}
    city = cities.get(word.lower().replace(" ", "_"))
    return f"did you mean {city}?" if city else did_you_mean(word, zones)
