"""Which runs of a schedule are left out or moved, compared with a calendar that is read day by day."""

from __future__ import annotations

import json
from contextlib import suppress
from datetime import UTC, date, datetime, timedelta
from functools import cache
from itertools import pairwise
from typing import TYPE_CHECKING, Any, Literal, NamedTuple
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec.structs import replace

from livectl.errors import FileError
from livectl.models import At, ExcludedDays, Interval, Schedule
from livectl.ops.beat.entries import BeatTimetable, ComputedDueTimes, to_beat_entry
from livectl.ops.schedules import cron, days, due_times, schedule_file

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

ZONES = ("UTC", "Europe/Paris", "America/Havana", "Australia/Lord_Howe")
FIRST_DAY = date(2026, 10, 22)  # the clock changes in three of the zones within the next two weeks
DAYS = 14
MINUTE = 60_000
WEEKDAYS = ("sun", "mon", "tue", "wed", "thu", "fri", "sat")
NOW = round(datetime(2026, 11, 21, tzinfo=UTC).timestamp() * 1000)


def utc(text: str) -> int:
    return round(datetime.fromisoformat(text).replace(tzinfo=UTC).timestamp() * 1000)


# --- a naive oracle: every minute of two weeks is looked at, by Python's calendar alone


class Plan(NamedTuple):
    """An entry in plain words."""

    minute: int
    hours: tuple[int, ...]
    zone: str
    start: int | None
    end: int | None
    excluded: tuple[str, ...]


@cache
def minutes_of(zone: str) -> list[tuple[int, datetime]]:
    """Each minute of two weeks: its instant, and what the clock on the wall shows."""
    first = datetime(FIRST_DAY.year, FIRST_DAY.month, FIRST_DAY.day, tzinfo=UTC)
    moments = (first + timedelta(minutes=number) for number in range(DAYS * 1440))
    return [(round(moment.timestamp() * 1000), moment.astimezone(ZoneInfo(zone))) for moment in moments]


@cache
def minutes_shown(zone: str, minute: int) -> list[tuple[int, datetime]]:
    """Those at which the clock on the wall shows a minute."""
    return [(moment, wall) for moment, wall in minutes_of(zone) if wall.minute == minute]


def expected(plan: Plan) -> list[int]:
    """The runs of a line of every hour, or of hours that no clock change touches."""
    return [
        moment
        for moment, wall in minutes_shown(plan.zone, plan.minute)
        if wall.hour in plan.hours
        and (plan.start is None or moment >= plan.start)
        and (plan.end is None or moment <= plan.end)
        and not any(leaves_out(words, wall.date()) for words in plan.excluded)
    ]


def leaves_out(words: str, day: date) -> bool:
    if words in WEEKDAYS:
        return WEEKDAYS[day.isoweekday() % 7] == words
    first, _, last = words.partition("..")
    return first <= day.isoformat() <= (last or first)


day_words = st.builds(lambda number: (FIRST_DAY + timedelta(days=number)).isoformat(), st.integers(-3, DAYS + 3))
excluded_words = st.one_of(
    st.sampled_from(WEEKDAYS), day_words, st.tuples(day_words, day_words).map(lambda pair: "..".join(sorted(pair)))
)
instants = st.none() | st.integers(0, DAYS * 1440).map(lambda number: utc(FIRST_DAY.isoformat()) + number * MINUTE)
plans = st.builds(
    Plan,
    minute=st.sampled_from([0, 7, 59]),
    hours=st.sampled_from([tuple(range(24)), (9,), (4, 12, 23), (5, 6, 7)]),
    zone=st.sampled_from(ZONES),
    start=instants,
    end=instants,
    excluded=st.lists(excluded_words, max_size=3).map(tuple),
)


def to_schedule(plan: Plan, jitter: float | None = None) -> Schedule:
    hours = "*" if len(plan.hours) == 24 else ",".join(map(str, plan.hours))
    return Schedule(
        name="x",
        task="t",
        timing=cron.parse(f"{plan.minute} {hours} * * *"),
        timezone=plan.zone,
        start=plan.start,
        end=plan.end,
        jitter=jitter,
        excluded=tuple(map(days.parse, plan.excluded)),
    )


