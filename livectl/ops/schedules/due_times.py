"""Computes when a schedule is due: at an interval, by a cron line in a time zone, by the sun, or once.

The instants of a timing are those of its words alone. A schedule leaves out those before its start, after its end and
on days that it excludes, and may move each of the others by a jitter that the instant itself decides. All of it is
reckoned from the schedule and a moment, so that every beat finds the same.

A year in a time zone is cut into periods of one UTC offset. The local times that a change of the clock skips or repeats
lie between the offsets of two periods.
"""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta
from functools import lru_cache
from hashlib import blake2b
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any, NamedTuple
from zoneinfo import ZoneInfo

from livectl.models import After, At, Cron, Interval, Solar
from livectl.ops.schedules import cron, days
from livectl.units import MS_PER_SECOND, format_instant

if TYPE_CHECKING:
    from collections.abc import Iterator

    from livectl.models import Schedule


SECONDS_PER_MINUTE = 60
SECONDS_PER_DAY = 86_400
DURATION_UNITS = (("s", 60), ("m", 60), ("h", 24))  # how many of each make one of the next
MAX_SEARCH_YEARS = 41  # for a cron line: 29 February may take 40 years to fall on one given weekday
MAX_EXCLUDED_MS = MAX_SEARCH_YEARS * 366 * SECONDS_PER_DAY * MS_PER_SECOND  # in which every run is left out
LAST_YEAR = 2999  # no due time is looked for after it
YEAR_CACHE_SIZE = 4_096  # years of a time zone
MAX_SEARCH_DAYS = 370  # for an event of the sun: by then it has risen again, at the poles too
ONE_DAY = timedelta(days=1)
HALF_DAY = timedelta(hours=12)  # past one event, and not yet at the next
DAY_CACHE_SIZE = 4_096  # days at a place
# event -> (method of ephem's observer, height of the sun over the horizon in degrees, of its centre or its upper edge)
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


def next_due(schedule: Schedule, after_ms: int) -> int | None:
    """The first due instant after this one, in UTC milliseconds; None when there is none."""
    if schedule.jitter:  # one before that is moved beyond it may still come
        planned = _kept_until(schedule, after_ms)
        if planned is not None and (due := move(schedule, planned)) > after_ms:
            return due
    planned = _kept_after(schedule, after_ms)
    return None if planned is None else move(schedule, planned)


def last_due(schedule: Schedule, until_ms: int) -> int | None:
    """The latest due instant up to this one, in UTC milliseconds; None when there is none."""
    planned = _kept_until(schedule, until_ms)
    if planned is not None and schedule.jitter and move(schedule, planned) > until_ms:
        planned = _kept_until(schedule, planned - 1)
    return None if planned is None else move(schedule, planned)


def move(schedule: Schedule, planned: int) -> int:
    """When the run of an instant of the timing is due: moved by its part of the jitter.

    Never as far as the next instant of the timing, so that runs keep their order; nor beyond the end.
    """
    if not schedule.jitter:
        return planned
    following = timing_after(schedule, planned)
    most = min(
        round(schedule.jitter * MS_PER_SECOND),
        planned if following is None else following - planned - 1,
        planned if schedule.end is None else schedule.end - planned,
    )
    digest = blake2b(f"{schedule.name} {planned}".encode(), digest_size=8).digest()
    return planned + int.from_bytes(digest) % (max(0, most) + 1)


def why_left_out(schedule: Schedule, planned: int) -> str:
    """Why an instant of the timing has no run; empty when it has one."""
    if schedule.start is not None and planned < schedule.start:
        return "before start"
    if schedule.end is not None and planned > schedule.end:
        return "after end"
    excluded = _excluded_on(schedule, planned)
    return f"except {excluded}" if excluded else ""


def _kept_after(schedule: Schedule, after_ms: int) -> int | None:
    """The first instant of the timing after this one that is not left out."""
    moment = after_ms if schedule.start is None else max(after_ms, schedule.start - 1)
    limit = moment + MAX_EXCLUDED_MS
    while (planned := timing_after(schedule, moment)) is not None:
        if schedule.end is not None and planned > schedule.end:
            return None
        if not schedule.excluded or not _excluded_on(schedule, planned):
            return planned
        if planned > limit or (opens := days.opens_at(schedule.excluded, planned, schedule.timezone)) is None:
            return None
        moment = max(planned, opens - 1)
    return None


