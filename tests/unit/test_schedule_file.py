"""schedules.yaml is read, and every mistake in it is reported with its place and its cure."""

from __future__ import annotations

import json
import tempfile
from contextlib import suppress
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from livectl import extras, yaml_pieces, yamlfile
from livectl.errors import FileError
from livectl.models import Cron, Interval, Solar
from livectl.ops.schedules import due_times, entry_reading, options, schedule_file
from livectl.task_settings import TaskSettings, Unique, parse_place
from livectl.units import Rate

if TYPE_CHECKING:
    from collections.abc import Callable

SCALE = max(1, settings().max_examples // 25)  # more in a soak
NOW = round(datetime(2026, 11, 21, tzinfo=UTC).timestamp() * 1000)


class Task:
    """As much of a Celery task as its signature needs."""

    def __init__(self, run: Any) -> None:
        self.run = run


def add(x: int, y: int = 1) -> int:
    return x + y


def gather(*numbers: int, **named: int) -> None:
    pass


TASKS = {"proj.add": Task(add), "proj.gather": Task(gather), "celery.chord": Task(add)}


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "schedules.yaml"


def read(file: Path, text: str, **options: Any) -> schedule_file.ScheduleFile:
    file.write_text(text)
    return schedule_file.load(file, name="s.yaml", **options)


def read_mistakes(file: Path, text: str, **options: Any) -> list[str]:
    with pytest.raises(FileError) as refused:
        read(file, text, **options)
    return [str(mistake) for mistake in refused.value.mistakes]


def test_the_example_of_the_manual_is_read(file: Path) -> None:
    loaded = read(
        file,
        """\
        timezone: Asia/Shanghai
        schedules:
          sweep:    {task: livectl.sweep, every: 5s}
          digest:   {task: livectl.digest, cron: "0 9 * * *", timezone: Europe/Paris}
          add:      {task: proj.tasks.add, every: 30s, args: [16, 16], options: {queue: slow, expires: 30s}}
          monday:   {task: tasks.add, crontab: {minute: 30, hour: 7, day_of_week: mon}}
          dusk:     {task: tasks.lights, solar: {event: sunset, lat: 31.2, lon: 121.5}}
        """,
    )
    sweep, digest, add, monday, dusk = loaded.schedules
    assert (sweep.name, sweep.task, sweep.timing, sweep.timezone) == (
        "sweep",
        "livectl.sweep",
        Interval(5),
        "Asia/Shanghai",
    )
    assert (sweep.enabled, sweep.catchup, sweep.deadline, sweep.overlap) == (True, "once", None, "allow")
    assert isinstance(digest.timing, Cron)
    assert (digest.timing.hour, digest.timezone) == ((9,), "Europe/Paris")
    assert (add.args, add.options) == ((16, 16), {"queue": "slow", "expires": 30})
    assert isinstance(monday.timing, Cron)
    assert (monday.timing.text, monday.timing.weekday) == ("30 7 * * mon", (1,))
    assert dusk.timing == Solar("sunset", 31.2, 121.5)
    assert loaded.warnings == ()


def test_the_zone_is_utc_unless_the_file_says_otherwise(file: Path) -> None:
    (schedule,) = read(file, "schedules: {a: {task: t, every: 5}}").schedules
    assert schedule.timezone == "UTC"


def test_every_key_of_an_entry_is_kept(file: Path) -> None:
    (schedule,) = read(
        file,
        """\
        schedules:
          a:
            task: t
            cron: "@daily"
            kwargs: {x: 1}
            enabled: false
            catchup: skip
            deadline: 1h30m
            overlap: skip
        """,
    ).schedules
    assert (schedule.kwargs, schedule.enabled, schedule.catchup, schedule.deadline, schedule.overlap) == (
        {"x": 1},
        False,
        "skip",
        5400,
        "skip",
    )


def test_a_crontab_field_is_a_number_a_list_or_text(file: Path) -> None:
    crontab = "{minute: [0, 30-40/5], hour: '1, 2', day_of_week: 7, month_of_year: jan}"
    (schedule,) = read(file, f"schedules: {{a: {{task: t, crontab: {crontab}}}}}").schedules
    line = schedule.timing
    assert isinstance(line, Cron)
    assert (line.minute, line.hour, line.weekday, line.month) == ((0, 30, 35, 40), (1, 2), (0,), (1,))
    assert not line.either_day


def test_every_option_of_apply_async_is_taken(file: Path) -> None:
    (schedule,) = read(
        file,
        """\
        schedules:
          a:
            task: t
            every: 1m
            options:
              queue: q
              priority: 0
              expires: 1m
              countdown: 1.5
              eta: 2030-01-31T09:00:00Z
              time_limit: 1h
              soft_time_limit: 50m
              headers: {a: b}
              exchange: e
              routing_key: r
              serializer: json
              compression: gzip
              delivery_mode: persistent
              mandatory: true
              retry: true
              retry_policy: {max_retries: 3, interval_start: 0, interval_step: 0.2, interval_max: null}
              link: proj.after
              link_error: [proj.one, {task: proj.two, args: [1]}]
              ignore_result: true
              shadow: other
        """,
    ).schedules
    options = schedule.options
    assert options["countdown"] == 1.5
    assert (options["time_limit"], options["soft_time_limit"], options["expires"]) == (3600, 3000, 60)
    assert options["eta"] == "2030-01-31T09:00:00Z"
    assert [link["task"] for link in options["link"] + options["link_error"]] == ["proj.after", "proj.one", "proj.two"]


def test_a_link_is_a_signature_that_celery_sends(file: Path) -> None:
    from celery import Celery
    from celery.canvas import maybe_signature

    (schedule,) = read(file, "schedules: {a: {task: t, every: 1m, options: {link: {task: p.b, args: [2]}}}}").schedules
    app = Celery(set_as_current=False)
    signature = maybe_signature(schedule.options["link"][0], app=app)
    assert (signature.task, tuple(signature.args)) == ("p.b", (2,))
    assert signature.clone((1,)).args == (1, 2)


ENTRY = "schedules:\n  a: {task: t, "


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", "s.yaml:1:1: the file is empty (schedules: {ping: {task: livectl.ping, every: 5s}})"),
        ("# only this\n", "s.yaml:1:1: the file is empty (schedules: {ping: {task: livectl.ping, every: 5s}})"),
        ("- a", 's.yaml:1:1: ["a"] is no schedule file (schedules: {ping: {task: livectl.ping, every: 5s}})'),
        ("timezone: UTC", "s.yaml:1:1: no schedules (schedules: {ping: {task: livectl.ping, every: 5s}})"),
        ("schedule: {}", 's.yaml:1:1: unknown key "schedule" (did you mean schedules?)'),
        ("schedules: {}\nother: 1", 's.yaml:2:1: unknown key "other" (one of timezone, calendars, schedules)'),
        ("sweep: {task: t, every: 5s}", "s.yaml:1:1: sweep: an entry beside schedules (put it under schedules:)"),
        (
            "schedules: [1]",
            "s.yaml:1:12: schedules: [1] is no mapping of names to entries (schedules: {ping: ",
        ),
        (
            "timezone: Asia/Shangai\nschedules: {a: {task: t, cron: '30 2 * * *'}}",
            's.yaml:1:11: timezone: "Asia/Shangai" is no time zone (did you mean Asia/Shanghai?)',
        ),
        ("schedules: {a: t}", 's.yaml:1:16: a: "t" is no entry ({task: proj.tasks.add, every: 30s})'),
        ("schedules: {a: }", "s.yaml:1:16: a: null is no entry ({task: proj.tasks.add, every: 30s})"),
        ('schedules: {"": {task: t, every: 5s}}', "s.yaml:1:13: : an entry needs a name"),
        ("schedules: {a: {every: 5s}}", "s.yaml:1:13: a: no task (task: proj.tasks.add)"),
        ("schedules: {a: {task: , every: 5s}}", "s.yaml:1:23: a: task: no task (proj.tasks.add)"),
        ("schedules: {a: {task: 5, every: 5s}}", 's.yaml:1:23: a: task: 5 is no text ("5")'),
        (
            "schedules: {a: {task: t}}",
            "s.yaml:1:13: a: nothing says when (every: 30s, or cron, crontab, solar, at, after)",
        ),
        (
            ENTRY + 'every: 5s, cron: "@daily"}',
            "s.yaml:2:27: a: cron: a second time besides every (one of the two in an entry of its own)",
        ),
        (ENTRY + "schedule: 5s, every: 5s}", 's.yaml:2:16: a: unknown key "schedule" (one of task, every, '),
        (ENTRY + "every: 5s, kwarg: {}}", 's.yaml:2:27: a: unknown key "kwarg" (did you mean kwargs?)'),
        (ENTRY + "every: 0s}", 's.yaml:2:23: a: every: "0s" must be more than zero (such as 30s, 5m or 1h30m)'),
        (ENTRY + "every: 0}", "s.yaml:2:23: a: every: 0 must be more than zero (such as 30s, 5m or 1h30m)"),
        (ENTRY + "every: -5s}", 's.yaml:2:23: a: every: "-5s" must be more than zero (such as 30s, 5m or 1h30m)'),
        (ENTRY + "every: -5}", "s.yaml:2:23: a: every: -5 must be more than zero (such as 30s, 5m or 1h30m)"),
        (ENTRY + "every: true}", "s.yaml:2:23: a: every: true is no duration (such as 30s, 5m or 1h30m)"),
        (ENTRY + "every: [5]}", "s.yaml:2:23: a: every: [5] is no duration (such as 30s, 5m or 1h30m)"),
        (ENTRY + "every: 5 minutes}", 's.yaml:2:23: a: every: "5 minutes": a duration is '),
        (ENTRY + 'cron: "75 * * * *"}', "s.yaml:2:22: a: cron: minute 75 is out of range (minute goes from 0 to 59)"),
        (ENTRY + 'cron: "0 0 30 2 *"}', 's.yaml:2:22: a: cron: "0 0 30 2 *" never comes: that month has no such day'),
        (ENTRY + "cron: 5}", 's.yaml:2:22: a: cron: 5 is no cron line ("0 9 * * mon-fri" or "@daily")'),
        (
            ENTRY + 'crontab: "0 3 * * *"}',
            's.yaml:2:25: a: crontab: "0 3 * * *" is no mapping of Celery\'s fields (cron: "0 3 * * *")',
        ),
        (ENTRY + "crontab: {minut: 5}}", 's.yaml:2:26: a: crontab: unknown field "minut" (did you mean minute?)'),
        (
            ENTRY + "crontab: {hour: 24}}",
            "s.yaml:2:32: a: crontab: hour: 24 is out of range (hour goes from 0 to 23)",
        ),
        (ENTRY + "crontab: {hour: 0 3}}", 's.yaml:2:32: a: crontab: hour: "0 3" is not understood'),
        (
            ENTRY + "crontab: {minute: 1.5}}",
            's.yaml:2:34: a: crontab: minute: 1.5 is no minute (a number, a list of numbers, or text such as "*/15")',
        ),
        (
            ENTRY + "crontab: {day_of_month: 31, month_of_year: [4, 6]}}",
            's.yaml:2:25: a: crontab: "* * 31 4,6 *" never comes: that month has no such day',
        ),
        (
            ENTRY + "solar: {event: sunst, lat: 1, lon: 1}}",
            's.yaml:2:31: a: solar: event: "sunst" is no event (did you',
        ),
        (ENTRY + "solar: {event: {a: 1}, lat: 1, lon: 1}}", 's.yaml:2:31: a: solar: event: {"a": 1} is no event'),
        (ENTRY + "solar: {event: sunset, lat: 91, lon: 1}}", "s.yaml:2:44: a: solar: lat: 91 is no number of degrees"),
        (ENTRY + "solar: {event: sunset, lat: 1}}", "s.yaml:2:23: a: solar: no lon (lon: a number from -180 to 180)"),
        (ENTRY + "solar: {event: sunset, lat: 1, lon: 1, at: 1}}", 's.yaml:2:55: a: solar: unknown key "at" (did you'),
        (ENTRY + "solar: sunset}", 's.yaml:2:23: a: solar: "sunset" is no mapping ({event: sunset, lat: 31.2, lon'),
        (ENTRY + "every: 5s, args: hi}", 's.yaml:2:33: a: args: "hi" is no list (say ["hi"])'),
        (ENTRY + "every: 5s, args: 5}", "s.yaml:2:33: a: args: 5 is no list (say [5])"),
        (ENTRY + "every: 5s, args: {a: 1}}", 's.yaml:2:33: a: args: {"a": 1} is no list (say kwargs: {"a": 1})'),
        (ENTRY + "every: 5s, args: }", "s.yaml:2:33: a: args: null is no list (say [])"),
        (
            'schedules:\n  a:\n    task: t\n    every: 5s\n    args: ("hi")',
            's.yaml:5:11: a: args: \'("hi")\' is no list (say ["hi"])',
        ),
        (
            "schedules:\n  a:\n    task: t\n    every: 5s\n    args: (16, 16,)",
            's.yaml:5:11: a: args: "(16, 16,)" is no list (say [16, 16])',
        ),
        (ENTRY + "every: 5s, kwargs: [1]}", "s.yaml:2:35: a: kwargs: [1] is no mapping ({name: value})"),
        (ENTRY + "every: 5s, timezone: paris}", 's.yaml:2:37: a: timezone: "paris" is no time zone (did you mean Eur'),
        (ENTRY + "every: 5s, timezone: 5}", "s.yaml:2:37: a: timezone: 5 is no time zone (such as Europe/Paris or UTC"),
        (ENTRY + "every: 5s, timezone: America}", 's.yaml:2:37: a: timezone: "America" is no time zone'),
        (ENTRY + "every: 5s, timezone: ../etc}", 's.yaml:2:37: a: timezone: "../etc" is no time zone'),
        (
            ENTRY + "every: 5s, enabled: yes}",
            's.yaml:2:36: a: enabled: "yes" is neither true nor false (true or false)',
        ),
        (
            ENTRY + "every: 5s, catchup: one}",
            's.yaml:2:36: a: catchup: "one" is neither once nor skip nor all (did you mean on',
        ),
        (ENTRY + "every: 5s, overlap: true}", "s.yaml:2:36: a: overlap: true is neither allow nor skip"),
        (ENTRY + "every: 5s, deadline: soon}", 's.yaml:2:37: a: deadline: "soon": a duration is'),
        (ENTRY + "every: 5s, options: fast}", 's.yaml:2:36: a: options: "fast" is no mapping ({queue: slow, priority:'),
        (
            ENTRY + "every: 5s, options: {queu: q}}",
            's.yaml:2:37: a: options: unknown option "queu" (did you mean queue?',
        ),
        (ENTRY + "every: 5s, options: {queue: 5}}", 's.yaml:2:44: a: options: queue: 5 is no text ("5")'),
        (ENTRY + "every: 5s, options: {priority: high}}", 's.yaml:2:47: a: options: priority: "high" is no priority'),
        (ENTRY + "every: 5s, options: {priority: 256}}", "s.yaml:2:47: a: options: priority: 256 is no priority"),
        (ENTRY + "every: 5s, options: {expires: 0}}", "s.yaml:2:46: a: options: expires: 0 must be more than zero"),
        (ENTRY + "every: 5s, options: {eta: 2030-01-31}}", 's.yaml:2:42: a: options: eta: "2030-01-31" is no instant'),
        (
            ENTRY + "every: 5s, options: {task_id: x}}",
            "s.yaml:2:37: a: options: task_id: not for a schedule (each run na",
        ),
        (
            ENTRY + "every: 5s, options: {args: [1]}}",
            "s.yaml:2:37: a: options: args: not for a schedule (it belongs be",
        ),
        (ENTRY + "every: 5s, options: {headers: x}}", 's.yaml:2:46: a: options: headers: "x" is no mapping'),
        (ENTRY + "every: 5s, options: {retry: 3}}", "s.yaml:2:44: a: options: retry: 3 is neither true nor false"),
        (
            ENTRY + "every: 5s, options: {retry_policy: {max_retry: 3}}}",
            's.yaml:2:52: a: options: retry_policy: unknown key "max_retry" (did you mean max_retries?)',
        ),
        (
            ENTRY + "every: 5s, options: {retry_policy: {max_retries: x}}}",
            's.yaml:2:65: a: options: retry_policy: max_retries: "x" is no number of tries',
        ),
        (
            ENTRY + "every: 5s, options: {delivery_mode: 3}}",
            "s.yaml:2:52: a: options: delivery_mode: 3 is no delivery mo",
        ),
        (ENTRY + "every: 5s, options: {link: [{tsk: a}]}}", 's.yaml:2:45: a: options: link: 0: unknown key "tsk"'),
    ],
)
def test_a_mistake_is_reported_with_its_place_and_its_cure(file: Path, text: str, expected: str) -> None:
    messages = read_mistakes(file, text, now_ms=NOW)
    assert any(message.startswith(expected) for message in messages), messages


