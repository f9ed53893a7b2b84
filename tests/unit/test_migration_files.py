"""The files migrate reads and writes: encodings, line ends, links, modes, backups, and a kill in the middle."""

from __future__ import annotations

import os
import signal
import stat
import subprocess
import sys
from pathlib import Path

import pytest

from livectl.ops.migration import migrate, plan
from livectl.ops.migration.source import MAX_SOURCE_BYTES
from tests.support.waiting import HANG_SECONDS, wait_for
from tests.unit.test_migration_cases import run_migrate

OLD, NEW = b"BROKER_URL = 'redis://'\n", b"broker_url = 'redis://'\n"


def migrate_file(folder: Path, data: bytes, *arguments: str) -> tuple[int, str, bytes]:
    path = folder / "celeryconfig.py"
    path.write_bytes(data)
    code, output = run_migrate(folder, ".", "--write", *arguments)
    return code, output, path.read_bytes()


@pytest.mark.parametrize(
    ("before", "after"),
    [
        pytest.param(
            b"# -*- coding: latin-1 -*-\nBROKER_URL = '\xe9'\n", b"# -*- coding: latin-1 -*-\nbroker_url = '\xe9'\n"
        ),
        pytest.param(b"\xef\xbb\xbf" + OLD, b"\xef\xbb\xbf" + NEW, id="bom"),
        pytest.param(OLD.replace(b"\n", b"\r\n"), NEW.replace(b"\n", b"\r\n"), id="crlf"),
        pytest.param(OLD.replace(b"\n", b"\r"), NEW.replace(b"\n", b"\r"), id="cr"),
        pytest.param(b"\r\n\n" + OLD + b"\r\n", b"\r\n\n" + NEW + b"\r\n", id="mixed line ends"),
        pytest.param(OLD.rstrip(), NEW.rstrip(), id="no last line end"),
        pytest.param(b"\t\n\x0c\n" + OLD, b"\t\n\x0c\n" + NEW, id="form feed"),
        pytest.param("Ä = '𐍈'; ".encode() + OLD, "Ä = '𐍈'; ".encode() + NEW, id="letters before the name"),
        pytest.param(
            b"if 1:\n\tBROKER_URL  =\\\n  'x' ;\n", b"if 1:\n\tbroker_url  =\\\n  'x' ;\n", id="odd white space"
        ),
    ],
)
def test_all_but_the_names_stays_byte_for_byte(before: bytes, after: bytes, tmp_path: Path) -> None:
    assert migrate_file(tmp_path, before)[2] == after


@pytest.mark.parametrize(
    ("data", "message"),
    [
        pytest.param(b"BROKER_URL = '\xe9'\n", "not text in the encoding it declares", id="not utf-8"),
        pytest.param(b"# coding: klingon\nBROKER_URL = 1\n", "not text in the encoding it declares", id="no encoding"),
        pytest.param(b"BROKER_URL = 1\0\n", "NUL", id="nul"),
        pytest.param(b"x = 1\nBROKER_URL = = 1\n", "celeryconfig.py:2: not valid Python", id="syntax"),
        pytest.param(b"print 'BROKER_URL'\n", "celeryconfig.py:1: not valid Python", id="python 2"),
        pytest.param(OLD + b"#" * 10_000_000, "10.0 MB: too large to be settings", id="10 MB"),
        pytest.param(b"BROKER_URL = " + b"-" * 3000 + b"1\n", "celeryconfig.py:1:", id="nested too deeply"),
    ],
)
def test_a_file_that_cannot_be_read_is_left_and_the_others_go_on(data: bytes, message: str, tmp_path: Path) -> None:
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "celeryconfig.py").write_bytes(OLD)
    code, output, after = migrate_file(tmp_path, data)
    assert code == 3
    assert message in output
    assert after == data
    assert (tmp_path / "other" / "celeryconfig.py").read_bytes() == NEW


