"""Sunrise, sunset and the other times of day that the sun keeps, reckoned by ephem as Celery reckons them."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta
from functools import lru_cache
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from livectl.model import Solar

# event -> (what ephem is asked for, the sun's height over the horizon in degrees, its centre or its upper edge)
EVENTS: dict[str, tuple[str, str, bool]] = {
    "dawn_astronomical": ("next_rising", "-18", True),
    "dawn_nautical": ("next_rising", "-12", True),
    "dawn_civil": ("next_rising", "-6", True),
    "sunrise": ("next_rising", "-0:34", False),
    "solar_noon": ("next_transit", "0", False),
    "sunset": ("next_setting", "-0:34", False),
    "dusk_civil": ("next_setting", "-6", True),
    "dusk_nautical": ("next_setting", "-12", True),
    "dusk_astronomical": ("next_setting", "-18", True),
}
LONGEST_NIGHT = 370  # days: by then the sun has risen again, at the poles too
DAY = timedelta(days=1)
HALF_DAY = timedelta(hours=12)  # past one event, and not yet at the next
SECOND = 1_000  # milliseconds
DAYS_KEPT = 4_096


def event_after(sun: Solar, after_ms: int) -> int | None:
    """The first one after this instant; None where the sun never stands so high or so low."""
    today = _day(after_ms)
    for day in (today + number * DAY for number in range(LONGEST_NIGHT)):
        for instant in _events(sun, day):
            if instant > after_ms:
                return instant
    return None


def event_until(sun: Solar, until_ms: int) -> int | None:
    """The latest one that is not after this instant."""
    today = _day(until_ms)
    for day in (today - number * DAY for number in range(LONGEST_NIGHT)):
        for instant in reversed(_events(sun, day)):
            if instant <= until_ms:
                return instant
    return None


def can_reckon() -> bool:
    return find_spec("ephem") is not None


@lru_cache(DAYS_KEPT)
def _events(sun: Solar, day: date) -> tuple[int, ...]:
    """Those of one day of UTC, in whole seconds. Reckoned from midnight, so that every beat has the same ones."""
    midnight = datetime(day.year, day.month, day.day)  # noqa: DTZ001 - ephem takes and gives naive UTC
    first = _next(sun, midnight)
    if first is None or first >= midnight + DAY:
        return ()
    second = _next(sun, first + HALF_DAY)
    found = [first] if second is None or second >= midnight + DAY else [first, second]
    return tuple(int(each.replace(tzinfo=UTC).timestamp()) * SECOND for each in found)


def _next(sun: Solar, moment: datetime) -> datetime | None:
    import ephem

    method, horizon, centre = EVENTS[sun.event]
    place = ephem.Observer()
    place.lat, place.lon, place.horizon, place.pressure = str(sun.lat), str(sun.lon), horizon, 0
    options: dict[str, Any] = {"use_center": True} if centre else {}
    try:
        found: datetime = getattr(place, method)(ephem.Sun(), start=moment, **options).datetime()
    except ephem.CircumpolarError:
        return None
    return found


def _day(moment_ms: int) -> date:
    return datetime.fromtimestamp(moment_ms / SECOND, UTC).date()
