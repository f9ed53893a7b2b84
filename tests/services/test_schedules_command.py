"""livectl schedules: validate, list, next, run, pause, resume, diff."""

from __future__ import annotations

import io
import json
import subprocess
import sys
from collections import Counter
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from livectl import cli, models, redis_client
from livectl.address import Address
from livectl.context import CommandContext
from livectl.models import Schedule
from livectl.ops.beat import check_ins, pauses, run_store, run_views
from livectl.ops.beat.views import RunHistory
from livectl.ops.jobs import history
from livectl.ops.jobs.history import JobNote
from livectl.ops.schedules import cron
from tests.support.beats import World, make_app

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    Run = Callable[..., tuple[int, str, str]]

ROOT = Path(__file__).parents[2]
FIELDS = {"name", "task", "schedule", "timezone", "enabled", "paused", "last", "ended", "next"}
ABOUT = {"runs", "source", "waiting", "description", "owner", "tags", "group"}
GOOD = """\
timezone: Europe/Paris
schedules:
  ping:   {task: livectl.ping, every: 5s}
  digest: {task: livectl.report, cron: "0 9 * * *"}
  off:    {task: livectl.report, cron: "0 9 1 1 *", enabled: false}
"""


@pytest.fixture
def run(tmp_path: Path) -> Run:
    """Calls livectl in a folder of its own; no broker is there."""

    def call(*argv: str, **environ: str) -> tuple[int, str, str]:
        out, err = io.StringIO(), io.StringIO()
        home = {"LIVECTL_HOME": str(tmp_path / "home")}
        code = cli.main(argv, CommandContext(home | environ, tmp_path, out, err))
        return code, out.getvalue(), err.getvalue()

    return call


def write(folder: Path, text: str, name: str = "schedules.yaml") -> None:
    (folder / name).write_text(text)


def test_a_good_file_is_a_sentence_with_counts(run: Run, tmp_path: Path) -> None:
    write(tmp_path, GOOD)
    code, out, err = run("schedules", "validate")
    assert (code, err) == (0, "")
    assert out == "schedules.yaml: 3 schedules, no warnings, no mistake; tasks and arguments are the app's.\n"


def test_a_good_file_for_programs(run: Run, tmp_path: Path) -> None:
    write(tmp_path, GOOD)
    code, out, _ = run("schedules", "validate", "--json")
    assert code == 0
    assert json.loads(out) == {"file": "schedules.yaml", "schedules": 3, "checked": True, "warnings": []}


def test_mistakes_are_lines_on_stderr_and_code_3(run: Run, tmp_path: Path) -> None:
    write(tmp_path, 'schedules:\n  a: {task: livectl.pong, every: 0s, args: hi}\n  b: {cron: "* * *"}\n', "other.yaml")
    code, out, err = run("schedules", "validate", "other.yaml")
    assert (code, out) == (3, "")
    assert 'other.yaml:2:13: a: task: the app has no task "livectl.pong" (did you mean livectl.ping?)' in err
    assert 'other.yaml:2:34: a: every: "0s" must be more than zero' in err
    assert 'other.yaml:2:44: a: args: "hi" is no list (say ["hi"])' in err
    assert "other.yaml:3:3: b: no task" in err
    assert "other.yaml:3:13: b: cron:" in err


def test_mistakes_for_programs(run: Run, tmp_path: Path) -> None:
    write(tmp_path, "schedules: {a: {task: livectl.ping, every: 0s}}")
    code, out, err = run("schedules", "validate", "--json")
    assert (code, err) == (3, "")
    assert json.loads(out)["error"]["code"] == 3


def test_warnings_are_shown_and_do_not_fail(run: Run, tmp_path: Path) -> None:
    write(tmp_path, 'schedules:\n  a: {task: livectl.ping, cron: "* 3 * * *"}\n')
    code, out, err = run("schedules", "validate")
    assert code == 0
    assert 'schedules.yaml:2:33: warning: a: cron: "* 3 * * *" runs every minute of that hour ("0 3 * * *" does' in err
    assert "1 schedule, 1 warning, no mistake" in out
    assert run("schedules", "validate", "-q")[2] == ""