def test_all_mistakes_are_reported_at_once_in_the_order_of_the_file(file: Path) -> None:
    messages = read_mistakes(
        file,
        """\
timezon: UTC
schedules:
  a: {tsk: x, every: 0s, options: {queu: q, priority: x}}
  b: {task: t, cron: "75 2 * * *", timezone: nowhere}
  c: {task: t, every: 5s, args: hi}
""",
    )
    places = [tuple(map(int, message.split(":")[1:3])) for message in messages]
    assert places == sorted(places)
    assert [line for line, _ in places] == [1, 3, 3, 3, 3, 3, 4, 4, 5]


KEYS = ["task", "every", "cron", "crontab", "solar", "args", "kwargs", "options", "timezone", "enabled", "catchup"]
KEYS += [
    "deadline",
    "overlap",
    "minute",
    "hour",
    "day_of_week",
    "event",
    "lat",
    "lon",
    "queue",
    "link",
    "eta",
    "expires",
]
KEYS += ["retry_policy", "priority", "headers", "max_retries"]
WORDS = [
    "",
    "proj.add",
    "5s",
    "0s",
    "-5s",
    "0 0 * * *",
    "* 3 * * *",
    "@daily",
    "@",
    "sunset",
    "once",
    "UTC",
    "Europe/Paris",
]
WORDS += ["America", "/etc/passwd", "..", "2030-01-31T09:00:00Z", "*/0", "1-", "(1,)", "mon", "9" * 30, "é", "\x7f"]
SCALARS = (
    st.none() | st.booleans() | st.integers(-2, 99) | st.floats(-1, 1e18) | st.sampled_from(WORDS) | st.text(max_size=3)
)
VALUES = st.recursive(
    SCALARS, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(KEYS), inner, max_size=4)
)
ENTRIES = st.dictionaries(st.sampled_from(KEYS), VALUES, max_size=6) | VALUES
FILES = st.dictionaries(
    st.sampled_from(["schedules", "timezone", "schedule"]), st.dictionaries(st.text(max_size=3), ENTRIES)
)


