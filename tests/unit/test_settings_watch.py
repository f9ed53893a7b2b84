"""Settings that change while a process runs: taken over or not at all, and said once."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import pytest

from livectl.errors import SettingsError
from livectl.settings_watch import LOOK_INTERVAL_S, SettingsWatch

if TYPE_CHECKING:
    from pathlib import Path

    from livectl.settings import Settings

HOOK = "{webhook: https://example.org/hook}"


class Process:
    """A process that was started in a folder, with a clock that only tests move."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.now = 1000.0
        self.said: list[str] = []
        self.wrong = ""  # what the check of the settings says of them
        self.watch = SettingsWatch(
            {"HOME": str(folder / "user")},
            folder,
            check=self.check,
            say=lambda level, line: self.said.append(line),
            clock=lambda: self.now,
            monotonic=lambda: self.now,
        )

    def check(self, settings: Settings) -> None:
        if self.wrong:
            raise SettingsError(self.wrong)

    def write(self, text: str, name: str = "livectl.yaml") -> None:
        """Writes a file by an editor that takes no time; a second passes."""
        self.write_file(name, text)
        self.pass_time()

    def write_file(self, name: str, text: str) -> None:
        path = self.folder / name
        path.write_text(text)

    def pass_time(self, seconds: float = LOOK_INTERVAL_S) -> None:
        self.now += seconds
        self.watch.current()

    @property
    def settings(self) -> Settings:
        return self.watch.current()


@pytest.fixture
def process(tmp_path: Path) -> Process:
    (tmp_path / "key").write_text("first")
    (tmp_path / "livectl.yaml").write_text(f"alerts: {{old: {HOOK}}}\nplatforms: {{youtube: {{api_key: file:key}}}}\n")
    return Process(tmp_path)


def test_a_target_that_is_added_counts(process: Process) -> None:
    process.write(f"alerts:\n  new: {HOOK}\npolling: {{slowest: 1m}}\n")
    assert list(process.settings.alerts) == ["new"]
    assert process.settings.polling.slowest == 60
    assert process.said == [
        "livectl.yaml read again: added alerts.new; changed polling.slowest; removed alerts.old, platforms.youtube"
    ]


def test_where_checks_of_a_platform_wait_stays_as_its_workers_read_it(process: Process) -> None:
    process.write("platforms: {youtube: {queue: slow, budget: 1/s}, douyu: {queue: slow}}\n")
    assert process.settings.platform_queues == {}
    assert process.settings.platforms["youtube"].budget is not None
    (line,) = process.said
    assert line.endswith("only after a restart: platforms.douyu.queue, platforms.youtube.queue")


def test_settings_that_stay_are_the_same_object(process: Process) -> None:
    before = process.settings
    text = (process.folder / "livectl.yaml").read_text()
    process.write(f"# a remark\n{text}")
    assert process.settings is before
    assert process.said == []


def test_they_are_looked_at_once_a_second_at_most(process: Process) -> None:
    process.write_file("livectl.yaml", "")
    process.pass_time(LOOK_INTERVAL_S / 2)
    assert process.settings.alerts
    process.pass_time(LOOK_INTERVAL_S / 2)
    assert not process.settings.alerts


def test_a_file_that_is_still_being_written_is_left_alone(process: Process) -> None:
    process.write_file("livectl.yaml", "")
    process.now = (process.folder / "livectl.yaml").stat().st_ctime + 0.5
    assert process.settings.alerts
    process.pass_time()
    assert not process.settings.alerts


def test_a_broken_file_changes_nothing_and_is_named_once(process: Process) -> None:
    broken = f"alerts: {{new: {HOOK}}}\npolling: {{slowest: soon}}\n"
    before = process.settings
    process.write(broken)
    process.write(broken)
    assert process.settings is before
    (line,) = process.said
    assert line.startswith("the settings cannot be used, those before go on: livectl.yaml:2:20: polling.slowest: ")
    process.write(f"# another one\n{broken}")
    assert len(process.said) == 2
    process.write(f"alerts: {{old: {HOOK}}}\nplatforms: {{youtube: {{api_key: file:key}}}}\n")
    assert process.said[2:] == ["livectl.yaml read again: nothing changed"]
    assert process.settings is before


