"""`livectl up` as a person runs it: real broker, worker and beat."""

from __future__ import annotations

import json
import os
import pty
import re
import signal
import socket
import stat
import subprocess
import sys
import termios
import threading
from contextlib import nullcontext, suppress
from functools import partial
from typing import TYPE_CHECKING
from urllib.error import HTTPError
from urllib.request import urlopen

import pytest
import redis
from celery import Celery

from livectl.address import Address
from livectl.ops.processes import embedded_broker
from tests.support.disks import fill, root_only, tiny_disk
from tests.support.processes import alive, answer, children, commands_below, livectl
from tests.support.servers import redis_over_tcp
from tests.support.terminals import rows_of
from tests.support.waiting import HANG_SECONDS, wait_for
from tests.support.web_pages import TOKEN

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from pathlib import Path

    from tests.support.processes import Running
    from tests.support.rabbitmq import RabbitMQ

pytestmark = pytest.mark.acceptance

PING = "schedules:\n  ping: {task: livectl.ping, every: 1s}\n"
SUCCEEDED = "succeeded in"
NOBODY, UNAUTHORIZED = 65534, 401
# Somebody's app with livectl's broker and habits, and a job that says when it begins and ends.
SLOW = """
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
def home_environ(tmp_path: Path) -> dict[str, str]:
    """The environment of a home for one test, with a job each second."""
    (tmp_path / "schedules.yaml").write_text(PING)
    return {"LIVECTL_HOME": str(tmp_path / "home")}


def worker_log(folder: Path) -> str:
    log = folder / "home" / "log" / "worker.log"
    return log.read_text() if log.exists() else ""


def none_alive(pids: Iterable[int]) -> bool:
    return not any(map(alive, pids))


def find_member(up: Running, text: str) -> int:
    return wait_for(
        lambda: next((pid for pid, command in commands_below(up.process.pid).items() if text in command), 0), what=text
    )


def test_from_nothing_to_jobs_and_back(tmp_path: Path, home_environ: dict[str, str]) -> None:
    (tmp_path / "follows.yaml").write_text("follows: [demo/nonstop]\n")
    (tmp_path / "schedules.yaml").write_text(f"{PING}  sweep: {{task: livectl.sweep, every: 2s}}\n")
    with livectl("up", "-c", "2", cwd=tmp_path, environ=home_environ) as up:
        up.wait_for("ready     broker, page, worker, beat at work")
        up.wait_for("live      Nonstop: ")
        summary = [line.split()[0] for line in up.lines[:6]]
        assert summary == ["page", "follows", "broker", "schedule", "log", "stop"]
        for words in ("open to all users here", "1 streamer of follows.yaml", str(tmp_path / "schedules.yaml")):
            assert words in "\n".join(up.lines[:6])
        wait_for(lambda: SUCCEEDED in worker_log(tmp_path), what="a job")
        assert SUCCEEDED not in up.text, "what workers say of each job is for the log"
        members = commands_below(up.process.pid)
        up.send(signal.SIGINT)
        assert up.wait() == 0
    assert none_alive(members)
    assert embedded_broker.find_running(tmp_path / "home") is None
    assert not (tmp_path / "home" / "broker.json").exists()
    assert [line.split()[2] for line in up.lines[-2:]] == ["stopping", "stopped"]
    assert "Warm shutdown" in worker_log(tmp_path)
    logs = {path.name: stat.S_IMODE(path.stat().st_mode) for path in (tmp_path / "home" / "log").iterdir()}
    assert logs == dict.fromkeys(("beat.log", "broker.log", "page.log", "worker.log"), 0o600)


def test_in_a_terminal_a_status_line_stays_below_until_it_ends(tmp_path: Path, home_environ: dict[str, str]) -> None:
    (tmp_path / "follows.yaml").write_text("follows: [demo/nonstop]\n")
    (tmp_path / "schedules.yaml").write_text(f"{PING}  sweep: {{task: livectl.sweep, every: 2s}}\n")
    ours, theirs = pty.openpty()
    termios.tcsetwinsize(ours, (24, 80))
    environ = {**os.environ, **home_environ, "TERM": "xterm"}
    environ.pop("COLUMNS", None)
    argv = [sys.executable, "-m", "livectl", "up", "-P", "solo"]
    with Typed(argv, ours, theirs, cwd=tmp_path, environ=environ) as up:
        wait_for(lambda: "1 of 1 live: Nonstop" in up.rows()[-1], what="the status line")
        assert "no problems" in up.rows()[-1]
        assert f"\x1b]8;;{up.rows()[0].split()[1]}\x1b\\" in up.text
        up.process.send_signal(signal.SIGINT)
        assert up.process.wait(HANG_SECONDS) == 0
        wait_for(lambda: "stopped" in up.text)
        rows = [line.rstrip() for line in up.rows() if line.strip()]
    events = [words[1] for words in map(str.split, rows[6:]) if words[0].count(":") == 2]
    assert [event for event in events if event != "note"] == ["ready", "live", "stopping", "stopped"]
    assert max(map(len, rows)) <= 80


class Typed:
    """A program at a terminal of 80 columns, and all it wrote there."""

    def __init__(self, argv: list[str], ours: int, theirs: int, *, cwd: Path, environ: dict[str, str]) -> None:
        self.text = ""
        self._ours = ours
        self.process = subprocess.Popen(
            argv, cwd=cwd, env=environ, stdin=theirs, stdout=theirs, stderr=theirs, start_new_session=True
        )
        os.close(theirs)
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def _read(self) -> None:
        with suppress(OSError):  # nobody writes there any more
            while chunk := os.read(self._ours, 65536):
                self.text += chunk.decode(errors="replace")

    def rows(self) -> list[str]:
        return rows_of(self.text, 80)

    def __enter__(self) -> Typed:
        return self

    def __exit__(self, *_: object) -> None:
        if self.process.poll() is None:
            self.process.kill()
        self.process.wait(HANG_SECONDS)
        self._reader.join(HANG_SECONDS)
        os.close(self._ours)


@root_only
def test_a_full_disk_ends_nothing_and_all_is_well_when_there_is_room(
    tmp_path: Path, home_environ: dict[str, str]
) -> None:
    room = "there is room again"
    with tiny_disk(tmp_path / "disk", "size=12m") as disk:
        environ = home_environ | {"LIVECTL_HOME": str(disk / "home")}
        with livectl("-v", "up", "-P", "solo", cwd=tmp_path, environ=environ) as up:
            up.wait_for(SUCCEEDED)
            fill(disk / "ballast", spare=0)
            up.wait_for("is full: the broker answers reads, and takes nothing until there is room")
            wait_for(lambda: answer("live", cwd=tmp_path, environ=environ).stdout == "Nobody is live.\n")
            refused = answer("call", "livectl.ping", "--force", cwd=tmp_path, environ=environ)
            assert (refused.returncode, "takes nothing" in refused.stderr) == (4, True)
            (disk / "ballast").unlink()
            wait_for(lambda: SUCCEEDED in up.text.partition(room)[2], what="a job after there is room")
            assert "worker ended" not in up.text
            up.send(signal.SIGTERM)
            assert up.wait() == 0


@pytest.mark.filterwarnings("ignore:This process:DeprecationWarning")  # it forks beside threads
def test_programs_find_the_page_though_its_usual_port_is_taken(tmp_path: Path, home_environ: dict[str, str]) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        taken = listener.getsockname()[1]
        (tmp_path / "livectl.yaml").write_text(f"web: {{token: {TOKEN}}}\n")
        with livectl("--json", "-q", "up", "-P", "solo", cwd=tmp_path, environ=home_environ) as up:
            summary = json.loads(wait_for(lambda: up.lines)[0])
            assert (summary["home"], summary["pid"]) == (home_environ["LIVECTL_HOME"], up.process.pid)
            page = summary["page"]
            assert wait_for(lambda: status_of(f"{page}healthz")) == 200
            assert as_another_user(lambda: is_kept_out(page, tmp_path / "home" / "run" / "broker.sock"))
            assert_a_second_one_says_where_the_first_is(tmp_path, home_environ, up.process.pid)
            up.send(signal.SIGTERM)
            assert up.wait() == 0
        assert len(up.lines) == 1
        (tmp_path / "livectl.yaml").write_text(f"web: {{port: {taken}}}\n")
        refused = answer("up", cwd=tmp_path, environ=home_environ)
    assert refused.returncode == 2
    assert refused.stderr.startswith(f"livectl: port {taken} on 127.0.0.1 is in use by python")
    assert f"(pid {os.getpid()})" in refused.stderr


def assert_a_second_one_says_where_the_first_is(folder: Path, environ: dict[str, str], pid: int) -> None:
    wait_for(lambda: embedded_broker.find_running(folder / "home"))
    second = answer("up", cwd=folder, environ=environ)
    assert second.returncode == 4
    assert f"pid {pid}" in second.stderr
    assert environ["LIVECTL_HOME"] in second.stderr
    assert embedded_broker.find_running(folder / "home"), "the first one's broker was taken for the second's"


def test_the_page_is_not_shown_to_everybody(tmp_path: Path, home_environ: dict[str, str]) -> None:
    (tmp_path / "livectl.yaml").write_text("web: {host: 0.0.0.0}\n")
    refused = answer("up", cwd=tmp_path, environ=home_environ)
    assert refused.returncode == 3
    assert "anybody who reaches this machine" in refused.stderr


def as_another_user(question: Callable[[], bool]) -> bool:
    """Asks in a process of a user who owns nothing here. Only root can become one."""
    if os.getuid():
        return True
    if child := os.fork():
        return os.waitpid(child, 0)[1] == 0
    try:
        os.setgroups([])
        os.setgid(NOBODY)
        os.setuid(NOBODY)
        os._exit(0 if question() else 1)
    finally:
        os._exit(2)


def is_kept_out(page: str, broker_socket: Path) -> bool:
    try:
        with socket.socket(socket.AF_UNIX) as broker:
            broker.connect(str(broker_socket))
    except OSError as refused:
        broker_refuses = isinstance(refused, PermissionError | FileNotFoundError)
    else:
        broker_refuses = False
    for path in ("", "jobs", "api/live", "api/jobs", "metrics", "streamers/demo/ada", "no-such-page"):
        try:
            with urlopen(f"{page}{path}", timeout=HANG_SECONDS):
                return False
        except HTTPError as refusal:
            with refusal:
                if refusal.code != UNAUTHORIZED:
                    return False
    return broker_refuses


def status_of(url: str) -> int:
    try:
        with urlopen(url, timeout=HANG_SECONDS) as page:
            return int(page.status)
    except OSError:
        return 0


def test_killed_it_leaves_no_orphan_and_the_next_one_starts(tmp_path: Path, home_environ: dict[str, str]) -> None:
    for pool in ("prefork", "threads"):
        with livectl("-v", "up", "-P", pool, "-c", "2", cwd=tmp_path, environ=home_environ) as up:
            up.wait_for(SUCCEEDED)
            members = commands_below(up.process.pid)
            assert len(members) == (6 if pool == "prefork" else 4)  # broker, page, worker with its children, beat
            up.send(signal.SIGKILL)
            wait_for(partial(none_alive, members), what="no orphan")


def test_a_member_that_is_killed_comes_back(tmp_path: Path, home_environ: dict[str, str]) -> None:
    commands = {"worker": "celery -A livectl.celeryapp worker", "beat": "celery -A livectl.celeryapp beat"}
    with livectl("-v", "up", "-c", "2", cwd=tmp_path, environ=home_environ) as up:
        up.wait_for(SUCCEEDED)
        for member, command in {**commands, "broker": "valkey-server"}.items():
            killed = find_member(up, command)
            os.kill(killed, signal.SIGKILL)
            up.wait_for(f"{member} ended (SIGKILL) and is started again in 1 s")
            assert find_member(up, command) != killed
            done = up.text.count(SUCCEEDED)
            wait_for(partial(has_done_more, up, done + 1), what="jobs again")
        up.send(signal.SIGTERM)
        assert up.wait() == 0


def has_done_more(up: Running, jobs: int) -> bool:
    return up.text.count(SUCCEEDED) > jobs


@pytest.fixture
def slow(tmp_path: Path, store_url: str) -> dict[str, str]:
    """The environment of somebody's app with a slow job, on a broker that outlives its `up`."""
    (tmp_path / "proj.py").write_text(SLOW)
    (tmp_path / "schedules.yaml").write_text("schedules: {}\n")
    return {
        "LIVECTL_HOME": str(tmp_path / "home"),
        "LIVECTL_BROKER": store_url,
        "LEDGER": str(tmp_path / "ledger"),
    }