def list_runs(schedule: Schedule) -> list[int]:
    runs, end = [], utc(FIRST_DAY.isoformat()) + DAYS * 1440 * MINUTE
    due = due_times.next_due(schedule, utc(FIRST_DAY.isoformat()) - 1)
    while due is not None and due < end:
        runs.append(due)
        due = due_times.next_due(schedule, due)
    return runs


def hold_to_the_calendar(plan: Plan) -> None:
    runs = expected(plan)
    schedule = to_schedule(plan)
    assert list_runs(schedule) == runs
    for run in runs[:3] + runs[-3:]:
        assert due_times.last_due(schedule, run) == run
    for earlier, later in pairwise(runs):
        assert due_times.last_due(schedule, later - 1) == earlier


@given(plans)
def test_runs_are_those_that_the_calendar_leaves(plan: Plan) -> None:
    hold_to_the_calendar(plan)


@pytest.mark.soak
@settings(max_examples=100_000)
@given(plans)
def test_runs_of_a_hundred_thousand_schedules_are_those_that_the_calendar_leaves(plan: Plan) -> None:
    hold_to_the_calendar(plan)


class Beating(NamedTuple):
    """A part of a history: a beat looks every so often, so many times; maybe it is another one than before."""

    every: int  # milliseconds
    times: int
    is_new: bool


class CatchUp(NamedTuple):
    """What an entry says of runs that are late: seconds; None is without bound."""

    catchup: Literal["once", "skip", "all"]
    window: int | None
    deadline: int | None


lengths = st.sampled_from([5, 30, 600, 3_700, 86_400])
catch_ups = st.builds(CatchUp, st.sampled_from(["once", "skip", "all"]), lengths, st.none() | lengths)
histories = st.lists(
    st.builds(
        Beating,
        st.sampled_from([1_000, 9_000, 11_000, 61_000, 1_800_000, 7_200_000, 100_000_000]),
        st.integers(1, 12),
        st.booleans(),
    ),
    min_size=1,
    max_size=12,
)


def wanted(dues: list[int], now: int, says: CatchUp) -> list[int]:
    """Which of the runs that fell due since the last look are sent: they are a minute apart at least."""
    if not dues:
        return []
    sent = []
    for due in dues:
        late = now - due
        is_merely_late = late <= 10_000
        is_caught_up = (says.catchup == "all" or (says.catchup == "once" and due == dues[-1])) and (
            says.window is None or late <= says.window * 1000
        )
        if (is_merely_late or is_caught_up) and (says.deadline is None or late <= says.deadline * 1000):
            sent.append(due)
    return sent


def hold_to_history(plan: Plan, says: CatchUp, begin: int, history: list[Beating]) -> None:
    dues = expected(plan)
    says = says._replace(window=None) if says.catchup == "skip" else says
    schedule = replace(to_schedule(plan), catchup=says.catchup, window=says.window, deadline=says.deadline)
    entries = {"x": to_beat_entry(schedule)}
    now = seen = last_claimed = utc(FIRST_DAY.isoformat()) + begin * MINUTE
    timetable = BeatTimetable(entries)
    timetable.reckon(["x"], {"x": now}, now)
    for part in history:
        if part.is_new:  # it knows what the store does
            timetable = BeatTimetable(entries)
            timetable.reckon(["x"], {"x": last_claimed}, now)
        for _ in range(part.times):
            now += part.every
            if now >= utc(FIRST_DAY.isoformat()) + DAYS * 1440 * MINUTE:
                return
            taken: list[int] = []
            while due_runs := timetable.take_due(now, 200):
                taken += [due_run.run.due for due_run in due_runs]
            assert taken == wanted([due for due in dues if seen < due <= now], now, says)
            seen, last_claimed = now, taken[-1] if taken else last_claimed


@given(plans, catch_ups, st.integers(0, 1440), histories)
def test_a_beat_takes_what_is_due_and_what_was_missed_as_the_calendar_and_the_entry_say(
    plan: Plan, says: CatchUp, begin: int, history: list[Beating]
) -> None:
    hold_to_history(plan, says, begin, history)


