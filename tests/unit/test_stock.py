"""A schedule in Celery's own words runs when ours does."""

from __future__ import annotations

import pickle
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from celery import Celery
from celery.schedules import schedule, solar
from hypothesis import given
from hypothesis import strategies as st

from livectl.models import Interval, Schedule, Solar
from livectl.ops.schedules import cron, due_times, import_app

APP = Celery(set_as_current=False)


def each(timed: Any, **more: Any) -> Schedule:
    return Schedule(name="x", task="proj.add", timing=timed, **more)


def stock_next(entries: dict[str, Any], moment: datetime) -> datetime:
    """When stock beat would send one of these entries next."""
    for entry in entries.values():
        entry["schedule"].app = APP
        entry["schedule"].nowfun = lambda: moment
    waits: list[timedelta] = [entry["schedule"].remaining_estimate(moment) for entry in entries.values()]
    return moment + min(waits)


def ours_next(one: Schedule, moment: datetime) -> datetime:
    due = due_times.next_due(one, round(moment.timestamp() * 1000))
    assert due is not None
    return datetime.fromtimestamp(due / 1000, UTC)


def field(low: int, high: int) -> st.SearchStrategy[str]:
    some = st.sets(st.integers(low, high), min_size=1, max_size=3)
    return st.just("*") | some.map(lambda numbers: ",".join(map(str, sorted(numbers))))


def readable(text: str) -> bool:
    try:
        cron.parse(text)
    except cron.CronError:
        return False
    return True


LINES = st.tuples(field(0, 59), field(0, 23), field(1, 31), field(1, 12), field(0, 6)).map(" ".join).filter(readable)


@given(LINES, st.sampled_from(["UTC", "Asia/Shanghai", "America/Bogota"]), st.integers(0, 1_000_000))
def test_stock_beat_runs_a_line_when_we_do(text: str, zone: str, minute: int) -> None:
    one = each(cron.parse(text), timezone=zone)
    moment = datetime(2026, 1, 1, tzinfo=UTC) + timedelta(minutes=minute)
    for _ in range(3):
        due = ours_next(one, moment)
        assert stock_next(import_app.to_beat_schedule([one]), moment) == due
        moment = due


def test_a_line_of_date_or_weekday_becomes_two_that_never_meet() -> None:
    entries = import_app.to_beat_schedule([each(cron.parse("0 0 13 * fri"))])
    assert list(entries) == ["x", "x (weekdays)"]
    dates, weekdays = (entry["schedule"] for entry in entries.values())
    assert dates.day_of_month.isdisjoint(weekdays.day_of_month)


@pytest.mark.parametrize(
    ("text", "names"),
    [
        ("0 0 13 * *", ["x"]),
        ("0 0 1-31 * fri", ["x"]),
        ("0 0 13 * 0-6", ["x"]),
        ("0 0 30 2 mon", ["x (weekdays)"]),
    ],
)
def test_a_line_is_one_entry_where_it_can_be(text: str, names: list[str]) -> None:
    assert list(import_app.to_beat_schedule([each(cron.parse(text))])) == names


def test_everything_that_is_sent_goes_along() -> None:
    one = each(Interval(30), args=(1, 2), kwargs={"a": 1}, options={"queue": "slow"})
    entries = import_app.to_beat_schedule([one])
    assert entries == {
        "x": {
            "task": "proj.add",
            "schedule": schedule(30),
            "args": (1, 2),
            "kwargs": {"a": 1},
            "options": {"queue": "slow"},
        }
    }


def test_what_is_switched_off_stays_out() -> None:
    assert import_app.to_beat_schedule([each(Interval(5), enabled=False)]) == {}


def test_the_sun_is_celerys() -> None:
    entries = import_app.to_beat_schedule([each(Solar("sunset", 31.2, 121.5))])
    assert entries["x"]["schedule"] == solar("sunset", 31.2, 121.5)


def test_celery_takes_it_and_its_zone_survives_beats_file() -> None:
    app = Celery(set_as_current=False)
    app.conf.beat_schedule = import_app.to_beat_schedule([each(cron.parse("0 9 * * *"), timezone="Europe/Paris")])
    line = pickle.loads(pickle.dumps(app.conf.beat_schedule["x"]["schedule"]))
    assert str(line.tz) == "Europe/Paris"
    assert line == app.conf.beat_schedule["x"]["schedule"]
