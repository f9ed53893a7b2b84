"""Depths of queues: exact, whatever priorities, prefetching and prefixes do; and what is taken out is saved."""

from __future__ import annotations

import json
import sys
import time
from typing import TYPE_CHECKING

import pytest
import redis

from livectl.errors import LivectlError, UsageError
from livectl.ops.cluster import purge, queues
from livectl.ops.cluster.purge import PurgeFilter
from tests.support.celery_project import Project
from tests.support.processes import Running
from tests.support.waiting import HANG_SECONDS, becomes, wait_for

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from livectl.ops.cluster.queues import Queue
    from tests.support.rabbitmq import RabbitMQ


@pytest.fixture
def project(tmp_path: Path, store_url: str) -> Iterator[Project]:
    project = Project(tmp_path, store_url, store_url, worker_prefetch_multiplier=60)
    yield project
    project.close()


def queue_named(project: Project, name: str) -> Queue:
    return next(queue for queue in queues.measure(project.deployment).queues if queue.name == name)


@pytest.mark.acceptance
def test_four_priorities_fifty_etas_and_a_thousand_ready_are_counted_exactly(project: Project, patient: None) -> None:
    with project.worker("w1", "-c", "1"):
        for _ in range(50):
            project.send("add", 1, countdown=2000)
        wait_for(lambda: queue_named(project, "celery").unacked == 50)
        project.app.control.cancel_consumer("celery")
        wait_for(lambda: queue_named(project, "celery").consumers == 0)
        for number in range(1000):
            project.send("add", number, priority=(0, 3, 6, 9)[number % 4])
        queue = queue_named(project, "celery")
        assert (queue.ready, queue.unacked, queue.eta, queue.consumers) == (1000, 50, 50, 0)
        assert queue.priorities == {"0": 250, "3": 250, "6": 250, "9": 250}
        assert queues.measure(project.deployment).notes == ("nobody reads celery, which has 1000 ready",)


@pytest.mark.acceptance
def test_a_reader_of_a_queue_that_nobody_fills_is_named(project: Project) -> None:
    with project.worker("w1", "-c", "1", "-Q", "celery,mial,livectl"):  # the last is livectl's own app's
        note = "w1@h reads mial, which is empty and which no queue or route of the settings names"
        becomes(lambda: queues.measure(project.deployment).notes, (note,))
        (project.folder / "livectl.yaml").write_text("workers: {w1: {queues: [mial]}}")
        assert queues.measure(project.deployment).notes == ()


def test_other_priorities_and_prefixes_are_those_of_the_app(tmp_path: Path, store_url: str) -> None:
    options = {"priority_steps": [0, 5], "sep": ":", "global_keyprefix": "team:"}
    project = Project(tmp_path, store_url, store_url, broker_transport_options=options)
    for priority in range(10):
        project.send("add", 1, priority=priority)
    assert queue_named(project, "celery").priorities == {"0": 5, "5": 5}
    project.close()


def test_the_age_of_the_oldest_is_told_where_messages_say_when_they_were_sent(project: Project) -> None:
    project.send("add", 1)
    assert queue_named(project, "celery").oldest is None
    project.send("add", 1, queue="mail", headers={"sent": time.time() - 60})
    assert 60 <= (queue_named(project, "mail").oldest or 0) < 60 + HANG_SECONDS


def test_peek_shows_what_is_next_and_takes_nothing(project: Project) -> None:
    last, first = project.send("add", 2, priority=9), project.send("add", 1)
    assert [message.id for message in purge.peek(project.deployment, "celery", 5)] == [first, last]
    assert queue_named(project, "celery").ready == 2


def test_a_purge_saves_what_it_takes_and_takes_only_what_was_chosen(project: Project, tmp_path: Path) -> None:
    kept = project.send("fail")
    taken = [project.send("add", number, priority=number % 10) for number in range(1200)]
    choice = PurgeFilter(queue="celery", task="proj.add")
    assert purge.plan(project.deployment, choice) == purge.PurgePlan({"proj.add": 1200}, 0)
    done = purge.purge(project.deployment, choice, tmp_path / "saved.jsonl")
    saved = [json.loads(line) for line in (tmp_path / "saved.jsonl").read_text().splitlines()]
    assert done.total == 1200
    assert {line["id"] for line in saved} == set(taken)
    assert {line["args"][0] for line in saved} == set(range(1200))
    assert [message.id for message in purge.peek(project.deployment, "celery", 5)] == [kept]