def test_a_file_that_is_missing_is_named(run: Run) -> None:
    code, _, err = run("schedules", "validate", "nowhere.yaml")
    assert code == 3
    assert "nowhere.yaml" in err


def test_another_app_is_checked_against_and_one_that_fails_is_named(tmp_path: Path) -> None:
    write(tmp_path, "schedules: {a: {task: tsks.add, every: 5s}}")
    write(tmp_path, "from celery import Celery\napp = Celery('p', include=['tsks'])\n", "proj.py")
    write(tmp_path, "from celery import shared_task\n@shared_task\ndef add(x): ...\n", "tsks.py")
    ran = livectl(tmp_path, "-A", "proj", "schedules", "validate")
    assert ran.returncode == 3
    assert "a: task: tsks.add(x): missing a required argument: 'x'" in ran.stderr

    write(tmp_path, "import nowhere\n", "tsks.py")
    ran = livectl(tmp_path, "-A", "proj", "schedules", "validate")
    assert (ran.returncode, ran.stderr) == (
        0,
        "tasks not checked: tsks.py:1: ModuleNotFoundError: No module named 'nowhere'\n",
    )
    assert ran.stdout == "schedules.yaml: 1 schedule, no warnings, no mistake; tasks not checked.\n"


def livectl(folder: Path, *argv: str) -> subprocess.CompletedProcess[str]:
    code = f"import sys; sys.path.insert(0, {str(ROOT)!r}); from livectl.cli import main; sys.exit(main(sys.argv[1:]))"
    return subprocess.run(
        [sys.executable, "-c", code, *argv],
        capture_output=True,
        text=True,
        check=False,
        cwd=folder,
        env={"LIVECTL_HOME": str(folder / "home"), "PYTHONDONTWRITEBYTECODE": "1"},
    )


@pytest.mark.parametrize("argv", [["list"], ["next"], ["next", "--json"]], ids=" ".join)
def test_list_and_next_do_without_celery(argv: list[str], tmp_path: Path) -> None:
    write(tmp_path, GOOD)
    code = (
        "import sys\n"
        f"sys.path.insert(0, {str(ROOT)!r})\n"
        "from livectl.cli import main\n"
        f"code = main({['schedules', *argv]!r})\n"
        "print('HEAVY', sorted({'celery', 'kombu'} & set(sys.modules)))\n"
        "sys.exit(code)"
    )
    home = {"LIVECTL_HOME": str(tmp_path / "home")}
    ran = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=False, cwd=tmp_path, env=home
    )
    assert ran.returncode == 0, ran.stderr
    assert ran.stdout.endswith("HEAVY []\n")


def test_list_shows_every_entry_with_its_next_run(run: Run, tmp_path: Path) -> None:
    write(tmp_path, GOOD)
    code, out, err = run("schedules", "list")
    assert code == 0
    assert "last runs not known: no broker is set" in err
    assert max(map(len, out.splitlines())) <= 80
    ping, digest, off = out.splitlines()[2:]
    assert ping.split()[:4] == ["ping", "livectl.ping", "every", "5s"]
    assert "0 9 * * * Europe/Paris" in digest
    assert off.endswith("off")


def test_list_for_programs_has_the_promised_fields(run: Run, tmp_path: Path) -> None:
    write(tmp_path, GOOD)
    rows = json.loads(run("schedules", "list", "--json")[1])
    assert all(set(row) == FIELDS | {"reason", "problem"} | ABOUT for row in rows)
    ping, digest, off = rows
    assert (ping["schedule"], ping["enabled"], ping["paused"], ping["last"]) == ("every 5s", True, False, None)
    assert datetime.fromisoformat(ping["next"]) - datetime.now(UTC) < timedelta(seconds=5)
    assert digest["next"].endswith(("T07:00:00Z", "T08:00:00Z"))
    assert (digest["timezone"], off["enabled"], off["next"]) == ("Europe/Paris", False, None)


