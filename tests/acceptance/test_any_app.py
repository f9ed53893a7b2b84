"""-A: every command on somebody's plain, Flask, Django, RabbitMQ and old-style project, none of which is changed."""

from __future__ import annotations

import json
import signal
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.support import example_projects
from tests.support.waiting import wait_for

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.support.example_projects import Project
    from tests.support.processes import Running
    from tests.support.rabbitmq import RabbitMQ

pytestmark = pytest.mark.acceptance

START = 60  # seconds a worker may take on a busy machine
# project -> what -A names, a task that succeeds, its arguments, its result, and one that fails
APPS = {
    "plain": ("proj", "proj.tasks.add", ("2", "3"), 5, "proj.tasks.fail"),
    "flask": ("make_celery", "shop.tasks.greet", ("Ada",), "hello Ada", "shop.tasks.fail"),
    "django": ("mysite", "jobs.tasks.count", (), "jobs.Visit", "jobs.tasks.fail"),
    "oldstyle": ("proj", "proj.tasks.add", ("2", "3"), 5, "proj.tasks.fail"),
    "rabbitmq": ("proj", "proj.tasks.add", ("2", "3"), 5, "proj.tasks.fail"),
}


@pytest.fixture(scope="module", params=APPS)
def kind(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture(scope="module")
def project(kind: str, rabbitmq: RabbitMQ) -> Iterator[Project]:
    """A project and its servers. RabbitMQ has a store beside it: beats and dead letters need one."""
    with tempfile.TemporaryDirectory(prefix="lv-") as name, example_projects.redis(Path(name)) as redis:
        folder, app = Path(name), APPS[kind][0]
        if kind == "rabbitmq":
            yield example_projects.copy(f"apps/{kind}", folder, app, rabbitmq.vhost(), LIVECTL_STORE=redis)
            return
        made = example_projects.copy(f"apps/{kind}", folder, app, redis)
        if kind == "django":
            example_projects.manage(made, "migrate", "--verbosity", "0")
        yield made


@pytest.fixture(scope="module")
def worker(project: Project) -> Iterator[Running]:
    before = project.files()
    with project.start("worker", "-P", "threads", "-c", "2", "-n", "w1") as running:
        running.wait_for("ready.")
        yield running
        running.send(signal.SIGTERM)
        assert running.wait() == 0, running.text
    assert project.files() == before, "the user's project was changed"


def send(project: Project, task: str, *args: str) -> str:
    return str(project.data("call", task, *args)["id"])


def test_call_and_status(kind: str, project: Project, worker: Running) -> None:
    _, task, args, result, _ = APPS[kind]
    job = send(project, task, *args)
    wait_for(lambda: project.data("status", job)["state"] == "succeeded")
    status = project.data("status", job)
    # Results over rpc:// go to the sender, which has left; the times are in the store, whatever keeps the results.
    assert status["result"] == (None if kind == "rabbitmq" else result)
    assert None not in (status["waited"], status["ran"])
    listed = next(row for row in project.data("results", "--task", task) if row["id"] == job)
    assert (listed["waited"], listed["worker"]) == (status["waited"], status["worker"])


def test_call_refuses_what_cannot_come_to_anything(kind: str, project: Project, worker: Running) -> None:
    _, task, _, _, _ = APPS[kind]
    unknown = project.ask("call", f"{task}s")
    assert (unknown.returncode, f"did you mean {task}?" in unknown.stderr) == (2, True)
    assert project.ask("call", task, "1", "2", "3", "4").returncode == 2
    assert "nobody reads the queue slow" in project.ask("call", task, *APPS[kind][2], "-Q", "slow").stderr


def test_a_failure_is_told_and_sent_again(kind: str, project: Project, worker: Running) -> None:
    job = send(project, APPS[kind][4])
    wait_for(lambda: project.ask("status", job).returncode == 1)
    assert "out of luck" in project.ask("status", job).stdout
    wait_for(lambda: project.ask("retry", job).returncode == 0, what="the worker's note of what it was called with")


def test_revoke(kind: str, project: Project, worker: Running) -> None:
    _, task, args, _, _ = APPS[kind]
    job = str(project.data("call", task, *args, "--in", "10m")["id"])
    run = project.ask("revoke", job)
    assert run.returncode == 0, run.stderr


def test_workers_queues_and_health(kind: str, project: Project, worker: Running) -> None:
    (worker_row,) = project.data("workers")
    assert (worker_row["name"].split("@")[0], worker_row["pool"], worker_row["queues"]) == ("w1", "threads", ["celery"])
    queues = {queue["name"]: queue for queue in project.data("queues")}
    assert queues["celery"]["consumers"] == 1
    for probe in (("worker",), ("broker",), ("store",)):
        run = project.ask("health", *probe)
        assert run.returncode == 0, run.stdout + run.stderr
    assert project.data("dead", "list") == []


def test_schedules_and_beat_and_doctor_finds_nothing_wrong(kind: str, project: Project, worker: Running) -> None:
    listed = project.data("schedules", "list")
    if kind == "django":
        assert listed == []
        with project.start("beat"):
            assert_doctor_finds_nothing_wrong(kind, project)
        return
    assert [row["name"] for row in listed] == ["every-second"]
    assert project.ask("schedules", "run", "every-second").returncode == 0
    with project.start("beat") as beat:
        beat.wait_for("Sent every-second")
        assert project.ask("health", "beat").returncode == 0
        assert project.ask("schedules", "pause", "every-second", "--reason", "tests").returncode == 0
        assert project.data("schedules", "list")[0]["reason"] == "tests"
        assert project.ask("schedules", "resume", "every-second").returncode == 0
        if kind == "rabbitmq":
            task, words = APPS[kind][1], ("--every", "1s", "--args", json.dumps(APPS[kind][2]), "--store")
            added = project.ask("schedules", "add", "stored", "--task", task, *words)
            assert added.returncode == 0, added.stderr
            beat.wait_for("Sent stored")
            assert project.ask("schedules", "remove", "stored").returncode == 0
            beat.wait_for("From the store dropped: stored")
        assert_doctor_finds_nothing_wrong(kind, project)
        beat.send(signal.SIGTERM)
        assert beat.wait() == 0
    assert project.data("schedules", "list")[0]["last"]


def assert_doctor_finds_nothing_wrong(kind: str, project: Project) -> None:
    """But the old names, in the app that has them."""
    wait_for(lambda: project.ask("health", "beat").returncode == 0)
    assert [finding["id"] for finding in project.data("doctor")] == (["settings-old"] if kind == "oldstyle" else [])


@pytest.mark.parametrize("kind", ["django"], indirect=True)
def test_djangos_own_scheduler_runs_by_its_name(project: Project, worker: Running) -> None:
    example_projects.manage(
        project,
        "shell",
        "-c",
        "from django_celery_beat.models import IntervalSchedule as I, PeriodicTask as P;"
        "s, _ = I.objects.get_or_create(every=1, period='seconds');"
        "P.objects.get_or_create(name='counted', task='jobs.tasks.count', interval=s)",
    )
    before = worker.text.count("Task jobs.tasks.count")
    with project.start("beat", "--", "-S", "django_celery_beat.schedulers:DatabaseScheduler") as beat:
        beat.wait_for("Sending due task counted")
        wait_for(lambda: worker.text.count("Task jobs.tasks.count") > before, what="the job of the entry")


@pytest.mark.parametrize("kind", ["rabbitmq"], indirect=True)
def test_without_a_store_that_is_said(project: Project) -> None:
    bare = project._replace(environ={**project.environ, "LIVECTL_STORE": ""})
    assert [finding["id"] for finding in bare.data("doctor")] == ["store-missing"]
    run = bare.ask("schedules", "pause", "every-second")
    assert (run.returncode, "Set `store:` in livectl.yaml" in run.stderr) == (3, True)
    with bare.start("beat") as beat:
        beat.wait_for("Set `store:` in livectl.yaml")
        assert beat.wait() == 3
