"""The status of a job: each of the ten states made for real, and told rightly."""

from __future__ import annotations

import os
import signal
import socket
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import TYPE_CHECKING

import pytest
import redis

from livectl.errors import LivectlError
from livectl.models import JobState
from livectl.ops.cluster import workers
from livectl.ops.jobs import wait
from livectl.ops.jobs.status import StatusLookup
from livectl.ops.services import health
from livectl.ops.services.health import Probe
from tests.support.celery_project import Project
from tests.support.processes import answer_once
from tests.support.waiting import becomes, wait_for

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from livectl.models import Job
    from livectl.ops.deployment import Deployment
    from tests.support.rabbitmq import RabbitMQ

NOWHERE = "8b0d1d2e-52d4-4d4f-8f0c-5a1c9c1ed3a1"


@pytest.fixture
def project(tmp_path: Path, store_url: str) -> Iterator[Project]:
    project = Project(tmp_path, store_url, store_url, broker_transport_options={"visibility_timeout": 3000})
    yield project
    project.close()


def ask(project: Project, job: str) -> Job:
    return wait.look_up(project.deployment, job).job


def state_of(project: Project, job: str) -> JobState:
    return ask(project, job).state


def expect(project: Project, job: str, state: JobState) -> Job:
    """The state, as soon as the worker has got so far."""

    def reached() -> Job | None:
        job_now = ask(project, job)
        return job_now if job_now.state is state else None

    return wait_for(reached, what=f"{job} to be {state}")


@pytest.mark.acceptance
def test_each_of_the_ten_states_is_told_on_redis(project: Project, patient: None) -> None:
    assert state_of(project, NOWHERE) is JobState.UNKNOWN
    queued, last = project.send("add", 1), project.send("add", 2, priority=9)
    assert (ask(project, queued).state, ask(project, queued).position) == (JobState.QUEUED, 1)
    assert (ask(project, last).state, ask(project, last).position) == (JobState.QUEUED, 2)

    with project.worker("w1", "-c", "1") as worker:
        project.wait_for_state(last, "SUCCESS")
        assert ask(project, queued).result == 1
        failed = project.send("fail")
        project.wait_for_state(failed, "FAILURE")
        assert (ask(project, failed).state, ask(project, failed).error) == (
            JobState.FAILED,
            "ValueError: no such thing",
        )
        later = project.send("add", 1, countdown=2000)
        assert expect(project, later, JobState.ETA).worker == "w1@h"
        dropped = project.send("add", 1, countdown=2000)
        expect(project, dropped, JobState.ETA)
        project.app.control.revoke(dropped)
        expect(project, dropped, JobState.REVOKED)
        retrying = project.send("again")
        assert expect(project, retrying, JobState.RETRYING).retries == 1
        running = project.send("late", 600)
        started = expect(project, running, JobState.RUNNING)
        assert (started.worker, started.started_at is not None) == ("w1@h", True)
        received = project.send("late", 600)
        assert expect(project, received, JobState.RECEIVED).worker == "w1@h"
        os.killpg(worker.process.pid, signal.SIGKILL)
        worker.wait()
    for job in (running, received, later):
        assert expect(project, job, JobState.REDELIVERY).worker is None


@pytest.mark.acceptance
def test_a_busy_solo_worker_holds_nobody_up(project: Project) -> None:
    with project.worker("w1", "-P", "solo"):
        job = project.send("nap", 600)
        wait_for(lambda: state_of(project, job) is JobState.RECEIVED)
        waiting_behind = project.send("nap", 1)
        wait_for(lambda: state_of(project, waiting_behind) in {JobState.QUEUED, JobState.RECEIVED})


@pytest.mark.acceptance
def test_the_states_that_rabbitmq_can_tell(tmp_path: Path, store_url: str, rabbitmq: RabbitMQ) -> None:
    broker = rabbitmq.vhost()
    project = Project(tmp_path, broker, store_url)
    ran = project.livectl("-q", "call", "proj.add", "1", "--force")
    assert ran.returncode == 0, ran.stderr
    assert state_of(project, ran.stdout.strip()) is JobState.QUEUED
    with project.worker("w1", "-c", "1"):
        project.wait_for_state(ran.stdout.strip(), "SUCCESS")
        assert state_of(project, ran.stdout.strip()) is JobState.SUCCEEDED
        failed, later = project.send("fail"), project.send("add", 1, countdown=2000)
        expect(project, failed, JobState.FAILED)
        expect(project, later, JobState.ETA)
        expect(project, project.send("again"), JobState.RETRYING)
        running, received = project.send("nap", 600), project.send("nap", 600)
        expect(project, running, JobState.RUNNING)
        expect(project, received, JobState.RECEIVED)
        project.app.control.revoke(later)
        expect(project, later, JobState.REVOKED)
        assert state_of(project, NOWHERE) is JobState.UNKNOWN
    project.close()


