"""No message ends a worker that livectl starts, or is lost; and no job kills its workers for ever."""

from __future__ import annotations

import base64
import json
from typing import TYPE_CHECKING

import pytest
import redis

from tests.support import bad_messages
from tests.support.celery_project import Project
from tests.support.processes import Running, livectl
from tests.support.waiting import wait_for

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from pathlib import Path

    from tests.support.rabbitmq import RabbitMQ

pytestmark = pytest.mark.acceptance


@pytest.fixture
def project(tmp_path: Path, store_url: str) -> Iterator[Project]:
    celery_project = Project(tmp_path, store_url, store_url)
    yield celery_project
    celery_project.close()


@pytest.fixture
def store(store_url: str) -> Iterator[redis.Redis]:
    with redis.Redis.from_url(store_url) as client:
        yield client


def start_worker(project: Project, pool: str) -> Running:
    words = ("-A", "proj", "worker", "-P", pool, "-c", "2", "-n", "w1")
    running = livectl(*words, cwd=project.folder, environ=project.environ)
    running.wait_for("ready.")
    return running


def letters(store: redis.Redis) -> list[dict[str, str]]:
    return [json.loads(raw) for raw in store.hvals("livectl:dead")]


def is_drained(store: redis.Redis) -> bool:
    return store.hlen("unacked") == store.llen("celery") == 0


def test_a_dead_letter_says_what_is_wrong_and_can_be_put_back(project: Project, store: redis.Redis) -> None:
    with start_worker(project, "solo"):
        job = project.send("nothing", 1, 2)
        wait_for(lambda: letters(store), what="a dead letter")
        wait_for(lambda: project.app.backend.get_state(job) == "FAILURE")
        assert [letter["reason"] for letter in json.loads(project.livectl("dead", "--json").stdout)] == [
            "no task proj.nothing here"
        ]
        store.rpush("celery", bad_messages.MESSAGES["no JSON"])
        wait_for(lambda: len(letters(store)) == 2, what="another dead letter")
        unreadable = next(letter["id"] for letter in letters(store) if letter["id"] != job)
        assert project.livectl("dead", "retry", unreadable).returncode == 1
        assert project.livectl("dead", "retry", job).returncode == 0
        wait_for(lambda: is_drained(store) and len(letters(store)) == 2, what="the same dead letter again")


def test_a_job_that_kills_its_whole_worker_is_started_so_often_and_no_more(tmp_path: Path, store_url: str) -> None:
    """The next worker knows. In child processes, and three times without a setting, it is a row of tests/faults."""
    (tmp_path / "livectl.yaml").write_text("worker: {max_starts: 2}\n")
    options = {"visibility_timeout": 1, "unacked_restore_interval": 1, "unacked_restore_throttle": 1}
    project = Project(tmp_path, store_url, store_url, broker_transport_options=options)
    store = redis.Redis.from_url(store_url)
    job = project.send("kill")
    while not letters(store):
        with start_worker(project, "threads") as worker:
            _wait_for_letter_or_end(store, worker)
            if letters(store):
                project.wait_for_state(project.send("add", 1, 2), "SUCCESS")
    assert (tmp_path / "starts").read_text() == "xx"
    assert [letter["id"] for letter in letters(store)] == [job]
    assert "died each of the 2 times" in letters(store)[0]["reason"]
    assert project.app.backend.get_state(job) == "FAILURE"
    store.close()
    project.close()


def _wait_for_letter_or_end(store: redis.Redis, worker: Running) -> None:
    wait_for(lambda: letters(store) or worker.process.poll() is not None, what="a dead letter, or the worker's end")


def test_no_message_of_rabbitmq_ends_a_worker_and_a_dead_letter_can_be_put_back(
    tmp_path: Path, store_url: str, rabbitmq: RabbitMQ
) -> None:
    project = Project(tmp_path, rabbitmq.vhost(), store_url)
    store = redis.Redis.from_url(store_url)
    with start_worker(project, "prefork") as worker:
        _publish_as_they_are(project, bad_messages.NO_JOBS.values())
        project.wait_for_state(project.send("add", 1, 2), "SUCCESS")
        wait_for(lambda: len(letters(store)) == len(bad_messages.NO_JOBS), what="a dead letter for each message")
        job = next(letter["id"] for letter in letters(store) if letter["task"] == "proj.nothing")
        assert project.livectl("dead", "retry", job).returncode == 0
        wait_for(lambda: worker.text.count("no task proj.nothing here") == 2, what="the same dead letter again")
        assert worker.process.poll() is None
    store.close()
    project.close()


def _publish_as_they_are(project: Project, messages: Iterable[bytes]) -> None:
    with project.app.connection_for_write() as connection:
        producer = connection.Producer()
        for message in map(json.loads, messages):
            producer.publish(
                base64.b64decode(message["body"]),
                routing_key="celery",
                content_type=message["content-type"],
                content_encoding=message["content-encoding"],
                headers=message.get("headers"),
            )
