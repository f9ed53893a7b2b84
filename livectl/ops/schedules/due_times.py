"""A zone's clock: the stretches of each year during which it runs evenly.

Everything about daylight saving follows from where one stretch ends and the next begins: local times that the change
skips, or gives twice, are what lies between the two offsets. Reckoned in whole seconds since the epoch.
"""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta
from functools import lru_cache
from hashlib import blake2b
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any, NamedTuple
from zoneinfo import ZoneInfo

from livectl.models import Cron, Interval, Solar
from livectl.ops.schedules import cron

if TYPE_CHECKING:
    from collections.abc import Iterator

    from livectl.models import Schedule


SECONDS_PER_DAY = 86_400  # seconds
LAST_YEAR = 2999  # the last year that is reckoned at all
YEAR_CACHE_SIZE = 4_096  # (zone, year) pairs whose stretches stay in memory


class OffsetPeriod(NamedTuple):
    """From `start` until just before `end`, local time is UTC plus `offset` seconds; before, it was plus `before`."""

    start: int
    end: int
    offset: int
    offset_before: int

    @property
    def skipped_seconds(self) -> range:
        """The local seconds that the change at `start` leaves out."""
        return range(self.start + self.offset_before, self.start + self.offset)

    @property
    def repeated_seconds(self) -> range:
        """The local seconds at the beginning that were there before the change already."""
        return range(self.start + self.offset, self.start + self.offset_before)


def offset_periods_from(zone: str, moment: int, years: int) -> Iterator[OffsetPeriod]:
    """The stretch that holds the moment, and those after it."""
    first_year = utc_year(moment)
    for year in range(first_year, min(first_year + years, LAST_YEAR)):
        yield from (period for period in offset_periods(zone, year) if period.end > moment)


def offset_periods_back_from(zone: str, moment: int, years: int) -> Iterator[OffsetPeriod]:
    """The stretch that holds the moment, and those before it, latest first."""
    last_year = utc_year(moment)
    for year in range(last_year, last_year - years, -1):
        yield from (period for period in reversed(offset_periods(zone, year)) if period.start <= moment)


@lru_cache(YEAR_CACHE_SIZE)
def offset_periods(zone: str, year: int) -> tuple[OffsetPeriod, ...]:
    """A year (of UTC), cut where the zone's clock is changed. The cut at New Year changes nothing."""
    zone_info = ZoneInfo(zone)
    begin, end = _new_year(year), _new_year(year + 1)
    starts = [begin, *_offset_changes(zone_info, begin, end)]
    return tuple(
        OffsetPeriod(start, stop, _utc_offset(zone_info, start), _utc_offset(zone_info, start - 1))
        for start, stop in zip(starts, [*starts[1:], end], strict=True)
    )


def utc_year(moment: int) -> int:
    return datetime.fromtimestamp(moment, UTC).year


def _offset_changes(zone_info: ZoneInfo, begin: int, end: int) -> Iterator[int]:
    """The first second of each new offset. No zone changes twice in a day."""
    for day in range(begin, end, SECONDS_PER_DAY):
        low, high = day, min(day + SECONDS_PER_DAY, end - 1)
        if _utc_offset(zone_info, low) == _utc_offset(zone_info, high):
            continue
        while high - low > 1:
            middle = (low + high) // 2
            low, high = (
                (middle, high) if _utc_offset(zone_info, middle) == _utc_offset(zone_info, low) else (low, middle)
            )
        yield high


def _utc_offset(zone_info: ZoneInfo, moment: int) -> int:
    offset = datetime.fromtimestamp(moment, zone_info).utcoffset()
    return int(offset.total_seconds()) if offset else 0


def _new_year(year: int) -> int:
    return int(datetime(year, 1, 1, tzinfo=UTC).timestamp())


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


MS_PER_SECOND = 1_000  # milliseconds
SECONDS_PER_MINUTE = 60  # seconds
DURATION_UNITS = (("s", 60), ("m", 60), ("h", 24))  # each with how many of it make the next
MAX_SEARCH_YEARS = 41  # searched for a cron line: 29 February may take 40 years to fall on one given weekday


