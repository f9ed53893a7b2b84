"""A zone's clock: the stretches of each year during which it runs evenly.

Everything about daylight saving follows from where one stretch ends and the next begins: local times that the change
skips, or gives twice, are what lies between the two offsets. Reckoned in whole seconds since the epoch.
"""

from __future__ import annotations

from datetime import UTC, datetime
from functools import lru_cache
from typing import TYPE_CHECKING, NamedTuple
from zoneinfo import ZoneInfo

if TYPE_CHECKING:
    from collections.abc import Iterator

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
