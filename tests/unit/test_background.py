"""What runs in the background: the names by which it is stopped, and when it counts as working."""

from __future__ import annotations

import socket
import subprocess
from typing import TYPE_CHECKING, cast

import pytest

from livectl.errors import LivectlError, ServerError, UnfinishedError, UsageError
from livectl.ops.services import background
from livectl.ops.services.background import BackgroundProcess, _names_of, _StartCheck

if TYPE_CHECKING:
    from pathlib import Path

    from livectl.ops.services.health import LivenessProbe

HOST = socket.gethostname()


@pytest.mark.parametrize(
    ("name", "argv", "called"),
    [
        ("worker-w1", ["-n", "w1@%h"], {"w1", "worker-w1", f"w1@{HOST}"}),
        ("worker-w1@far", ["-n", "w1@far"], {"w1", "worker-w1", "w1@far", "worker-w1@far"}),
        ("worker", ["-n", "worker-12@%h"], {"worker", "worker-12", f"worker-12@{HOST}"}),
        ("beat", ["beat"], {"beat"}),
    ],
)
def test_a_process_has_the_names_that_people_give(name: str, argv: list[str], called: set[str]) -> None:
    running = BackgroundProcess(name=name, argv=argv, cwd="/", environ={}, pid=1, started="", log="")
    assert called <= _names_of(running)
    assert not {"w2", "worker-w2"} & _names_of(running)


class Probe:
    """Answers as it is told to."""

    problem = ""

    def __init__(self, worker: bool | None, beat: bool | None) -> None:
        self.worker, self.beat = worker, beat

    def is_worker_alive(self, node: str) -> bool | None:
        return self.worker

    def is_beat_alive(self, leader: int) -> bool | None:
        return self.beat


WORKER = ["-n", "w1@%h"]
UP = ["up", "-n", "up-1"]


@pytest.mark.parametrize(
    ("name", "argv", "log", "worker", "beat", "works"),
    [
        ("worker", WORKER, "", True, None, True),
        ("worker", WORKER, "", False, None, False),
        ("worker", WORKER, "", None, None, False),  # nobody can tell: that is no answer
        ("worker", WORKER, "w1@h ready.", None, None, True),  # remote control is off, and it says so itself
        ("worker", WORKER, "w2@h ready.", None, None, False),
        ("worker", [*WORKER, "-B"], "", True, False, False),  # it carries a beat, which has not looked in
        ("worker", [*WORKER, "-B"], "", True, True, True),
        ("beat", ["beat"], "", None, None, False),
        ("beat", ["beat"], "", None, True, True),
        ("up", UP, "up-1@h ready.", True, True, False),  # its page may still be starting
        ("up", UP, "2026-11-28 15:50:21  ready     page, worker, beat at work", None, None, True),
        ("up", UP, '{"at":"2026","event":"ready","text":"page, worker, beat at work"}', None, None, True),
        ("up", UP, "2026-11-28 15:50:21  live      ready: worker", None, None, False),  # somebody's title
        (
            "up",
            UP,
            "2026-11-28 15:50:21  ready     beat at work",
            None,
            None,
            False,
        ),  # its worker takes no remote control
        ("up", UP, "up-1@h ready.\n2026-11-28 15:50:21  ready     beat at work", None, None, True),
    ],
)
def test_it_works_when_it_has_answered(
    tmp_path: Path, name: str, argv: list[str], log: str, *, worker: bool | None, beat: bool | None, works: bool
) -> None:
    earlier = f"{log} of an earlier start" if not works else "before"
    (tmp_path / "log").write_text(f"w1@h ready. up | ready: {earlier}\n{log}\n")
    offset = len(f"w1@h ready. up | ready: {earlier}\n")
    running = BackgroundProcess(name=name, argv=argv, cwd="/", environ={}, pid=1, started="", log=str(tmp_path / "log"))
    probe = cast("LivenessProbe", Probe(worker, beat))
    assert _StartCheck(running, {tmp_path / "log": offset}, probe, "h").has_answered() is works


def test_a_beat_that_nobody_can_ask_is_not_called_working(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(background, "UNASKED_SECONDS", 0.0)
    (tmp_path / "log").touch()
    argv = ["celery", "-A", "proj", "beat", "-S", "celery.beat:Scheduler"]
    running = BackgroundProcess(
        name="beat", argv=argv, cwd="/", environ={}, pid=1, started="", log=str(tmp_path / "log")
    )
    check = _StartCheck(running, {}, cast("LivenessProbe", Probe(worker=None, beat=None)), "h")
    with subprocess.Popen(["sleep", "60"]) as child:
        try:
            with pytest.raises(UnfinishedError, match=r"beat runs \(pid 1\), but whether it works cannot be asked"):
                background._wait_until_working(child, running, check)
        finally:
            child.kill()


def test_one_that_does_not_start_again_holds_up_no_other(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def process_of(name: str) -> BackgroundProcess:
        return BackgroundProcess(name=name, argv=[], cwd="/", environ={}, pid=1, started="", log="")

    def start(home: Path, name: str, *_: object, **__: object) -> BackgroundProcess:
        if name == "worker-a":
            raise ServerError("worker-a cannot start")
        return process_of(name)

    monkeypatch.setattr(background, "start", start)
    said: list[str] = []
    stopped = [process_of(name) for name in ("beat", "worker-a", "up")]
    with pytest.raises(ServerError, match="worker-a cannot start"):
        background.restart_all(tmp_path, stopped, {}, "h", said.append)
    assert said == ["up is at work again (pid 1)", "beat is at work again (pid 1)"]


def test_what_is_not_there_is_named_beside_what_is(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    there = [BackgroundProcess(name="worker-w2", argv=[], cwd="/", environ={}, pid=1, started="", log="")]
    monkeypatch.setattr(background, "list_running", lambda home: there)
    assert background.describe_missing(tmp_path, "w1") == "Nothing here is called w1. In the background: worker-w2."
    there.clear()
    of_up = background.describe_missing(tmp_path, "w1", ["worker-mail"])
    assert of_up == "Nothing here is called w1. In the background: worker-mail."
    assert background.describe_missing(tmp_path, "w1") == background.NOTHING_RUNS


@pytest.mark.parametrize(
    ("code", "log", "kind", "message", "last_line"),
    [
        (
            2,
            "Usage: celery\n\nError: no such option\n",
            UsageError,
            "up ended at its start (exit code 2)",
            "Error: no such option",
        ),
        (4, "worker | hm\nlivectl: no broker\n  Start one.\n", ServerError, "no broker", "  Start one."),
        (1, "", LivectlError, "up ended at its start (exit code 1)", "Its log is /log:"),
        (-9, "killed\n", LivectlError, "up ended at its start (exit code -9)", "killed"),
    ],
)
def test_what_ended_is_told_in_its_own_words(
    code: int, log: str, kind: type[LivectlError], message: str, last_line: str
) -> None:
    running = BackgroundProcess(name="up", argv=[], cwd="/", environ={}, pid=1, started="", log="/log")
    error = background._ended_error(running, code, log)
    assert (type(error), error.message) == (kind, message)
    assert error.hint.splitlines()[-1].removeprefix("    ") == last_line
