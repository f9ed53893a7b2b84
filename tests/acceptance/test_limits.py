"""Limits of `tasks:` as anybody's app has them, with a real worker: its code knows nothing of them."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.acceptance.test_leases import runs, start_worker
from tests.support.celery_project import Project
from tests.support.waiting import wait_for

if TYPE_CHECKING:
    from pathlib import Path

    from tests.support.rabbitmq import RabbitMQ

pytestmark = pytest.mark.acceptance

SETTINGS = """
tasks:
  proj.steps: {concurrency: 1}
  proj.add: {unique: {within: 10m, then: join}}
  proj.nap: {timeout: 500ms}
  proj.fail: {retry: {times: 1, on: [ValueError]}}
  proj.late: {rate: 5/s, per: kwargs.seconds}
"""


def test_jobs_wait_join_are_tried_again_and_end_in_time(tmp_path: Path, store_url: str) -> None:
    project = Project(tmp_path, store_url, store_url)
    file = tmp_path / "livectl.yaml"
    file.write_text(SETTINGS)
    with start_worker(project) as worker:
        held = [project.send("steps") for _ in range(3)]
        wait_for(lambda: "1 before it" in project.livectl("status", held[2]).stdout, what="a line of those who wait")
        wait_for(lambda: "2 wait for a slot of proj.steps, 1 runs" in project.livectl("queues").stderr, what="the note")
        same = [project.send("add", 1, kwargs={"y": 2}), project.send("add", 1, 2)]
        failing, lacking = project.send("fail"), project.send("late")
        for job in same:
            project.wait_for_state(job, "SUCCESS")
        worker.wait_for(f"ends as {same[0]} did")
        for job in (failing, lacking, project.send("nap", 30)):
            project.wait_for_state(job, "FAILURE")
        for sentence in ("retry: Retry in", "has no kwargs.seconds", "Soft time limit (0.5s) exceeded"):
            worker.wait_for(sentence)
        for step in range(1, 4):
            (tmp_path / f"step-{step}").touch()
        for job in held:
            project.wait_for_state(job, "SUCCESS")
        file.write_text("tasks: {proj.note: {concurrency: 2}}\n")
        worker.wait_for("tasks: of livectl.yaml read again")
    project.close()


@pytest.mark.soak
def test_on_rabbitmq_who_waits_comes_by(tmp_path: Path, store_url: str, rabbitmq: RabbitMQ) -> None:
    project = Project(tmp_path, rabbitmq.vhost(), store_url)
    (tmp_path / "livectl.yaml").write_text("tasks: {proj.note: {concurrency: 1}}\n")
    with start_worker(project) as worker:
        jobs = [project.send("note", f"n{number}", 0.3) for number in range(5)]
        for job in jobs:
            project.wait_for_state(job, "SUCCESS")
        assert "ERROR" not in worker.text
    assert sum(runs(project).values()) == 5
    project.close()
