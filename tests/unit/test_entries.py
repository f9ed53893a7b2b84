"""Entries of an app's beat_schedule: with Celery's own schedules, and with schedules of other classes."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any
from zoneinfo import ZoneInfo

import pytest
from celery.beat import ScheduleEntry
from celery.schedules import BaseSchedule, crontab, schedstate, schedule, solar

from livectl.models import Cron, Interval, Solar
from livectl.ops.beat.app_schedule import app_entries
from livectl.ops.beat.entries import ComputedDueTimes
from tests.support.beats import HOUR, MINUTE, SECOND, format_utc, make_app, utc

if TYPE_CHECKING:
    from collections.abc import Iterator

    from celery import Celery

    from livectl.ops.beat.entries import BeatEntry

NOON = utc("2026-06-01 12:00")  # a Monday


class Workdays(crontab):  # type: ignore[misc]
    """A cron line that rests at weekends."""

    def is_due(self, last_run_at: datetime) -> Any:
        if self.now().weekday() >= 5:
            return schedstate(is_due=False, next=3600)
        return super().is_due(last_run_at)


class Never(BaseSchedule):  # type: ignore[misc]
    """A schedule that never becomes due."""

    def is_due(self, last_run_at: datetime) -> tuple[bool, float]:
        return False, 7.5


@pytest.fixture
def app() -> Iterator[Celery]:
    app = make_app("memory://")
    yield app
    app.close()


def read_entry(app: Celery, **keys: Any) -> BeatEntry:
    return app_entries(app, {"e": {"task": "t.note", **keys}})["e"]


def read_timing(app: Celery, celery_schedule: Any) -> Any:
    due_times = read_entry(app, schedule=celery_schedule).due_times
    assert isinstance(due_times, ComputedDueTimes)
    return due_times.schedule.timing, due_times.schedule.timezone


def next_runs(app: Celery, celery_schedule: Any, start: int, count: int) -> list[str]:
    due_times, runs = read_entry(app, schedule=celery_schedule).due_times, []
    moment: int | None = start
    for _ in range(count):
        assert moment is not None
        moment = due_times.after(moment)
        assert moment is not None
        runs.append(format_utc(moment)[:-3])
    return runs


@pytest.mark.parametrize("seconds", [30, 30.0, timedelta(seconds=30), schedule(30)])
def test_seconds_are_an_interval(app: Celery, seconds: Any) -> None:
    assert read_timing(app, seconds) == (Interval(30.0), "UTC")


def test_a_crontab_is_a_line_in_the_zone_of_the_app(app: Celery) -> None:
    app.conf.timezone = "Europe/Paris"
    line, zone = read_timing(app, crontab(minute="*/20", hour="9-10", day_of_week="mon,sun", month_of_year=6))
    assert zone == "Europe/Paris"
    assert isinstance(line, Cron)
    assert (line.minute, line.hour, line.month, line.weekday) == ((0, 20, 40), (9, 10), (6,), (0, 1))
    assert len(line.day) == 31
    assert line.stepping
    assert not line.either_day


def test_a_crontab_may_have_a_zone_of_its_own(app: Celery) -> None:
    line = crontab(minute=0, hour=9, nowfun=lambda: datetime.now(ZoneInfo("Asia/Shanghai")))
    _, zone = read_timing(app, line)
    assert zone == "Asia/Shanghai"


def test_a_sunset_is_a_solar_timing(app: Celery) -> None:
    assert read_timing(app, solar("sunset", 31.2, 121.5)) == (Solar("sunset", 31.2, 121.5), "UTC")


def test_a_relative_schedule_falls_on_whole_units(app: Celery) -> None:
    assert next_runs(app, schedule(timedelta(hours=2), relative=True), NOON + 7 * MINUTE, 3) == [
        "06-01 14:00",
        "06-01 16:00",
        "06-01 18:00",
    ]


def test_a_schedule_of_another_class_is_asked(app: Celery) -> None:
    app.conf.timezone = "Europe/Paris"
    friday = utc("2026-06-05 06:00")
    # On Monday at midnight it sees Saturday's run overdue, as it does under Celery's own beat.
    assert next_runs(app, Workdays(minute=0, hour=9), friday, 3) == ["06-05 07:00", "06-07 22:00", "06-08 07:00"]


def test_beats_find_the_same_instants_whenever_they_ask(app: Celery) -> None:
    due_times = read_entry(app, schedule=schedule(timedelta(minutes=7), relative=True)).due_times
    assert (
        due_times.latest(NOON, NOON + HOUR) == due_times.latest(NOON, NOON + HOUR + 30 * SECOND) == NOON + 56 * MINUTE
    )


def test_a_schedule_that_is_never_due_is_given_up(app: Celery) -> None:
    assert read_entry(app, schedule=Never()).due_times.after(NOON) is None


def test_schedules_that_are_due_at_other_times_have_other_identities(app: Celery) -> None:
    first, same, other = (read_entry(app, schedule=seconds).due_times.identity for seconds in (30, 30.0, 31))
    assert first == same != other
    assert read_entry(app, schedule=Never()).due_times.identity == read_entry(app, schedule=Never()).due_times.identity


def test_an_entry_may_be_an_object_of_celerys(app: Celery) -> None:
    given = ScheduleEntry("e", "t.note", schedule=crontab(), args=[1], kwargs={"a": 2}, options={"queue": "q"}, app=app)
    entry = app_entries(app, {"e": given})["e"]
    assert (entry.task, entry.args, entry.kwargs, entry.options) == ("t.note", (1,), {"a": 2}, {"queue": "q"})


def test_the_deadline_of_the_app_holds_for_cron_lines(app: Celery) -> None:
    app.conf.beat_cron_starting_deadline = 60
    assert read_entry(app, schedule=crontab()).deadline == 60
    assert read_entry(app, schedule=30).deadline is None


@pytest.mark.parametrize(
    ("bad", "reason"),
    [
        ({"schedule": 30}, "it names no task"),
        ({"task": 5, "schedule": 30}, "it names no task"),
        ({"task": "t.note"}, "it has no schedule"),
        ({"task": "t.note", "schedule": "* * * * *"}, "is text"),
        ({"task": "t.note", "schedule": -1}, "longer than 0 seconds"),
        ({"task": "t.note", "schedule": 30, "args": "hi"}, "write ['hi']"),
        ({"task": "t.note", "schedule": 30, "arg": 1}, "no key 'arg' (did you mean args?)"),
        ({"task": "t.note", "schedule": 30, "kwargs": [1]}, "kwargs: [1] is no dict"),
        ({"task": "t.note", "schedule": 30, "options": "q"}, "options: 'q' is no dict"),
        ("every day", "'every day' is no dict"),
    ],
)
def test_an_entry_that_cannot_be_run_is_named(
    app: Celery, caplog: pytest.LogCaptureFixture, bad: Any, reason: str
) -> None:
    assert list(app_entries(app, {"bad": bad, "good": {"task": "t.note", "schedule": 30}})) == ["good"]
    (record,) = caplog.records
    assert "'bad'" in record.getMessage()
    assert reason in record.getMessage()