@given(FILES | VALUES)
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_any_file_is_read_or_refused(file: Path, value: Any) -> None:
    with suppress(FileError):
        for schedule in read(file, json.dumps(value), now_ms=NOW, tasks=TASKS).schedules:
            due_times.next_due(schedule, NOW)


def test_an_entry_written_twice_is_refused_with_both_lines(file: Path) -> None:
    (message,) = read_mistakes(file, "schedules:\n  a: {task: t, every: 5s}\n  a: {task: t, every: 6s}\n")
    assert message.startswith("s.yaml:3:3: ")
    assert "line 2" in message


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("{task: proj.ad, every: 5s}", 's.yaml:1:23: a: task: the app has no task "proj.ad" (did you mean proj.add?)'),
        (
            "{task: x.y, every: 5s}",
            's.yaml:1:23: a: task: the app has no task "x.y" (it has proj.add, proj.gather; -A names another app)',
        ),
        (
            "{task: proj.add, every: 5s}",
            "s.yaml:1:23: a: task: proj.add(x, y=1): missing a required argument: 'x'",
        ),
        (
            "{task: proj.add, every: 5s, args: [1, 2, 3]}",
            "s.yaml:1:50: a: args: proj.add(x, y=1): too many arguments: 3 for 2",
        ),
        (
            "{task: proj.add, every: 5s, args: [1], kwargs: {x: 1}}",
            "s.yaml:1:50: a: args: proj.add(x, y=1): multiple values for argument 'x'",
        ),
        (
            "{task: proj.add, every: 5s, args: [1], kwargs: {yy: 1}}",
            "s.yaml:1:64: a: kwargs: yy: proj.add(x, y=1) takes no such argument (did you mean y?)",
        ),
        (
            "{task: proj.add, every: 0s}",
            "s.yaml:1:23: a: task: proj.add(x, y=1): missing a required argument: 'x'",
        ),
    ],
)
def test_tasks_and_arguments_are_checked_against_the_app(file: Path, text: str, message: str) -> None:
    assert message in read_mistakes(file, f"schedules: {{a: {text}}}", tasks=TASKS)