def _kept_until(schedule: Schedule, until_ms: int) -> int | None:
    """The latest instant of the timing up to this one that is not left out."""
    moment = until_ms if schedule.end is None else min(until_ms, schedule.end)
    limit = moment - MAX_EXCLUDED_MS
    while (planned := timing_until(schedule, moment)) is not None:
        if schedule.start is not None and planned < schedule.start:
            return None
        if not schedule.excluded or not _excluded_on(schedule, planned):
            return planned
        if planned < limit or (closes := days.closed_at(schedule.excluded, planned, schedule.timezone)) is None:
            return None
        moment = min(planned, closes) - 1
    return None


def _excluded_on(schedule: Schedule, moment: int) -> str:
    return days.excluded_by(schedule.excluded, days.local_day(moment, schedule.timezone)) if schedule.excluded else ""


def timing_after(schedule: Schedule, after_ms: int) -> int | None:
    """The first instant of the timing alone after this one."""
    timing = schedule.timing
    if isinstance(timing, Interval):
        return _interval_due_until(timing, schedule.name, after_ms) + _interval_ms(timing)
    if isinstance(timing, Cron):
        due_second = _cron_due_from(timing, schedule.timezone, after_ms // MS_PER_SECOND + 1)
        return None if due_second is None else due_second * MS_PER_SECOND
    if isinstance(timing, At):
        return timing.instant if timing.instant > after_ms else None
    if isinstance(timing, After):
        return None
    return solar_event_after(timing, after_ms)


def timing_until(schedule: Schedule, until_ms: int) -> int | None:
    """The latest instant of the timing alone up to this one."""
    timing = schedule.timing
    if isinstance(timing, Interval):
        return _interval_due_until(timing, schedule.name, until_ms)
    if isinstance(timing, Cron):
        due_second = _cron_due_until(timing, schedule.timezone, until_ms // MS_PER_SECOND)
        return None if due_second is None else due_second * MS_PER_SECOND
    if isinstance(timing, At):
        return timing.instant if timing.instant <= until_ms else None
    if isinstance(timing, After):
        return None
    return solar_event_until(timing, until_ms)


def format_timing(timing: Interval | Cron | Solar | At | After) -> str:
    """`every 1h30m`, `0 9 * * mon`, `sunset at 31.2, 121.5`, `at 2027-01-31T09:00:00Z`, `after sweep failed`."""
    if isinstance(timing, After):
        return f"after {timing.entry}{'' if timing.when == 'succeeded' else f' {timing.when}'}"
    if isinstance(timing, At):
        return f"at {format_instant(timing.instant / MS_PER_SECOND)}"
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


def _interval_due_until(interval: Interval, name: str, until_ms: int) -> int:
    """The grid of an interval starts at the epoch, shifted by the name: entries of one interval are due apart."""
    step = _interval_ms(interval)
    shift = int.from_bytes(blake2b(name.encode(), digest_size=8).digest()) % step
    return until_ms - (until_ms - shift) % step


def _interval_ms(interval: Interval) -> int:
    return max(1, round(interval.seconds * MS_PER_SECOND))


def _cron_due_from(cron_line: Cron, zone: str, first_second: int) -> int | None:
    for period in offset_periods_from(zone, first_second, MAX_SEARCH_YEARS):
        if period.start >= first_second and skipped_minute(cron_line, period) is not None:
            return period.start
        first = max(first_second + period.offset, _first_local_second(cron_line, period))
        minute = cron.first_minute_from(
            cron_line, -(-first // SECONDS_PER_MINUTE), -(-(period.end + period.offset) // SECONDS_PER_MINUTE)
        )
        if minute is not None:
            return minute * SECONDS_PER_MINUTE - period.offset
    return None


def _cron_due_until(cron_line: Cron, zone: str, last_second: int) -> int | None:
    for period in offset_periods_back_from(zone, last_second, MAX_SEARCH_YEARS):
        last = min(last_second, period.end - 1) + period.offset
        minute = cron.last_minute_until(
            cron_line, last // SECONDS_PER_MINUTE, -(-_first_local_second(cron_line, period) // SECONDS_PER_MINUTE)
        )
        if minute is not None:
            return minute * SECONDS_PER_MINUTE - period.offset
        if skipped_minute(cron_line, period) is not None:
            return period.start
    return None


def _first_local_second(cron_line: Cron, period: OffsetPeriod) -> int:
    """The first local second of a period in which a line may run: only a stepping line runs in repeated ones."""
    local_start = period.start + period.offset
    return local_start if cron_line.stepping else max(local_start, period.start + period.offset_before)


def skipped_minute(cron_line: Cron, period: OffsetPeriod) -> int | None:
    """The first local minute of the line that the change at the start of the period skips; it runs right after.

    None for a line of every hour: its next run is soon enough.
    """
    if not period.skipped_seconds or cron.runs_every_hour(cron_line):
        return None
    return _first_minute_in(cron_line, period.skipped_seconds)


def repeated_minute(cron_line: Cron, period: OffsetPeriod) -> int | None:
    """The first local minute of the line that the change at the start of the period repeats."""
    return _first_minute_in(cron_line, period.repeated_seconds) if period.repeated_seconds else None


def _first_minute_in(cron_line: Cron, seconds: range) -> int | None:
    return cron.first_minute_from(
        cron_line, -(-seconds.start // SECONDS_PER_MINUTE), -(-seconds.stop // SECONDS_PER_MINUTE)
    )


class OffsetPeriod(NamedTuple):
    """From `start` to before `end`, local time is UTC plus `offset` seconds; before, UTC plus `offset_before`."""

    start: int
    end: int
    offset: int
    offset_before: int

    @property
    def skipped_seconds(self) -> range:
        """The local seconds that the change at `start` skips."""
        return range(self.start + self.offset_before, self.start + self.offset)

    @property
    def repeated_seconds(self) -> range:
        """The local seconds that the change at `start` shows a second time."""
        return range(self.start + self.offset, self.start + self.offset_before)


def offset_periods_from(zone: str, moment: int, years: int) -> Iterator[OffsetPeriod]:
    """The period that holds the moment, and the later ones."""
    first_year = utc_year(moment)
    for year in range(first_year, min(first_year + years, LAST_YEAR)):
        yield from (period for period in offset_periods(zone, year) if period.end > moment)


def offset_periods_back_from(zone: str, moment: int, years: int) -> Iterator[OffsetPeriod]:
    """The period that holds the moment, and the earlier ones, latest first."""
    last_year = utc_year(moment)
    for year in range(last_year, last_year - years, -1):
        yield from (period for period in reversed(offset_periods(zone, year)) if period.start <= moment)


@lru_cache(YEAR_CACHE_SIZE)
def offset_periods(zone: str, year: int) -> tuple[OffsetPeriod, ...]:
    """The periods of a year of UTC. A new year begins a new period, without a change of the offset."""
    zone_info = ZoneInfo(zone)
    begin, end = _new_year(year), _new_year(year + 1)
    starts = [begin, *_offset_changes(zone_info, begin, end)]
    return tuple(
        OffsetPeriod(start, stop, _utc_offset(zone_info, start), _utc_offset(zone_info, start - 1))
        for start, stop in zip(starts, [*starts[1:], end], strict=True)
    )


def _offset_changes(zone_info: ZoneInfo, begin: int, end: int) -> Iterator[int]:
    """The first second of each new offset. No time zone changes its clock twice in a day."""
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


def utc_year(moment: int) -> int:
    return datetime.fromtimestamp(moment, UTC).year


def solar_event_after(solar: Solar, after_ms: int) -> int | None:
    """The first event after this instant; None where the sun never stands so high or so low."""
    today = _utc_date(after_ms)
    for day in (today + number * ONE_DAY for number in range(MAX_SEARCH_DAYS)):
        for instant in _solar_events(solar, day):
            if instant > after_ms:
                return instant
    return None


def solar_event_until(solar: Solar, until_ms: int) -> int | None:
    """The latest event up to this instant; None where the sun never stands so high or so low."""
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
    """The events of a day of UTC, in whole seconds. Computed from midnight on, so that every beat finds the same."""
    midnight = datetime(day.year, day.month, day.day)  # noqa: DTZ001 - ephem takes and gives naive UTC
    first = _next_solar_event(solar, midnight)
    if first is None or first >= midnight + ONE_DAY:
        return ()
    second = _next_solar_event(solar, first + HALF_DAY)
    instants = [first] if second is None or second >= midnight + ONE_DAY else [first, second]
    return tuple(int(instant.replace(tzinfo=UTC).timestamp()) * MS_PER_SECOND for instant in instants)


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
    return datetime.fromtimestamp(moment_ms / MS_PER_SECOND, UTC).date()