def begin_job(store_url: str, ledger: Path, seconds: float) -> None:
    with Celery(broker=Address.parse(store_url).celery_url, set_as_current=False) as app:
        app.send_task("slow", args=[seconds], queue="livectl")
    wait_for(ledger.exists)


def test_running_jobs_end_first(tmp_path: Path, slow: dict[str, str], store_url: str) -> None:
    passed_on = ("--beat-options", "--max-interval 1", "--", "--max-tasks-per-child", "7")
    with livectl("-v", "-A", "proj", "up", "-c", "2", *passed_on, cwd=tmp_path, environ=slow) as up:
        up.wait_for("ready.")
        assert find_member(up, "--max-tasks-per-child 7")
        assert find_member(up, "--max-interval 1")
        begin_job(store_url, tmp_path / "ledger", 4)
        up.send(signal.SIGTERM)
        assert up.wait() == 0
    assert (tmp_path / "ledger").read_text().split() == ["began", "ended"]


@pytest.mark.parametrize(
    ("pool", "queued", "unacked"),
    [
        ("prefork", 1, 0),
        ("eventlet", 0, 1),
        ("solo", 0, 1),
        # tests/acceptance/test_background.py stops these with a job in their hands as well
        pytest.param("threads", 1, 0, marks=pytest.mark.soak),
        pytest.param("gevent", 0, 1, marks=pytest.mark.soak),
    ],
)
def test_a_job_that_outlasts_its_time_is_kept(
    tmp_path: Path, slow: dict[str, str], store_url: str, pool: str, queued: int, unacked: int
) -> None:
    """Not lost, not failed: put back at once where the pool can, and kept for another worker where it cannot."""
    with livectl("-v", "-A", "proj", "up", "-P", pool, cwd=tmp_path, environ=slow) as up:
        up.wait_for("ready.")
        begin_job(store_url, tmp_path / "ledger", 60)
        up.send(signal.SIGTERM)
        up.wait_for("stopping  running jobs end first")
        up.send(signal.SIGTERM)
        assert up.wait() == 130
    with redis.Redis.from_url(store_url) as store:
        assert (store.llen("livectl"), store.hlen("livectl:unacked")) == (queued, unacked)
    assert (tmp_path / "ledger").read_text().split() == ["began"]