@pytest.mark.acceptance
def test_a_beat_that_listens_is_no_worker_that_keeps_silent(project: Project, patient: None) -> None:
    with project.beat("--enable-remote-control"), project.worker("w1", "-c", "1"):
        becomes(partial(state_and_silence, project), (JobState.UNKNOWN, False))
        lost = project.send("add", 1, queue="attic")
        assert state_of(project, lost) is JobState.QUEUED
        with workers.WorkerControl(project.deployment) as control:
            worker_list = control.list_workers()
            assert ([worker.name for worker in worker_list.found], worker_list.silent) == (["w1@h"], 0)
            with pytest.raises(LivectlError, match="no worker celerybeat answers"):
                control.full_name("celerybeat")
        becomes(partial(reason_elsewhere, project.deployment), "no worker on elsewhere answered; w1@h did")


def state_and_silence(project: Project) -> tuple[JobState, bool]:
    status = wait.look_up(project.deployment, NOWHERE)
    return status.job.state, "did not answer" in status.note


def reason_elsewhere(deployment: Deployment) -> str:
    wanted = Probe(part="worker", host="elsewhere")
    return health.run_probe(wanted, deployment.broker, deployment.store, deployment.layout).reason


def test_a_queue_that_no_setting_names_is_looked_into(project: Project) -> None:
    job = project.send("add", 1, queue="attic")
    job_now = ask(project, job)
    assert (job_now.state, job_now.queue, job_now.position) == (JobState.QUEUED, "attic", 1)


def test_a_job_far_back_in_a_long_queue_has_its_position(project: Project, store_url: str) -> None:
    job = project.send("add", 1)
    with redis.Redis.from_url(store_url) as broker:
        raw = broker.lindex("celery", 0).replace(job.encode(), NOWHERE.encode())
        broker.rpush("celery", *([raw.replace(NOWHERE.encode(), b"another")] * 5000))
    assert ask(project, job).position == 5001


def test_arguments_are_shown_without_secrets(project: Project) -> None:
    job = project.send("fail", kwargs={"password": "hush", "note": "x" * 1000})
    job_now = ask(project, job)
    assert job_now.kwargs["password"] == "***"
    assert len(job_now.kwargs["note"]) < 300


@pytest.mark.parametrize(
    "options",
    [
        {"global_keyprefix": "team:"},
        {"sep": ":", "priority_steps": list(range(10))},
        {"queue_order_strategy": "priority"},
        {"fanout_prefix": "/team{db}."},
    ],
    ids=str,
)
@pytest.mark.acceptance
def test_the_layout_is_that_of_the_app(tmp_path: Path, store_url: str, options: dict[str, object]) -> None:
    project = Project(tmp_path, store_url, store_url, broker_transport_options=options)
    job = project.send("nap", 600, priority=5)
    assert (ask(project, job).state, ask(project, job).position) == (JobState.QUEUED, 1)
    with project.worker("w1", "-c", "1"):
        assert expect(project, job, JobState.RUNNING).worker == "w1@h"
        project.send("nap", 600)
        expect(project, project.send("nap", 600, countdown=2000), JobState.ETA)
    project.close()


def test_nothing_is_left_behind_by_asking(project: Project, store_url: str) -> None:
    with redis.Redis.from_url(store_url) as broker:
        state_of(project, NOWHERE)
        assert set(broker.keys()) <= {b"_kombu.binding_deadlines"}


def test_a_group_is_one_word_and_its_members(project: Project) -> None:
    group, *members = project.python(
        "from celery import group; import proj\n"
        "sent = group(proj.add.s(1), proj.add.s(2))()\n"
        "sent.save(); print(sent.id, *[member.id for member in sent])"
    ).split()
    job_now = ask(project, group)
    assert job_now.state is JobState.QUEUED
    assert [child.id for child in job_now.children] == members


def test_a_server_that_is_away_is_told_in_time(tmp_path: Path, store_url: str) -> None:
    project = Project(tmp_path, "redis://127.0.0.1:1/0", "redis://127.0.0.1:1/0")
    ran = project.livectl("status", NOWHERE)
    assert ran.returncode == 4
    assert ran.stderr.count("\n") == 2
    project.close()


@pytest.mark.parametrize("scheme", ["redis", "amqp"])
def test_a_broker_that_lets_in_and_says_nothing_is_told_in_time(tmp_path: Path, store_url: str, scheme: str) -> None:
    with socket.create_server(("127.0.0.1", 0), backlog=16) as deaf:
        project = Project(tmp_path, f"{scheme}://127.0.0.1:{deaf.getsockname()[1]}", store_url)
        every = (["status", NOWHERE], ["queues"], ["workers"], ["call", "proj.add", "1"])
        with ThreadPoolExecutor() as beside_each_other:
            ask = partial(answer_once, "-A", "proj", cwd=tmp_path, environ=project.environ)
            for ran in beside_each_other.map(lambda words: ask(*words), every):
                assert (ran.returncode, "no answer in time" in ran.stderr) == (4, True)
        project.close()


def test_what_has_ended_is_learnt_from_results_alone(project: Project) -> None:
    job = project.send("add", 1)
    with StatusLookup(project.deployment) as inquiry:
        assert inquiry.end_states([job, NOWHERE]) == {}
