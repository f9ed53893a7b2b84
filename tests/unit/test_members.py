"""The workers of `up`: what the settings say of them, and what becomes of them when the settings change."""

from __future__ import annotations

import io
from typing import TYPE_CHECKING

import pytest

from livectl import cli
from livectl import settings as livectl_settings
from livectl.context import CommandContext
from livectl.errors import SettingsError, UsageError
from livectl.ops.processes.supervised_process import ChildSpec
from livectl.ops.services import background, members
from livectl.ops.services.background import BackgroundProcess

if TYPE_CHECKING:
    from pathlib import Path

    from livectl.ops.services.members import WorkerMember


def read(folder: Path, text: str) -> livectl_settings.Settings:
    (folder / "livectl.yaml").write_text(text)
    return livectl_settings.load({"LIVECTL_HOME": str(folder / "home")}, folder)


def plan(folder: Path, text: str) -> list[WorkerMember]:
    return members.plan(read(folder, text), "proj", "prefork")


def test_a_worker_has_the_options_that_it_is_written_with(tmp_path: Path) -> None:
    mail, slow = plan(
        tmp_path,
        "workers: {mail: {pool: threads, concurrency: 2, queues: [a, b], exclude_queues: [c], loglevel: DEBUG},"
        " slow: {autoscale: '9,2', max_memory_per_child: 200MB, time_limit: 1m, soft_time_limit: 50, events: true}}",
    )
    assert (mail.name, mail.options.pool, mail.options.concurrency) == ("worker-mail", "threads", 2)
    assert (mail.options.queues, mail.options.tuning.exclude_queues, mail.options.loglevel) == ("a,b", "c", "DEBUG")
    words = "--task-events --autoscale 9,2 --max-memory-per-child 195312 --time-limit 60 --soft-time-limit 50"
    assert (slow.name, slow.options.tuning.words()) == ("worker-slow", words.split())


@pytest.mark.parametrize(
    ("text", "says"),
    [
        (
            "workers:\n  mail: {pool: thread}",
            "livectl.yaml:2:16: workers.mail.pool cannot be thread (do you mean threads?)",
        ),
        (
            "workers:\n  mail: {pool: threads, autoscale: '9,2'}",
            "livectl.yaml:2:36: workers.mail: autoscale: ",
        ),
        ("workers:\n  mail: {concurrency: 0}", "livectl.yaml:2:23: workers.mail: concurrency is 0"),
        ("workers:\n  mail: {uid: me}", "livectl.yaml:2:10: "),
        ("workers:\n  'my mail': {}", "livectl.yaml:2: 'my mail' cannot be a worker's name"),
    ],
)
def test_a_mistake_is_said_with_its_place(text: str, says: str, tmp_path: Path) -> None:
    with pytest.raises(SettingsError) as caught:
        plan(tmp_path, text)
    assert says in caught.value.message


class Factory:
    """Makes children that are never started, and finds the name `bad` at fault."""

    def __init__(self, home: Path) -> None:
        self.home = home

    def check(self, member: WorkerMember) -> None:
        if member.name == "worker-bad":
            raise UsageError("worker-bad: no", "")

    def spec(self, member: WorkerMember) -> ChildSpec:
        return ChildSpec(name=member.name, start=lambda: pytest.fail("it is not started"))


def test_changed_settings_touch_the_workers_that_they_are_of(tmp_path: Path) -> None:
    said: list[str] = []
    wanted = plan(tmp_path, "workers: {a: {}, b: {}, c: {}}")
    now = iter(range(0, 1000, 10))
    requests = members.MemberRequests(
        Factory(tmp_path),  # type: ignore[arg-type]
        wanted,
        lambda: wanted,
        said.append,
        clock=lambda: float(next(now)),
    )
    assert requests() == []
    wanted = plan(tmp_path, "workers: {a: {}, b: {concurrency: 3}, d: {}}")
    assert [(request.action, request.name) for request in requests()] == [
        ("remove", "worker-c"),
        ("restart", "worker-b"),
        ("add", "worker-d"),
    ]
    assert requests() == []
    wanted = plan(tmp_path, "workers: {a: {}, bad: {}}")
    assert (requests(), requests(), said) == ([], [], ["worker-bad: no: the workers go on as they are"])
    wanted = []
    assert requests() == []


def test_what_is_asked_of_a_worker_arrives_once(tmp_path: Path) -> None:
    requests = members.MemberRequests(Factory(tmp_path), [], lambda: None, print)  # type: ignore[arg-type]
    members.lay(tmp_path, members.LaidRequest(action="stop", name="worker-a", now=True))
    assert [(request.action, request.name, request.now) for request in requests()] == [("stop", "worker-a", True)]
    assert requests() == []
    members.lay(tmp_path, members.LaidRequest(action="stop", name="worker-a"))
    members.forget_requests(tmp_path)
    assert requests() == []
    assert members.restart(tmp_path, "a", now=False, say=print) == []


@pytest.mark.parametrize(
    ("words", "others", "asked", "code"),
    [
        (["worker"], ["worker"], [], 0),
        (["worker"], [], ["worker"], 0),
        (["mail", "slow"], [], ["mail", "slow"], 0),
        (["mail", "typo"], [], ["mail", "typo"], 1),
    ],
)
def test_a_worker_of_up_is_stopped_only_where_nothing_else_has_its_name(
    words: list[str], others: list[str], asked: list[str], code: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Two apps on one machine: to stop the worker of one is not to stop that of the other."""
    asked_of_up: list[str] = []

    def stop(_home: Path, name: str, **_more: object) -> list[BackgroundProcess]:
        asked_of_up.append(name)
        return [] if name == "typo" else [process]

    process = BackgroundProcess(name="worker", argv=[], pid=1, started="", cwd="", environ={}, log="")
    monkeypatch.setattr(background, "stop_all", lambda *_args, **_more: [process for _ in others])
    monkeypatch.setattr(members, "stop", stop)
    context = CommandContext({"LIVECTL_HOME": str(tmp_path)}, tmp_path, io.StringIO(), io.StringIO())
    assert (cli.main(["stop", *words], context), asked_of_up) == (code, asked)
