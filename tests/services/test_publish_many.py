"""Many jobs at once: as Celery itself would have sent them, and on a Redis in one round trip."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest
import redis
from celery import Celery

from livectl.address import Address
from livectl.errors import ServerError
from livectl.ops.jobs import publish_many, results
from livectl.ops.jobs.publish_many import JobDraft, SendOptions, publish_jobs
from livectl.ops.protocol import keys
from livectl.redis_client import connect

if TYPE_CHECKING:
    from collections.abc import Iterator


@pytest.fixture
def app(store_url: str) -> Iterator[Celery]:
    address = Address.parse(store_url)
    with Celery("publisher", broker=address.celery_url, backend=address.celery_url, set_as_current=False) as app:
        yield app


@pytest.fixture
def client(store_url: str) -> Iterator[Any]:
    with redis.Redis.from_url(store_url) as client:
        yield client


def drafts(count: int) -> list[JobDraft]:
    return [JobDraft(id=f"job-{number}", args=("demo", [str(number)]), brief="(demo, 1)") for number in range(count)]


def messages(client: Any, queue: str = "celery") -> list[dict[str, Any]]:
    return [json.loads(raw) for raw in reversed(client.lrange(queue, 0, -1))]


def test_all_are_there_in_order(app: Celery, client: Any) -> None:
    publish_jobs(app, "proj.look", drafts(300), SendOptions())
    headers = [message["headers"] for message in messages(client)]
    assert [header["id"] for header in headers] == [f"job-{number}" for number in range(300)]
    assert {(header["task"], header["argsrepr"], header["ignore_result"]) for header in headers} == {
        ("proj.look", "(demo, 1)", True)
    }


def test_a_message_is_what_celery_sends(app: Celery, client: Any) -> None:
    """But for its tag, and for its lifetime: what expires is dropped by a worker, which notes it, on any broker."""
    publish_jobs(app, "proj.look", drafts(1), SendOptions(priority=3, expires=60.0))
    app.send_task("proj.look", ("demo", ["0"]), task_id="job-0", priority=3, expires=60.0, ignore_result=True)
    ours, theirs = messages(client, "celery\x06\x163")
    assert set(theirs["headers"]) - {"sent"} == set(ours["headers"]) - {"sent"}
    assert ours["body"] == theirs["body"]
    assert ours["properties"].keys() == theirs["properties"].keys() - {"expiration"}
    for name in ("delivery_info", "priority", "delivery_mode"):
        assert ours["properties"][name] == theirs["properties"][name]


def test_a_queue_of_its_own(app: Celery, client: Any) -> None:
    publish_jobs(app, "proj.look", drafts(2), SendOptions(queue="slow"))
    assert (client.llen("slow"), client.llen("celery")) == (2, 0)


def test_jobs_of_one_sending_may_have_queues_of_their_own(app: Celery, client: Any) -> None:
    ours = [JobDraft(id=name, args=(), brief="()", queue=name) for name in ("slow", "slower")]
    publish_jobs(app, "proj.look", [*ours, *drafts(1)], SendOptions())
    assert [client.llen(queue) for queue in ("slow", "slower", "celery")] == [1, 1, 1]
    publish_jobs(app, "proj.look", ours, SendOptions(queue="celery"))
    assert client.llen("celery") == 3


def test_nothing_to_send_asks_nobody() -> None:
    publish_jobs(
        Celery("nowhere", broker="redis://127.0.0.1:1/0", set_as_current=False), "proj.look", [], SendOptions()
    )


def test_a_broker_that_is_away_is_named(tmp_path: Any) -> None:
    app = Celery("nowhere", broker=f"redis+socket://{tmp_path}/none.sock", set_as_current=False)
    with pytest.raises(ServerError, match="did not take the jobs"):
        publish_jobs(app, "proj.look", drafts(1), SendOptions())


@pytest.mark.filterwarnings("ignore:Call to deprecated setex")  # Celery's own
def test_a_group_is_known_by_its_id(app: Celery, store_url: str) -> None:
    group = publish_many.send_group(app, "proj.look", drafts(3), SendOptions(keep_result=True))
    with connect(Address.parse(store_url)) as connection:
        assert results.read_group_members(connection, keys.layout_from_settings({}), group) == (
            "job-0",
            "job-1",
            "job-2",
        )
    assert publish_many.send_group(app, "proj.look", drafts(1), SendOptions()) == "job-0"