@pytest.mark.parametrize("silence", [6, pytest.param(20, marks=pytest.mark.soak)])
def test_a_worker_that_does_not_answer_is_started_again(
    tmp_path: Path, home_environ: dict[str, str], silence: int
) -> None:
    """SIGSTOP: alive for whoever only waits for its end."""
    (tmp_path / "livectl.yaml").write_text(f"up: {{silence: {silence}s}}\n")
    with livectl("-v", "up", "-c", "2", cwd=tmp_path, environ=home_environ) as up:
        up.wait_for("ready     broker, page, worker, beat at work")
        stopped = find_member(up, "celery -A livectl.celeryapp worker")
        os.kill(stopped, signal.SIGSTOP)
        up.wait_for(f"worker has not answered for {silence} s and is started again")
        done = up.text.count(SUCCEEDED)
        wait_for(lambda: up.text.count(SUCCEEDED) > done, what="jobs again")


def test_what_cannot_start_is_given_up_with_its_own_words(tmp_path: Path, home_environ: dict[str, str]) -> None:
    (tmp_path / "proj.py").write_text(
        "import sys\nfrom celery import Celery\napp = Celery(broker='redis://127.0.0.1:1')\n"
        "{'worker', 'beat'}.isdisjoint(sys.argv) or 1 / 0\n"
    )
    (tmp_path / "livectl.yaml").write_text("up: {pause: 100ms}\n")
    with livectl("-A", "proj", "up", cwd=tmp_path, environ=home_environ) as up:
        assert up.wait() == 1
    assert re.search(r"livectl: (worker|beat) ended right after its start 5 times in a row \(exit code \d\)", up.text)
    assert "ZeroDivisionError" in up.text.partition("Its last lines")[2]