def test_a_large_file_of_something_else_is_no_matter(tmp_path: Path) -> None:
    (tmp_path / "data.py").write_bytes(b"x = 1\n" + b"#" * (MAX_SOURCE_BYTES + 1))
    assert migrate_file(tmp_path, OLD)[0] == 0


def test_a_read_only_file_is_refused_and_nothing_is_written(tmp_path: Path) -> None:
    (tmp_path / "celeryconfig.py").write_bytes(OLD)
    (tmp_path / "use.py").write_bytes(b"import celeryconfig\nprint(celeryconfig.BROKER_URL)\n")
    (tmp_path / "use.py").chmod(0o444)
    code, output = run_migrate(tmp_path, ".", "--write")
    assert code == 3
    assert "use.py:1:1: read-only" in output
    assert (tmp_path / "celeryconfig.py").read_bytes() == OLD


def test_the_mode_stays_also_that_of_the_backup(tmp_path: Path) -> None:
    path = tmp_path / "celeryconfig.py"
    path.write_bytes(OLD)
    path.chmod(0o640)
    assert run_migrate(tmp_path, "celeryconfig.py", "--write")[0] == 0
    assert {stat.S_IMODE(path.stat().st_mode) for path in tmp_path.iterdir()} == {0o640}


def test_a_link_stays_a_link_and_what_it_points_to_is_changed(tmp_path: Path) -> None:
    (tmp_path / "real").mkdir()
    (tmp_path / "real" / "celeryconfig.py").write_bytes(OLD)
    (tmp_path / "celeryconfig.py").symlink_to(tmp_path / "real" / "celeryconfig.py")
    assert run_migrate(tmp_path, "celeryconfig.py", "--write")[0] == 0
    assert (tmp_path / "celeryconfig.py").is_symlink()
    assert (tmp_path / "real" / "celeryconfig.py").read_bytes() == NEW


def test_a_broken_link_and_a_loop_are_no_matter(tmp_path: Path) -> None:
    (tmp_path / "gone.py").symlink_to(tmp_path / "nowhere.py")
    (tmp_path / "loop").symlink_to(tmp_path)
    assert migrate_file(tmp_path, OLD)[::2] == (0, NEW)


@pytest.mark.parametrize("folder", [".venv", "node_modules", "venv", ".git", "mine"])
def test_what_is_not_the_project_is_not_read(folder: str, tmp_path: Path) -> None:
    inside = tmp_path / folder
    inside.mkdir()
    (inside / "pyvenv.cfg").touch()
    (inside / "celeryconfig.py").write_bytes(OLD)
    (inside / "BROKER_URL.txt").write_text("BROKER_URL")
    _, output, _ = migrate_file(tmp_path, OLD)
    assert (inside / "celeryconfig.py").read_bytes() == OLD
    assert "BROKER_URL.txt" not in output


def test_backups_are_numbered_and_none_is_overwritten(tmp_path: Path) -> None:
    migrate_file(tmp_path, OLD)
    migrate_file(tmp_path, OLD + b"x = 1\n")
    assert (tmp_path / "celeryconfig.py.1.bak").read_bytes() == OLD
    assert (tmp_path / "celeryconfig.py.2.bak").read_bytes() == OLD + b"x = 1\n"


def test_what_git_has_needs_no_backup(tmp_path: Path) -> None:
    def git(*arguments: str) -> None:
        identity = ["-c", "user.name=x", "-c", "user.email=x@example.org"]
        subprocess.run(["git", *identity, *arguments], cwd=tmp_path, check=True, capture_output=True)

    (tmp_path / "celeryconfig.py").write_bytes(OLD)
    git("init", "-q")
    git("add", ".")
    git("commit", "-q", "-m", "x")
    assert "git has the originals" in run_migrate(tmp_path, ".", "--write")[1]
    assert not list(tmp_path.glob("*.bak"))
    assert migrate_file(tmp_path, OLD + b"x = 1\n")[2] == NEW + b"x = 1\n"
    assert list(tmp_path.glob("*.bak"))


