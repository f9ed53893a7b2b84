"""What commands tell of a broker on which celery-redis-plus keeps its messages, written here as it writes them."""

from __future__ import annotations

import json
import time
from base64 import b64encode
from typing import TYPE_CHECKING

import pytest
import redis
from celery import Celery

from livectl import redis_client
from livectl.address import Address
from livectl.doctor import collect_state
from livectl.ops import deployment as deployments
from livectl.ops.cluster import purge, queues
from livectl.ops.cluster.purge import PurgeFilter
from livectl.ops.protocol import search
from livectl.settings import Settings

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from livectl.ops.deployment import Deployment
    from livectl.redis_client import RedisConnection

PRIORITY_STEP = 10**13
HOUR_S = 3600


@pytest.fixture(params=["", "shop:"], ids=["plain", "prefixed"])
def prefix(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def deployment(store_url: str, prefix: str, tmp_path: Path) -> Deployment:
    broker = store_url.replace("unix://", "redis+socket://").replace("?db=", "?virtual_host=")
    app = Celery("shop", broker=broker, set_as_current=False)
    app.conf.update(broker_transport_options={"global_keyprefix": prefix}, worker_enable_remote_control=False)
    return deployments.from_app(app, Settings(home=tmp_path, folder=tmp_path))


@pytest.fixture
def connection(store_url: str) -> Iterator[RedisConnection]:
    with redis_client.connect(Address.parse(store_url), 10) as connected:
        yield connected


@pytest.fixture(autouse=True)
def messages(store_url: str, prefix: str) -> Iterator[redis.Redis]:
    """Three that are ready, one with a worker, one that waits for an hour; and the bindings of their queue."""
    with redis.Redis.from_url(store_url) as server:
        for number, priority in enumerate((0, 9, 5)):
            put(server, prefix, f"ready-{number}", priority=priority, is_ready=True)
        put(server, prefix, "held")
        put(server, prefix, "later", eta=time.time() + HOUR_S)
        server.zadd(f"{prefix}_kombu.binding.celery", {"celery\x06\x16\x06\x16celery": time.time() + HOUR_S})
        server.zadd(f"{prefix}_kombu.binding.mail", {"mail\x06\x16\x06\x16mail": time.time() + HOUR_S})
        yield server


def put(
    server: redis.Redis, prefix: str, name: str, *, priority: int = 0, is_ready: bool = False, eta: float = 0
) -> None:
    body = b64encode(b"[[], {}, {}]").decode()
    properties = {"delivery_tag": name, "delivery_info": {"exchange": "", "routing_key": "celery"}}
    headers = {"id": f"id-{name}", "task": "shop.add", "argsrepr": "()", "kwargsrepr": "{}"}
    payload = {"body": body, "headers": headers, "properties": properties, "content-type": "application/json"}
    fields = {"payload": json.dumps(payload), "routing_key": "celery", "priority": priority, "eta": eta}
    fields |= {"native_delayed": int(bool(eta)), "delivery_count": 0}
    server.hset(f"{prefix}message:{name}", mapping=fields)  # type: ignore[arg-type]
    server.zadd(f"{prefix}messages_index:celery", {name: eta or time.time() + HOUR_S})
    if is_ready:
        server.zadd(f"{prefix}queue:celery", {name: (255 - priority) * PRIORITY_STEP + time.time() * 1000})


def test_doctor_counts_what_lies_there(deployment: Deployment) -> None:
    assert collect_state.count_plus_messages(deployment) == {"celery": 5}


def test_queues_count_them(deployment: Deployment) -> None:
    found = {queue.name: queue for queue in queues.measure(deployment).queues}
    celery = found["celery"]
    assert (celery.ready, celery.unacked, celery.delayed, celery.eta) == (3, 1, 1, 1)
    assert found["mail"].ready == 0


@pytest.mark.parametrize(
    ("name", "position", "state"),
    [("ready-0", 3, ""), ("ready-1", 1, ""), ("held", None, "with a worker"), ("later", None, "waits for its time")],
)
def test_a_job_is_found_where_it_is(
    deployment: Deployment, connection: RedisConnection, name: str, position: int | None, state: str
) -> None:
    location = search.find(connection, deployment.layout, [f"id-{name}"], ["celery"]).locations[f"id-{name}"]
    assert (location.queue, location.position) == ("celery", position)
    assert (bool(location.tag), bool(location.delayed)) == (state == "with a worker", state == "waits for its time")


@pytest.mark.parametrize("name", ["ready-0", "held", "later"])
def test_a_job_that_is_revoked_is_taken_out(
    deployment: Deployment, connection: RedisConnection, messages: redis.Redis, prefix: str, name: str
) -> None:
    location = search.find(connection, deployment.layout, [f"id-{name}"], ["celery"]).locations[f"id-{name}"]
    assert search.remove(connection, deployment.layout, location)
    assert not search.remove(connection, deployment.layout, location)
    assert not messages.exists(f"{prefix}message:{name}")
    assert name.encode() not in messages.zrange(f"{prefix}messages_index:celery", 0, -1)
    assert messages.zcard(f"{prefix}queue:celery") == 3 - (name == "ready-0")


def test_a_purge_takes_out_and_saves_what_no_worker_holds(
    deployment: Deployment, messages: redis.Redis, prefix: str, tmp_path: Path
) -> None:
    purge_filter = PurgeFilter(queue="celery", task="shop.add")
    assert purge.plan(deployment, purge_filter).tasks == {"shop.add": 4}
    assert purge.purge(deployment, purge_filter, tmp_path / "purged").total == 4
    saved = [json.loads(line)["id"] for line in (tmp_path / "purged").read_text().splitlines()]
    assert sorted(saved) == ["id-later", "id-ready-0", "id-ready-1", "id-ready-2"]
    assert messages.zrange(f"{prefix}messages_index:celery", 0, -1) == [b"held"]
    assert not messages.exists(f"{prefix}queue:celery")
