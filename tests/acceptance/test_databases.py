"""Results in databases of SQLAlchemy and Django, as Celery's own backends wrote them: listed, and told one by one."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from tests.support.celery_project import Project
from tests.support.processes import answer

if TYPE_CHECKING:
    from collections.abc import Callable

DJANGO = Path(__file__).parents[1] / "data" / "apps" / "django"
IN_TIME = 3.0  # seconds
NOWHERE = "8b0d1d2e-52d4-4d4f-8f0c-5a1c9c1ed3a1"

# What a worker does when jobs end, by the backend's own hand.
STORE = """
from celery.app.task import Context

def store(app, job, task, result, state, **more):
    about = Context(id=job, task=task, args=[1, 2], kwargs={"password": "hush"}, hostname="w1@h", retries=0,
                    argsrepr="[1, 2]", kwargsrepr="{'password': 'hush'}", delivery_info={"routing_key": "celery"})
    app.backend.store_result(job, result, state, request=about, **more)

def fill(app):
    for number in range(3):
        store(app, f"added-{number}", "proj.add", {"sum": number}, "SUCCESS")
    store(app, "broken", "proj.fail", ValueError("no such thing"), "FAILURE", traceback="Traceback: no such thing")
"""

Asked = subprocess.CompletedProcess[str]


def python(code: str, folder: Path, environ: dict[str, str]) -> None:
    subprocess.run([sys.executable, "-c", code], cwd=folder, env={**os.environ, **environ}, check=True)


@pytest.fixture
def sqlalchemy(tmp_path: Path, store_url: str) -> Callable[..., Asked]:
    """Asks about a plain app whose results are in SQLite, by SQLAlchemy."""
    project = Project(tmp_path, store_url, store_url, result_extended=True)
    project.environ |= {"PROJ_RESULTS": f"db+sqlite:///{tmp_path}/results.db", "LIVECTL_STORE": ""}
    python(f"{STORE}\nimport proj; fill(proj.app)", tmp_path, project.environ)
    project.close()
    return project.livectl


@pytest.fixture
def django(tmp_path: Path, store_url: str) -> Callable[..., Asked]:
    """Asks about a Django project whose results are in its own database."""
    environ = {
        "PROJ_BROKER": store_url.replace("unix://", "redis+socket://").replace("?db=", "?virtual_host="),
        "PROJ_FOLDER": str(tmp_path),
        "LIVECTL_HOME": str(tmp_path / "home"),
    }
    ready = "import mysite.celery, django; django.setup(); from django.core.management import call_command"
    migrate = "call_command('migrate', verbosity=0); fill(mysite.celery.app)"
    python(f"{STORE}\n{ready}; {migrate}", DJANGO, environ)
    return lambda *words: answer("-A", "mysite", *words, cwd=DJANGO, environ=environ)


@pytest.fixture(params=["sqlalchemy", "django"])
def ask(request: pytest.FixtureRequest) -> Callable[..., Asked]:
    return request.getfixturevalue(request.param)  # type: ignore[no-any-return]


def rows(asked: Asked) -> list[dict[str, Any]]:
    assert asked.returncode == 0, asked.stderr
    jobs: list[dict[str, Any]] = json.loads(asked.stdout)
    return jobs


@pytest.mark.acceptance
def test_results_in_a_database_are_listed_the_newest_first(ask: Callable[..., Asked]) -> None:
    jobs = rows(ask("results", "--json"))
    assert [row["id"] for row in jobs] == ["broken", "added-2", "added-1", "added-0"]
    broken, added = jobs[:2]
    assert (broken["state"], broken["error"]) == ("failed", "ValueError: no such thing")
    assert (added["task"], added["result"], added["worker"]) == ("proj.add", {"sum": 2}, "w1@h")
    assert "hush" not in json.dumps(jobs)
    chosen = rows(ask("results", "--json", "--task", "proj.add", "--worker", "w1", "--since", "1h", "-n", "2"))
    assert [row["id"] for row in chosen] == ["added-2", "added-1"]
    assert [row["id"] for row in rows(ask("results", "--json", "--state", "failed"))] == ["broken"]


@pytest.mark.acceptance
def test_the_status_of_what_is_in_a_database_alone(ask: Callable[..., Asked]) -> None:
    run = ask("status", "added-1", "--json")
    job = json.loads(run.stdout)
    assert (run.returncode, job["state"], job["task"], job["result"]) == (0, "succeeded", "proj.add", {"sum": 1})
    assert "Traceback: no such thing" in ask("status", "broken", "--full").stdout
    unknown = ask("status", NOWHERE)
    assert (unknown.returncode, "unknown" in unknown.stdout) == (1, True)


@pytest.mark.parametrize("words", [["results"], ["status", NOWHERE]], ids=str)
def test_a_database_that_is_away_is_told_in_a_line(tmp_path: Path, store_url: str, words: list[str]) -> None:
    project = Project(tmp_path, store_url, store_url)
    run = project.livectl(*words, PROJ_RESULTS=f"db+sqlite:///{tmp_path}/no/such/folder/results.db", LIVECTL_STORE="")
    project.close()
    assert run.returncode == 4
    assert run.stderr.startswith("livectl: the result backend does not answer: unable to open")
    assert run.stderr.count("\n") == 2
