"""`livectl init`: writes all files or none, and they are valid as they stand."""

from __future__ import annotations

import io
import json
import re
from typing import TYPE_CHECKING

import pytest

from livectl import cli, yamlfile
from livectl import settings as livectl_settings
from livectl.context import CommandContext
from livectl.ops.schedules import schedule_file
from tests.support.processes import answer

if TYPE_CHECKING:
    from pathlib import Path

NAMES = ("livectl.yaml", "schedules.yaml", "follows.yaml")


def run(cwd: Path, *argv: str) -> tuple[int, str, str]:
    out, err = io.StringIO(), io.StringIO()
    code = cli.main(argv, CommandContext({"HOME": str(cwd)}, cwd, out, err))
    return code, out.getvalue(), err.getvalue()


def test_it_writes_three_files_and_says_so(tmp_path: Path) -> None:
    code, out, err = run(tmp_path, "init")
    assert code == 0
    assert out.splitlines() == [f"Wrote {tmp_path / name}" for name in NAMES]
    assert "livectl up" in err
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted(NAMES)


def test_it_makes_the_folder_and_answers_programs(tmp_path: Path) -> None:
    code, out, _ = run(tmp_path, "init", "a/b", "--json")
    assert code == 0
    assert json.loads(out) == {"written": [str(tmp_path / "a/b" / name) for name in NAMES]}


@pytest.mark.parametrize("name", NAMES)
def test_it_overwrites_nothing(tmp_path: Path, name: str) -> None:
    (tmp_path / name).write_text("mine")
    code, out, err = run(tmp_path, "init")
    assert (code, out) == (3, "")
    assert f"already has {name}; nothing was written" in err
    assert [path.read_text() for path in tmp_path.iterdir()] == ["mine"]


def test_a_dangling_link_counts_as_there(tmp_path: Path) -> None:
    (tmp_path / "follows.yaml").symlink_to(tmp_path / "elsewhere.yaml")
    assert run(tmp_path, "init")[0] == 3
    assert [path.name for path in tmp_path.iterdir()] == ["follows.yaml"]


def test_a_folder_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    code, _, err = run(tmp_path, "init", "file")
    assert code == 3
    assert f"{tmp_path / 'file'}: cannot write there: file exists" in err


def test_what_it_writes_is_valid(tmp_path: Path) -> None:
    run(tmp_path, "init")
    settings = livectl_settings.load({"HOME": str(tmp_path)}, tmp_path)
    assert settings == livectl_settings.load({"HOME": str(tmp_path)}, tmp_path, "livectl.yaml")
    loaded = schedule_file.load(settings.schedules)
    assert [schedule.task for schedule in loaded.schedules] == [
        "livectl.sweep",
        "livectl.deliver",
        "livectl.digest",
        "livectl.prune",
    ]
    assert loaded.warnings == ()
    assert yamlfile.load(settings.follows).value == {"follows": ["demo/nonstop", "demo/ada"]}


@pytest.mark.parametrize("name", NAMES)
def test_its_examples_are_valid_too(tmp_path: Path, name: str) -> None:
    """Each commented line without its mark: what a reader may turn on."""
    run(tmp_path, "init")
    path = tmp_path / name
    lines = path.read_text().splitlines()
    path.write_text("\n".join(line.replace("# ", "", 1) if _is_example(line) else line for line in lines))
    environ = dict.fromkeys(("PHONE_URL", "HOOK_SECRET", "TWITCH_ID", "TWITCH_SECRET", "YOUTUBE_KEY"), "x")
    (tmp_path / "bilibili.cookie").write_text("x")
    settings = livectl_settings.load(environ | {"HOME": str(tmp_path)}, tmp_path)
    assert len(schedule_file.load(settings.schedules).schedules) == (9 if name == "schedules.yaml" else 4)
    assert len(yamlfile.load(settings.follows).value["follows"]) == (5 if name == "follows.yaml" else 2)
    assert (settings.broker is None) == (name != "livectl.yaml")


APP = """
from celery import Celery
from celery.schedules import crontab
app = Celery("proj", broker="redis://127.0.0.1:1")
@app.task
def add(x, y): ...
app.conf.beat_schedule = {
    "add": {"task": "proj.add", "schedule": 30.0, "args": (16, 16)},
    "monday": {"task": "proj.add", "schedule": crontab(hour=7, day_of_week=1), "args": (1, 2)},
}
"""


def test_for_an_app_it_takes_its_schedule_over_and_nothing_of_streamers(tmp_path: Path) -> None:
    (tmp_path / "proj.py").write_text(APP)
    ran = answer("init", "--app", "proj", cwd=tmp_path, environ={"HOME": str(tmp_path)})
    assert (ran.returncode, "livectl up" in ran.stderr) == (0, True), ran.stderr
    assert sorted(path.name for path in tmp_path.glob("*.yaml")) == ["livectl.yaml", "schedules.yaml"]
    settings = livectl_settings.load({"HOME": str(tmp_path)}, tmp_path)
    loaded = schedule_file.load(settings.schedules)
    assert [(schedule.name, schedule.task, schedule.args) for schedule in loaded.schedules] == [
        ("add", "proj.add", (16, 16)),
        ("monday", "proj.add", (1, 2)),
    ]
    assert settings.app == "proj"
    assert "streamer" not in (tmp_path / "livectl.yaml").read_text()


def _is_example(line: str) -> bool:
    """Commented YAML, which begins with a key or a dash; of the two brokers, the first."""
    return bool(re.match(r" *# +([a-z]+: |[a-z]+:$|- )", line)) and not re.search("livectl: |amqp:", line)


@pytest.mark.parametrize(
    ("flag", "variable", "text", "app", "source"),
    [
        (None, "", "", None, ""),
        (None, "", "app: proj", "proj", "livectl.yaml:1"),
        (None, "env", "app: proj", "env", "LIVECTL_APP"),
        ("flag", "env", "app: proj", "flag", "-A"),
        (None, "", "app: ''", None, ""),
        (None, "", "app: proj\nwrong: 1", "proj", "livectl.yaml"),
        (None, "", "app: [", None, ""),
    ],
)
def test_the_app_is_named_by_flag_environment_or_file(
    flag: str | None, variable: str, text: str, app: str | None, source: str, tmp_path: Path
) -> None:
    (tmp_path / "livectl.yaml").write_text(text)
    environ = {"HOME": str(tmp_path), "LIVECTL_APP": variable}
    context = CommandContext(environ, tmp_path, io.StringIO(), io.StringIO())
    context.app = flag
    assert (context.app, context.app_source) == (app, source)


def test_an_app_of_the_file_is_worked_on_without_a_flag(tmp_path: Path) -> None:
    (tmp_path / "livectl.yaml").write_text("app: proj")
    code, out, err = run(tmp_path, "worker", "--dry-run")
    assert (code, "-A proj worker" in out) == (0, True), err