@pytest.mark.soak
@settings(max_examples=100_000)
@given(plans, catch_ups, st.integers(0, 1440), histories)
def test_beats_of_a_hundred_thousand_histories_take_what_the_calendar_and_the_entry_say(
    plan: Plan, says: CatchUp, begin: int, history: list[Beating]
) -> None:
    hold_to_history(plan, says, begin, history)


@given(plans, st.integers(1, 5_000))
def test_jitter_moves_each_run_by_its_own_part_and_none_past_the_next(plan: Plan, jitter: int) -> None:
    planned, moved = expected(plan), to_schedule(plan, jitter)
    first = utc(FIRST_DAY.isoformat())
    runs = [due for due in list_runs(moved) if (due_times.timing_until(moved, due) or 0) >= first]
    end = utc(FIRST_DAY.isoformat()) + DAYS * 1440 * MINUTE
    kept = [due_times.move(moved, moment) for moment in planned]
    assert runs == [due for due in kept if due < end]
    assert all(0 <= due - moment <= jitter * 1000 for due, moment in zip(kept, planned, strict=True))
    assert all(due < following for due, following in zip(kept, planned[1:], strict=False))
    assert plan.end is None or all(due <= plan.end for due in kept)
    assert all(due_times.last_due(moved, due) == due for due in runs)
    assert all(due_times.last_due(moved, later - 1) == earlier for earlier, later in pairwise(runs))


def test_jitter_is_spread_over_all_of_its_length() -> None:
    schedule = Schedule(name="x", task="t", timing=cron.parse("0 * * * *"), jitter=600)
    parts = [due % 3_600_000 for due in list_runs(schedule)]
    assert min(parts) < 60_000
    assert max(parts) > 540_000
    other = [due % 3_600_000 for due in list_runs(Schedule(name="y", task="t", timing=schedule.timing, jitter=600))]
    assert parts != other


def test_an_interval_of_a_second_passes_years_of_excluded_days_at_once() -> None:
    schedule = Schedule(name="x", task="t", timing=Interval(1), excluded=(days.parse("2026-01-01..2029-12-31"),))
    due = due_times.next_due(schedule, NOW)
    assert due is not None
    assert datetime.fromtimestamp(due / 1000, UTC).date() == date(2030, 1, 1)
    due = due_times.last_due(schedule, NOW)
    assert due is not None
    assert datetime.fromtimestamp(due / 1000, UTC).date() == date(2025, 12, 31)


def test_one_instant_is_due_once() -> None:
    schedule = Schedule(name="x", task="t", timing=At(NOW))
    assert due_times.next_due(schedule, NOW - 1) == NOW
    assert due_times.next_due(schedule, NOW) is None
    assert due_times.last_due(schedule, NOW) == NOW
    assert due_times.last_due(schedule, NOW - 1) is None


def test_an_entry_without_policies_has_the_identity_that_it_always_had() -> None:
    """A new identity would make every entry of a store count anew."""
    schedule = Schedule(name="x", task="t", timing=cron.parse("0 9 * * *"), owner="me", tags=("a",), count=3)
    assert ComputedDueTimes(schedule).identity == "24cb8ef13b62cb89"


# --- calendars