def test_the_last_run_is_read_from_the_store(run: Run, tmp_path: Path, store_url: str) -> None:
    write(tmp_path, GOOD)
    last = datetime(2026, 11, 20, 8, tzinfo=UTC)
    store = redis_client.open_store(store_url)
    store.hset(run_store.LAST_RUN_KEY, "digest", str(round(last.timestamp() * 1000)))
    store.close()
    environ = {"LIVECTL_STORE": store_url, "LIVECTL_BROKER": store_url}
    rows = json.loads(run("schedules", "list", "--json", **environ)[1])
    assert [row["last"] for row in rows] == [None, "2026-11-20T08:00:00Z", None]
    assert "2026-11-20 08:00" in run("schedules", "list", **environ)[1]
    rows = json.loads(run("schedules", "next", "digest", "-n", "1", "--json", **environ)[1])
    assert rows[0]["last"] == "2026-11-20T08:00:00Z"


def test_next_merges_the_runs_of_all_entries_in_time(run: Run, tmp_path: Path) -> None:
    write(tmp_path, GOOD.replace("every: 5s", "every: 7h"))
    rows = json.loads(run("schedules", "next", "-n", "30", "--json")[1])
    dues = [row["next"] for row in rows]
    assert len(rows) == 30
    assert dues == sorted(dues)
    assert {row["name"] for row in rows} == {"ping", "digest"}
    assert all(set(row) == FIELDS | {"note"} for row in rows)


def test_next_names_the_entries_that_come_later(run: Run, tmp_path: Path) -> None:
    write(tmp_path, GOOD)
    assert run("schedules", "next", "-n", "1")[1].splitlines()[-1] == "later: digest"
    assert "later" not in run("schedules", "next", "ping", "-n", "1")[1]


def test_next_of_one_entry_in_a_zone(run: Run, tmp_path: Path) -> None:
    write(tmp_path, GOOD)
    code, out, _ = run("schedules", "next", "digest", "-n", "3", "--tz", "Asia/Tokyo")
    assert code == 0
    lines = out.splitlines()
    assert lines[0].startswith("due, Asia/Tokyo")
    assert all(line.split()[1] in ("16:00:00", "17:00:00") for line in lines[2:])
    assert len(lines) == 5
    assert max(map(len, lines)) <= 80


@pytest.mark.parametrize(
    ("argv", "code", "message"),
    [
        (["next", "digst"], 2, "no schedule is called digst\n  did you mean digest?"),
        (["next", "--tz", "Europe/Pariss"], 3, "Europe/Paris"),
        (["next", "-n", "0"], 2, "0 is not in the range"),
        (["list", "-s", "nowhere.yaml"], 3, "nowhere.yaml"),
        (["nxet"], 2, "Did you mean 'next'?"),
    ],
)
def test_a_mistake_on_the_command_line_is_reported(
    run: Run, tmp_path: Path, argv: list[str], code: int, message: str
) -> None:
    write(tmp_path, GOOD)
    actual_code, out, err = run("schedules", *argv)
    assert (actual_code, out) == (code, "")
    assert message in err


def test_an_empty_schedule_is_a_sentence(run: Run, tmp_path: Path) -> None:
    write(tmp_path, "schedules:\n")
    assert run("schedules", "list")[1] == "No schedules yet; `livectl docs schedules` shows how they are written.\n"
    assert run("schedules", "next")[1] == "Nothing ahead.\n"


def cron_schedule(text: str) -> Schedule:
    return Schedule(name="x", task="t", timing=cron.parse(text), timezone="Europe/Paris")


@pytest.mark.parametrize(
    ("text", "due", "note"),
    [
        ("30 2 * * *", "2027-03-28T01:00Z", "02:30 does not exist that day"),
        ("30 2 * * *", "2026-10-25T00:30Z", "first of two 02:30"),
        ("*/30 2 * * *", "2026-10-25T01:30Z", "second of two 02:30"),
        ("30 2 * * *", "2026-10-26T01:30Z", ""),
        ("0 3 * * *", "2026-10-25T02:00Z", ""),
        ("0 * * * *", "2027-03-28T01:00Z", ""),
    ],
)
def test_a_run_that_the_clock_moved_or_repeats_is_marked(text: str, due: str, note: str) -> None:
    schedule, instant = cron_schedule(text), round(datetime.fromisoformat(due).timestamp() * 1000)
    assert run_views.clock_change_note(schedule, instant) == note
    view = run_views.render_runs([models.Run("x", instant)], {"x": schedule}, RunHistory(), "Europe/Paris")
    data: Any = view.data
    assert data[0]["note"] == (note or None)