def test_arguments_by_which_jobs_are_told_apart_are_there(file: Path) -> None:
    settings = {"proj.*": TaskSettings(rate=Rate(9, 1.0), per=parse_place("args.1"), unique=Unique(within=1.0))}
    told = partial(read_mistakes, file, tasks=options.KnownTasks(TASKS, settings))
    one = "every: 5s, args: [1]"
    reason = "the job has no args.1, by which `tasks:` in livectl.yaml counts proj.gather (give it that argument"
    (message,) = told(f"schedules: {{a: {{task: proj.gather, {one}}}, b: {{task: proj.add, {one}}}}}")
    assert message.startswith(f"s.yaml:1:53: a: args: {reason}"), "the other has a default for it"


@pytest.mark.parametrize(
    "text",
    [
        "{task: proj.add, every: 5s, args: [1]}",
        "{task: proj.add, every: 5s, args: [1, 2]}",
        "{task: proj.add, every: 5s, kwargs: {x: 1}}",
        "{task: proj.gather, every: 5s}",
        "{task: proj.gather, every: 5s, args: [1, 2, 3, 4], kwargs: {any: 1}}",
    ],
)
def test_arguments_that_bind_are_right(file: Path, text: str) -> None:
    read(file, f"schedules: {{a: {text}}}", tasks=TASKS)


