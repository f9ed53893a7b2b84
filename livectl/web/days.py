"""Shows a day: who streamed when, as bars on an axis of its hours."""

from __future__ import annotations

from datetime import date, datetime, time, timedelta
from typing import TYPE_CHECKING
from zoneinfo import ZoneInfo

import msgspec

if TYPE_CHECKING:
    from collections.abc import Sequence

    from livectl.models import Session
    from livectl.web.i18n import Translations


LABEL_EVERY_HOURS = 3
MIN_BAR_PERCENT = 0.3  # of the day: a few minutes that can still be seen
FIRST_DATE = date(2020, 1, 1)  # nothing is kept of before


class DayBar(msgspec.Struct, frozen=True):
    """A session, from the left in percent of the day."""

    left: str
    width: str
    words: str
    on: bool


class HourLabel(msgspec.Struct, frozen=True):
    """An hour at the upper edge."""

    left: str
    text: str


class Day(msgspec.Struct, frozen=True, kw_only=True):
    """One day in one zone. It has 23 or 25 hours when clocks change."""

    day: date
    zone: str

    @property
    def begin(self) -> float:
        return self._instant(self.day)

    @property
    def end(self) -> float:
        return self._instant(self.day + timedelta(days=1))

    def hour_labels(self) -> list[HourLabel]:
        hours = [
            datetime.combine(self.day, time(hour), ZoneInfo(self.zone)) for hour in range(0, 24, LABEL_EVERY_HOURS)
        ]
        return [HourLabel(self.percent(hour.timestamp()), f"{hour:%H}") for hour in hours]

    def percent(self, at: float) -> str:
        """Where an instant is on the axis."""
        return f"{100 * min(1.0, max(0.0, (at - self.begin) / (self.end - self.begin))):.2f}%"

    def bars(self, sessions: Sequence[Session], now: float, translate: Translations) -> list[DayBar]:
        return [self._bar(session, now, translate) for session in sessions]

    def seconds_of(self, sessions: Sequence[Session], now: float) -> float:
        """How much of the day they take."""
        return sum(end - begin for begin, end in (self._within(session, now) for session in sessions))

    def _bar(self, session: Session, now: float, translate: Translations) -> DayBar:
        begin, end = self._within(session, now)
        share = max(MIN_BAR_PERCENT, 100 * (end - begin) / (self.end - self.begin))
        times = {"begin": self._clock(session.started_at), "end": self._clock(session.ended_at) or translate("day_on")}
        words = translate("day_session_title", title=session.title, **times) if session.title else ""
        return DayBar(
            self.percent(begin), f"{share:.2f}%", words or translate("day_session", **times), session.ended_at is None
        )

    def _within(self, session: Session, now: float) -> tuple[float, float]:
        begin = max(self.begin, session.started_at)
        return begin, max(begin, min(self.end, session.ended_at or now))

    def _clock(self, at: float | None) -> str:
        """The time of day; with the date where that is another."""
        if at is None:
            return ""
        local = datetime.fromtimestamp(at, ZoneInfo(self.zone))
        return f"{local:%H:%M}" if local.date() == self.day else f"{local:%m-%d %H:%M}"

    def _instant(self, day: date) -> float:
        return datetime.combine(day, time(), ZoneInfo(self.zone)).timestamp()


def parse_date(text: str, now: float, zone: str) -> Day:
    """The day that an address names; today for one that is to come, that nothing is kept of, or that is none."""
    today = datetime.fromtimestamp(now, ZoneInfo(zone)).date()
    try:
        named = date.fromisoformat(text)
    except ValueError:
        named = today
    return Day(day=named if FIRST_DATE <= named <= today else today, zone=zone)
