"""Schedules are imported from where schedulers keep them: RedBeat's keys in a Redis, Django's tables in a database."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from datetime import UTC, datetime, timedelta, timezone
from itertools import islice
from pathlib import Path
from typing import Any

import pytest
import redis
from celery import Celery
from celery.schedules import crontab
from celery.schedules import schedule as celery_schedule
from dateutil.rrule import rrule  # type: ignore[import-untyped]

from livectl.errors import ServerError, SettingsError
from livectl.ops.schedules import due_times, entry_reading, other_schedulers
from tests.support.waiting import HANG_SECONDS

ROOT = Path(__file__).parents[2]
EVERY_MINUTE = {"__type__": "interval", "every": 60.0, "relative": False}
AT = {"year": 2026, "month": 11, "day": 28, "hour": 13, "minute": 28, "second": 13, "microsecond": 5}


def make_app(url: str, **settings: Any) -> Celery:
    app = Celery("x", broker="memory://", set_as_current=False)
    app.conf.update(redbeat_redis_url=url, timezone="Europe/Paris", **settings)
    return app


def put(store: redis.Redis, prefix: str, name: str, *, scheduled: bool = True, meta: Any = None, **fields: Any) -> None:
    """An entry as RedBeat writes it."""
    values: dict[str, Any] = {"name": name, "task": "t", "args": None, "kwargs": {}, "options": {}, "enabled": True}
    definition = json.dumps({**values, "schedule": EVERY_MINUTE, **fields})
    store.hset(f"{prefix}{name}", mapping={"definition": definition, "meta": json.dumps({"last_run_at": meta})})
    if scheduled:
        store.zadd(f"{prefix}:schedule", {f"{prefix}{name}": 1})


def read(app: Celery) -> tuple[dict[str, Any], dict[str, str]]:
    """The keys of each entry, and the reason for each that is left out or noted."""
    imported = other_schedulers.read_redbeat(app, "x")
    assert imported.timezone == "Europe/Paris"
    notes = {note.name: note.why for note in (*imported.left, *imported.notes)}
    return {entry.name: (entry.keys, entry.comments) for entry in imported.entries}, notes


@pytest.mark.parametrize("prefix", ["redbeat:", "my[app]*:"])
def test_the_keys_of_redbeat_are_imported_and_stay_as_they_are(store_url: str, prefix: str) -> None:
    app = make_app(store_url, **({} if prefix == "redbeat:" else {"redbeat_key_prefix": prefix}))
    app.conf.beat_schedule = {"static": {"task": "t", "schedule": 60.0}}
    crontab = {"__type__": "crontab", "minute": "*/5", "hour": "7,8", "day_of_week": "mon-fri"}
    with redis.Redis.from_url(store_url) as store:
        put(store, prefix, "every", args=[1], kwargs={"é": 2}, options={"queue": "q", "priority": 3, "expires": 30})
        put(store, prefix, "cron", schedule={**crontab, "day_of_month": "*", "month_of_year": "*"})
        put(store, prefix, "hourly", schedule={"__type__": "interval", "every": 3600, "relative": True})
        put(store, prefix, "off", enabled=False, meta={"__type__": "datetime", **AT, "timezone": "Europe/Paris"})
        put(store, prefix, "rule", schedule={"__type__": "rrule", "freq": 3})
        put(store, prefix, "typed", kwargs={"at": {"__type__": "datetime", **AT, "timezone": 0.0}})
        put(store, prefix, "orphan", scheduled=False)
        put(store, prefix, "static")
        store.hset(f"{prefix}broken", "definition", "{")
        store.set(f"{prefix}:lock", "x")
        put(store, "other:", "no")
        before = {key: store.dump(key) for key in store.keys("*")}
        entries, notes = read(app)
        assert {key: store.dump(key) for key in store.keys("*")} == before
    options = {"queue": "q", "priority": 3, "expires": 30}
    switched_off = "is not in RedBeat's schedule, which does not run it: switched off here"
    assert entries == {
        "every": ({"task": "t", "every": 60, "args": [1], "kwargs": {"é": 2}, "options": options}, ()),
        "cron": ({"task": "t", "crontab": {"minute": "*/5", "hour": "7,8", "day_of_week": "mon-fri"}}, ()),
        "hourly": ({"task": "t", "cron": "0 * * * *"}, ()),
        "off": ({"task": "t", "every": 60, "enabled": False}, ("last run 2026-11-28T12:28:13Z",)),
        "orphan": ({"task": "t", "every": 60, "enabled": False}, (switched_off,)),
    }
    assert notes == {
        "rule": "its rrule has no start",
        "typed": "its values are of a type that only Python has",
        "broken": "its definition is no JSON",
        "orphan": switched_off,
        "static": "stays in the app's beat_schedule, which livectl's beat reads as well",
        "(all of it)": other_schedulers.LAST_RUNS_NOTE,
    }


def test_what_is_switched_off_there_and_not_in_the_code_is_said(store_url: str) -> None:
    app = make_app(store_url, beat_schedule={"a": {"task": "t", "schedule": 60.0}})
    with redis.Redis.from_url(store_url) as store:
        put(store, "redbeat:", "a", enabled=False)
    entries, notes = read(app)
    assert entries == {}
    assert "switched off there, but not in the app's beat_schedule" in notes["a"]


RULE_START = datetime(2026, 11, 30, 7, 30, tzinfo=UTC)
BY_NOTHING = {f"by{unit}": None for unit in ("setpos", "monthday", "yearday", "easter", "weekno", "weekday", "month")}


@pytest.mark.parametrize(
    ("rule", "keys"),
    [
        ({"freq": 3}, {"crontab": {"minute": [30], "hour": [7]}}),
        ({"freq": 3, "byhour": [8, 20], "byminute": 15}, {"crontab": {"minute": [15], "hour": [8, 20]}}),
        ({"freq": 2}, {"crontab": {"minute": [30], "hour": [7], "day_of_week": [1]}}),
        ({"freq": 2, "byweekday": [{"__type__": "weekday", "wkday": 6}, 2]}, None),
        ({"freq": 1}, {"crontab": {"minute": [30], "hour": [7], "day_of_month": [30]}}),
        ({"freq": 0}, None),
        ({"freq": 0, "bymonth": [2, 8], "bymonthday": 1}, None),
        ({"freq": 4, "byweekday": 5}, {"crontab": {"minute": [30], "day_of_week": [6]}}),
        ({"freq": 5, "byhour": 9}, {"crontab": {"hour": [9]}}),
        ({"freq": 1, "bymonthday": [13], "byweekday": [4]}, None),
        ({"freq": 3, "dtstart_tz": 120.0}, {"crontab": {"minute": [30], "hour": [9]}, "timezone": "Etc/GMT-2"}),
    ],
)
def test_a_rule_of_redbeat_runs_when_its_crontab_does(store_url: str, rule: dict[str, Any], keys: Any) -> None:
    rule = {**BY_NOTHING, "dtstart": RULE_START.timestamp(), **rule}
    with redis.Redis.from_url(store_url) as store:
        put(store, "redbeat:", "rule", schedule={"__type__": "rrule", "interval": 1, "count": 500, **rule})
        entries, notes = read(make_app(store_url))
    assert notes == {}
    words, _ = entries["rule"]
    assert keys is None or {key: words[key] for key in keys} == keys
    assert (words["start"], words["count"]) == ("2026-11-30T07:30:00Z", 500)
    schedule, moment, runs = entry_reading.read_alone("rule", words), int(RULE_START.timestamp() * 1000) - 1, []
    for _ in range(20):
        moment = due_times.next_due(schedule, moment) or 0
        runs.append(moment)
    given = {key: value for key, value in rule.items() if key.startswith("by") and value is not None}
    if days := given.get("byweekday"):
        days = days if isinstance(days, list) else [days]
        given["byweekday"] = [day["wkday"] if isinstance(day, dict) else day for day in days]
    start = RULE_START.astimezone(timezone(timedelta(minutes=rule.get("dtstart_tz", 0))))
    wanted = islice(rrule(rule["freq"], dtstart=start, **given), 20)
    assert runs == [int(each.timestamp() * 1000) for each in wanted]


@pytest.mark.parametrize(
    ("rule", "told"),
    [
        ({"freq": 5, "interval": 10}, {"every": 600}),
        ({"freq": 3, "interval": 2, "until": RULE_START.timestamp() + 86_400}, {"end": "2026-12-01T07:30:00Z"}),
        ({"freq": 3, "bysetpos": 1}, "no crontab says what its rrule does"),
        ({"freq": 1, "bymonthday": -1}, "counts days from the end of the month"),
        ({"freq": 1, "interval": 2}, "no crontab says what its rrule does"),
        ({"freq": 5, "bysecond": [0, 30]}, "between full minutes"),
        ({"freq": 3, "dtstart": None}, "no start"),
        ({"freq": "x"}, "holds what no scheduler writes"),
    ],
)
def test_a_rule_that_no_crontab_says_is_an_interval_or_left_out(
    store_url: str, rule: dict[str, Any], told: Any
) -> None:
    with redis.Redis.from_url(store_url) as store:
        put(store, "redbeat:", "rule", schedule={"__type__": "rrule", "dtstart": RULE_START.timestamp(), **rule})
        entries, notes = read(make_app(store_url))
    if isinstance(told, str):
        assert told in notes["rule"]
    else:
        assert told.items() <= entries["rule"][0].items()


@pytest.mark.parametrize(
    ("url", "kind", "message"),
    [
        ("redis://127.0.0.1:1/0", ServerError, "no server answers"),
        ("amqp://u:secret@h//", SettingsError, r"amqp://u:\*\*\*@h:5672// is no Redis"),
        ("redis-sentinel://h", SettingsError, "RedBeat's address cannot be read"),
    ],
)
def test_a_place_that_cannot_be_read_is_said(url: str, kind: type[Exception], message: str) -> None:
    with pytest.raises(kind, match=message):
        other_schedulers.read_redbeat(make_app(url), "x")


SETTINGS = """
INSTALLED_APPS = ["django_celery_beat"]
DATABASES = {"default": {"ENGINE": "django.db.backends.sqlite3", "NAME": "db.sqlite3"}}
USE_TZ = True
TIME_ZONE = "Asia/Shanghai"
CELERY_BROKER_URL = "memory://"
CELERY_BEAT_SCHEDULER = "django_celery_beat.schedulers:DatabaseScheduler"
CELERY_BEAT_SCHEDULE = {"static": {"task": "t", "schedule": 30}}
"""
APP = """
import os
from celery import Celery
os.environ.setdefault("DJANGO_SETTINGS_MODULE", "site_settings")
app = Celery("site")
app.config_from_object("django.conf:settings", namespace="CELERY")
"""
FILL = """
import site_app, django
django.setup()
from django.core.management import call_command
call_command("migrate", verbosity=0)
from django_celery_beat.models import *
from django_celery_beat.schedulers import DatabaseScheduler
DatabaseScheduler(app=site_app.app).sync()
every = IntervalSchedule.objects.create(every=5, period="minutes")
cron = CrontabSchedule.objects.create(minute="30", hour="7", timezone="Europe/Paris")
PeriodicTask.objects.create(name="five", task="t", interval=every, args="[1]", queue="slow", priority=5)
PeriodicTask.objects.create(name="paris", task="t", crontab=cron, enabled=False)
PeriodicTask.objects.create(name="once", task="t", interval=every, one_off=True)
"""


def run_python(folder: Path, *words: str) -> subprocess.CompletedProcess[str]:
    environ = {"PATH": os.environ["PATH"], "PYTHONPATH": str(ROOT), "HOME": str(folder)}
    argv = [sys.executable, "-B", "-W", "ignore", *words]
    return subprocess.run(
        argv, cwd=folder, env=environ, capture_output=True, text=True, timeout=HANG_SECONDS, check=False
    )


def test_the_tables_of_django_are_imported_and_stay_as_they_are(tmp_path: Path) -> None:
    (tmp_path / "site_settings.py").write_text(SETTINGS)
    (tmp_path / "site_app.py").write_text(APP)
    command = ("-m", "livectl", "-A", "site_app", "schedules", "import")
    missing = run_python(tmp_path, *command)
    assert (missing.returncode, "db.sqlite3 is not there" in missing.stderr) == (4, True)
    assert not (tmp_path / "db.sqlite3").exists()
    filled = run_python(tmp_path, "-c", FILL)
    assert filled.returncode == 0, filled.stderr
    before = (tmp_path / "db.sqlite3").read_bytes()
    completed = run_python(tmp_path, *command)
    assert completed.stdout == (
        "# From site_app's database, by livectl schedules import.\n"
        'timezone: "Asia/Shanghai"\nschedules:\n'
        "  five:\n    task: t\n    every: 5m\n    args: [1]\n    options: {queue: slow, priority: 5}\n"
        '  paris:\n    task: t\n    crontab: {minute: "30", hour: "7"}\n    timezone: "Europe/Paris"\n'
        "    enabled: false\n"
        "  once:\n    task: t\n    every: 5m\n    count: 1\n"
    )
    assert completed.returncode == 0
    assert "note: static: stays in the app's beat_schedule" in completed.stderr
    assert (tmp_path / "db.sqlite3").read_bytes() == before


def test_redbeat_itself_writes_what_we_read(store_url: str) -> None:
    """Only where celery-redbeat is installed."""
    redbeat, classes = pytest.importorskip("redbeat"), pytest.importorskip("redbeat.schedules")
    app = make_app(store_url, redbeat_key_prefix="redbeat:")
    weekly = classes.rrule("WEEKLY", dtstart=RULE_START, count=3, app=app)
    for name, timing in (("every", 90.0), ("cron", crontab(minute="*/5")), ("rule", weekly)):
        timing = celery_schedule(timing, app=app) if isinstance(timing, float) else timing
        redbeat.RedBeatSchedulerEntry(name, "t", timing, args=[1], app=app).save()
    entries, _ = read(app)
    keys = {"task": "t", "args": [1]}
    assert {name: found[0] for name, found in entries.items()} == {
        "every": {**keys, "every": 90},
        "cron": {**keys, "crontab": {"minute": "*/5"}},
        "rule": {
            **keys,
            "crontab": {"minute": [30], "hour": [7], "day_of_week": [1]},
            "start": "2026-11-30T07:30:00Z",
            "count": 3,
            "timezone": "UTC",
        },
    }
