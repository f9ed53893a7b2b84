"""Up, worker and beat in the background: started, checked, stopped, restarted."""

from __future__ import annotations

import io
import json
import os
import signal
import socket
import subprocess
import sys
from contextlib import nullcontext
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec
import pytest
from celery import Celery

from livectl import cli
from livectl.address import Address
from livectl.context import CommandContext
from livectl.ops.cluster import presence
from livectl.ops.processes import process
from livectl.ops.services import background, members
from livectl.ops.services.background import BackgroundProcess
from tests.support.celery_project import Project
from tests.support.processes import alive, answer, children, livectl
from tests.support.servers import redis_over_tcp
from tests.support.waiting import HANG_SECONDS, wait_for

if TYPE_CHECKING:
    from collections.abc import Iterator

pytestmark = pytest.mark.acceptance

UP_LINES = ["page", "follows", "broker", "schedule", "log", "stop"]
APP = """
import os, time
from livectl.celeryapp import app
@app.task(name="slow")
def slow(seconds):
    with open(os.environ["LEDGER"], "a") as ledger: ledger.write("began\\n")
    until = time.monotonic() + seconds
    while time.monotonic() < until: time.sleep(0.05)
    with open(os.environ["LEDGER"], "a") as ledger: ledger.write("ended\\n")
"""


@pytest.fixture
def home_environ(tmp_path: Path) -> Iterator[dict[str, str]]:
    """The environment of a home for one test; whatever runs there in the background at the end is killed."""
    (tmp_path / "proj.py").write_text(APP)
    (tmp_path / "schedules.yaml").write_text("schedules:\n  ping: {task: livectl.ping, every: 1s}\n")
    yield {"LIVECTL_HOME": str(tmp_path / "home"), "LEDGER": str(tmp_path / "ledger")}
    for running in background.list_running(tmp_path / "home"):
        for pid in (running.pid, *children(running.pid)):
            os.kill(pid, signal.SIGKILL)
        process.wait_for_exit(running.process, 10)


@pytest.fixture
def set_broker(home_environ: dict[str, str], store_url: str) -> dict[str, str]:
    return home_environ | {"LIVECTL_BROKER": store_url}


def find_running(home: Path, name: str) -> BackgroundProcess:
    (running_process,) = (running for running in background.list_running(home) if running.name == name)
    return running_process


def test_up_comes_works_and_goes(tmp_path: Path, home_environ: dict[str, str]) -> None:
    started = answer("up", "-c", "2", "--detach", cwd=tmp_path, environ=home_environ)
    assert started.returncode == 0, started.stderr
    running = find_running(tmp_path / "home", "up")
    assert f"pid {running.pid}" in started.stdout
    assert [line.split()[0] for line in started.stdout.splitlines()] == UP_LINES
    page = started.stdout.split()[1]
    assert page in Path(running.log).read_text(), "it is the page of the one in the background"
    wait_for(lambda: "livectl.ping" in (tmp_path / "home" / "log" / "worker.log").read_text(), what="a job")
    again = answer("up", "--detach", cwd=tmp_path, environ=home_environ)
    assert (again.returncode, f"up runs already in the background (pid {running.pid})" in again.stderr) == (
        1,
        True,
    )
    members = [running.pid, *children(running.pid)]
    stopped = answer("stop", cwd=tmp_path, environ=home_environ)
    assert stopped.returncode == 0
    assert f"up has ended (pid {running.pid})." in stopped.stdout
    assert not any(map(alive, members))


def test_it_comes_again_as_it_was_wherever_one_asks(tmp_path: Path, home_environ: dict[str, str]) -> None:
    (tmp_path / "elsewhere").mkdir()
    assert answer("up", "-c", "3", "-l", "WARNING", "--detach", cwd=tmp_path, environ=home_environ).returncode == 0
    before = find_running(tmp_path / "home", "up")
    again = answer("--json", "restart", "up", cwd=tmp_path / "elsewhere", environ=home_environ)
    assert again.returncode == 0, again.stderr
    after = find_running(tmp_path / "home", "up")
    assert json.loads(again.stdout) == [{"name": "up", "pid": after.pid, "log": after.log}]
    assert after.pid != before.pid
    assert (after.argv, after.cwd) == (before.argv, before.cwd)
    assert answer("stop", "up", cwd=tmp_path / "elsewhere", environ=home_environ).returncode == 0


@pytest.mark.parametrize("arguments", [("stop",), ("stop", "worker"), ("restart",), ("stop", "--now")])
def test_with_nothing_there_it_says_so(
    tmp_path: Path, home_environ: dict[str, str], arguments: tuple[str, ...]
) -> None:
    completed = answer(*arguments, cwd=tmp_path, environ=home_environ)
    assert (completed.returncode, completed.stdout) == (
        1,
        "Nothing that was started with --detach runs here.\n",
    )