def test_an_app_that_cannot_be_loaded_starts_nothing(tmp_path: Path, home_environ: dict[str, str]) -> None:
    (tmp_path / "proj.py").write_text("from celery import Celery\napp = Celery(broker='redis://127.0.0.1:1')\n1 / 0\n")
    with livectl("-A", "proj", "up", cwd=tmp_path, environ=home_environ) as up:
        assert up.wait() == 3
    assert "proj.py:3: ZeroDivisionError" in up.text
    assert "Traceback" not in up.text


@pytest.mark.parametrize(
    ("file", "text", "code", "message"),
    [
        ("schedules.yaml", "schedules:\n  ping: {task: livectl.ping, evry: 1s}\n", 3, "schedules.yaml:2:30"),
        ("livectl.yaml", "brokr: redis://h\n", 3, "livectl.yaml:1:1"),
        ("livectl.yaml", "broker: amqp://127.0.0.1:1\n", 3, "store:"),
        ("livectl.yaml", "broker: redis://:secret@127.0.0.1:1\n", 4, "redis://:***@127.0.0.1:1/0"),
        ("home", "", 4, "LIVECTL_HOME"),
    ],
)
def test_what_is_wrong_is_said_at_once(
    tmp_path: Path, home_environ: dict[str, str], file: str, text: str, code: int, message: str
) -> None:
    (tmp_path / file).write_text(text)
    completed = answer("up", cwd=tmp_path, environ=home_environ)
    assert completed.returncode == code
    assert message in completed.stderr
    assert "secret" not in completed.stderr
    assert "Traceback" not in completed.stderr