def test_a_file_with_many_mistakes_takes_one_line(process: Process) -> None:
    process.write("polling: {slowest: soon, fastest: now}\nweb: {port: 0}\n")
    (line,) = process.said
    assert line.endswith("and 2 more")


def test_what_the_check_refuses_changes_nothing(process: Process) -> None:
    process.wrong = "no target has the scheme htp://"
    process.write(f"alerts: {{new: {HOOK}}}\n")
    assert list(process.settings.alerts) == ["old"]
    assert process.said == ["the settings cannot be used, those before go on: no target has the scheme htp://"]
    process.wrong = ""
    process.write(f"# mended\nalerts: {{new: {HOOK}}}\n")
    assert list(process.settings.alerts) == ["new"]


def test_a_secret_of_settings_that_were_refused_is_looked_at_too(process: Process) -> None:
    process.write_file("url", "htp://")
    process.wrong = "no target has the scheme htp://"
    process.write("alerts: {new: {webhook: file:url}}\n")
    process.wrong = ""
    process.write("https://example.org", "url")
    assert list(process.settings.alerts) == ["new"]


def test_a_secret_that_changes_in_its_file_counts(process: Process) -> None:
    before = process.settings
    process.write("second", "key")
    assert process.said == ["livectl.yaml read again: changed platforms.youtube"]
    assert process.settings is not before


def test_a_secret_that_went_away_is_said(process: Process) -> None:
    process.pass_time()
    (process.folder / "key").unlink()
    process.pass_time()
    assert process.said == [], "it may be back in a moment"
    process.pass_time()
    assert process.said[0] == "livectl.yaml read again: changed platforms.youtube"
    assert process.said[1].startswith("livectl.yaml:2: platforms.youtube.api_key: file:key: ")


def test_a_file_that_is_gone_leaves_the_settings_as_they_are(process: Process) -> None:
    text = (process.folder / "livectl.yaml").read_text()
    (process.folder / "livectl.yaml").unlink()
    process.pass_time()
    assert process.said == [], "an editor may put it back at once"
    process.pass_time()
    assert process.said == ["the settings cannot be used, those before go on: livectl.yaml is gone"]
    assert process.settings.alerts
    process.write(f"{text}polling: {{slowest: 1m}}\n")
    assert process.settings.polling.slowest == 60


def test_a_first_file_counts_too(tmp_path: Path) -> None:
    process = Process(tmp_path)
    process.write(f"alerts: {{new: {HOOK}}}\n")
    assert process.said == ["livectl.yaml read again: added alerts.new"]


def test_what_needs_a_restart_stays_and_is_named(process: Process) -> None:
    text = (process.folder / "livectl.yaml").read_text()
    process.write(f"{text}broker: redis://:hush@elsewhere\nweb: {{port: 9000}}\ncelery: {{task_time_limit: 5}}\n")
    process.write(f"{text}broker: redis://:hush@elsewhere\nweb: {{port: 9000}}\ncelery: {{task_time_limit: 5}}\n#")
    assert process.said == ["livectl.yaml read again: only after a restart: broker, celery.task_time_limit, web.port"]
    assert process.settings.broker is None
    assert process.settings.web.port == 8787
    process.write(text)
    assert process.said[1:] == ["livectl.yaml read again: nothing changed"]


def test_a_token_that_changes_in_its_file_needs_a_restart(tmp_path: Path) -> None:
    (tmp_path / "key").write_text("first")
    (tmp_path / "livectl.yaml").write_text("web: {token: file:key}\n")
    process = Process(tmp_path)
    process.write("second", "key")
    process.write("third", "key")
    assert process.said == ["livectl.yaml read again: only after a restart: web.token"]


def test_children_take_over_and_say_nothing(process: Process) -> None:
    reader, writer = os.pipe()
    if (child := os.fork()) == 0:
        process.write(f"alerts: {{new: {HOOK}}}\n")
        os.write(writer, f"{[*process.settings.alerts]} {process.said}".encode())
        os._exit(0)
    os.waitpid(child, 0)
    assert os.read(reader, 1000) == b"['new'] []"
    os.close(reader)
    os.close(writer)
    assert list(process.settings.alerts) == ["old"]
    process.pass_time()
    assert list(process.settings.alerts) == ["new"]
    assert len(process.said) == 1
