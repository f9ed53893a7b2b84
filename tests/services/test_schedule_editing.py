"""livectl schedules add, set, remove: in the file, or in the store."""

from __future__ import annotations

import io
import json
from typing import TYPE_CHECKING, Any

import pytest

from livectl import audit, cli
from livectl.address import Address
from livectl.context import CommandContext
from livectl.models import Cron, Schedule
from livectl.ops.schedules import cron
from tests.support.managed_page import store_schedule

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    Run = Callable[..., tuple[int, str, str]]

FILE = "# ours\nschedules:\n  ping: {task: livectl.ping, every: 5s}  # often\n"


@pytest.fixture
def run(tmp_path: Path, store_url: str) -> Run:
    def call(*argv: str) -> tuple[int, str, str]:
        out, err = io.StringIO(), io.StringIO()
        environ = {"LIVECTL_HOME": str(tmp_path / "home"), "LIVECTL_BROKER": store_url}
        code = cli.main(("schedules", *argv), CommandContext(environ, tmp_path, out, err))
        return code, out.getvalue(), err.getvalue()

    (tmp_path / "schedules.yaml").write_text(FILE)
    return call


def test_an_entry_of_the_file_is_added_changed_and_removed(run: Run, tmp_path: Path, store_url: str) -> None:
    path = tmp_path / "schedules.yaml"
    words = ("night", "--task", "livectl.report", "--cron", "30 2 * * *", "overlap=skip", "options.queue=slow")
    code, out, err = run("add", *words, "--dry-run")
    assert (code, err, path.read_text()) == (0, "", FILE)
    line = '  night: {task: livectl.report, cron: "30 2 * * *", overlap: skip, options: {queue: slow}}'
    assert out.splitlines()[-1] == f"+{line}"
    code, out, err = run("add", *words)
    said = "night: added to schedules.yaml. Running beats take it up within seconds.\n"
    assert (code, out, err, path.read_text()) == (0, said, "", f"{FILE}{line}\n")
    code, out, _ = run("set", "night", "--every", "12h", "options.queue=", "jitter=5m", "--json")
    assert (code, json.loads(out)["changed"]) == (0, True)
    assert path.read_text() == f"{FILE}  night: {{task: livectl.report, overlap: skip, every: 12h, jitter: 5m}}\n"
    assert run("set", "night", "jitter=5m")[1] == "Nothing changed: that is how it was.\n"
    assert run("remove", "night", "ping", "--dry-run")[0] == 0
    assert run("remove", "night")[0] == 0
    assert path.read_text() == FILE
    noted = [(each.change, each.subject, each.outcome) for each in audit.read(Address.parse(store_url), 10)]
    assert noted == [
        ("remove", "night", "done"),
        ("set", "night", "nothing"),
        ("set", "night", "done"),
        ("add", "night", "done"),
    ]


def test_an_entry_of_the_store_is_listed_beside_the_files(run: Run, tmp_path: Path) -> None:
    words = ("c42", "--task", "livectl.ping", "--every", "10m", "tags=[customer]", "--store")
    assert "+  every: 10m" in run("add", *words, "--dry-run")[1]
    assert run("add", *words)[:2] == (0, "c42: added to the store. Running beats take it up within seconds.\n")
    assert "c42 is in the store already" in run("add", *words)[2]
    assert (tmp_path / "schedules.yaml").read_text() == FILE
    entries = {entry["name"]: entry for entry in json.loads(run("list", "--json")[1])}
    assert {name: entry["source"] for name, entry in entries.items()} == {"ping": "file", "c42": "store"}
    assert "from" in run("list")[1].splitlines()[0]
    assert "c42" in run("next", "c42", "-n", "1")[1]
    changed = "c42: changed in the store. Running beats take it up within seconds.\n"
    assert run("set", "c42", "every=1h")[:2] == (0, changed)
    assert run("pause", "c42")[0] == 0
    assert json.loads(run("list", "--json", "--tag", "customer")[1])[0]["schedule"] == "every 1h"
    assert run("add", "next", "--task", "livectl.ping", "after=c42", "--store")[0] == 0
    assert "c42, after next, after c42: none would ever begin" in run("set", "c42", "after=next")[2]
    code, out, err = run("remove", "c42")
    assert (code, out) == (0, "c42: removed from the store. Beats stop sending it within seconds.\n")
    assert "next runs after c42: without it, it does not run any more." in err
    assert run("remove", "next")[0] == 0
    assert [entry["name"] for entry in json.loads(run("list", "--json")[1])] == ["ping"]
    (tmp_path / "schedules.yaml").unlink()
    run("add", *words)
    assert [entry["name"] for entry in json.loads(run("list", "--json")[1])] == ["c42"], "no file is needed then"


