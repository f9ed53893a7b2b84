"""Nothing that a user, a file or a server can say makes livectl stumble: whatever it is, it is told in one sentence."""

from __future__ import annotations

import io
import itertools
import signal
import tempfile
import threading
import time
from contextlib import contextmanager, suppress
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from livectl import cli, server_check
from livectl.address import Address
from livectl.context import CommandContext
from livectl.errors import ServerError
from livectl.ops.cluster import events
from livectl.ops.processes import launch
from livectl.ops.processes.supervisor import Supervisor
from livectl.ops.services import background
from livectl.web import server
from tests.support import amqp_server
from tests.support.faulty_servers import port_that, say_http
from tests.support.odd_values import CUT_SHORT, command_lines, odd_documents, odd_replies, odd_texts
from tests.support.waiting import in_time

if TYPE_CHECKING:
    import socket
    from collections.abc import Iterator, Sequence

ID = "8b0d1d2e-52d4-4d4f-8f0c-5a1c9c1ed3a1"
SCALE = settings.default.max_examples / 25 if settings.default else 1  # 25 in a quick run; more in a soak
RABBITMQ_TIMEOUT_S = 0.3
CODES = {0, 1, 2, 3, 4, 5, 6, 130}

SETTINGS: dict[str, Any] = {
    "broker": "redis://h:1/0",
    "timezone": "Europe/Paris",
    "alerts": {
        "phone": {"url": "env:PHONE", "on": ["live", "title"]},
        "hook": {"webhook": "https://h/x", "secret": "file:none", "allow_private": True},
        "record": {"command": ["echo", "{url}"]},
    },
    "platforms": {"twitch": {"client_id": "env:ID", "budget": "600/m"}, "bilibili": {"cookie": "file:b.cookie"}},
    "polling": {"mode": "learned", "fastest": "15s", "slowest": "15m", "merge": "10m"},
    "network": {"proxy": "http://127.0.0.1:1", "connect_to": {"api.twitch.tv": "http://127.0.0.1:1"}},
    "web": {"host": "127.0.0.1", "port": 8787},
    "celery": {"worker_max_tasks_per_child": 1000},
}
SCHEDULES: dict[str, Any] = {
    "timezone": "Asia/Shanghai",
    "schedules": {
        "sweep": {"task": "livectl.sweep", "every": "5s"},
        "digest": {"task": "livectl.digest", "cron": "0 9 * * *", "timezone": "Europe/Paris"},
        "add": {
            "task": "proj.add",
            "every": "30s",
            "args": [16],
            "kwargs": {"a": 1},
            "overlap": "skip",
            "options": {"queue": "slow", "priority": 5, "expires": "30s"},
            "enabled": False,
        },
        "monday": {"task": "t", "crontab": {"minute": 30, "hour": 7, "day_of_week": "mon"}},
        "dusk": {"task": "t", "solar": {"event": "sunset", "lat": 31.2, "lon": 121.5}},
    },
}
FOLLOWS: dict[str, Any] = {
    "follows": [
        "demo/ada",
        "https://live.bilibili.com/6",
        {"url": "https://www.douyu.com/9999", "name": "Someone", "tags": ["games"], "alerts": ["phone"], "weight": 5},
    ]
}
JOB: dict[str, Any] = {
    "task": "livectl.ping",
    "args": [1],
    "kwargs": {"a": 1},
    "queue": "q",
    "priority": 3,
    "eta": "2027-01-01T00:00:00Z",
}
MODULE = """
from datetime import timedelta
import os
from celery.schedules import crontab
DEBUG = True
BROKER_URL = 'amqp://x'
CELERY_RESULT_BACKEND = os.environ.get('X', 'redis://')
if DEBUG:
    CELERY_TIMEZONE = 'UTC'
CELERYBEAT_SCHEDULE = {
  'a': {'task': 't', 'schedule': crontab(minute='*/5', hour=[1, 2]), 'args': (1, 'x'), 'options': {'queue': 'q'}},
  'b': {'task': 'u', 'schedule': timedelta(seconds=3, minutes=1)},
}
app = Celery('p')
app.conf.update(CELERY_TASK_SERIALIZER='json')
app.conf.BROKER_HOST = 'h'
"""
YAML_FOLLOWS = "follows:\n  - demo/ada  # her\n  - {url: https://live.bilibili.com/6, tags: [a]}\n"
FILES: list[tuple[str, st.SearchStrategy[str], list[str]]] = [
    ("livectl.yaml", odd_documents(SETTINGS), ["live", "alerts list", "doctor", "platforms", "schedules list", "web"]),
    (
        "schedules.yaml",
        odd_documents(SCHEDULES)
        | odd_texts("schedules:\n  a: {task: t, every: 5s}\n  b:\n    task: u\n    cron: 0 9 * * *\n"),
        [
            *(
                "schedules validate",
                "schedules list",
                "schedules next",
                "schedules run add",
                "schedules diff",
                "doctor",
            ),
            *("schedules export --python", "schedules export --django", "schedules export --crontab"),
        ],
    ),
    (
        "follows.yaml",
        odd_documents(FOLLOWS) | odd_texts(YAML_FOLLOWS),
        [
            *(
                "follow list",
                "follow add demo/grace",
                "follow remove demo/ada",
                "follow export",
                "submit",
                "live --all",
            ),
            "follow import follows.yaml",
        ],
    ),
    (
        "jobs.jsonl",
        odd_documents(JOB) | odd_texts('{"task": "livectl.ping", "args": [1]}\n[1]\n'),
        ["call --from jobs.jsonl --force", "call livectl.ping --from jobs.jsonl", "follow import jobs.jsonl"],
    ),
    (
        "settings.py",
        odd_texts(MODULE),
        [
            *("migrate settings.py", "migrate . --guesses", "migrate settings.py --write --no-backup"),
            *("schedules import settings.py", "schedules import settings.py --assume DEBUG=False"),
        ],
    ),
]
FILE_CASES = st.sampled_from(FILES).flatmap(lambda row: st.tuples(st.just(row[0]), row[1], st.sampled_from(row[2])))