# --- with a store and beats


@pytest.fixture
def world(tmp_path: Path, store_url: str) -> Iterator[World]:
    world = World(tmp_path, store_url)
    yield world
    world.close()


@pytest.fixture
def servers(store_url: str) -> dict[str, str]:
    return {"LIVECTL_STORE": store_url, "LIVECTL_BROKER": store_url, "LIVECTL_RESULTS": store_url}


def test_a_paused_entry_is_sent_by_no_beat_and_caught_up_by_none(
    run: Run, tmp_path: Path, world: World, servers: dict[str, str]
) -> None:
    write(
        tmp_path, "schedules:\n  a: {task: t.note, every: 10s, args: [a]}\n  b: {task: t.note, every: 10s, args: [b]}\n"
    )
    world.beat()
    world.beat()
    world.run(20)
    assert {message.entry for message in world.sent} == {"a", "b"}
    assert run("schedules", "pause", "a", "--reason", "mail server moves", **servers)[0] == 0
    world.sent.clear()
    world.run(20)
    world.beat()
    world.run(20)
    assert {message.entry for message in world.sent} == {"b"}

    code, out, _ = run("schedules", "list", **servers)
    assert (code, "mail" in out) == (0, True)
    row = json.loads(run("schedules", "list", "--json", **servers)[1])[0]
    assert (row["paused"], row["reason"], row["next"]) == (True, "mail server moves", None)
    assert "paused" in run("schedules", "next", "a", "-n", "1", **servers)[1]

    world.sent.clear()
    assert pauses.resume(world.store, "a", str(world.clock.at))
    world.run(20)
    assert Counter(message.entry for message in world.sent) == {"a": 2, "b": 2}
    assert run("schedules", "resume", "a", **servers)[:2] == (1, "a was not paused.\n")


def test_what_nobody_schedules_cannot_be_paused(run: Run, tmp_path: Path, servers: dict[str, str]) -> None:
    write(tmp_path, GOOD)
    code, _, err = run("schedules", "pause", "pnig", **servers)
    assert (code, "did you mean ping?" in err) == (2, True)


def test_the_entry_sent_by_hand_is_a_job_with_an_id(
    run: Run, tmp_path: Path, world: World, servers: dict[str, str]
) -> None:
    write(tmp_path, "schedules:\n  a: {task: t.note, every: 1h, args: [a], options: {queue: celery, priority: 0}}\n")
    code, out, _ = run("schedules", "run", "a", "--json", **servers)
    assert (code, json.loads(out)["task"]) == (0, "t.note")
    (sent,) = world.collect()
    assert (sent.entry, sent.task_id) == ("a", json.loads(out)["id"])


def test_what_validate_refuses_is_not_sent_by_hand(
    run: Run, tmp_path: Path, world: World, servers: dict[str, str]
) -> None:
    write(
        tmp_path, "schedules:\n  a: {task: livectl.pnig, every: 1h}\n  b: {task: livectl.ping, every: 1h, args: [1]}\n"
    )
    code, _, err = run("schedules", "run", "a", **servers)
    assert (code, 'a is not sent: the app has no task "livectl.pnig" (did you mean livectl.ping?)' in err) == (3, True)
    code, _, err = run("schedules", "run", "b", **servers)
    assert (code, "b is not sent: livectl.ping" in err) == (3, True)
    assert not world.collect()