@pytest.mark.parametrize(
    ("text", "shut", "open_days"),
    [
        ("2026-12-24\n2026-12-31..2027-01-02 # new year\n\n# none\n", "2026-12-24 2027-01-01", "2026-12-25 2027-01-03"),
        ("\ufeff2026-12-24 Christmas Eve\r\n", "2026-12-24", "2025-12-24"),
        ("DTSTART;VALUE=DATE:20261224", "2026-12-24", "2026-12-25 2027-12-24"),
        ("DTSTART;VALUE=DATE:20261224\nDTEND;VALUE=DATE:20261227", "2026-12-24 2026-12-26", "2026-12-27"),
        ("DTSTART:20261224T090000Z\nDTEND:20261224T170000Z", "2026-12-24", "2026-12-25"),
        ("DTSTART;TZID=Europe/Paris:20261224T000000\nDTEND:20261226T000000", "2026-12-25", "2026-12-26"),
        ("DTSTART;VALUE=DATE:20261224\nDURATION:P2D", "2026-12-25", "2026-12-26"),
        ("DTSTART;VALUE=DATE:20201225\nRRULE:FREQ=YEARLY", "2026-12-25 2031-12-25", "2026-12-24"),
        ("SUMMARY:Folded\n  text\nDTSTART;VALUE=DATE\n :20261224", "2026-12-24", "2026-12-25"),
    ],
)
def test_a_calendar_names_days(text: str, shut: str, open_days: str) -> None:
    if "DTSTART" in text:
        text = f"BEGIN:VCALENDAR\nBEGIN:VEVENT\n{text}\nEND:VEVENT\nEND:VCALENDAR\n".replace("\n", "\r\n")
    calendar = days.parse_calendar("c", text)
    assert all(days.excluded_by([calendar], date.fromisoformat(day)) == "c" for day in shut.split())
    assert not any(days.excluded_by([calendar], date.fromisoformat(day)) for day in open_days.split())


def test_a_cancelled_event_is_a_day_like_any_other() -> None:
    text = "BEGIN:VCALENDAR\nBEGIN:VEVENT\nDTSTART:20261224\nSTATUS:CANCELLED\nEND:VEVENT\nEND:VCALENDAR"
    assert days.parse_calendar("c", text) == ExcludedDays("c")


# --- what is refused


@pytest.fixture
def read(tmp_path: Path) -> Callable[..., list[str]]:
    """The mistakes and warnings of a file with one entry."""

    def read_entry(entry: str, top: str = "", **files: str) -> list[str]:
        for name, text in files.items():
            (tmp_path / name).write_text(text)
        path = tmp_path / "s.yaml"
        path.write_text(f"{top}\nschedules:\n  a: {{task: t, {entry}}}\n")
        try:
            return [str(warning) for warning in schedule_file.load(path, name="s.yaml", now_ms=NOW).warnings]
        except FileError as error:
            return [str(mistake) for mistake in error.mistakes]

    return read_entry


