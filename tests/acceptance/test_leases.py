"""Nothing that a worker of livectl's took is lost with it, and nothing runs twice because it takes long: any app."""

from __future__ import annotations

import os
import signal
from collections import Counter
from typing import TYPE_CHECKING

import pytest
import redis

from tests.support.celery_project import Project
from tests.support.processes import Running, livectl
from tests.support.waiting import wait_for

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

pytestmark = pytest.mark.acceptance

JOBS = 40


@pytest.fixture
def project(tmp_path: Path, store_url: str) -> Iterator[Project]:
    """A plain app: it acknowledges early, and its visibility timeout is the hour that Celery has."""
    celery_project = Project(tmp_path, store_url, store_url)
    yield celery_project
    celery_project.close()


def start_worker(project: Project, pool: str = "prefork", name: str = "w1") -> Running:
    words = ("-A", "proj", "worker", "-P", pool, "-c", "2", "-n", name)
    running = livectl(*words, cwd=project.folder, environ=project.environ)
    running.wait_for("ready.")
    return running


def runs(project: Project) -> Counter[str]:
    """How often each job ended, by its own word."""
    ledger = project.folder / "ledger"
    return Counter(ledger.read_text().split()) if ledger.exists() else Counter()


def send_all(project: Project, seconds: float = 0.05) -> set[str]:
    names = {f"job-{number}" for number in range(JOBS)}
    for name in names:
        project.send("note", name, seconds)
    return names


def is_drained(project: Project, prefix: str = "") -> bool:
    with redis.Redis.from_url(project.environ["LIVECTL_STORE"]) as store:
        return not store.exists(*(f"{prefix}{key}" for key in ("unacked", "celery", "unacked_leases")))


def test_the_jobs_of_a_killed_worker_are_back_within_seconds(tmp_path: Path, store_url: str) -> None:
    """With keys that have a prefix; without, in every pool, and under other faults it is a row of tests/faults."""
    options = {"global_keyprefix": "shop:"}
    project = Project(tmp_path, store_url, store_url, broker_transport_options=options)
    with start_worker(project, "threads") as worker:
        names = send_all(project, 0.1)
        wait_for(lambda: len(runs(project)) > 2, what="some jobs")
        os.killpg(worker.process.pid, signal.SIGKILL)
        worker.wait()
    with start_worker(project, "threads") as worker:
        wait_for(lambda: set(runs(project)) == names, what="every job")
        wait_for(lambda: is_drained(project, "shop:"), what="an empty queue")
        worker.wait_for("held by a worker that is gone")
    project.close()


def test_a_job_that_must_not_run_twice_is_acknowledged_early(project: Project) -> None:
    (project.folder / "livectl.yaml").write_text("tasks: {proj.note: {acks: early}}\n")
    with start_worker(project) as worker:
        project.send("note", "once", 60)
        wait_for(lambda: "proj.note" in worker.text and is_drained(project), what="an acknowledgement")