def test_diff_shows_where_file_and_beats_differ(
    run: Run, tmp_path: Path, world: World, servers: dict[str, str]
) -> None:
    write(tmp_path, GOOD)
    assert run("schedules", "diff", **servers)[0] == 1
    assert "no beat is at work" in run("schedules", "diff", **servers)[2]
    world.beat()
    world.tick()
    assert run("schedules", "diff", **servers)[:2] == (0, "Every beat holds what schedules.yaml says.\n")
    write(tmp_path, GOOD.replace("every: 5s", "every: 6s").replace("digest", "daily"))
    code, out, _ = run("schedules", "diff", "--json", **servers)
    differences = {(row["name"], row["change"], *row["fields"]) for row in json.loads(out)}
    assert (code, differences) == (1, {("ping", "changed", "timing"), ("digest", "removed"), ("daily", "added")})
    world.run(2)
    assert run("schedules", "diff", **servers)[0] == 0


def test_list_shows_how_the_last_run_ended(run: Run, tmp_path: Path, world: World, servers: dict[str, str]) -> None:
    write(tmp_path, "schedules:\n  a: {task: t.note, every: 10s, args: [a]}\n")
    world.beat()
    world.run(20)
    job = world.sent[-1].task_id
    meta = {"task_id": job, "status": "FAILURE", "result": {"exc_type": "E", "exc_message": []}, "children": []}
    world.store.set(f"celery-task-meta-{job}", json.dumps(meta))
    assert json.loads(run("schedules", "list", "--json", **servers)[1])[0]["ended"] == "failed"
    assert " failed " in run("schedules", "list", **servers)[1]


def test_with_an_app_its_own_beat_schedule_is_shown_and_no_file_is_needed(tmp_path: Path, store_url: str) -> None:
    lines = (
        "from celery import Celery",
        f"app = Celery('p', broker={make_app(store_url).conf.broker_url!r})",
        "app.conf.beat_schedule = {'tick': {'task': 'p.tick', 'schedule': 30.0}}",
        "app.conf.beat_scheduler = 'redbeat.RedBeatScheduler'",
    )
    write(tmp_path, "\n".join(lines), "proj.py")
    ran = livectl(tmp_path, "-A", "proj", "schedules", "list", "--json")
    assert (ran.returncode, ran.stderr) == (
        0,
        (
            "not shown here: beat_scheduler is redbeat.RedBeatScheduler, which reads RedBeat's keys in Redis; "
            "`livectl schedules import` prints that\n"
        ),
    )
    (row,) = json.loads(ran.stdout)
    assert (row["name"], row["task"], row["schedule"]) == ("tick", "p.tick", "every 30s")


POLICIES = """\
calendars: {holidays: days.txt}
schedules:
  report: {task: livectl.ping, cron: "0 9 * * *", except: [sat, sun, holidays], group: g, tags: [x], owner: ada}
  moved:  {task: livectl.ping, cron: "0 9 * * *", jitter: 1h, count: 3}
  past:   {task: livectl.ping, at: 2026-01-31T09:00:00Z}
  off:    {task: livectl.ping, cron: "0 9 * * *", enabled: false}
  then:   {task: livectl.ping, after: {entry: report, when: failed}}
"""
THEN = "it has no time of its own: it runs after report failed, whenever a run of that has ended so."


@pytest.mark.parametrize(
    ("argv", "code", "words"),
    [
        (["report", "2036-12-24"], 0, "yes: report at 2036-12-24 09:00, UTC: it is due then."),
        (["report", "2036-12-25"], 1, "no: report at 2036-12-25 00:00, UTC: except holidays."),
        (["report", "2036-12-27 09:00"], 1, "except sat. The run before: 2036-12-26 09:00 The run after: 2036-12-29"),
        (["report", "2036-12-24T10:00"], 1, "0 9 * * * does not fall then."),
        (["report", "2036-12-24T10:00", "--tz", "Europe/Paris"], 0, "yes: report at 2036-12-24 10:00, Europe/Paris"),
        (["moved", "2036-12-24T09:00:00Z"], 1, "its jitter moves that run to 2036-12-24T09:"),
        (["moved", "2036-12-24"], 1, "the entry will have had its 3 runs by then (count)."),
        (["off", "2036-12-24"], 1, "the entry is switched off (enabled: false)."),
        (["past", "2026-01-31T09:00:00Z"], 1, "no beat was at work then"),
        (["then", "2036-12-24T09:00:00Z"], 1, f"no: then at 2036-12-24 09:00, UTC: {THEN}"),
        (["report", "soon"], 2, "'soon' is no instant"),
    ],
)
def test_explain_says_why_a_run_is_or_is_not(
    run: Run, tmp_path: Path, argv: list[str], code: int, words: str, store_url: str
) -> None:
    write(tmp_path, POLICIES)
    write(tmp_path, "2036-12-25\n", "days.txt")
    environ = {"LIVECTL_STORE": store_url, "LIVECTL_BROKER": store_url}
    actual_code, out, err = run("schedules", "explain", *argv, **environ)
    assert words in " ".join((out + err).split())
    assert actual_code == code