@pytest.mark.parametrize("name", [".env", "celery.ini", "docker-compose.yml"])
def test_a_file_that_is_not_python_is_refused(name: str, tmp_path: Path) -> None:
    (tmp_path / name).write_bytes(OLD)
    code, output = run_migrate(tmp_path, name, "--write")
    assert code == 3
    assert "not Python" in output
    assert (tmp_path / name).read_bytes() == OLD


def test_one_file_of_a_project_whose_other_files_use_it_is_shown_and_not_written(tmp_path: Path) -> None:
    (tmp_path / "celeryconfig.py").write_bytes(OLD)
    (tmp_path / "use.py").write_bytes(b"from celeryconfig import BROKER_URL\n")
    code, output = run_migrate(tmp_path, "celeryconfig.py", "--write")
    assert code == 3
    assert "use.py:1: uses BROKER_URL as well, and is not among the paths given" in output
    assert (tmp_path / "celeryconfig.py").read_bytes() == OLD


def test_what_the_neighbours_do_with_settings_of_their_own_is_no_matter(tmp_path: Path) -> None:
    (tmp_path / "setup.py").touch()
    for name in ("mine", "theirs"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "celeryconfig.py").write_bytes(OLD)
        (tmp_path / name / "app.py").write_bytes(b"app.conf.update(CELERYD_CONCURRENCY=1)\n")
    code, output = run_migrate(tmp_path, "mine", "--write")
    assert code == 0
    assert "theirs" not in output
    assert (tmp_path / "mine" / "celeryconfig.py").read_bytes() == NEW
    assert (tmp_path / "theirs" / "celeryconfig.py").read_bytes() == OLD


@pytest.mark.parametrize(
    ("arguments", "code"),
    [
        (("celeryconfig.py",), 0),
        (("celeryconfig.py", "--check"), 1),
        (("celeryconfig.py", "--check", "--write"), 0),
        ((), 2),
        (("nowhere.py",), 2),
        (("celeryconfig.py", "--namespace", "lower"), 2),
    ],
)
def test_exit_codes(arguments: tuple[str, ...], code: int, tmp_path: Path) -> None:
    (tmp_path / "celeryconfig.py").write_bytes(OLD)
    assert run_migrate(tmp_path, *arguments)[0] == code


KILLED = """
import pathlib, sys, time
from livectl.atomic_write import write_file
path = pathlib.Path(sys.argv[1])
moved = pathlib.Path.replace
def slow(self, target):
    pathlib.Path(sys.argv[2]).touch()
    time.sleep(300)
pathlib.Path.replace = slow
write_file(path, b"new")
"""


def test_killed_before_the_last_step_the_file_is_whole(tmp_path: Path) -> None:
    path, mark = tmp_path / "celeryconfig.py", tmp_path / "mark"
    path.write_bytes(OLD)
    environ = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])}
    process = subprocess.Popen([sys.executable, "-c", KILLED, str(path), str(mark)], env=environ)
    try:
        wait_for(mark.exists)
    finally:
        process.send_signal(signal.SIGKILL)
        process.wait(HANG_SECONDS)
    assert path.read_bytes() == OLD


def test_a_migration_that_was_cut_short_is_finished_by_the_next_one(tmp_path: Path) -> None:
    (tmp_path / "celeryconfig.py").write_bytes(NEW)  # written before the cut
    (tmp_path / "use.py").write_bytes(b"from celeryconfig import BROKER_URL\nprint(BROKER_URL)\n")
    assert run_migrate(tmp_path, ".", "--write")[0] == 0
    assert (tmp_path / "use.py").read_bytes() == b"from celeryconfig import broker_url\nprint(broker_url)\n"


def test_a_file_changed_meanwhile_is_not_overwritten(tmp_path: Path) -> None:
    from livectl.errors import FileError

    path = tmp_path / "celeryconfig.py"
    path.write_bytes(OLD)
    planned = plan.make_plan([path])
    path.write_bytes(OLD + b"x = 1\n")
    with pytest.raises(FileError, match="changed while"):
        migrate.write_files(planned.files)
