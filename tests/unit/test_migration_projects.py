"""Whole projects of the old style: migrated, proven, and their own tests pass as before."""

from __future__ import annotations

import io
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from livectl.cli import main
from livectl.context import CommandContext
from tests.support.fresh_python import Ran
from tests.support.waiting import HANG_SECONDS
from tests.unit.test_migration_cases import parse_case, read_files

SUITES = {
    "django": ["manage.py", "test"],
    "flask": ["-m", "unittest", "web.tests"],
    "plain": ["-m", "unittest", "proj.tests"],
}


ENVIRON = {"PATH": os.environ["PATH"], "PYTHONPATH": str(Path(__file__).parents[2])}


def run_suite(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    argv = [sys.executable, "-B", *arguments]
    return subprocess.run(
        argv, cwd=folder, env=ENVIRON, capture_output=True, text=True, timeout=HANG_SECONDS, check=False
    )


def livectl(folder: Path, *words: str) -> Ran:
    """In this process: what a proof imports of a project is in another one anyway."""
    out, err = io.StringIO(), io.StringIO()
    code = main(words, CommandContext(ENVIRON, folder, out, err))
    return Ran(code, out.getvalue(), err.getvalue())


@pytest.fixture(params=SUITES)
def project(request: pytest.FixtureRequest, tmp_path: Path) -> tuple[str, Path]:
    text = Path(__file__).parents[1] / "data" / "migration" / f"{request.param}.txt"
    for name, content in parse_case(text.read_text()).before.items():
        (tmp_path / name).parent.mkdir(exist_ok=True, parents=True)
        (tmp_path / name).write_text(content)
    return request.param, tmp_path


def test_a_project_is_migrated_proven_and_its_own_tests_pass(project: tuple[str, Path]) -> None:
    kind, folder = project
    suite = run_suite(folder, *SUITES[kind])
    assert suite.returncode == 0, suite.stderr

    completed = livectl(folder, "migrate", ".", "--prove", "--write")
    assert completed.code == 0, completed.out + completed.err
    assert "settings compared are equal" in " ".join(completed.out.split())

    suite = run_suite(folder, "-W", "always", *SUITES[kind])
    assert suite.returncode == 0, suite.stderr
    assert "DeprecationWarning" not in suite.stderr

    before = read_files(folder)
    again = livectl(folder, "migrate", ".", "--write")
    assert (again.code, "Nothing to do." in again.out) == (0, True), again.err
    assert read_files(folder) == before


def test_the_change_as_json(project: tuple[str, Path]) -> None:
    _, folder = project
    completed = livectl(folder, "--json", "migrate", ".", "--check")
    assert completed.code == 1
    rows = json.loads(completed.out)
    assert all(row.keys() == {"file", "line", "old", "new", "why"} for row in rows)
    assert all((folder / row["file"]).exists() for row in rows)


def test_a_project_that_would_be_set_differently_is_not_written(tmp_path: Path) -> None:
    (tmp_path / "celeryconfig.py").write_text(
        "BROKER_URL = 'memory://'\nif 'BROKER_URL' in dir():\n    CELERYD_CONCURRENCY = 5\n"
    )
    before = read_files(tmp_path)
    completed = livectl(tmp_path, "migrate", ".", "--prove", "--write")
    assert completed.code == 1, completed.out
    assert "worker_concurrency differs: 5 -> None" in completed.out
    assert "Nothing was written: Celery would be set differently." in completed.out
    assert read_files(tmp_path) == before


def test_code_that_cannot_be_imported_is_said_and_not_written(tmp_path: Path) -> None:
    (tmp_path / "celeryconfig.py").write_text("import no_such_package\nBROKER_URL = 'redis://:hidden@x'\n")
    before = read_files(tmp_path)
    completed = livectl(tmp_path, "migrate", ".", "--prove", "--write")
    assert completed.code == 1
    assert "cannot be imported here: ModuleNotFoundError" in " ".join(completed.out.split())
    assert read_files(tmp_path) == before


def test_nothing_is_run_unless_asked(tmp_path: Path) -> None:
    (tmp_path / "celeryconfig.py").write_text("open('ran', 'w')\nBROKER_URL = 'memory://'\n")
    assert livectl(tmp_path, "migrate", ".").code == 0
    assert not (tmp_path / "ran").exists()
    assert livectl(tmp_path, "migrate", ".", "--prove").code == 0
    assert (tmp_path / "ran").exists()


def test_passwords_are_masked_in_what_differs(tmp_path: Path) -> None:
    (tmp_path / "celeryconfig.py").write_text(
        "BROKER_URL = 'redis://:hidden@x'\nif 'BROKER_URL' in dir():\n    BROKER_READ_URL = 'redis://:hidden@y'\n"
    )
    completed = livectl(tmp_path, "migrate", ".", "--prove")
    proof = completed.out[completed.out.index("Proof") :]
    assert "********" in proof
    assert "hidden" not in proof