ASKING = [
    *("alerts list", "call livectl.ping", "check demo/ada", "check --local demo/ada", "dead", "dead retry x", "doctor"),
    *("dead drop x", "dead show x", "health beat", "health worker", "history demo/ada", "live", "live --all", "queues"),
    *("queues peek celery", "queues purge celery --yes", "results", "schedules diff", "schedules list", "submit"),
    *("schedules pause ping", "schedules resume ping", "schedules run ping", "workers", "workers drain w"),
    *(f"retry {ID}", f"revoke {ID}", f"status {ID}"),
]
# What a sound Redis replies where there is nothing, so that a command comes as far as its next question.
SOUND_REPLIES = {
    **dict.fromkeys((b"SADD", b"ZADD", b"PUBLISH", b"LLEN", b"SREM", b"DEL", b"EXISTS"), b":1\r\n"),
    **dict.fromkeys((b"HGETALL", b"SMEMBERS", b"ZRANGEBYSCORE", b"LRANGE", b"HVALS"), b"*0\r\n"),
    **dict.fromkeys((b"SCAN", b"HSCAN"), b"*2\r\n$1\r\n0\r\n*0\r\n"),
    **dict.fromkeys((b"GET", b"HGET", b"SET"), b"$-1\r\n"),
    b"TIME": b"*2\r\n$10\r\n1700000000\r\n$1\r\n5\r\n",
    b"MGET": b"*1\r\n$-1\r\n",
    b"INFO": b"$0\r\n\r\n",
    b"PING": b"+PONG\r\n",
    b"AUTH": b"+OK\r\n",
    b"SELECT": b"+OK\r\n",
    b"CLIENT": b"+OK\r\n",
    b"HELLO": b"-ERR unknown command\r\n",
}
AT_LOGIN = {b"PING", b"SET", b"AUTH", b"SELECT", b"CLIENT", b"HELLO"}


def examples(count: int) -> settings:
    """So many, always the same ones in a quick run."""
    return settings(
        max_examples=int(count * SCALE),
        derandomize=SCALE == 1,
        database=None,
        suppress_health_check=list(HealthCheck),
    )


@pytest.fixture(autouse=True)
def impatient_user(monkeypatch: pytest.MonkeyPatch) -> None:
    """Presses Ctrl-C as soon as a command waits, serves or would become another program; answers no question."""

    def interrupt(*_: Any, **__: Any) -> None:
        raise KeyboardInterrupt

    def sleep(seconds: float, wait: Any = time.sleep) -> None:
        if threading.current_thread() is threading.main_thread():
            interrupt()
        wait(seconds)

    waiting = ((launch, "exec_command"), (Supervisor, "run"), (background, "start"), (server, "serve"))
    for owner, name in (*waiting, (events.EventStream, "read")):
        monkeypatch.setattr(owner, name, interrupt)
    monkeypatch.setattr(time, "sleep", sleep)
    monkeypatch.setattr(click, "confirm", lambda *_, **__: False)


@contextmanager
def project() -> Iterator[Path]:
    """A folder with sound files, and no way to any site."""
    with tempfile.TemporaryDirectory(prefix="lv-") as name:
        folder = Path(name)
        (folder / "folder").mkdir()
        (folder / "livectl.yaml").write_text("network: {proxy: 'http://127.0.0.1:1'}\nalerts: {me: {command: [cat]}}\n")
        (folder / "schedules.yaml").write_text("schedules: {ping: {task: livectl.ping, every: 5s}}\n")
        (folder / "follows.yaml").write_text("follows: [demo/ada]\n")
        (folder / "jobs.jsonl").write_text('{"task": "livectl.ping"}\n')
        (folder / "settings.py").write_text(MODULE)
        yield folder