@pytest.mark.parametrize(
    ("instant", "code", "words"),
    [
        ("2026-06-01", 0, "it was due then; nothing is kept of a run so long ago."),
        ("2026-06-02", 0, "it was sent, 0.50 s late; its job: failed, ValueError: no."),
        ("2026-06-03", 1, "not sent: it was missed, since no beat was at work in time."),
        ("2026-06-04", 1, "not sent: the job before it still ran (overlap)."),
        ("2026-06-05", 1, "not sent: no beat was at work then, or it had not had this entry yet."),
    ],
)
def test_explain_says_of_a_run_of_the_past_what_is_kept_of_it(
    run: Run, tmp_path: Path, store_url: str, instant: str, code: int, words: str
) -> None:
    write(tmp_path, "schedules: {nightly: {task: livectl.ping, cron: '0 9 * * *'}}\n")
    due = [datetime(2026, 6, day, 9, tzinfo=UTC).timestamp() for day in range(9)[2:]]
    kept: list[dict[str, Any]] = [
        {"started": due[0] + 0.5, "finished": due[0] + 1, "state": "failed", "error": "ValueError: no"},
        {"state": "missed"},
        {"state": "left out"},
    ]
    notes = {
        str(at): JobNote(facts={"schedule": "nightly", "due": at, **facts})
        for at, facts in zip(due, kept, strict=False)
    }
    with redis_client.using_store(Address.parse(store_url)) as store:
        store.execute_command(*history.note_command(notes))  # type: ignore[no-untyped-call]
        store.hset(run_store.LAST_RUN_KEY, "nightly", str(round(due[-1] * 1000)))
    environ = {"LIVECTL_STORE": store_url, "LIVECTL_BROKER": store_url}
    actual_code, out, err = run("schedules", "explain", "nightly", instant, **environ)
    assert words in " ".join((out + err).split())
    assert actual_code == code


def test_next_shows_a_time_and_what_is_left_out_of_it(run: Run, tmp_path: Path) -> None:
    write(tmp_path, POLICIES)
    write(tmp_path, "2036-12-25\n", "days.txt")
    period = ["report", "--from", "2036-12-24", "--to", "2036-12-29"]
    rows = json.loads(run("schedules", "next", *period, "--json")[1])
    assert [row["next"][:10] for row in rows] == ["2036-12-24", "2036-12-26", "2036-12-29"]
    rows = json.loads(run("schedules", "next", *period, "--why", "--json")[1])
    left_out = {row["next"][8:10]: row["note"] for row in rows if row["note"]}
    assert left_out == {
        "25": "left out: except holidays", "27": "left out: except sat", "28": "left out: except sun"
    }  # fmt: skip
    moved = json.loads(run("schedules", "next", "moved", "--json")[1])
    assert len(moved) == 3
    assert all(row["note"].startswith("moved by ") for row in moved)
    assert json.loads(run("schedules", "next", "moved", "--why", "--json")[1]) == moved, "it leaves nothing out"
    assert run("schedules", "next", "--to", "2020-01-01")[0] == 2
    code, _, err = run("schedules", "next", "--from", "2036-12-25", "--to", "2036-12-24")
    assert (code, "--to is before --from" in err) == (2, True)