@pytest.mark.parametrize(
    ("words", "code", "message"),
    [
        (("add", "a", "--task", "livectl.pong", "--every", "5s"), 3, 'has no task "livectl.pong" (did you mean'),
        (("add", "a", "--task", "livectl.ping"), 3, "schedules.yaml:4:3: a: nothing says when (every: 30s"),
        (("add", "a", "--task", "livectl.ping", "--at", "soon"), 3, 'a: at: "soon" is no instant'),
        (("add", "a", "--task", "livectl.ping", "--every", "5s", "--at", "soon"), 2, "every and at are two times"),
        (("set", "ping", "every=1s", "every=2s"), 2, "every is said twice"),
        (("add", "ping", "--task", "livectl.ping", "--every", "5s"), 3, "has an entry ping already"),
        (
            ("add", "ping", "--task", "livectl.ping", "--every", "5s", "--store"),
            2,
            "ping is an entry of schedules.yaml",
        ),
        (("add", "there", "--task", "livectl.ping", "--every", "5s", "--store"), 3, "is an entry of the schedule file"),
        (("add", "a", "--task", "livectl.ping", "--every", "5x", "--store"), 3, 'a: every: "5x"'),
        (("add", "a", "--task", "livectl.ping", "--args", "[1"), 2, "the value of args is no YAML"),
        (("add", "a", "overlap"), 2, "overlap is no KEY=VALUE"),
        (("set", "ping"), 2, "nothing to change"),
        (("set", "pin", "every=1s"), 2, "schedules.yaml has no entry called pin"),
        (("set", "pin", "every=1s", "--store"), 2, "the store has no entry called pin"),
        (("set", "ping", "task="), 3, "ping: no task"),
        (("remove", "pin"), 2, "no schedule is called pin"),
    ],
)
def test_what_cannot_be_is_said_and_nothing_is_written(
    run: Run, tmp_path: Path, store_url: str, words: tuple[str, ...], code: int, message: str
) -> None:
    line = cron.parse("@daily")
    assert isinstance(line, Cron)
    store_schedule(store_url, Schedule(name="there", task="t", timing=line))
    answer = run(*words)
    assert (answer[0], answer[1]) == (code, "")
    assert message in answer[2]
    assert (tmp_path / "schedules.yaml").read_text() == FILE


def test_an_entry_that_neither_file_nor_store_can_have_is_said_to_be_in_neither(run: Run, tmp_path: Path) -> None:
    def change() -> tuple[int, str]:
        out, err = io.StringIO(), io.StringIO()
        context = CommandContext({"LIVECTL_HOME": str(tmp_path / "home")}, tmp_path, out, err)
        return cli.main(("schedules", "set", "nope", "every=5s"), context), err.getvalue()

    away = "and the store cannot be looked into: no broker is set"
    code, said = change()
    assert code == 4
    assert f"livectl: nope is not in schedules.yaml, {away}" in said
    (tmp_path / "schedules.yaml").unlink()
    assert f"livectl: there is no schedules.yaml, {away}" in change()[1]


def test_a_name_of_the_store_that_is_added_to_the_file_is_said(run: Run) -> None:
    words = ("both", "--task", "livectl.ping", "--every", "1h")
    run("add", *words, "--store")
    code, _, err = run("add", *words)
    assert (code, err) == (0, "both is in the store too: from now on it is sent as the file says.\n")
    assert "both is in the store too, and is not sent as it is there" in run("list")[2]
    assert run("remove", "both", "--store")[0] == 0
    assert run("list")[2] == ""


def row(number: int, **fields: Any) -> dict[str, Any]:
    words = {"name": f"e{number}", "task": "livectl.ping", "interval": 1, "enabled": True, **fields}
    return {"model": "django_celery_beat.periodictask", "pk": number, "fields": words}


def test_what_another_scheduler_keeps_is_put_into_file_or_store(run: Run, tmp_path: Path, store_url: str) -> None:
    rows = [
        {"model": "django_celery_beat.intervalschedule", "pk": 1, "fields": {"every": 5, "period": "minutes"}},
        {
            "model": "django_celery_beat.crontabschedule",
            "pk": 1,
            "fields": {"minute": "30", "hour": "7", "timezone": "Europe/Paris"},
        },
        row(1, description="every five", last_run_at="2026-11-30T23:00:00Z"),
        row(2, interval=None, crontab=1),
        row(3, name="ping"),
        row(4, args="(1"),
    ]
    (tmp_path / "rows.json").write_text(json.dumps(rows))
    left = {"left out: ping: schedules.yaml has an entry of that name", "left out: e4: not JSON: (1"}
    code, out, err = run("import", "rows.json", "--store", "--dry-run")
    assert (code, out) == (1, "Would add 2 schedules to the store: e1, e2.\n")
    assert left <= set(err.splitlines())
    assert [each["name"] for each in json.loads(run("list", "--json")[1])] == ["ping"]
    code, out, _ = run("import", "rows.json", "--write", "--dry-run")
    assert (code, out.splitlines()[-1]) == (1, "Would add 2 schedules to schedules.yaml: e1, e2.")
    assert "+  # last run 2026-11-30T23:00:00Z" in out
    assert (tmp_path / "schedules.yaml").read_text() == FILE
    assert run("import", "rows.json", "--store")[1] == "Added 2 schedules to the store: e1, e2.\n"
    assert "left out: e1: e1 is in the store already" in run("import", "rows.json", "--store")[2]
    assert run("remove", "e1", "e2")[0] == 0
    assert run("import", "rows.json", "--write")[1] == "Added 2 schedules to schedules.yaml: e1, e2.\n"
    text = (tmp_path / "schedules.yaml").read_text()
    assert text.startswith(FILE)
    assert '  e1:   {task: livectl.ping, every: 5m, description: "every five"}\n' in text
    listed = {each["name"]: (each["schedule"], each["timezone"]) for each in json.loads(run("list", "--json")[1])}
    assert listed["e2"] == ("30 7 * * *", "Europe/Paris")