def test_what_cannot_start_says_why(tmp_path: Path, home_environ: dict[str, str]) -> None:
    environ = home_environ | {"LIVECTL_BROKER": "redis://:secret@127.0.0.1:1"}
    completed = answer("up", "--detach", cwd=tmp_path, environ=environ)
    assert completed.returncode == 4
    assert "no server answers at redis://:***@127.0.0.1:1/0" in completed.stderr
    assert "secret" not in completed.stderr
    assert answer("stop", cwd=tmp_path, environ=environ).returncode == 1


@pytest.mark.parametrize("command", ["up", "beat", "worker"])
@pytest.mark.parametrize(
    ("app", "code", "reason"),
    [
        ("import nothing_of_this_name", 3, "wrong_app.py:1: ModuleNotFoundError"),
        ("app = 5 +", 3, "wrong_app.py:1: SyntaxError"),
        (None, 3, "no module wrong_app in"),
        ("from celery import Celery; app = Celery(broker='BROKER')", 4, "does not let us in: WRONGPASS"),
    ],
    ids=["missing import", "broken app", "missing module", "wrong password"],
)
def test_in_the_background_the_reason_is_that_of_the_foreground(
    tmp_path: Path, home_environ: dict[str, str], command: str, app: str | None, code: int, reason: str
) -> None:
    """And nothing is left: no process, no record of one."""
    with redis_over_tcp(tmp_path) if app and "BROKER" in app else nullcontext("") as url:
        if app is not None:
            (tmp_path / "wrong_app.py").write_text(app.replace("BROKER", url.replace("p%40ss", "wrong")))
        said = [
            answer("-A", "wrong_app", command, *mode, cwd=tmp_path, environ=home_environ)
            for mode in ((), ("--detach",))
        ]
    assert [completed.returncode for completed in said] == [code, code]
    assert said[0].stderr == said[1].stderr
    assert reason in said[1].stderr
    assert not list((tmp_path / "home").glob("run/*.json"))


@pytest.mark.parametrize("words", [("up",), ("beat",), ("worker", "-B")], ids=" ".join)
def test_of_a_schedule_that_cannot_be_read_the_same_is_said(
    tmp_path: Path, set_broker: dict[str, str], words: tuple[str, ...]
) -> None:
    (tmp_path / "schedules.yaml").write_text("schedules: {ping: {task: livectl.ping, every: never}}\n")
    in_terminal, detached = (answer(*words, *mode, cwd=tmp_path, environ=set_broker) for mode in ((), ("--detach",)))
    assert (in_terminal.returncode, detached.returncode) == (3, 3)
    assert detached.stderr == in_terminal.stderr != ""


def test_a_beat_that_fails_leaves_no_record(tmp_path: Path, set_broker: dict[str, str]) -> None:
    failed = answer("beat", "--detach", "--", "--max-interval", "soon", cwd=tmp_path, environ=set_broker)
    assert failed.returncode == 2
    assert "beat ended at its start (exit code 2)" in failed.stderr
    assert "'soon' is not a valid" in failed.stderr
    assert not list((tmp_path / "home").glob("run/*.json"))


def test_a_pid_that_is_used_again_is_not_taken_for_it(tmp_path: Path, home_environ: dict[str, str]) -> None:
    """The record of a process that died is left, and its pid is now that of another process: ours."""
    running = BackgroundProcess(
        name="up", argv=["up"], cwd="/", environ={}, pid=os.getpid(), started="long ago", log="/"
    )
    (tmp_path / "home" / "run").mkdir(parents=True)
    (tmp_path / "home" / "run" / "up.json").write_bytes(msgspec.json.encode(running))
    assert answer("stop", cwd=tmp_path, environ=home_environ).returncode == 1
    assert alive(os.getpid())


def test_a_long_log_is_set_aside_at_the_start(tmp_path: Path, home_environ: dict[str, str]) -> None:
    log = tmp_path / "home" / "log" / "up.log"
    log.parent.mkdir(parents=True)
    log.write_bytes(b"old\n" * 3_000_000)
    assert answer("up", "-P", "solo", "--detach", cwd=tmp_path, environ=home_environ).returncode == 0
    assert log.with_name("up.log.1").stat().st_size == 12_000_000
    assert log.stat().st_size < 1_000_000
    assert answer("stop", "--now", cwd=tmp_path, environ=home_environ).returncode == 0


def begin_job(environ: dict[str, str], seconds: float) -> None:
    with Celery(broker=Address.parse(environ["LIVECTL_BROKER"]).celery_url, set_as_current=False) as app:
        app.send_task("slow", args=[seconds], queue="livectl")
    wait_for(Path(environ["LEDGER"]).exists)


def begun_and_ended(environ: dict[str, str]) -> list[str]:
    return Path(environ["LEDGER"]).read_text().split()


