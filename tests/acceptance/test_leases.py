"""Nothing that a worker of livectl's took is lost with it, and nothing runs twice because it takes long: any app."""

from __future__ import annotations

import os
import signal
from collections import Counter
from contextlib import ExitStack
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
POOLS = ("prefork", "threads", "gevent")


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


def test_the_jobs_of_killed_child_processes_run_again(project: Project) -> None:
    with start_worker(project) as worker:
        names = send_all(project)
        for _ in range(3):
            before = len(runs(project))
            wait_for(lambda: len(runs(project)) > before, what="some jobs")  # noqa: B023
            os.kill(children(worker.process.pid)[-1], signal.SIGKILL)
        wait_for(lambda: set(runs(project)) == names and is_drained(project), what="every job")
        assert worker.process.poll() is None


def test_the_jobs_of_a_killed_worker_are_back_within_seconds(tmp_path: Path, store_url: str) -> None:
    """Of whichever pool, side by side: each on keys with a prefix of its own."""
    projects = [make_project_of_pool(tmp_path / pool, store_url, f"{pool}:") for pool in POOLS]
    with ExitStack() as stack:
        workers = [stack.enter_context(start_worker(*pair)) for pair in zip(projects, POOLS, strict=True)]
        names = [send_all(project, 0.1) for project in projects]
        wait_for(lambda: all(len(runs(project)) > 2 for project in projects), what="some jobs")
        for worker in workers:
            os.killpg(worker.process.pid, signal.SIGKILL)
            worker.wait()
    with ExitStack() as stack:
        workers = [stack.enter_context(start_worker(*pair)) for pair in zip(projects, POOLS, strict=True)]
        wait_for(lambda: [set(runs(project)) for project in projects] == names, what="every job")
        wait_for(lambda: all(is_drained(project, f"{pool}:") for project, pool in zip(projects, POOLS, strict=True)))
        assert all("held by a worker that is gone" in worker.text for worker in workers)
    for project in projects:
        project.close()


def make_project_of_pool(folder: Path, store_url: str, prefix: str) -> Project:
    folder.mkdir()
    return Project(folder, store_url, store_url, broker_transport_options={"global_keyprefix": prefix})


def test_a_worker_outlives_its_broker_and_loses_nothing(tmp_path: Path) -> None:
    with lasting_redis(tmp_path) as server:
        project = Project(tmp_path, server.url, server.url)
        with start_worker(project) as worker:
            names = send_all(project)
            for _ in range(3):
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
    with start_worker(project), start_worker(project, name="w2"):
        project.send("note", "long", 6)
        project.send("note", "later", 0, countdown=6)
        wait_for(lambda: len(runs(project)) == 2 and is_drained(project), what="both jobs")
    assert runs(project) == {"long": 1, "later": 1}
    project.close()


def test_what_waits_for_its_time_outlives_its_worker_and_is_revoked(project: Project) -> None:
    with redis.Redis.from_url(project.environ["LIVECTL_STORE"]) as store:
        with start_worker(project) as worker:
            project.send("note", "soon", 0, countdown=3)
            far, farther = (project.send("note", "far", 0, countdown=3600) for _ in range(2))
            wait_for(
                lambda: store.zcard("unacked_delayed") == 3 and is_drained(project), what="all to wait in the store"
            )
            os.killpg(worker.process.pid, signal.SIGKILL)
            worker.wait()
        assert "eta" in project.livectl("status", far).stdout
        with start_worker(project):
            wait_for(lambda: runs(project) == {"soon": 1}, what="the job that is due")
            project.app.control.revoke(far)
            project.wait_for_state(far, "REVOKED")
            assert "was eta" in project.livectl("revoke", farther).stdout
            project.wait_for_state(farther, "REVOKED")
            assert not store.exists("unacked_delayed")


def test_a_job_that_must_not_run_twice_is_acknowledged_early(project: Project) -> None:
    (project.folder / "livectl.yaml").write_text("tasks: {proj.note: {acks: early}}\n")
    with start_worker(project) as worker:
        project.send("note", "once", 60)
        wait_for(lambda: "proj.note" in worker.text and is_drained(project), what="an acknowledgement")