def next_due(schedule: Schedule, after_ms: int) -> int | None:
    """The first due instant after this one; None when there is none."""
    timing = schedule.timing
    if isinstance(timing, Interval):
        return _interval_due_until(timing, schedule.name, after_ms) + _interval_ms(timing)
    if isinstance(timing, Cron):
        due_second = _cron_due_from(timing, schedule.timezone, after_ms // MS_PER_SECOND + 1)
        return None if due_second is None else due_second * MS_PER_SECOND

    return solar_event_after(timing, after_ms)


def last_due(schedule: Schedule, until_ms: int) -> int | None:
    """The latest due instant that is not after this one; None when there is none."""
    timing = schedule.timing
    if isinstance(timing, Interval):
        return _interval_due_until(timing, schedule.name, until_ms)
    if isinstance(timing, Cron):
        due_second = _cron_due_until(timing, schedule.timezone, until_ms // MS_PER_SECOND)
        return None if due_second is None else due_second * MS_PER_SECOND

    return solar_event_until(timing, until_ms)


def format_timing(timing: Interval | Cron | Solar) -> str:
    """As a person would write it: every 1h30m, 0 9 * * mon, sunset at 31.2, 121.5."""
    if isinstance(timing, Cron):
        return timing.text
    if isinstance(timing, Solar):
        return f"{timing.event} at {timing.lat:g}, {timing.lon:g}"
    seconds, milliseconds = divmod(_interval_ms(timing), MS_PER_SECOND)
    parts = [f"{milliseconds}ms"] if milliseconds else []
    for unit, size in DURATION_UNITS:
        seconds, remainder = divmod(seconds, size)
        parts += [f"{remainder}{unit}"] if remainder else []
    return f"every {''.join(reversed([*parts, f'{seconds}d'] if seconds else parts))}"


def _interval_ms(interval: Interval) -> int:
    return max(1, round(interval.seconds * MS_PER_SECOND))


def _interval_due_until(interval: Interval, name: str, moment: int) -> int:
    """The grid is anchored at the epoch and moved by the name, so that not all entries fall on the same instant."""
    step = _interval_ms(interval)
    shift = int.from_bytes(blake2b(name.encode(), digest_size=8).digest()) % step
    return moment - (moment - shift) % step


def _cron_due_from(cron_line: Cron, zone: str, moment: int) -> int | None:
    for period in offset_periods_from(zone, moment, MAX_SEARCH_YEARS):
        if period.start >= moment and skipped_minute(cron_line, period) is not None:
            return period.start
        first = max(moment + period.offset, _first_local_second(cron_line, period))
        minute = cron.first_minute_from(
            cron_line, -(-first // SECONDS_PER_MINUTE), -(-(period.end + period.offset) // SECONDS_PER_MINUTE)
        )
        if minute is not None:
            return minute * SECONDS_PER_MINUTE - period.offset
    return None


def _cron_due_until(cron_line: Cron, zone: str, moment: int) -> int | None:
    for period in offset_periods_back_from(zone, moment, MAX_SEARCH_YEARS):
        last = min(moment, period.end - 1) + period.offset
        minute = cron.last_minute_until(
            cron_line, last // SECONDS_PER_MINUTE, -(-_first_local_second(cron_line, period) // SECONDS_PER_MINUTE)
        )
        if minute is not None:
            return minute * SECONDS_PER_MINUTE - period.offset
        if skipped_minute(cron_line, period) is not None:
            return period.start
    return None


def _first_local_second(cron_line: Cron, period: OffsetPeriod) -> int:
    """The first local second of a stretch that is this line's: what the clock repeats belongs to lines that step."""
    local_start = period.start + period.offset
    return local_start if cron_line.stepping else max(local_start, period.start + period.offset_before)


def skipped_minute(cron_line: Cron, period: OffsetPeriod) -> int | None:
    """The first local minute of the line that the change at the start leaves out, and that is owed right after it.

    A line of every hour is owed nothing: its next run is soon enough.
    """
    if not period.skipped_seconds or cron.runs_every_hour(cron_line):
        return None
    return _first_minute_in(cron_line, period.skipped_seconds)


def repeated_minute(cron_line: Cron, period: OffsetPeriod) -> int | None:
    """The first local minute of the line that the clock shows a second time after the change at the start."""
    return _first_minute_in(cron_line, period.repeated_seconds) if period.repeated_seconds else None


def _first_minute_in(cron_line: Cron, seconds: range) -> int | None:
    return cron.first_minute_from(
        cron_line, -(-seconds.start // SECONDS_PER_MINUTE), -(-seconds.stop // SECONDS_PER_MINUTE)
    )