@pytest.mark.parametrize(
    ("entry", "message"),
    [
        ("every: 5s, count: 0", "s.yaml:3:34: a: count: 0 is no number of runs (1 or more; `enabled: false` switches"),
        ("every: 5s, count: true", "s.yaml:3:34: a: count: true is no number of runs"),
        ("every: 5s, start: soon", 's.yaml:3:34: a: start: "soon" is no instant (such as 2027-01-31T09:00 or'),
        ("every: 5s, end: 1890-01-01", 's.yaml:3:32: a: end: "1890-01-01" is out of range (years 1970 to 2999)'),
        (
            "every: 5s, start: 2027-02-01, end: 2027-01-01",
            's.yaml:3:51: a: end: "2027-01-01" is before the start (after 2027-02-01T00:00:00Z)',
        ),
        ("every: 5s, jitter: 10s", 's.yaml:3:35: a: jitter: "10s" is longer than every "5s" (at most as long)'),
        ("every: 5s, jitter: 0s", 's.yaml:3:35: a: jitter: "0s" must be more than zero'),
        ("at: 2027-01-31", 's.yaml:3:20: a: at: "2027-01-31" is no instant'),
        ("at: 2027-01-31T09:00:00Z, every: 5s", "s.yaml:3:42: a: every: a second time besides at"),
        ("every: 5s, except: [sat, holidys]", 's.yaml:3:41: a: except: "holidys" is neither a day nor a calendar'),
        ("every: 5s, except: [2026-13-01]", 's.yaml:3:36: a: except: "2026-13-01" is no date (such as 2026-12-24'),
        (
            "every: 5s, except: 2026-12-24..2026-12-01",
            's.yaml:3:35: a: except: "2026-12-24..2026-12-01" ends before it starts (2026-12-01..2026-12-24)',
        ),
        ("every: 5s, except: [7]", "s.yaml:3:36: a: except: 7 is neither a day nor a calendar"),
        (
            "every: 5s, except: [sun, mon, tue, wed, thu, fri, sat]",
            "s.yaml:3:35: a: except: leaves out every day of the week",
        ),
        ('cron: "0 9 * * sat", except: sat', "s.yaml:3:45: a: except: leaves no run at all"),
        ("at: 2027-01-31T09:00:00Z, except: sun", "s.yaml:3:50: a: except: leaves no run at all"),
        ("at: 2027-01-31T09:00:00Z, end: 2027-01-30", "s.yaml:3:47: a: end: leaves no run at all"),
        ("every: 5s, catchup: all", "s.yaml:3:36: a: catchup: all needs a window: how far back (window: 1d)"),
        (
            "every: 5s, catchup: skip, window: 1d",
            "s.yaml:3:42: a: window: nothing is caught up with (catchup: once, or all)",
        ),
        (
            "every: 5s, overlap: queu",
            's.yaml:3:36: a: overlap: "queu" is neither allow nor skip nor queue',
        ),
        ("every: 5s, tags: [a, 1]", "s.yaml:3:37: a: tags: 1 is no tag"),
        ("every: 5s, group: []", "s.yaml:3:34: a: group: [] is no text"),
        ("at: 2026-01-31T09:00:00Z", "s.yaml:3:20: warning: a: at: that instant has passed"),
        ("every: 5s, end: 2026-01-31", "s.yaml:3:32: warning: a: end: that instant has passed"),
    ],
)
def test_a_policy_that_cannot_be_is_told_with_its_place_and_cure(
    read: Callable[..., list[str]], entry: str, message: str
) -> None:
    messages = read(entry)
    assert any(found.startswith(message) for found in messages), messages


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("2026-12-24\n2026-02-30\n", 's.yaml:1:16: calendars: c: c.txt:2: "2026-02-30" is no date'),
        ("2026-12-24..2026-12-20", 's.yaml:1:16: calendars: c: c.txt:1: "2026-12-24..2026-12-20" ends before it'),
        ("", "s.yaml:1:16: warning: calendars: c: c.txt names no day"),
        (
            "BEGIN:VCALENDAR\nBEGIN:VEVENT\nDTSTART:20261224\nRRULE:FREQ=WEEKLY\nEND:VEVENT\n",
            "s.yaml:1:16: calendars: c: c.txt:4: RRULE:FREQ=WEEKLY is not read (write the days out",
        ),
        (
            "BEGIN:VCALENDAR\nBEGIN:VEVENT\nDTSTART:20261224\nDTEND:20261201\nEND:VEVENT\n",
            "s.yaml:1:16: calendars: c: c.txt:3: an event that ends before it starts",
        ),
        (
            "BEGIN:VCALENDAR\nBEGIN:VEVENT\nDTSTART:20261324\nEND:VEVENT\n",
            's.yaml:1:16: calendars: c: c.txt:3: DTSTART "20261324" is no date',
        ),
        ("BEGIN:VCALENDAR\nBEGIN:VEVENT\nEND:VEVENT\n", "s.yaml:1:16: calendars: c: c.txt:3: an event without DTSTART"),
        (
            "BEGIN:VCALENDAR\nBEGIN:VEVENT\nDTSTART:20261224\nEND:VEVENT\nBEGIN:VEVENT\nDTSTART:2026",
            "s.yaml:1:16: calendars: c: c.txt:6: the file ends before its calendar does (is it whole?",
        ),
        (
            "BEGIN:VCALENDAR\nBEGIN:VEVENT\nDTSTART:20261224\nBEGIN:VEVENT\nDTSTART:20261225\nEND:VEVENT\n",
            "s.yaml:1:16: calendars: c: c.txt:4: the event before this line has no end (END:VEVENT)",
        ),
    ],
)
def test_a_calendar_that_cannot_be_is_told_with_its_line(
    read: Callable[..., list[str]], content: str, message: str
) -> None:
    (found,) = read("every: 5s, except: c", "calendars: {c: c.txt}", **{"c.txt": content})
    assert found.startswith(message)


