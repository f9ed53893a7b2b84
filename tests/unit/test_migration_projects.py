"""Whole projects of the old style: migrated, proven, and their own tests pass as before."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.waiting import HANG_SECONDS
from tests.unit.test_migration_cases import parse_case, read_files, run_migrate

SUITES = {
    "django": ["manage.py", "test"],
    "flask": ["-m", "unittest", "web.tests"],
    "plain": ["-m", "unittest", "proj.tests"],
}


def run(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    environ = {"PATH": os.environ["PATH"], "PYTHONPATH": str(Path(__file__).parents[2])}
    argv = [sys.executable, "-B", *arguments]
    return subprocess.run(
        argv, cwd=folder, env=environ, capture_output=True, text=True, timeout=HANG_SECONDS, check=False
    )


@pytest.fixture(params=SUITES)
def project(request: pytest.FixtureRequest, tmp_path: Path) -> tuple[str, Path]:
    text = Path(__file__).parents[1] / "data" / "migration" / f"{request.param}.txt"
    for name, content in parse_case(text.read_text()).before.items():
        (tmp_path / name).parent.mkdir(exist_ok=True, parents=True)
        (tmp_path / name).write_text(content)
    return request.param, tmp_path


def test_a_project_is_migrated_proven_and_its_own_tests_pass(project: tuple[str, Path]) -> None:
    kind, folder = project
    suite = run(folder, *SUITES[kind])
    assert suite.returncode == 0, suite.stderr

    completed = run(folder, "-m", "livectl", "migrate", ".", "--prove", "--write")
    assert completed.returncode == 0, completed.stdout + completed.stderr
    assert "settings compared are equal" in " ".join(completed.stdout.split())

    suite = run(folder, "-W", "always", *SUITES[kind])
    assert suite.returncode == 0, suite.stderr
    assert "DeprecationWarning" not in suite.stderr

    before = read_files(folder)
    code, output = run_migrate(folder, ".", "--write")
    assert (code, "Nothing to do." in output) == (0, True)
    assert read_files(folder) == before


def test_the_change_as_json(project: tuple[str, Path]) -> None:
    _, folder = project
    completed = run(folder, "-m", "livectl", "--json", "migrate", ".", "--check")
    assert completed.returncode == 1
    rows = json.loads(completed.stdout)
    assert all(row.keys() == {"file", "line", "old", "new", "why"} for row in rows)
    assert all((folder / row["file"]).exists() for row in rows)


def test_a_project_that_would_be_set_differently_is_not_written(tmp_path: Path) -> None:
    (tmp_path / "celeryconfig.py").write_text(
        "BROKER_URL = 'memory://'\nif 'BROKER_URL' in dir():\n    CELERYD_CONCURRENCY = 5\n"
    )
    before = read_files(tmp_path)
    completed = run(tmp_path, "-m", "livectl", "migrate", ".", "--prove", "--write")
    assert completed.returncode == 1, completed.stdout
    assert "worker_concurrency differs: 5 -> None" in completed.stdout
    assert "Nothing was written: Celery would be set differently." in completed.stdout
    assert read_files(tmp_path) == before


def test_code_that_cannot_be_imported_is_said_and_not_written(tmp_path: Path) -> None:
    (tmp_path / "celeryconfig.py").write_text("import no_such_package\nBROKER_URL = 'redis://:hidden@x'\n")
    before = read_files(tmp_path)
    completed = run(tmp_path, "-m", "livectl", "migrate", ".", "--prove", "--write")
    assert completed.returncode == 1
    assert "cannot be imported here: ModuleNotFoundError" in " ".join(completed.stdout.split())
    assert read_files(tmp_path) == before


def test_nothing_is_run_unless_asked(tmp_path: Path) -> None:
    (tmp_path / "celeryconfig.py").write_text("open('ran', 'w')\nBROKER_URL = 'memory://'\n")
    assert run(tmp_path, "-m", "livectl", "migrate", ".").returncode == 0
    assert not (tmp_path / "ran").exists()
    assert run(tmp_path, "-m", "livectl", "migrate", ".", "--prove").returncode == 0
    assert (tmp_path / "ran").exists()


def test_passwords_are_masked_in_what_differs(tmp_path: Path) -> None:
    (tmp_path / "celeryconfig.py").write_text(
        "BROKER_URL = 'redis://:hidden@x'\nif 'BROKER_URL' in dir():\n    BROKER_READ_URL = 'redis://:hidden@y'\n"
    )
    completed = run(tmp_path, "-m", "livectl", "migrate", ".", "--prove")
    proof = completed.stdout[completed.stdout.index("Proof") :]
    assert "********" in proof
    assert "hidden" not in proof
