"""Schedules are imported from the files of other schedulers: celerybeat-schedule, and fixtures of Django's tables."""

from __future__ import annotations

import json
import os
import pickle
import shelve
import sqlite3
from contextlib import closing
from datetime import UTC, datetime, timedelta, timezone
from typing import TYPE_CHECKING, Any
from zoneinfo import ZoneInfo

import pytest
from celery import Celery
from celery.beat import PersistentScheduler, ScheduleEntry
from celery.schedules import crontab, schedule, solar

from livectl.errors import FileError, UsageError
from livectl.ops.processes import launch
from livectl.ops.protocol import beat_file
from livectl.ops.schedules.importing import ImportSource, import_schedule

if TYPE_CHECKING:
    from pathlib import Path

    from livectl.ops.schedules.conversion import ConvertedSchedule

NOW = datetime(2026, 12, 1, tzinfo=UTC)


class Trap:
    """Makes a file when it is unpickled."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[Any, ...]:
        return os.mkdir, (str(self.path),)


def run_import(folder: Path, source: str) -> ConvertedSchedule:
    return import_schedule(ImportSource(source=source), folder, NOW)


def notes(converted: ConvertedSchedule) -> dict[str, str]:
    return {note.name: note.why for note in (*converted.left, *converted.notes)}


# celerybeat-schedule


def test_the_file_of_celerys_own_beat_is_imported(tmp_path: Path) -> None:
    app = Celery("x", broker="memory://", set_as_current=False)
    app.conf.timezone = "Europe/Paris"
    app.conf.beat_schedule = {
        "every": {"task": "t", "schedule": 30.0, "args": (1, "é"), "kwargs": {"a": [None]}},
        "cron": {"task": "t", "schedule": crontab(minute={1, 2}, hour="*/2"), "options": {"queue": "q", "expires": 30}},
        "relative": {"task": "t", "schedule": schedule(3600, relative=True)},
        "sun": {"task": "t", "schedule": solar("sunset", 1, 2)},
    }
    scheduler = PersistentScheduler(app, schedule_filename=str(tmp_path / "celerybeat-schedule"))
    scheduler.schedule["every"].total_run_count = 3
    scheduler.schedule["every"].last_run_at = NOW
    scheduler.close()
    before = {path.name: path.read_bytes() for path in tmp_path.iterdir()}
    converted = run_import(tmp_path, "celerybeat-schedule")
    assert converted.text.splitlines()[1:3] == ['timezone: "Europe/Paris"', "schedules:"]
    for entry in (
        "  # last run 2026-12-01T00:00:00Z\n  every:\n    task: t\n    every: 30s\n",
        '    args: [1, "é"]\n    kwargs: {a: [null]}\n',
        '  cron:\n    task: t\n    crontab: {minute: [1, 2], hour: "*/2"}\n    options: {queue: q, expires: 30}',
        '  relative:\n    task: t\n    cron: "0 * * * *"',
        "  sun:\n    task: t\n    solar: {event: sunset, lat: 1, lon: 2}",
    ):
        assert entry in converted.text
    assert converted.left == []
    assert notes(converted).keys() == {"celery.backend_cleanup", "(all of it)"}
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == before


@pytest.mark.parametrize("protocol", range(2, pickle.HIGHEST_PROTOCOL + 1))
@pytest.mark.parametrize("zone", [UTC, ZoneInfo("Europe/Paris"), timezone(timedelta(hours=8))])
def test_a_time_is_read_whatever_wrote_it(protocol: int, zone: Any, tmp_path: Path) -> None:
    app = Celery(set_as_current=False)
    moment = datetime(2026, 1, 31, 9, tzinfo=zone)
    entry = ScheduleEntry("a", "t", moment, 1, schedule(5), app=app)
    with shelve.open(str(tmp_path / "s"), protocol=protocol) as file:
        file["entries"] = {"a": entry}
    utc = f"{moment.astimezone(UTC):%Y-%m-%dT%H:%M:%SZ}"
    assert f"  # last run {utc}\n  a:\n    task: t\n    every: 5s\n" in run_import(tmp_path, "s").text


def test_nothing_that_a_pickle_names_is_run(tmp_path: Path) -> None:
    entries = {
        "argument": ScheduleEntry("a", "t", NOW, 1, schedule(5), args=(Trap(tmp_path / "1"),)),
        "schedule": ScheduleEntry("b", "t", NOW, 1, schedule(5)),
        "whole": Trap(tmp_path / "3"),
        "good": ScheduleEntry("d", "t", NOW, 1, schedule(7)),
    }
    entries["schedule"].schedule = Trap(tmp_path / "2")
    with shelve.open(str(tmp_path / "s")) as file:
        file["entries"] = entries
    converted = run_import(tmp_path, "s")
    assert "  good:\n    task: t\n    every: 7s\n" in converted.text
    assert {note.name for note in converted.left} == {"argument", "schedule", "whole"}
    assert all("posix.mkdir" in note.why for note in converted.left)
    assert [path for path in tmp_path.iterdir() if path.is_dir()] == []


def test_a_file_of_a_newer_python_is_read(tmp_path: Path) -> None:
    rows = [
        (b"entries", pickle.dumps({"a": ScheduleEntry("a", "t", NOW, 0, schedule(5))})),
        (b"tz", pickle.dumps(None)),
    ]
    with closing(sqlite3.connect(tmp_path / "s")) as database, database:
        database.execute("CREATE TABLE Dict (key BLOB UNIQUE NOT NULL, value BLOB NOT NULL)")
        database.executemany("INSERT INTO Dict VALUES (?, ?)", rows)
    assert run_import(tmp_path, "s").text.endswith("schedules:\n  a:\n    task: t\n    every: 5s\n")


@pytest.mark.parametrize("name", ["s", "s.dat", "s.dir"])
def test_any_of_its_files_names_it(name: str, tmp_path: Path) -> None:
    with shelve.open(str(tmp_path / "s")) as file:
        file["entries"] = {"a": ScheduleEntry("a", "t", NOW, 0, schedule(5))}
    if not (tmp_path / name).exists():  # another dbm than the one of three files
        name = next(path.name for path in tmp_path.iterdir())
    assert beat_file.find(tmp_path / name)
    assert "every: 5s" in run_import(tmp_path, name).text


def test_a_file_of_a_kind_that_this_python_lacks_is_said(tmp_path: Path) -> None:
    (tmp_path / "celerybeat-schedule.db").write_bytes(b"\0\x06\x15\x61\0\0")
    with pytest.raises(FileError, match="cannot be read") as error:
        run_import(tmp_path, "celerybeat-schedule.db")
    assert "the Python that wrote it" in error.value.hint


@pytest.mark.parametrize(
    ("key", "data", "message"),
    [
        ("entries", b"\x80\x04broken", "a pickle in it is broken"),
        ("entries", b"cos\nsystem\n(S'true'\ntR.", ""),
        ("other", pickle.dumps(1), "holds no schedule"),
        ("entries", pickle.dumps([1]), ""),
    ],
)
def test_a_broken_file_is_said(key: str, data: bytes, message: str, tmp_path: Path) -> None:
    (tmp_path / "s.dir").write_text(f"{key!r}, (0, {len(data)})\n")
    (tmp_path / "s.dat").write_bytes(data)
    if not message:
        assert run_import(tmp_path, "s").text.endswith("schedules: {}\n")
        return
    with pytest.raises(FileError, match=message):
        run_import(tmp_path, "s")


def test_a_value_that_holds_itself_is_left_out(tmp_path: Path) -> None:
    endless: list[Any] = []
    endless.append(endless)
    with shelve.open(str(tmp_path / "s")) as file:
        file["entries"] = {"a": ScheduleEntry("a", "t", NOW, 0, schedule(5), kwargs={"x": endless})}
    assert notes(run_import(tmp_path, "s")) == {"a": "its values are nested too deep"}


# Fixtures of django-celery-beat


def fixture(
    folder: Path, timing: tuple[str, dict[str, Any]] | None, label: str = "django_celery_beat", **fields: Any
) -> str:
    rows = []
    keys: dict[str, Any] = {"name": "a", "task": "t", "enabled": True, "args": "[]", "kwargs": "{}"}
    if timing:
        rows.append({"model": f"{label}.{timing[0]}schedule", "pk": 7, "fields": timing[1]})
        keys[timing[0]] = 7
    rows.append({"model": f"{label}.periodictask", "pk": 1, "fields": keys | fields})
    (folder / "f.json").write_text(json.dumps(rows))
    return "f.json"


MINUTES = ("interval", {"every": 5, "period": "minutes"})
EVERY_5M = "  a:\n    task: t\n    every: 5m\n"


@pytest.mark.parametrize(
    ("timing", "fields", "yaml"),
    [
        (MINUTES, {}, EVERY_5M),
        (("interval", {"every": 250_000, "period": "microseconds"}), {}, "  a:\n    task: t\n    every: 0.25s\n"),
        (
            ("crontab", {"minute": "30", "hour": "7", "day_of_week": "mon-fri", "timezone": "Europe/Paris"}),
            {},
            (
                '  a:\n    task: t\n    crontab: {minute: "30", hour: "7", day_of_week: mon-fri}\n'
                '    timezone: "Europe/Paris"\n'
            ),
        ),
        (
            ("solar", {"event": "sunset", "latitude": "31.2", "longitude": "121.5"}),
            {},
            "  a:\n    task: t\n    solar: {event: sunset, lat: 31.2, lon: 121.5}\n",
        ),
        (
            MINUTES,
            {"args": '[1, "on"]', "kwargs": '{"x": {}}'},
            f"{EVERY_5M}    args: [1, on]\n    kwargs: {{x: {{}}}}\n",
        ),
        (MINUTES, {"queue": "q", "priority": 5}, f"{EVERY_5M}    options: {{queue: q, priority: 5}}\n"),
        (MINUTES, {"queue": "", "exchange": None, "expire_seconds": 30}, f"{EVERY_5M}    options: {{expires: 30}}\n"),
        (
            MINUTES,
            {"headers": '{"x": 1}', "routing_key": "k"},
            f"{EVERY_5M}    options: {{routing_key: k, headers: {{x: 1}}}}\n",
        ),
        (MINUTES, {"enabled": False}, f"{EVERY_5M}    enabled: false\n"),
        (MINUTES, {"description": "two\nlines"}, f'{EVERY_5M}    description: "two\\nlines"\n'),
        (MINUTES, {"last_run_at": "2026-11-30T23:00:00Z"}, f"  # last run 2026-11-30T23:00:00Z\n{EVERY_5M}"),
        (MINUTES, {"start_time": "2026-11-30T23:00:00Z"}, EVERY_5M),
        (
            MINUTES,
            {"start_time": "2027-01-01T00:00:00Z"},
            f'{EVERY_5M}    start: "2027-01-01T00:00:00Z"\n',
        ),
        (
            MINUTES,
            {"expires": "2027-01-01T00:00:00Z"},
            f'{EVERY_5M}    end: "2027-01-01T00:00:00Z"\n',
        ),
        (MINUTES, {"one_off": True}, f"{EVERY_5M}    count: 1\n"),
        (
            ("clocked", {"clocked_time": "2027-01-01T00:00:00Z"}),
            {"one_off": True, "enabled": False},
            '  a:\n    task: t\n    at: "2027-01-01T00:00:00Z"\n    enabled: false\n',
        ),
    ],
)
def test_a_row_in_our_words(timing: Any, fields: dict[str, Any], yaml: str, tmp_path: Path) -> None:
    converted = run_import(tmp_path, fixture(tmp_path, timing, **fields))
    assert converted.left == []
    assert converted.text == f"# From f.json, by livectl schedules import.\nschedules:\n{yaml}"
    assert bool(converted.notes) == ("  #" in yaml)


@pytest.mark.parametrize(
    ("timing", "fields", "why"),
    [
        (None, {}, "nothing says when"),
        (None, {"interval": 99}, "gone from the tables"),
        (("interval", {"every": 1, "period": "moons"}), {}, "its period is 'moons'"),
        (MINUTES, {"one_off": True, "total_run_count": 1}, "has had its one run"),
        (MINUTES, {"expires": "2026-11-30T00:00:00Z"}, "ended at 2026-11-30T00:00:00Z"),
        (MINUTES, {"args": "(1,"}, "not JSON"),
        (MINUTES, {"kwargs": "[]"}, "no mapping"),
        (MINUTES, {"args": '[{"__type__": "datetime", "__value__": "2026-01-01"}]'}, "a type that only Python has"),
        (MINUTES, {"task": ""}, "names no task"),
        (MINUTES, {"queue": []}, "holds what no scheduler writes"),
        (MINUTES, {"interval": {}}, "cannot be read"),
        (("interval", {"every": "x", "period": "days"}), {}, "holds what no scheduler writes"),
        (("solar", {"event": {}, "latitude": "1", "longitude": "2"}), {}, "is no event"),
        (("crontab", {"minute": "75"}), {}, "out of range"),
        (("clocked", {"clocked_time": "2026-11-30T00:00:00Z"}), {}, "ran only once, at 2026-11-30T00:00:00Z"),
        (("clocked", {}), {}, "its timing is gone"),
    ],
)
def test_a_row_that_yaml_cannot_hold_is_left_out(timing: Any, fields: dict[str, Any], why: str, tmp_path: Path) -> None:
    converted = run_import(tmp_path, fixture(tmp_path, timing, **fields))
    [note] = converted.left
    assert (note.name, "schedules: {}" in converted.text) == ("a", True)
    assert why in note.why


def test_the_tables_of_djcelery_have_the_same_columns(tmp_path: Path) -> None:
    assert EVERY_5M in run_import(tmp_path, fixture(tmp_path, MINUTES, "djcelery")).text


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("{", "cannot be read"),
        ('[{"model": "django_celery_beat.x", "fields": "x"}]', "no fixture"),
        ("[1]", "no fixture of Django"),
        ("[]", "no fixture of django-celery-beat"),
        ("7", "no fixture"),
    ],
)
def test_another_json_is_refused(text: str, message: str, tmp_path: Path) -> None:
    (tmp_path / "f.json").write_text(text)
    with pytest.raises(FileError, match=message):
        run_import(tmp_path, "f.json")


# What an app's beat_scheduler reads


@pytest.mark.parametrize(
    ("scheduler", "entry_source"),
    [
        ("", ""),
        ("celery.beat:PersistentScheduler", ""),
        ("celery.beat.Scheduler", ""),
        (launch.SCHEDULER, ""),
        ("django", "django"),
        ("django_celery_beat.schedulers:DatabaseScheduler", "django"),
        ("djcelery.schedulers.DatabaseScheduler", "django"),
        ("redbeat.RedBeatScheduler", "redbeat"),
        ("redbeat:RedBeatScheduler", "redbeat"),
        ("proj.beat:Mine", "other"),
    ],
)
def test_what_a_scheduler_reads_is_known_by_its_name(scheduler: str, entry_source: str) -> None:
    assert launch.find_entry_source(scheduler) == entry_source
    assert bool(launch.describe_entry_source(scheduler)) == bool(entry_source)


def test_a_file_and_a_store_are_two_sources(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="two sources"):
        import_schedule(ImportSource(source="settings.py", kept_in="redbeat"), tmp_path, NOW)