@pytest.mark.acceptance
def test_what_workers_hold_is_taken_only_when_asked_for(
    project: Project, tmp_path: Path, store_url: str, patient: None
) -> None:
    with project.worker("w1", "-c", "1"):
        for _ in range(5):
            project.send("add", 1, countdown=2000)
        wait_for(lambda: queue_named(project, "celery").eta == 5)
        assert purge.plan(project.deployment, PurgeFilter(queue="celery")).total == 0
        done = purge.purge(project.deployment, PurgeFilter(queue="celery", unacked=True), tmp_path / "saved.jsonl")
        assert (done.total, done.held) == (5, 5)
        with redis.Redis.from_url(store_url) as broker:
            assert broker.hlen("unacked") == broker.zcard("unacked_index") == 0
    assert queue_named(project, "celery").ready == 0


def test_only_messages_known_to_be_old_are_taken_for_old(project: Project, tmp_path: Path) -> None:
    for age in (7200, 60):
        project.send("add", age, headers={"sent": time.time() - age})
    project.send("add", 0)
    done = purge.purge(project.deployment, PurgeFilter(queue="celery", older_than=3600), tmp_path / "saved.jsonl")
    assert done.total == 1


def test_a_queue_that_is_not_there_is_refused_with_its_neighbour(project: Project) -> None:
    project.send("add", 1, queue="mail")
    with pytest.raises(UsageError, match="there is no queue mial") as refused:
        purge.peek(project.deployment, "mial", 1)
    assert refused.value.hint == "did you mean mail?"


def test_a_queue_asked_for_by_a_name_that_nobody_knows_is_told(project: Project) -> None:
    project.send("add", 1, queue="mail")
    ran = project.livectl("queues", "-Q", "mial")
    assert (ran.returncode, ran.stderr) == (0, "mial is not known there: misspelt, or empty and read by nobody\n")


def test_what_is_saved_can_be_sent_again(project: Project, tmp_path: Path) -> None:
    from livectl.ops.jobs import publish_many

    project.send("add", 1, priority=3, queue="mail", kwargs={"y": 2})
    purge.purge(project.deployment, PurgeFilter(queue="mail"), tmp_path / "saved.jsonl")
    (order,) = publish_many.read_requests(tmp_path / "saved.jsonl", None)
    assert (order.task, order.args, order.kwargs, order.queue, order.priority) == (
        "proj.add",
        (1,),
        {"y": 2},
        "mail",
        3,
    )


@pytest.mark.acceptance
def test_watching_tells_what_shared_readers_did(project: Project) -> None:
    with (
        project.worker("w1", "-c", "1", "-Q", "celery,mail"),
        Running(
            *(sys.executable, "-m", "livectl", "-A", "proj", "queues", "--watch"),
            cwd=project.folder,
            environ=project.environ,
        ) as watch,
    ):
        watch.wait_for("celery")
        for _ in range(20):
            project.send("add", 1, queue="mail")
        watch.wait_for("celery, mail together: ")
        rates = " together: "
        wait_for(lambda: any(rates in line and " 0.0 out/s" not in line for line in watch.lines), what="a rate")


@pytest.mark.acceptance
def test_the_commands_tell_by_their_exit_codes(project: Project) -> None:
    project.send("add", 1)
    project.send("add", 2)
    assert project.livectl("queues", "--warn", "2").returncode == 0
    assert project.livectl("queues", "--warn", "1").returncode == 1
    assert project.livectl("queues", "--warn", "0", "--crit", "1").returncode == 2
    assert project.livectl("queues", "wait", "--until-empty", "--timeout", "0.1").returncode == 6
    asked = project.livectl("queues", "purge", "celery")
    assert (asked.returncode, "Take 2 messages out of celery?" in asked.stderr) == (2, True)
    assert "Taken out of celery: 2" in project.livectl("queues", "purge", "celery", "--yes").stdout
    assert project.livectl("queues", "wait", "--until-empty", "--timeout", str(HANG_SECONDS)).returncode == 0


@pytest.mark.acceptance
def test_rabbitmq_tells_what_it_can_and_says_what_it_cannot(tmp_path: Path, store_url: str, rabbitmq: RabbitMQ) -> None:
    broker = rabbitmq.vhost()
    project = Project(tmp_path, broker, store_url)
    assert queues.measure(project.deployment).notes == (), "of no queue there is anything to say"
    for _ in range(3):
        assert project.livectl("call", "proj.add", "1", "--force").returncode == 0
    depths = queues.measure(project.deployment)
    queue = depths.queues[0]
    assert (queue.name, queue.ready, queue.consumers, queue.unacked) == ("celery", 3, 0, None)
    assert depths.notes[0].startswith("RabbitMQ tells neither priorities")
    with pytest.raises(LivectlError, match="gives no way"):
        purge.peek(project.deployment, "celery", 1)
    project.close()
