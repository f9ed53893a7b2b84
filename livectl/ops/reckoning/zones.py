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

DAY = 86_400  # seconds
CENTURIES_END = 2999  # the last year that is reckoned at all
YEARS_KEPT = 4_096  # (zone, year) pairs whose stretches stay in memory


class Stretch(NamedTuple):
    """From `start` until just before `end`, local time is UTC plus `offset` seconds; before, it was plus `before`."""

    start: int
    end: int
    offset: int
    before: int

    @property
    def skipped(self) -> range:
        """The local seconds that the change at `start` leaves out."""
        return range(self.start + self.before, self.start + self.offset)

    @property
    def repeated(self) -> range:
        """The local seconds at the beginning that were there before the change already."""
        return range(self.start + self.offset, self.start + self.before)


def onward(zone: str, moment: int, years: int) -> Iterator[Stretch]:
    """The stretch that holds the moment, and those after it."""
    year = year_of(moment)
    for each in range(year, min(year + years, CENTURIES_END)):
        yield from (stretch for stretch in stretches(zone, each) if stretch.end > moment)


def backward(zone: str, moment: int, years: int) -> Iterator[Stretch]:
    """The stretch that holds the moment, and those before it, latest first."""
    year = year_of(moment)
    for each in range(year, year - years, -1):
        yield from (stretch for stretch in reversed(stretches(zone, each)) if stretch.start <= moment)


@lru_cache(YEARS_KEPT)
def stretches(zone: str, year: int) -> tuple[Stretch, ...]:
    """A year (of UTC), cut where the zone's clock is changed. The cut at New Year changes nothing."""
    clock = ZoneInfo(zone)
    begin, end = _new_year(year), _new_year(year + 1)
    starts = [begin, *_changes(clock, begin, end)]
    return tuple(
        Stretch(start, stop, _offset(clock, start), _offset(clock, start - 1))
        for start, stop in zip(starts, [*starts[1:], end], strict=True)
    )


def year_of(moment: int) -> int:
    return datetime.fromtimestamp(moment, UTC).year


def _changes(clock: ZoneInfo, begin: int, end: int) -> Iterator[int]:
    """The first second of each new offset. No zone changes twice in a day."""
    for day in range(begin, end, DAY):
        low, high = day, min(day + DAY, end - 1)
        if _offset(clock, low) == _offset(clock, high):
            continue
        while high - low > 1:
            middle = (low + high) // 2
            low, high = (middle, high) if _offset(clock, middle) == _offset(clock, low) else (low, middle)
        yield high


def _offset(clock: ZoneInfo, moment: int) -> int:
    away = datetime.fromtimestamp(moment, clock).utcoffset()
    return int(away.total_seconds()) if away else 0


def _new_year(year: int) -> int:
    return int(datetime(year, 1, 1, tzinfo=UTC).timestamp())