@pytest.mark.parametrize(
    ("timing", "message"),
    [
        ('cron: "* 3 * * *"', 'cron: "* 3 * * *" runs every minute of that hour ("0 3 * * *" does once)'),
        (
            'cron: "* 9-17 * * 1-5"',
            'cron: "* 9-17 * * 1-5" runs every minute of those hours ("0 9-17 * * 1-5" does once)',
        ),
        ('cron: "* * * * mon"', 'cron: "* * * * mon" runs every minute of those days ("0 0 * * mon" does once)'),
        ("crontab: {hour: 3}", 'crontab: "* 3 * * *" runs every minute of that hour ("0 3 * * *" does once)'),
        (
            'cron: "30 2 * * *", timezone: Europe/Paris',
            "cron: 2027-03-28 02:30 does not exist in Europe/Paris; it runs at 03:00 that day",
        ),
        (
            'cron: "30 2 * * *", timezone: Europe/Paris',
            "cron: 2027-10-31 02:30 comes twice in Europe/Paris; it runs the first time only",
        ),
        (
            'cron: "*/10 2 * * *", timezone: Europe/Paris',
            "cron: 2027-10-31 02:00 comes twice in Europe/Paris; it runs both times",
        ),
        (
            'cron: "15 2 * * *", timezone: Australia/Lord_Howe',
            "cron: 2027-10-03 02:15 does not exist in Australia/Lord_Howe; it runs at 02:30 that day",
        ),
    ],
)
def test_a_surprise_is_a_warning(file: Path, timing: str, message: str) -> None:
    loaded = read(file, f"schedules:\n  a: {{task: t, {timing}}}", now_ms=NOW)
    warnings = [str(warning) for warning in loaded.warnings]
    assert any(warning.endswith(f": warning: a: {message}") for warning in warnings), warnings
    assert len(loaded.schedules) == 1


