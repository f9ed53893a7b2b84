"""Nothing that a worker of livectl's took is lost with it, and nothing runs twice because it takes long: any app."""

from __future__ import annotations

import os
import signal
from collections import Counter
from typing import TYPE_CHECKING

import pytest
import redis

from tests.support.celery_project import Project
from tests.support.processes import Running, children, livectl
from tests.support.servers import lasting_redis
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


def start_worker(project: Project, name: str, pool: str = "prefork") -> Running:
    words = ("-A", "proj", "worker", "-P", pool, "-c", "2", "-n", name)
    running = livectl(*words, cwd=project.folder, environ=project.environ)
    running.wait_for("ready.")
    return running


def runs(project: Project) -> Counter[str]:
    """How often each job ended, by its own word."""
    ledger = project.folder / "ledger"
    return Counter(ledger.read_text().split()) if ledger.exists() else Counter()


def send_all(project: Project) -> set[str]:
    names = {f"job-{number}" for number in range(JOBS)}
    for name in names:
        project.send("note", name, 0.05)
    return names


def is_drained(project: Project) -> bool:
    with redis.Redis.from_url(project.environ["LIVECTL_STORE"]) as store:
        return not any((store.hlen("unacked"), store.llen("celery"), store.zcard("unacked_leases")))


def test_the_jobs_of_killed_child_processes_run_again(project: Project) -> None:
    with start_worker(project, "w1") as worker:
        names = send_all(project)
        for _ in range(3):
            before = len(runs(project))
            wait_for(lambda: len(runs(project)) > before, what="some jobs")  # noqa: B023
            os.kill(children(worker.process.pid)[-1], signal.SIGKILL)
        wait_for(lambda: set(runs(project)) == names and is_drained(project), what="every job")
        assert worker.process.poll() is None


@pytest.mark.parametrize("pool", ["prefork", "threads", "gevent"])
def test_the_jobs_of_a_killed_worker_are_back_within_seconds(project: Project, pool: str) -> None:
    names = send_all(project)
    with start_worker(project, "w1", pool) as worker:
        wait_for(lambda: len(runs(project)) > 2, what="some jobs")
        os.killpg(worker.process.pid, signal.SIGKILL)
        worker.wait()
    with start_worker(project, "w2", pool) as worker:
        wait_for(lambda: set(runs(project)) == names and is_drained(project), what="every job")
        assert "held by a worker that is gone" in worker.text


def test_a_worker_outlives_its_broker_and_loses_nothing(tmp_path: Path) -> None:
    with lasting_redis(tmp_path) as server:
        project = Project(tmp_path, server.url, server.url)
        with start_worker(project, "w1") as worker:
            names = send_all(project)
            for _ in range(5):
                before = len(runs(project))
                wait_for(lambda: len(runs(project)) > before, what="some jobs")  # noqa: B023
                server.kill()
                server.start()
            wait_for(lambda: set(runs(project)) == names and is_drained(project), what="every job")
            assert worker.process.poll() is None
            assert "Unrecoverable" not in worker.text
        project.close()


def test_what_takes_longer_than_the_visibility_timeout_runs_once(tmp_path: Path, store_url: str) -> None:
    """A long job, and one that waits for its time: stock Celery gives both to another worker meanwhile."""
    options = {"visibility_timeout": 2, "unacked_restore_interval": 1, "unacked_restore_throttle": 1}
    project = Project(tmp_path, store_url, store_url, broker_transport_options=options)
    with start_worker(project, "w1"), start_worker(project, "w2"):
        project.send("note", "long", 6)
        project.send("note", "later", 0, countdown=6)
        wait_for(lambda: len(runs(project)) == 2 and is_drained(project), what="both jobs")
    assert runs(project) == {"long": 1, "later": 1}
    project.close()


def test_a_job_that_must_not_run_twice_is_acknowledged_early(project: Project) -> None:
    (project.folder / "livectl.yaml").write_text("tasks: {proj.note: {acks: early}}\n")
    with start_worker(project, "w1") as worker:
        project.send("note", "once", 60)
        wait_for(lambda: "proj.note" in worker.text and is_drained(project), what="an acknowledgement")
