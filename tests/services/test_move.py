"""Messages that are moved to another queue or broker are there once, and nowhere else, wherever the move is killed."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest
import redis

from livectl.address import Address
from livectl.errors import UsageError
from livectl.ops.cluster import move, purge, queues
from livectl.ops.cluster.move import MoveRequest
from livectl.ops.protocol import delayed
from livectl.redis_client import RedisConnection
from tests.support.celery_project import Project

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

HOUR_S = 3600


@pytest.fixture
def project(tmp_path: Path, store_url: str) -> Iterator[Project]:
    project = Project(tmp_path, store_url, store_url, task_queues=None)
    yield project
    project.close()


@pytest.fixture
def server(store_url: str) -> Iterator[redis.Redis]:
    with redis.Redis.from_url(store_url) as client:
        yield client


@pytest.fixture
def other(store_url: str) -> Iterator[redis.Redis]:
    with redis.Redis.from_url(store_url.replace("db=0", "db=5")) as client:
        yield client


def run(project: Project, **options: Any) -> move.MoveResult:
    values: dict[str, Any] = {"source": "celery", "target": "slow", "create": True} | options
    *_, result = move.move(project.deployment, MoveRequest(**values))
    return result


def there(server: redis.Redis, queue: str) -> list[tuple[str, Any]]:
    """Task and id of what lies in a queue, in the order in which it is taken, by the priority of its list."""
    lists = {step: queue if not step else f"{queue}\x06\x16{step}" for step in (0, 3, 6, 9)}
    texts = [json.loads(raw) for key in lists.values() for raw in reversed(server.lrange(key, 0, -1))]
    return [(text["headers"]["task"], text["headers"]["id"]) for text in texts]


def wait_in_store(project: Project, server: redis.Redis, due: float) -> None:
    """Puts the last message of the queue where workers of livectl's keep it until its time."""
    raw = server.lpop("celery")
    layout = project.deployment.layout
    keys, job_id = delayed.delayed_keys(layout.unacked_key), json.loads(raw)["headers"]["id"]  # type: ignore[arg-type]
    server.zadd(keys.due, {"d1": due})
    server.hset(keys.messages, "d1", delayed.head_of("celery", job_id) + b"\n" + raw)  # type: ignore[operator]
    server.zadd(keys.ids, {f"{job_id} d1": 0})
    server.hincrby(keys.counts, "celery", 1)


def test_within_a_broker_messages_keep_order_priority_headers_and_time(project: Project, server: redis.Redis) -> None:
    for number, priority in enumerate((None, 9, None, 3)):
        project.send("add", number, priority=priority, headers={"tenant": number})
    project.send("nap", 1)
    project.send("add", 7, countdown=HOUR_S)
    wait_in_store(project, server, 4e9)
    before = there(server, "celery")
    assert move.count(project.deployment, MoveRequest(source="celery", target="slow")) == {"proj.add": 5, "proj.nap": 1}
    assert run(project, task="proj.a*").tasks == {"proj.add": 5}
    assert there(server, "celery") == [job for job in before if job[0] == "proj.nap"]
    assert there(server, "slow") == [job for job in before if job[0] == "proj.add"]
    text = json.loads(server.lindex("slow", -1))  # type: ignore[arg-type]
    assert text["properties"]["delivery_info"] == {"exchange": "", "routing_key": "slow"}
    assert text["headers"]["tenant"] == 0
    depths = {queue.name: (queue.ready, queue.delayed) for queue in queues.measure(project.deployment).queues}
    assert (depths["celery"], depths["slow"]) == ((1, 0), (4, 1))


def test_what_cannot_be_moved_is_said(project: Project, server: redis.Redis) -> None:
    project.send("add", 1)
    for options, says in (
        ({"target": "celery"}, "both where from and where to"),
        ({"target": "slwo", "create": False}, "there is no queue slwo there"),
        ({"source": "nowhere"}, "there is no queue nowhere"),
    ):
        with pytest.raises(UsageError, match=says):
            run(project, **options)
    assert len(there(server, "celery")) == 1


def test_a_limit_takes_those_that_are_next(project: Project, server: redis.Redis) -> None:
    jobs = [project.send("add", number) for number in range(5)]
    assert run(project, limit=2).moved == 2
    assert [job for _, job in there(server, "slow")] == jobs[:2]


class KilledError(BaseException):
    """Ends a move as a SIGKILL would: nothing is done any more."""


@pytest.mark.parametrize("after", [False, True], ids=["before its effect", "after its effect"])
def test_killed_at_any_call_nothing_is_lost_and_nothing_is_there_twice(
    project: Project,
    server: redis.Redis,
    other: redis.Redis,
    store_url: str,
    monkeypatch: pytest.MonkeyPatch,
    *,
    after: bool,
) -> None:
    monkeypatch.setattr(move, "MESSAGES_PER_STEP", 2)
    call_all, to = RedisConnection.call_all, Address.parse(store_url.replace("db=0", "db=5"))
    calls = 0
    killed_at = 0

    def call_or_die(self: RedisConnection, commands: Any) -> Any:
        nonlocal calls
        calls += 1
        if calls == killed_at and not after:
            raise KilledError
        replies = call_all(self, commands)
        if calls == killed_at:
            raise KilledError
        return replies

    monkeypatch.setattr(RedisConnection, "call_all", call_or_die)
    kills = 0
    while kills == killed_at:
        server.flushall()
        jobs = sorted(project.send("add", number, priority=number % 2 * 9) for number in range(5))
        calls, killed_at = 0, killed_at + 1
        try:
            run(project, to_broker=to)
        except KilledError:
            kills += 1
            calls = -1_000
            run(project, to_broker=to)
        assert sorted(job for _, job in there(other, "slow")) == jobs
        assert there(server, "celery") == []
        assert not server.keys("*livectl:moving*")
    assert kills > 10


def test_what_a_killed_move_left_on_its_way_is_said(project: Project, server: redis.Redis) -> None:
    project.send("add", 1)
    server.hset("livectl:moves", "livectl:moving:1", "celery slow --to-broker redis://new:6379/0")
    server.rpush("livectl:moving:1", "{}", "{}")
    notes = queues.measure(project.deployment).notes
    assert (
        "2 messages lie on the way: `livectl queues move celery slow --to-broker redis://new:6379/0` moves them on"
        in notes
    )


def test_all_queues_are_purged_with_one_question(project: Project, server: redis.Redis) -> None:
    project.send("add", 1)
    project.send("add", 2, queue="mail")
    server.sadd("_kombu.binding.mail", "mail\x06\x16\x06\x16mail")
    project.send("add", 7, countdown=HOUR_S)
    wait_in_store(project, server, 4e9)
    assert {"celery", "mail"} <= set(purge.list_queues(project.deployment))
    unsure = project.livectl("queues", "purge", "--all")
    assert (unsure.returncode, "Take 3 messages out of celery, mail, 1 of which wait" in unsure.stderr) == (2, True)
    ran = project.livectl("queues", "purge", "--all", "--yes", "--save", "saved.jsonl", "--json")
    assert {row["queue"]: row["total"] for row in json.loads(ran.stdout)} == {"celery": 2, "mail": 1}
    assert len((project.folder / "saved.jsonl").read_text().splitlines()) == 3