def test_the_good_part_of_damaged_data_is_kept_and_the_rest_said(tmp_path: Path, home_environ: dict[str, str]) -> None:
    for _ in range(2):
        with livectl("-v", "up", "-P", "solo", cwd=tmp_path, environ=home_environ) as up:
            up.wait_for(SUCCEEDED)
            up.send(signal.SIGTERM)
            assert up.wait() == 0
        for file in (tmp_path / "home").glob("data/appendonlydir/*"):
            file.write_bytes(b"" if file.suffix == ".manifest" else file.read_bytes() + b"\0" * 4096)
    assert "the list of the broker's data files was empty, and is made anew" in up.text
    assert f"the rest is kept in {tmp_path / 'home' / 'data.corrupt-1'}" in up.text


@pytest.mark.parametrize("kind", ["redis", "rabbitmq"])
def test_with_a_broker_that_is_set_none_comes_along(
    tmp_path: Path, home_environ: dict[str, str], store_url: str, kind: str, rabbitmq: RabbitMQ
) -> None:
    (tmp_path / "broker").mkdir()
    with nullcontext(rabbitmq.vhost()) if kind == "rabbitmq" else redis_over_tcp(tmp_path / "broker") as url:
        environ = home_environ | {"LIVECTL_BROKER": url, "LIVECTL_STORE": store_url}
        with livectl("-v", "up", "-c", "2", cwd=tmp_path, environ=environ) as up:
            up.wait_for("ready     page, worker, beat at work")
            up.wait_for(SUCCEEDED)
            assert not [command for command in commands_below(up.process.pid).values() if "valkey" in command]
            up.send(signal.SIGTERM)
            assert up.wait() == 0
        assert "p%40ss" not in up.text
        assert "p@ss" not in up.text


def test_when_nobody_reads_its_lines_any_more_it_stops_in_order(tmp_path: Path, home_environ: dict[str, str]) -> None:
    argv = [sys.executable, "-m", "livectl", "-v", "up", "-c", "2"]
    environ = {**os.environ, **home_environ}
    with subprocess.Popen(argv, cwd=tmp_path, env=environ, stderr=subprocess.PIPE, stdout=subprocess.DEVNULL) as up:
        assert up.stderr
        while SUCCEEDED.encode() not in up.stderr.readline():
            pass
        members = children(up.pid)
        up.stderr.close()
        assert up.wait() == 0
    assert none_alive(members)