@pytest.mark.parametrize(
    ("top", "message"),
    [
        ("calendars: {c: none.txt}", "s.yaml:1:16: calendars: c: none.txt: no such file or directory (paths are"),
        ("calendars: {sat: c.txt}", "s.yaml:1:13: calendars: sat: a calendar cannot have the name of a day"),
        ("calendars: {c: 5}", "s.yaml:1:16: calendars: c: 5 is no path of a file"),
        ("calendars: c.txt", 's.yaml:1:12: calendars: "c.txt" is no mapping of names to files ({holidays:'),
    ],
)
def test_calendars_are_files_by_name(read: Callable[..., list[str]], top: str, message: str) -> None:
    messages = read("every: 5s", top, **{"c.txt": "2026-12-24"})
    assert any(found.startswith(message) for found in messages), messages


@given(st.text(max_size=80) | st.text("BEGIN:VEVNTDALR\n0123456789;=.- ", max_size=120))
def test_any_calendar_is_read_or_refused(text: str) -> None:
    for content in (text, f"BEGIN:VCALENDAR\nBEGIN:VEVENT\nDTSTART:{text}\nEND:VEVENT"):
        with suppress(days.DaysError):
            days.parse_calendar("c", content)


def test_the_words_of_an_entry_are_kept(tmp_path: Path) -> None:
    words: dict[str, Any] = {"description": "sends it", "owner": "ada", "tags": ["x", "y"], "group": "night"}
    times = {"start": "2027-01-01", "end": "2027-01-31", "count": 3, "jitter": "5m", "except": ["sat", "2027-01-06"]}
    entry = {"task": "t", "cron": "0 9 * * *", "timezone": "Europe/Paris", **words, **times}
    (tmp_path / "s.yaml").write_text(json.dumps({"schedules": {"a": entry}}))
    (schedule,) = schedule_file.load(tmp_path / "s.yaml").schedules
    assert (schedule.description, schedule.owner, schedule.tags) == ("sends it", "ada", ("x", "y"))
    assert (schedule.group, schedule.count, schedule.jitter) == ("night", 3, 300)
    assert schedule.start == utc("2026-12-31T23:00")
    assert schedule.end == utc("2027-01-31T22:59:59.999")
    assert [item.text for item in schedule.excluded] == ["sat", "2027-01-06"]


AFTER = "schedules:\n  a: {task: t, every: 5s}\n"


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("aaa: {task: t, after: aa}", '3:25: aaa: after: "aa" is no entry of this file (did you mean a?)'),
        ("b: {task: t, after: aa}", '3:23: b: after: "aa" is no entry of this file (did you mean a?)'),
        (
            "b: {task: t, after: b}",
            "3:23: b: after: b, after b: none would ever begin (one of them needs a time of its own)",
        ),
        ("{b: {task: t, after: c}, c: {task: t, after: {entry: b}}}", "b, after c, after b: none would ever begin"),
        ("b: {task: t, after: {entry: a, when: done}}", 'after: when: "done" is no end of a run'),
        ("b: {task: t, after: 5}", "after: 5 names no entry"),
        ("b: {task: t, after: a, jitter: 1m}", "3:26: b: jitter: has no meaning for a run that follows another"),
        ("b: {task: t, after: a, every: 5s}", "every: a second time besides after"),
        ("b: {task: t, every: 5s, pause_on_failure: 0}", "pause_on_failure: 0 is no number of failed runs"),
    ],
)
def test_what_cannot_follow_is_refused_with_its_place_and_its_cure(tmp_path: Path, line: str, expected: str) -> None:
    file = tmp_path / "s.yaml"
    file.write_text(f"schedules: {line}" if line.startswith("{") else f"{AFTER}  {line}\n")
    with pytest.raises(FileError) as caught:
        schedule_file.load(file, name="s.yaml")
    assert expected in str(caught.value)


def test_an_entry_that_follows_says_so_and_has_no_time_of_its_own(tmp_path: Path) -> None:
    file = tmp_path / "s.yaml"
    file.write_text(f"{AFTER}  b: {{task: t, after: {{entry: a, when: failed}}, except: sun}}\n")
    (_, schedule) = schedule_file.load(file).schedules
    assert due_times.format_timing(schedule.timing) == "after a failed"
    assert due_times.next_due(schedule, NOW) is None
