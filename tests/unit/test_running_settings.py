"""What needs a restart: which running process holds on to which setting."""

from __future__ import annotations

import io
import os
from typing import TYPE_CHECKING

import pytest

from livectl import cli
from livectl.context import CommandContext
from livectl.doctor import report
from livectl.doctor.facts import Facts
from livectl.ops.processes import running_settings
from livectl.settings import Settings, load
from livectl.settings_watch import LIVE_SECTIONS, RESTART_SECTIONS

if TYPE_CHECKING:
    from pathlib import Path

PID = os.getpid()
BEFORE = "broker: redis://:hush@one\nweb: {port: 8001}\ncelery: {task_time_limit: 5}\n"


class Folder:
    """A folder with settings, of which a process was started."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.environ = {"HOME": str(path), "LIVECTL_HOME": str(path / "home")}

    def settings(self, text: str, **environ: str) -> Settings:
        (self.path / "livectl.yaml").write_text(text)
        return load(self.environ | environ, self.path)

    def outdated(self, text: str, **environ: str) -> list[str]:
        return running_settings.describe_outdated(self.settings(text, **environ), self.path)


@pytest.fixture
def folder(tmp_path: Path) -> Folder:
    return Folder(tmp_path)


@pytest.mark.parametrize(
    ("after", "lines"),
    [
        (BEFORE, []),
        (f"{BEFORE}polling: {{slowest: 1m}}\nalerts: {{hook: {{webhook: 'http://x'}}}}\n", []),
        (
            BEFORE.replace("redis://:hush@one", "redis://two"),
            [f"page (pid {PID}): broker is still redis://:***@one:6379/0; livectl.yaml:1 now says redis://two:6379/0"],
        ),
        (BEFORE.replace("hush", "other"), [f"page (pid {PID}): broker has changed (livectl.yaml:1)"]),
        (
            BEFORE.replace("web: {port: 8001}", ""),
            [f"page (pid {PID}): web.port is still 8001; the settings now say 8787"],
        ),
        (f"{BEFORE}store: env:NO_SUCH_VARIABLE\n", []),
    ],
    ids=["nothing", "what is taken over", "another broker", "another password", "back to the default", "unset here"],
)
def test_what_a_process_holds_on_to(folder: Folder, after: str, lines: list[str]) -> None:
    running_settings.note_start("page", folder.settings(BEFORE), folder.path)
    assert folder.outdated(after) == lines


def test_of_anybodys_app_workers_hold_on_to_how_they_guard(folder: Folder) -> None:
    running_settings.note_start("worker", folder.settings("worker: {max_starts: 2}"), folder.path, name="w1", own=False)
    after = folder.settings(
        "worker: {max_starts: 5}\ntasks: {proj.charge: {acks: early}}\ncelery: {task_time_limit: 9}\n"
    )
    outdated = running_settings.describe_outdated(after, folder.path, own=False)
    assert outdated == [
        f"worker w1 (pid {PID}): worker.max_starts is still 2; livectl.yaml:1 now says 5",
    ]


def test_workers_hold_on_to_the_queues_of_platforms(folder: Folder) -> None:
    running_settings.note_start("worker", folder.settings("platforms: {huya: {queue: slow}}"), folder.path, name="w1")
    assert folder.outdated("platforms: {huya: {budget: 1/s}, douyu: {queue: slow}}") == [
        f"worker w1 (pid {PID}): platforms.douyu.queue is still not set; livectl.yaml:1 now says slow",
        f"worker w1 (pid {PID}): platforms.huya.queue is still slow; the settings now say not set",
    ]


def test_every_setting_is_taken_over_or_held_by_a_process() -> None:
    held = {section for sections in running_settings.OWN_SECTIONS.values() for section in sections}
    assert held == set(RESTART_SECTIONS)
    assert set(LIVE_SECTIONS) == {
        "timezone",
        "schedules",
        "follows",
        "alerts",
        "platforms",
        "polling",
        "network",
        "history",
        "watch",
        "tasks",
        "workers",
    }


def test_processes_that_differ_alike_share_a_line(folder: Folder) -> None:
    settings = folder.settings(BEFORE)
    running_settings.note_start("worker", settings, folder.path, name="w1@here")
    running_settings.note_start("beat", settings, folder.path)
    (line,) = folder.outdated(BEFORE.replace("5", "6"))
    assert line == (
        f"beat (pid {PID}), worker w1@here (pid {PID}): celery.task_time_limit is still 5; livectl.yaml:3 now says 6"
    )


def test_nothing_is_said_of_others(folder: Folder, tmp_path: Path) -> None:
    settings = folder.settings(BEFORE)
    running_settings.note_start("beat", settings, folder.path, name="proj", own=False)
    assert folder.outdated(f"{BEFORE}results: redis://two") == []
    other = Folder(tmp_path / "other")
    other.path.mkdir()
    other.environ = folder.environ
    assert other.outdated("web: {port: 9000}\n") == []
    running_settings.note_start("page", settings, folder.path)
    running_settings.forget_start("page", settings)
    assert folder.outdated("web: {port: 9000}\n") == []


def test_what_the_environment_sets_is_its_own(folder: Folder) -> None:
    settings = folder.settings("", LIVECTL_BROKER="redis://one")
    running_settings.note_start("worker", settings, folder.path)
    assert folder.outdated("") == []
    assert folder.outdated("", LIVECTL_BROKER="redis://two") == []


def test_a_process_that_ended_is_forgotten(folder: Folder) -> None:
    settings = folder.settings(BEFORE)
    if (child := os.fork()) == 0:
        running_settings.note_start("page", settings, folder.path)
        os._exit(0)
    os.waitpid(child, 0)
    assert folder.outdated("") == []
    running_settings.note_start("up", settings, folder.path)
    assert [path.name for path in (folder.path / "home" / "run" / "settings").iterdir()] == [f"up-{PID}.json"]


def test_notes_are_private_and_hold_no_secret(folder: Folder) -> None:
    running_settings.note_start("page", folder.settings(BEFORE), folder.path)
    paths = [folder.path / "home", *(folder.path / "home").rglob("*")]
    assert {path.stat().st_mode & 0o077 for path in paths} == {0}
    assert not any("hush" in path.read_text() for path in paths if path.is_file())


def test_doctor_names_them() -> None:
    (finding,) = report.run_checks(Facts(needs_restart=("beat (pid 1): broker has changed",)), ignore=("beat-missing",))
    assert (finding.id, finding.evidence) == ("restart-needed", "beat (pid 1): broker has changed")


def test_init_names_what_its_files_do_not_reach(folder: Folder) -> None:
    user_file = folder.path / ".config" / "livectl" / "livectl.yaml"
    user_file.parent.mkdir(parents=True)
    user_file.write_text(BEFORE)
    running_settings.note_start("up", load(folder.environ, folder.path), folder.path)
    out, err = io.StringIO(), io.StringIO()
    assert cli.main(["init"], CommandContext(folder.environ, folder.path, out, err)) == 0
    assert f"Counts after a restart only: up (pid {PID}): web.port is still 8001; the settings now say 8787" in (
        err.getvalue()
    )
