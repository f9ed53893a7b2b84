"""Due times, compared with a reference that walks through every minute."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from functools import cache, partial
from itertools import pairwise
from typing import TYPE_CHECKING, NamedTuple
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from livectl.models import Interval, Schedule, Solar
from livectl.ops.schedules import cron, due_times
from tests.support.effort import calls

if TYPE_CHECKING:
    from collections.abc import Iterator, Set

MINUTE = timedelta(minutes=1)
DAY_MS = 86_400_000


class Line(NamedTuple):
    """A cron line, and its numbers in Python."""

    text: str
    minutes: Set[int]
    hours: Set[int]
    weekdays: Set[int] = frozenset(range(7))  # Sunday is 0
    days: Set[int] = frozenset(range(1, 32))
    stepping: bool = False


HOURS, MINUTES = set(range(24)), set(range(60))
LINES = [
    Line("30 2 * * *", {30}, {2}),
    Line("0 2 * * *", {0}, {2}),
    Line("0 3 * * *", {0}, {3}),
    Line("0 12 * * *", {0}, {12}),
    Line("15 1,2,3 * * *", {15}, {1, 2, 3}),
    Line("0 * * * *", {0}, HOURS, stepping=True),
    Line("30 * * * *", {30}, HOURS, stepping=True),
    Line("0 */2 * * *", {0}, set(range(0, 24, 2)), stepping=True),
    Line("*/15 * * * *", {0, 15, 30, 45}, HOURS, stepping=True),
    Line("*/5 2 * * *", set(range(0, 60, 5)), {2}, stepping=True),
    Line("* * * * *", MINUTES, HOURS, stepping=True),
    Line("30 2 * * sun", {30}, {2}, weekdays={0}),
    Line("0 9 * * mon", {0}, {9}, weekdays={1}),
    Line("30 2 29 * *", {30}, {2}, days={29}),
    Line("10,50 1-2 25-31 * *", {10, 50}, {1, 2}, days=set(range(25, 32))),
    Line("0 0-23 * * *", {0}, HOURS, stepping=True),
]
CHANGES = {
    "Europe/Paris": ["2026-03-29", "2026-10-25"],
    "America/New_York": ["2026-03-08", "2026-11-01"],
    "Australia/Lord_Howe": ["2026-04-05", "2026-10-04"],  # half an hour
    "Asia/Shanghai": ["2026-03-29", "2026-10-25"],  # none
    "Africa/Casablanca": ["2026-02-15", "2026-03-22"],  # around Ramadan
    "America/Havana": ["2026-03-08", "2026-11-01"],  # midnight does not exist; 00:30 comes twice
    "America/Nuuk": ["2026-03-28", "2026-10-24"],  # the last hour of Saturday
}
AROUND = timedelta(hours=48)


def make_schedule(text: str, zone: str = "UTC") -> Schedule:
    return Schedule(name="x", task="t", timing=cron.parse(text), timezone=zone)


def utc(*when: int) -> int:
    return round(datetime(*when, tzinfo=UTC).timestamp() * 1000)  # type: ignore[misc,arg-type]


def expected(line: Line, zone: str, start: datetime, end: datetime) -> list[int]:
    """The due times of a line, found from minute to minute as on a clock on the wall."""
    due, hours = [], len(line.hours)
    for moment, local, skipped in walk(zone, start, end):
        shown = matches(line, local) and (line.stepping or not local.fold)
        owed = hours < 24 and any(matches(line, minute) for minute in skipped)
        if shown or owed:
            due.append(round(moment.timestamp() * 1000))
    return due


@cache
def walk(zone: str, start: datetime, end: datetime) -> list[tuple[datetime, datetime, list[datetime]]]:
    """Each minute, what the clock shows then, and the minutes that it skipped just before."""
    steps, moment, before = [], start, (start - MINUTE).astimezone(ZoneInfo(zone)).replace(tzinfo=None)
    while moment < end:
        local = moment.astimezone(ZoneInfo(zone)).replace(tzinfo=None)
        gap = int((local - before) / MINUTE) - 1
        steps.append((moment, local, [before + MINUTE * (number + 1) for number in range(gap)]))
        moment, before = moment + MINUTE, local
    return steps


def matches(line: Line, local: datetime) -> bool:
    return (
        local.minute in line.minutes
        and local.hour in line.hours
        and local.isoweekday() % 7 in line.weekdays
        and local.day in line.days
    )


def all_due(schedule: Schedule, start: int, end: int) -> list[int]:
    due, moment = [], due_times.next_due(schedule, start - 1)
    while moment is not None and moment < end:
        due.append(moment)
        moment = due_times.next_due(schedule, moment)
    return due


@pytest.mark.parametrize("line", LINES, ids=[line.text for line in LINES])
@pytest.mark.parametrize(("zone", "day"), [(zone, day) for zone, days in CHANGES.items() for day in days])
def test_around_a_change_of_the_clock_runs_are_those_of_the_wall(zone: str, day: str, line: Line) -> None:
    middle = datetime.fromisoformat(day).replace(tzinfo=UTC)
    start, end = middle - AROUND, middle + AROUND
    schedule = make_schedule(line.text, zone)
    first, stop = round(start.timestamp() * 1000), round(end.timestamp() * 1000)
    due = all_due(schedule, first, stop)
    assert due == expected(line, zone, start, end)
    for moment, following in pairwise(due):
        assert due_times.last_due(schedule, moment) == moment
        assert due_times.last_due(schedule, following - 1) == moment


def local(zone: str, text: str, day: str) -> list[str]:
    """The runs of a local day, as UTC times."""
    start = datetime.fromisoformat(day).replace(tzinfo=ZoneInfo(zone))
    first, end = round(start.timestamp() * 1000), round((start + timedelta(days=1)).timestamp() * 1000)
    runs = all_due(make_schedule(text, zone), first, end)
    return [f"{datetime.fromtimestamp(run / 1000, UTC):%H:%M}" for run in runs]


@pytest.mark.parametrize(
    ("text", "day", "times"),
    [
        ("30 2 * * *", "2026-03-29", ["01:00"]),
        ("30 2 * * *", "2026-10-25", ["00:30"]),
        ("*/20 2 * * *", "2026-03-29", ["01:00"]),
        ("*/20 2 * * *", "2026-10-25", ["00:00", "00:20", "00:40", "01:00", "01:20", "01:40"]),
        ("0,20,40 2 * * *", "2026-10-25", ["00:00", "00:20", "00:40"]),
        ("0 2,3 * * *", "2026-03-29", ["01:00"]),
        ("0 3 * * *", "2026-03-29", ["01:00"]),
    ],
)
def test_in_paris_the_clock_skips_an_hour_in_march_and_repeats_one_in_october(
    text: str, day: str, times: list[str]
) -> None:
    assert local("Europe/Paris", text, day) == times


def test_the_29th_of_february_comes_every_fourth_year_and_not_in_2100() -> None:
    schedule = make_schedule("0 0 29 2 *")
    assert due_times.next_due(schedule, utc(2026, 1, 1)) == utc(2028, 2, 29)
    assert due_times.next_due(schedule, utc(2096, 2, 29)) == utc(2104, 2, 29)
    assert due_times.last_due(schedule, utc(2028, 2, 28)) == utc(2024, 2, 29)


def test_a_monday_the_29th_of_february_is_found_28_years_off() -> None:
    line = cron.build("0 0 29 2 1", ["0", "0", "29", "2", "1"], either_day=False)
    schedule = Schedule(name="x", task="t", timing=line)
    assert due_times.next_due(schedule, utc(2024, 3, 1)) == utc(2044, 2, 29)
    assert due_times.next_due(schedule, utc(2072, 3, 1)) == utc(2112, 2, 29)  # 2100 has none
    assert due_times.last_due(schedule, utc(2044, 2, 28)) == utc(2016, 2, 29)


def test_a_line_of_date_and_weekday_runs_on_both() -> None:
    schedule = make_schedule("0 0 13 * fri")
    days = [
        datetime.fromtimestamp(due / 1000, UTC).day for due in all_due(schedule, utc(2026, 11, 1), utc(2026, 12, 1))
    ]
    assert days == [6, 13, 20, 27]


def test_a_run_at_the_very_instant_is_the_last_and_not_the_next() -> None:
    schedule = make_schedule("0 9 * * *")
    nine = utc(2026, 11, 21, 9)
    assert due_times.next_due(schedule, nine - 1) == nine
    assert due_times.next_due(schedule, nine) == nine + DAY_MS
    assert due_times.last_due(schedule, nine) == nine
    assert due_times.last_due(schedule, nine - 1) == nine - DAY_MS


@given(
    seconds=st.floats(0.001, 400 * 86_400),
    name=st.text(min_size=1),
    moment=st.integers(utc(1970, 1, 1), utc(2100, 1, 1)),
)
def test_every_beat_finds_one_grid_of_an_interval_at_any_time(seconds: float, name: str, moment: int) -> None:
    schedule, step = Schedule(name=name, task="t", timing=Interval(seconds)), max(1, round(seconds * 1000))
    due = due_times.next_due(schedule, moment)
    assert due is not None
    assert moment < due <= moment + step
    assert due_times.last_due(schedule, moment) == due - step
    assert due_times.next_due(schedule, due - 1) == due
    assert (due - (due_times.next_due(schedule, 0) or 0)) % step == 0


def test_entries_of_one_interval_are_spread_over_it() -> None:
    minute = 60_000
    offsets = [due_times.next_due(Schedule(name=f"entry-{n}", task="t", timing=Interval(60)), 0) for n in range(6_000)]
    assert len(set(offsets)) > 5_000
    tenths = [sum(1 for offset in offsets if offset and offset * 10 // minute == tenth) for tenth in range(10)]
    assert min(tenths) > 500


ZONES = ["UTC", "Europe/Paris", "America/New_York", "Asia/Shanghai", "Australia/Lord_Howe", "America/Havana"]
ZONES += ["Africa/Casablanca", "Asia/Kathmandu", "Pacific/Chatham", "America/St_Johns", "Europe/Dublin"]


def number_sets(low: int, high: int, max_size: int) -> st.SearchStrategy[set[int]]:
    whole = st.just(set(range(low, high + 1)))
    return whole | st.sets(st.integers(low, high), min_size=1, max_size=max_size)


@st.composite
def zones_and_minutes(draw: st.DrawFn) -> tuple[str, int]:
    """A zone and a minute, not far from one of the changes of its clock where it has any."""
    zone, year = draw(st.sampled_from(ZONES)), draw(st.integers(2020, 2030))
    cut = draw(st.sampled_from(due_times.offset_periods(zone, year)))
    return zone, cut.start // 60 + draw(st.integers(-40 * 60, 10 * 60))


@given(
    minutes=number_sets(0, 59, 4),
    hours=number_sets(0, 23, 3),
    weekdays=number_sets(0, 6, 3),
    zone_and_minute=zones_and_minutes(),
)
def test_any_line_in_any_zone_runs_as_on_the_wall(
    minutes: set[int], hours: set[int], weekdays: set[int], zone_and_minute: tuple[str, int]
) -> None:
    zone, moment = zone_and_minute
    line = Line("", minutes, hours, weekdays, stepping=hours == HOURS)
    words = [",".join(map(str, sorted(numbers))) for numbers in (minutes, hours, weekdays)]
    schedule = make_schedule(f"{words[0]} {words[1]} * * {words[2]}", zone)
    start = datetime.fromtimestamp(moment * 60, UTC)
    first, stop = moment * 60_000, (moment + 30 * 60) * 60_000
    due = all_due(schedule, first, stop)
    assert due == expected(line, zone, start, start + timedelta(hours=30))
    last = due_times.last_due(schedule, stop - 1)
    assert last == due[-1] if due else last is None or last < first


def hours_of_sunset() -> Iterator[int]:
    schedule = Schedule(name="x", task="t", timing=Solar("sunset", 31.2, 121.5))
    for due in all_due(schedule, utc(2026, 1, 1), utc(2027, 1, 1)):
        yield (datetime.fromtimestamp(due / 1000, ZoneInfo("Asia/Shanghai"))).hour


def test_the_sun_sets_in_shanghai_every_day_between_five_and_eight() -> None:
    hours = list(hours_of_sunset())
    assert len(hours) == 365
    assert set(hours) == {16, 17, 18, 19}


def test_events_of_the_sun_are_those_of_celery() -> None:
    from celery.schedules import solar

    for event in ("dawn_civil", "sunrise", "solar_noon", "sunset", "dusk_astronomical"):
        schedule = Schedule(name="x", task="t", timing=Solar(event, 48.9, 2.3))
        moment = datetime(2026, 3, 1, tzinfo=UTC)
        celery_solar = solar(event, 48.9, 2.3, nowfun=lambda moment=moment: moment)
        due = due_times.next_due(schedule, round(moment.timestamp() * 1000))
        assert due is not None
        assert abs(due / 1000 - (moment + celery_solar.remaining_estimate(moment)).timestamp()) < 2


def test_the_polar_night_ends_in_the_next_year_and_some_dawns_never_come() -> None:
    sunrise = Schedule(name="x", task="t", timing=Solar("sunrise", 78.2, 15.6))
    due = due_times.next_due(sunrise, utc(2026, 11, 21))
    assert due is not None
    assert utc(2027, 2, 1) < due < utc(2027, 3, 1)
    before = due_times.last_due(sunrise, utc(2026, 11, 21))
    assert before is not None
    assert utc(2026, 10, 1) < before < utc(2026, 11, 1)


def test_every_beat_has_the_same_sunset_wherever_it_starts() -> None:
    schedule = Schedule(name="x", task="t", timing=Solar("sunset", 60.2, 24.9))
    due = due_times.next_due(schedule, utc(2026, 6, 1))
    assert due is not None
    assert {due_times.next_due(schedule, due - back) for back in (1, 1000, 3_600_000, 20 * 3_600_000)} == {due}
    assert {due_times.last_due(schedule, due + on) for on in (0, 1000, 3_600_000, 20 * 3_600_000)} == {due}


@pytest.mark.parametrize("zone", ["Europe/Paris", "Australia/Lord_Howe", "Asia/Shanghai", "America/Nuuk", "UTC"])
def test_a_year_is_cut_where_the_offset_changes_and_nowhere_else(zone: str) -> None:
    cuts = due_times.offset_periods(zone, 2026)
    assert [cut.end for cut in cuts[:-1]] == [cut.start for cut in cuts[1:]]
    for cut in cuts:
        assert datetime.fromtimestamp(cut.start, ZoneInfo(zone)).utcoffset() == timedelta(seconds=cut.offset)
        assert datetime.fromtimestamp(cut.end - 1, ZoneInfo(zone)).utcoffset() == timedelta(seconds=cut.offset)
        assert datetime.fromtimestamp(cut.start - 1, ZoneInfo(zone)).utcoffset() == timedelta(seconds=cut.offset_before)
    changed = [cut for cut in cuts if cut.offset != cut.offset_before]
    assert len(changed) == (0 if zone in ("Asia/Shanghai", "UTC") else 2)


def test_a_line_takes_little_effort_however_many_there_are() -> None:
    lines = [make_schedule(f"{n % 60} {n % 24} * * *", ZONES[n % len(ZONES)]) for n in range(10_000)]
    now = utc(2026, 11, 21)
    assert all(due_times.next_due(schedule, now) for schedule in lines)

    def compute(count: int) -> None:
        for schedule in lines[:count]:
            due_times.next_due(schedule, now)

    few_calls, many_calls = (calls(partial(compute, count)) for count in (1_000, 10_000))
    assert few_calls < 100 * 1_000
    assert many_calls < 11 * few_calls


@pytest.mark.parametrize(
    ("timing", "text"),
    [
        (Interval(5), "every 5s"),
        (Interval(90), "every 1m30s"),
        (Interval(0.25), "every 250ms"),
        (Interval(3600), "every 1h"),
        (Interval(90_061.5), "every 1d1h1m1s500ms"),
        (Interval(7 * 86_400), "every 7d"),
        (cron.parse("@daily"), "@daily"),
        (Solar("sunset", 31.2, -121.5), "sunset at 31.2, -121.5"),
    ],
)
def test_a_timing_is_shown_as_people_write_it(timing: Interval, text: str) -> None:
    assert due_times.format_timing(timing) == text
