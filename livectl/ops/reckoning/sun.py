"""Sunrise, sunset and the other times of day that the sun keeps, reckoned by ephem as Celery reckons them."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta
from functools import lru_cache
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from livectl.model import Solar

# event -> (what ephem is asked for, the sun's height over the horizon in degrees, its centre or its upper edge)
SOLAR_EVENTS: dict[str, tuple[str, str, bool]] = {
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
MAX_SEARCH_DAYS = 370  # days: by then the sun has risen again, at the poles too
ONE_DAY = timedelta(days=1)
HALF_DAY = timedelta(hours=12)  # past one event, and not yet at the next
SECOND_MS = 1_000  # milliseconds
DAY_CACHE_SIZE = 4_096


def solar_event_after(solar: Solar, after_ms: int) -> int | None:
    """The first one after this instant; None where the sun never stands so high or so low."""
    today = _utc_date(after_ms)
    for day in (today + number * ONE_DAY for number in range(MAX_SEARCH_DAYS)):
        for instant in _solar_events(solar, day):
            if instant > after_ms:
                return instant
    return None


def solar_event_until(solar: Solar, until_ms: int) -> int | None:
    """The latest one that is not after this instant."""
    today = _utc_date(until_ms)
    for day in (today - number * ONE_DAY for number in range(MAX_SEARCH_DAYS)):
        for instant in reversed(_solar_events(solar, day)):
            if instant <= until_ms:
                return instant
    return None


def has_ephem() -> bool:
    return find_spec("ephem") is not None


@lru_cache(DAY_CACHE_SIZE)
def _solar_events(solar: Solar, day: date) -> tuple[int, ...]:
    """Those of one day of UTC, in whole seconds. Reckoned from midnight, so that every beat has the same ones."""
    midnight = datetime(day.year, day.month, day.day)  # noqa: DTZ001 - ephem takes and gives naive UTC
    first = _next_solar_event(solar, midnight)
    if first is None or first >= midnight + ONE_DAY:
        return ()
    second = _next_solar_event(solar, first + HALF_DAY)
    instants = [first] if second is None or second >= midnight + ONE_DAY else [first, second]
    return tuple(int(instant.replace(tzinfo=UTC).timestamp()) * SECOND_MS for instant in instants)


def _next_solar_event(solar: Solar, moment: datetime) -> datetime | None:
    import ephem

    method, horizon, use_centre = SOLAR_EVENTS[solar.event]
    observer = ephem.Observer()
    observer.lat, observer.lon, observer.horizon, observer.pressure = str(solar.lat), str(solar.lon), horizon, 0
    options: dict[str, Any] = {"use_center": True} if use_centre else {}
    try:
        instant: datetime = getattr(observer, method)(ephem.Sun(), start=moment, **options).datetime()
    except ephem.CircumpolarError:
        return None
    return instant


def _utc_date(moment_ms: int) -> date:
    return datetime.fromtimestamp(moment_ms / SECOND_MS, UTC).date()