def test_next_and_list_say_of_an_entry_that_follows_what_it_follows(run: Run, tmp_path: Path) -> None:
    write(tmp_path, POLICIES)
    write(tmp_path, "2036-12-25\n", "days.txt")
    assert run("schedules", "next", "then")[:2] == (0, "Nothing ahead.\n\nthen: after report failed\n")
    assert "then" not in {row["name"] for row in json.loads(run("schedules", "next", "--json")[1])}
    (row,) = [row for row in json.loads(run("schedules", "list", "--json")[1]) if row["name"] == "then"]
    assert (row["schedule"], row["next"]) == ("after report failed", None)
    (line,) = [line for line in run("schedules", "list")[1].splitlines() if line.startswith("then")]
    assert line.split() == ["then", "livectl.ping", "after", "report", "failed"]


def test_list_shows_a_part_and_what_people_say_of_it(run: Run, tmp_path: Path) -> None:
    write(tmp_path, POLICIES)
    write(tmp_path, "2036-12-25\n", "days.txt")
    for option in (["--group", "g"], ["--tag", "x"], ["--owner", "ada"]):
        (row,) = json.loads(run("schedules", "list", *option, "--json")[1])
        assert (row["name"], row["owner"], row["tags"], row["group"]) == ("report", "ada", ["x"], "g")
    assert next(line for line in run("schedules", "list")[1].splitlines() if "past" in line).endswith("done")


def test_a_run_that_waits_is_shown(run: Run, tmp_path: Path, store_url: str) -> None:
    write(tmp_path, POLICIES)
    write(tmp_path, "2036-12-25\n", "days.txt")
    environ = {"LIVECTL_STORE": store_url, "LIVECTL_BROKER": store_url}
    due = round(datetime(2026, 6, 1, 9, tzinfo=UTC).timestamp() * 1000)
    with redis_client.using_store(Address.parse(store_url)) as store:
        store.hset(run_store.WAITING_KEY, "report", str(due))
    line = next(line for line in run("schedules", "list", **environ)[1].splitlines() if line.startswith("report"))
    assert line.endswith(", 1 waiting")
    code, out, _ = run("schedules", "explain", "report", "2026-06-01", **environ)
    assert (code, "it waits for the running job of the entry" in " ".join(out.split())) == (1, True)


def test_a_group_is_paused_by_its_name(run: Run, tmp_path: Path, store_url: str) -> None:
    write(tmp_path, POLICIES)
    write(tmp_path, "2036-12-25\n", "days.txt")
    environ = {"LIVECTL_STORE": store_url, "LIVECTL_BROKER": store_url}
    code, out, _ = run("schedules", "pause", "--group", "g", "--reason", "moving", **environ)
    assert (code, out) == (0, "report: paused; `livectl schedules resume --group g` ends that.\n")
    assert "paused: moving" in run("schedules", "list", **environ)[1]
    assert run("schedules", "explain", "report", "2036-12-24", **environ)[1].strip().startswith("no: report")
    assert run("schedules", "resume", "--group", "g", **environ)[:2] == (0, "report run again.\n")
    assert run("schedules", "resume", "--group", "g", **environ)[0] == 1
    assert run("schedules", "pause", "--group", "none", **environ)[0] == 2
    assert run("schedules", "pause", **environ)[0] == 2


def test_the_runs_of_what_checks_in_are_found_by_the_name_that_the_settings_give_it(
    run: Run, tmp_path: Path, store_url: str
) -> None:
    write(tmp_path, "watch: {checks: {backup: {token: s3cret, every: 1d}}}\n", "livectl.yaml")
    with redis_client.using_store(Address.parse(store_url)) as store:
        check_ins.note(store, "backup", "start", "", 1_000)
    rows = [json.loads(run("runs", name, "--json", LIVECTL_STORE=store_url)[1]) for name in ("backup", "check:backup")]
    assert rows[0] == rows[1] != []
    _, out, _ = run("runs", "bakcup", LIVECTL_STORE=store_url)
    assert "`livectl schedules list` has the names of entries." in " ".join(out.split())