def test_a_worker_ends_when_its_jobs_have_ended(tmp_path: Path, set_broker: dict[str, str]) -> None:
    worker = ("-A", "proj", "worker", "-P", "prefork", "-c", "2", "-n", "mail", "--detach")
    assert answer(*worker, cwd=tmp_path, environ=set_broker).returncode == 0
    running = find_running(tmp_path / "home", "worker-mail")
    begin_job(set_broker, 3)
    assert answer("stop", "worker-mail", cwd=tmp_path, environ=set_broker).returncode == 0
    assert begun_and_ended(set_broker) == ["began", "ended"]
    wait_for(partial(lambda pid: not alive(pid), running.pid))


@pytest.mark.parametrize(("pool", "queued"), [("prefork", 1), ("threads", 1), ("gevent", 0)])
def test_stopped_now_a_worker_keeps_its_jobs_for_others(
    tmp_path: Path, set_broker: dict[str, str], store_url: str, pool: str, queued: int
) -> None:
    import redis

    assert answer("-A", "proj", "worker", "-P", pool, "--detach", cwd=tmp_path, environ=set_broker).returncode == 0
    begin_job(set_broker, 60)
    with redis.Redis.from_url(store_url) as store:
        wait_for(lambda: store.keys(f"{presence.WORKERS_PREFIX}*"), what="the worker on the list of the watch")
        assert answer("stop", "--now", cwd=tmp_path, environ=set_broker).returncode == 0
        assert store.keys(f"{presence.WORKERS_PREFIX}*") == [], "nobody misses it"
        assert (store.llen("livectl"), store.hlen("livectl:unacked")) == (queued, 1 - queued)
    assert begun_and_ended(set_broker) == ["began"]


def test_a_beat_comes_works_and_goes(tmp_path: Path, set_broker: dict[str, str]) -> None:
    assert answer("beat", "--detach", cwd=tmp_path, environ=set_broker).returncode == 0
    running = find_running(tmp_path / "home", "beat")
    wait_for(lambda: "Sent ping" in Path(running.log).read_text(), what="a run")
    assert answer("stop", "beat", cwd=tmp_path, environ=set_broker).returncode == 0
    assert not alive(running.pid)


def test_workers_of_the_settings_are_stopped_and_started_by_name_and_take_new_code_over(
    tmp_path: Path, store_url: str
) -> None:
    project = Project(tmp_path, store_url, store_url)
    (tmp_path / "livectl.yaml").write_text("workers: {mail: {queues: [mail], pool: solo}, slow: {pool: solo}}\n")
    (tmp_path / "schedules.yaml").write_text("schedules: {new: {task: proj.later, every: 1s}}\n")
    home = tmp_path / "home"

    def pids() -> dict[str, int]:
        return {record.name: record.pid for name in ("mail", "slow") for record in members.running(home, name)}

    def ask(*words: str) -> int:
        return cli.main([*words], CommandContext(project.environ, tmp_path, io.StringIO(), io.StringIO()))

    with livectl("-A", "proj", "up", "--reload", cwd=tmp_path, environ=project.environ) as up:
        up.wait_for("ready     worker-mail, worker-slow, beat at work")
        first = pids()
        assert (ask("stop", "mail"), pids()) == (0, {"worker-slow": first["worker-slow"]})
        with (tmp_path / "proj.py").open("a") as code:
            code.write("\n@app.task\ndef later(): pass\n")
        wait_for(lambda: pids().get("worker-slow", 0) not in {0, first["worker-slow"]}, what="new code")
        assert list(pids()) == ["worker-slow"], "one that was stopped stays so"
        wait_for(lambda: ". proj.later" in (home / "log" / "worker-slow.log").read_text(), what="the new task")
        wait_for(
            lambda: "Sent new (proj.later)" in (home / "log" / "beat.log").read_text(), what="a beat that knows it"
        )
        slow = pids()["worker-slow"]
        assert ask("restart", "mail@" + socket.gethostname()) == 0
        assert pids().keys() == first.keys()
        assert pids()["worker-slow"] == slow
        up.send(signal.SIGINT)
        assert up.wait() == 0
    project.close()


def test_a_shell_has_the_app_and_its_tasks(tmp_path: Path, store_url: str) -> None:
    project = Project(tmp_path, store_url, store_url)
    ran = subprocess.run(
        [sys.executable, "-m", "livectl", "-A", "proj", "shell", "--with", "python"],
        cwd=tmp_path,
        env={**os.environ, **project.environ},
        input="print(app.main, add(2, 3), chain is not None)\n",
        capture_output=True,
        text=True,
        timeout=HANG_SECONDS,
        check=False,
    )
    assert (ran.returncode, "proj 5 True" in ran.stdout) == (0, True), ran
    project.close()