@pytest.mark.parametrize(
    "timing",
    [
        "every: 5s, timezone: Europe/Paris",
        'cron: "* * * * *", timezone: Europe/Paris',
        'cron: "*/5 * * * *", timezone: Europe/Paris',
        'cron: "0 * * * *", timezone: Europe/Paris',
        'cron: "0 9 * * *", timezone: Europe/Paris',
        'cron: "0 4 * * *", timezone: Europe/Paris',
        'cron: "30 2 * * *", timezone: Asia/Shanghai',
        'cron: "30 2 * * mon", timezone: Europe/Paris',
        'cron: "30 2 * jun *", timezone: Europe/Paris',
        'cron: "30 2 * * *"',
    ],
)
def test_a_schedule_without_surprises_has_no_warning(file: Path, timing: str) -> None:
    assert read(file, f"schedules:\n  a: {{task: t, {timing}}}", now_ms=NOW).warnings == ()


def test_a_file_without_entries_is_read_with_a_warning(file: Path) -> None:
    loaded = read(file, "schedules:\n")
    assert loaded.schedules == ()
    assert [warning.text for warning in loaded.warnings] == ["schedules: no entries yet"]


def test_a_solar_entry_without_ephem_says_what_to_install(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("livectl.ops.schedules.due_times.find_spec", lambda name: None)
    (message,) = read_mistakes(file, ENTRY + "solar: {event: sunset, lat: 1, lon: 1}}")
    cure = extras.install_command("solar")
    assert message == f"s.yaml:2:16: a: solar: solar times need ephem, which is not installed ({cure})"


def test_a_file_of_more_than_a_megabyte_is_read_and_one_that_nobody_means_is_not(
    file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    lines = [f"  e{number}: {{task: t, every: 5s, description: {'x' * 1_000}}}" for number in range(1_100)]
    file.write_text("\n".join(["schedules:", *lines]))
    assert len(schedule_file.load(file).schedules) == 1_100
    monkeypatch.setattr(yaml_pieces, "MAX_WHOLE_BYTES", 1_000_000)
    assert len(schedule_file.load(file).schedules) == 1_100, "its entries are read in pieces"
    file.write_text(json.dumps(yamlfile.load(file, max_bytes=2_000_000).value))
    with pytest.raises(FileError, match="larger than 1,000,000 bytes"):
        schedule_file.load(file)
    monkeypatch.setattr(yaml_pieces, "MAX_ENTRIES", 1_099)
    file.write_text("\n".join(["schedules:", *lines]))
    with pytest.raises(FileError, match=r"s\.yaml:1101:1: more than 1,099 entries"):
        schedule_file.load(file, name="s.yaml")


PARTS = [
    "  NAME: {task: t, every: 5s}\n",
    "  NAME: {task: t, evry: 5s}\n",
    "  NAME: {task: t, after: a1}\n",
    "  NAME: {task: t, cron: '* 3 * * *'}\n",
    "  NAME:\n    task: t\n    every: 5s\n",
    "  NAME:\n    task: t\n    args:\n    - 1\n    - {a: 2}\n    cron: '0 9 * * *'\n",
    "  NAME:\n  - 1\n",
    "  NAME: {task: t,\n  every: 5s}\n",
    "  NAME: {task: 't\n  b1: {', every: 5s}\n",
    "  NAME: {task: t, every: 5s\n",
    '  NAME: {task: "t\n',
    "  NAME: |\n    b2: {task: t, every: 5s}\n\n  # no text\n",
    "  ? NAME\n  : {task: t, every: 5s}\n",
    "  # NAME: 1\n",
    "# NAME: 1\n\n",
    "   NAME: {task: t, every: 5s}\n",
    " NAME: {task: t, every: 5s}\n",
    "\tNAME: {task: t}\n",
    "  NAME: &x {task: t, every: 5s}\n",
    "  NAME: *x\n",
    "  !t NAME: {task: t, every: 5s}\n",
    "  'NAME': {task: t, every: 5s}\r\n",
    "  NAME: {task: t, every: 5s}  # at the end\n",
    "  NAME: {task: t, every: 5s, description: \x85}\n",
    "  NAME: {task: t, every: 5s}\r  c1: {task: t, every: 1s}\n",
    "  5: {task: t, every: 5s}\n",
    "---\n",
    "...\n",
    "timezone: Europe/Paris\n",
    "timezone: Europe/Pariss\n",
    "schedules:\n",
    "other: {task: t}\n",
]
HEADS = [
    "schedules:\n",
    "timezone: Asia/Shanghai\nschedules: # all\n",
    "a: {b: 'c\nschedules:\n",
    "schedules: {}\n",
    "",
]


@settings(max_examples=100 * SCALE)
@given(
    st.sampled_from(HEADS) | st.just(HEADS[0]),
    st.lists(st.tuples(st.sampled_from(PARTS) | st.just(PARTS[0]), st.integers(1, 4)), max_size=9),
    st.integers(1, 3),
    st.integers(0, 8),
)
def test_a_file_that_is_read_in_pieces_says_what_it_says_as_a_whole(
    head: str, entries: list[tuple[str, int]], size: int, changed: int
) -> None:
    text = head + "".join(entry.replace("NAME", f"a{number}") for entry, number in entries)
    with tempfile.TemporaryDirectory() as folder, pytest.MonkeyPatch.context() as patch:
        patch.setattr(schedule_file, "PIECE_SIZE", size)
        path = Path(folder) / "s.yaml"
        path.write_bytes(text.encode())
        expected = outcome(lambda: schedule_file.read_document(yamlfile.load(path, "s.yaml"), path.parent))
        assert outcome(lambda: schedule_file.load(path, name="s.yaml")) == expected
        remembered = remembered_of(path, text, changed)
        assert outcome(lambda: schedule_file.load(path, name="s.yaml", remembered=remembered)) == expected


def outcome(load: Callable[[], schedule_file.ScheduleFile]) -> Any:
    try:
        loaded = load()
    except FileError as error:
        return error.mistakes
    return loaded.schedules, loaded.warnings


def remembered_of(path: Path, text: str, left_out: int) -> schedule_file.Remembered | None:
    """What is known of the same file without one of its lines, if that is a schedule."""
    lines = text.splitlines(keepends=True)
    before = path.with_name("before.yaml")
    before.write_bytes("".join(line for number, line in enumerate(lines) if number != left_out).encode())
    with suppress(FileError):
        return schedule_file.load(before).remembered
    return None


def test_of_a_long_file_what_has_changed_is_read_again_and_nothing_else(
    file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    lines = [f"  e{number}: {{task: t, every: 5s}}\n" for number in range(3_000)]
    file.write_text("".join(["schedules:\n", *lines]))
    before = schedule_file.load(file)
    read_names: list[str] = []
    real_read = entry_reading.read

    def read_entry(location: Any, name: str, *more: Any) -> Any:
        read_names.append(name)
        return real_read(location, name, *more)

    monkeypatch.setattr(entry_reading, "read", read_entry)
    lines[1_500] = "  e1500: {task: t, every: 7s}\n"
    lines.insert(10, "  new: {task: t, every: 7s}\n")
    file.write_text("".join(["schedules:\n", *lines]))
    after = schedule_file.load(file, remembered=before.remembered)
    assert read_names == ["new", "e1500"]
    assert [schedule.name for schedule in after.schedules[9:12]] == ["e9", "new", "e10"]
    assert after.schedules[1_501].timing == Interval(7.0)
    assert after.schedules[500] is before.schedules[499]
    file.write_text("".join(["timezone: Asia/Shanghai\nschedules:\n", *lines]))
    elsewhere = schedule_file.load(file, remembered=after.remembered)
    assert {schedule.timezone for schedule in elsewhere.schedules} == {"Asia/Shanghai"}


def test_a_mistake_far_down_a_long_file_has_its_place(file: Path) -> None:
    lines = [f"  e{number}: {{task: t, every: 5s}}\n" for number in range(3_000)]
    lines[2_899] = "  e2899: {task: t, every: 7x}\n"
    (message,) = read_mistakes(file, "".join(["schedules:\n", *lines]))
    cure = "such as 30s, 5m or 1h30m"
    assert message == f's.yaml:2901:27: e2899: every: "7x": a duration is a number with its unit ({cure})'