def run(folder: Path, words: Sequence[str], broker: str, **environ: str) -> None:
    """Asserts that the call ends as it should: in time, with a code of the table, and not by stumbling."""
    out, err = io.StringIO(), io.StringIO()
    environ = {"LIVECTL_HOME": str(folder / "home"), "LIVECTL_BROKER": broker, "HOME": str(folder), **environ}
    handlers = {number: signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)}
    try:
        with in_time():
            code = cli.main(list(words), CommandContext(environ, folder, out, err))
    finally:
        for number, handler in handlers.items():
            signal.signal(number, handler)
    assert "stumbled" not in out.getvalue() + err.getvalue(), err.getvalue()
    assert code in CODES


@examples(100)
@example(words=["schedules", "diff", "-A", "/"])
@given(words=command_lines())
def test_no_command_line_makes_it_stumble(valkey: Path, monkeypatch: pytest.MonkeyPatch, words: list[str]) -> None:
    with project() as folder, monkeypatch.context() as patch:
        patch.chdir(folder)
        run(folder, words, f"unix://{valkey}?db=3")


@examples(120)
@given(case=FILE_CASES)
def test_no_file_makes_it_stumble(valkey: Path, monkeypatch: pytest.MonkeyPatch, case: tuple[str, str, str]) -> None:
    name, text, words = case
    with project() as folder, monkeypatch.context() as patch:
        patch.chdir(folder)
        (folder / name).write_bytes(text.encode("utf-8", "surrogatepass"))
        run(folder, words.split(), f"unix://{valkey}?db=4")


def answer_oddly(call: socket.socket, replies: Iterator[bytes | None]) -> None:
    """A Redis that lets everybody in, and then replies what comes next: None is what a sound one would reply."""
    reader = call.makefile("rb")
    while head := reader.readline():
        words = [reader.read(int(reader.readline()[1:]) + 2)[:-2] for _ in range(int(head[1:]))]
        command = words[0].upper()
        reply = None if command in AT_LOGIN else next(replies)
        call.sendall(SOUND_REPLIES.get(command, b"$-1\r\n") if reply is None else reply)
        if reply in CUT_SHORT:
            return


@examples(25)
@given(words=st.sampled_from(ASKING), replies=st.lists(st.none() | odd_replies(), min_size=1, max_size=8))
def test_no_answer_of_a_redis_makes_it_stumble(words: str, replies: list[bytes | None]) -> None:
    with project() as folder, port_that(partial(answer_oddly, replies=itertools.cycle(replies))) as port:
        run(folder, words.split(), f"redis://127.0.0.1:{port}/0")


@examples(25)
@given(
    number=st.sampled_from([*amqp_server.ANSWERS, None]),
    answer=st.binary(max_size=12) | st.sampled_from([*amqp_server.ANSWERS.values(), amqp_server.BLOCKED]),
)
def test_no_answer_of_a_rabbitmq_makes_it_stumble(number: tuple[int, int] | None, answer: bytes) -> None:
    """Every command asks it this first."""
    changed = {number: answer} if number else {}
    serve = partial(
        amqp_server.answer_calls,
        answers=amqp_server.ANSWERS | changed,
        start=amqp_server.START if number else answer,
    )
    with port_that(serve) as port, suppress(ServerError):
        server_check.check_server(Address.parse(f"amqp://127.0.0.1:{port}//"), RABBITMQ_TIMEOUT_S)


def test_an_interrupted_page_gives_its_port_back(monkeypatch: pytest.MonkeyPatch) -> None:
    opened: list[socket.socket] = []
    bind = server.bind

    def note(host: str, port: int) -> socket.socket:
        opened.append(bind(host, port))
        return opened[-1]

    monkeypatch.setattr(server, "bind", note)
    with project() as folder:
        run(folder, ["web", "--port", "0", "--wait-for-store"], "redis://127.0.0.1:1/0")
    assert [listener.fileno() for listener in opened] == [-1]


@pytest.mark.parametrize("body", [b"", b"\xff", b"HTTP/1.1 200 OK\r\n\r\n{", b"HTTP/1.1 999 \r\n", b"x" * 70_000])
def test_no_answer_of_a_site_makes_it_stumble(valkey: Path, body: bytes) -> None:
    def serve(call: socket.socket) -> None:
        call.recv(10_000)
        with suppress(OSError):
            call.sendall(body)

    with project() as folder, port_that(serve) as port, port_that(say_http) as other:
        hosts = {"live.douyin.com": port, "www.huya.com": port, "api.live.bilibili.com": port, "www.youtube.com": other}
        lines = "".join(f"    {host}: http://127.0.0.1:{where}\n" for host, where in hosts.items())
        (folder / "livectl.yaml").write_text(f"network:\n  connect_to:\n{lines}")
        for streamer in ("douyin/1", "huya/1", "bilibili/1", "youtube/@a"):
            run(folder, ["check", "--local", streamer], f"unix://{valkey}?db=5")
