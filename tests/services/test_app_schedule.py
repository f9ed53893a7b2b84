"""The schedule that an app itself has: seen, checked and shown in full, in the app's time zone."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest

from livectl.address import Address
from tests.support.processes import answer

if TYPE_CHECKING:
    import subprocess
    from collections.abc import Callable
    from pathlib import Path

    Ask = Callable[..., subprocess.CompletedProcess[str]]

APP = """
from celery import Celery
app = Celery("proj", broker={broker!r}, include=["timed"])
app.conf.timezone = {zone!r}

@app.task
def greet(name): ...
"""
# What stands in a module that the app includes; each entry but two has a mistake.
TIMED = """
from celery.schedules import crontab, schedule
from proj import app

app.conf.beat_schedule = {
    "daily": {"task": "proj.greet", "schedule": crontab("0", "9,  18", "mon-fri"), "args": ("a",)},
    "slow": {"task": "proj.greet", "schedule": schedule(90, relative=True), "args": ("a",)},
    "text": {"task": "proj.greet", "schedule": 30.0, "args": ("hi")},
    "typo": {"task": "proj.greets", "schedule": crontab(minute=[1, 31]), "args": ("a",)},
    "bare": {"task": "proj.greet", "schedule": 30.0},
}
"""
SOUND = """
from celery.schedules import crontab
from proj import app
app.conf.beat_schedule = {
    "often": {"task": "proj.greet", "schedule": crontab(hour=3), "args": ("a",), "options": {"queu": "slow"}},
}
"""
NO_LIST = "args: 'hi' is no list: write ['hi']"


@pytest.fixture
def ask(tmp_path: Path, store_url: str) -> Ask:
    """Calls livectl on an app in Shanghai whose schedule has mistakes."""
    write_app(tmp_path, store_url, "Asia/Shanghai")
    environ = {"LIVECTL_HOME": str(tmp_path / "home")}
    return lambda *words, **more: answer("-A", "proj", *words, cwd=tmp_path, environ={**environ, **more})


def write_app(folder: Path, store_url: str, zone: str) -> None:
    (folder / "proj.py").write_text(APP.format(broker=Address.parse(store_url).celery_url, zone=zone))
    (folder / "timed.py").write_text(TIMED)


def test_what_an_included_module_sets_is_listed_with_what_keeps_it_from_being_sent(ask: Ask) -> None:
    rows: dict[str, Any] = {row["name"]: row for row in json.loads(ask("schedules", "list", "--json").stdout)}
    assert {name: row["schedule"] for name, row in rows.items()} == {
        "daily": "0 9,18 * * mon-fri",
        "slow": "every 1m30s",
        "text": "every 30s",
        "typo": "1,31 * * * *",
        "bare": "every 30s",
    }
    assert {name: row["problem"] for name, row in rows.items()} == {
        "daily": None,
        "slow": None,
        "text": NO_LIST,
        "typo": 'the app has no task "proj.greets" (did you mean proj.greet?)',
        "bare": "proj.greet(name): missing a required argument: 'name'",
    }
    assert {name for name, row in rows.items() if row["next"]} == {"daily", "slow"}
    assert f"left out: {NO_LIST}" in ask("schedules", "list").stdout


def test_times_are_those_of_the_app_unless_the_settings_name_a_zone(ask: Ask, tmp_path: Path) -> None:
    shown = ask("schedules", "next", "-n", "2")
    assert "due, Asia/Shanghai" in shown.stdout
    assert {line.split()[1] for line in shown.stdout.splitlines()[2:]} <= {"09:00:00", "18:00:00"}
    assert f"text is left out: {NO_LIST}" in shown.stderr
    assert "next, Asia/Shanghai" in ask("schedules", "list").stdout
    (tmp_path / "livectl.yaml").write_text("timezone: UTC\n")
    assert "next, UTC" in ask("schedules", "list").stdout


def test_what_cannot_be_run_is_not_sent_by_hand(ask: Ask) -> None:
    sent = ask("schedules", "run", "text")
    assert (sent.returncode, NO_LIST in sent.stderr) == (3, True)


def test_import_sees_what_list_sees(ask: Ask) -> None:
    imported = ask("schedules", "import")
    assert imported.returncode == 1
    assert 'crontab: {minute: "0", hour: "9,  18", day_of_week: mon-fri}' in imported.stdout
    left = [line.removeprefix("left out: ").partition(": ") for line in imported.stderr.splitlines()]
    assert {name: why for name, _, why in left} == {
        "slow": "relative: its runs follow the start of beat, on full units; say a cron line",
        "text": 'args: "hi" is no list (say ["hi"])',
    }


def test_an_entry_of_a_class_of_its_own_can_be_paused(ask: Ask) -> None:
    assert ask("schedules", "pause", "slow", "--reason", "tests").returncode == 0
    rows = {row["name"]: row for row in json.loads(ask("schedules", "list", "--json").stdout)}
    assert (rows["slow"]["reason"], rows["slow"]["next"]) == ("tests", None)


def test_export_tells_what_it_leaves_out(ask: Ask) -> None:
    exported = ask("schedules", "export", "--crontab")
    assert exported.returncode == 1
    assert exported.stdout.startswith("# From beat_schedule of proj, by livectl schedules export")
    assert "0 9,18 * * 1,2,3,4,5 livectl -A proj call proj.greet" in exported.stdout
    assert f"left out: text: {NO_LIST}" in exported.stderr
    assert "left out: slow: a class of the app's own says when it is due" in exported.stderr


def test_validate_without_a_file_checks_the_app(ask: Ask, tmp_path: Path) -> None:
    checked = ask("schedules", "validate")
    assert checked.returncode == 3
    assert checked.stderr.splitlines() == [
        f"beat_schedule of proj: text: {NO_LIST}",
        'beat_schedule of proj: typo: the app has no task "proj.greets" (did you mean proj.greet?)',
        "beat_schedule of proj: bare: proj.greet(name): missing a required argument: 'name'",
    ]
    (tmp_path / "schedules.yaml").write_text("schedules: {often: {task: proj.greet, every: 0s, args: [a]}}\n")
    both = ask("schedules", "validate").stderr
    assert 'schedules.yaml:1:46: often: every: "0s" must be more than zero' in both
    assert "beat_schedule of proj: text:" in both
    alone = ask("schedules", "validate", "schedules.yaml").stderr
    assert "beat_schedule" not in alone


def test_a_sound_schedule_of_the_app_has_warnings_at_most(ask: Ask, tmp_path: Path) -> None:
    (tmp_path / "timed.py").write_text(SOUND)
    checked = ask("schedules", "validate")
    assert (checked.returncode, checked.stdout) == (
        0,
        "beat_schedule of proj: 1 schedule, 2 warnings, no mistake; tasks and arguments are the app's.\n",
    )
    assert checked.stderr.splitlines() == [
        'beat_schedule of proj: warning: often: options: Celery has no option "queu" (did you mean queue?)',
        'beat_schedule of proj: warning: often: "* 3 * * *" runs every minute of that hour ("0 3 * * *" does once)',
    ]
    (tmp_path / "schedules.yaml").write_text("schedules: {often: {task: proj.greet, every: 1s, args: [a]}}\n")
    checked = ask("schedules", "validate")
    assert (checked.returncode, "often is in the file too (rename one of the two)" in checked.stderr) == (3, True)


def test_doctor_names_each_entry_that_is_never_sent(ask: Ask) -> None:
    found = {row["id"]: row for row in json.loads(ask("doctor", "--json").stdout)}
    assert found["entry-broken"]["evidence"] == NO_LIST
    assert found["unknown-task"]["title"] == "There is no task proj.greets: livectl's beat leaves typo out"
    assert "leaves bare out" in found["arguments"]["title"]


@pytest.mark.parametrize(
    "words", ["schedules list", "schedules next", "schedules validate", "schedules import", "beat"]
)
def test_a_time_zone_that_is_none_is_named_with_the_nearest(
    ask: Ask, tmp_path: Path, store_url: str, words: str
) -> None:
    write_app(tmp_path, store_url, "Europe/Londn")
    ran = ask(*words.split())
    assert (ran.returncode, ran.stderr) == (
        3,
        "livectl: timezone of the app: no timezone is called Europe/Londn\n  Write Europe/London.\n",
    )


@pytest.mark.parametrize("words", ["schedules list", "schedules validate", "schedules import", "beat", "doctor"])
def test_a_schedule_that_is_no_dict_is_said(ask: Ask, tmp_path: Path, words: str) -> None:
    (tmp_path / "timed.py").write_text("from proj import app\napp.conf.beat_schedule = [1]\n")
    ran = ask(*words.split())
    assert ran.returncode == (1 if words == "doctor" else 3)
    assert "beat_schedule of the app is of type list, and no dict" in ran.stdout + ran.stderr


def test_doctor_names_it_too(ask: Ask, tmp_path: Path, store_url: str) -> None:
    write_app(tmp_path, store_url, "Europe/Londn")
    found = {row["id"]: row for row in json.loads(ask("doctor", "--json").stdout)}
    assert found["timezone-unknown"]["cure"] == "Write Europe/London."
    assert ask("call", "proj.greet", "x", "--force").returncode == 0, "what needs no time is not hindered"
