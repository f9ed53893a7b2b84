"""A job that is sent arrives once, whichever answer its sender did not get."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, Any

import pytest
import redis
from celery import Celery
from kombu import Connection, Exchange, Queue, pools
from kombu import transport as transports
from kombu.transport import redis as kombu_redis
from kombu.transport import virtual
from kombu.utils.json import loads

from livectl.ops.transport import safe_transport, sending
from livectl.settings import Settings
from tests.support.faulty_servers import NEVER, CuttingProxy, port_that

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

REPLIES = 8  # of a connection that is made, greeted and put a message on, and some


class CuttingOnce(CuttingProxy):
    def cut(self) -> None:
        self.left = NEVER
        super().cut()


@pytest.fixture
def server(store_url: str) -> Iterator[redis.Redis]:
    with redis.Redis.from_url(store_url) as client:
        yield client


@pytest.fixture
def app(valkey: Path) -> Iterator[Any]:
    """An app of anybody's with the one line in its settings, behind a proxy; and the proxy."""
    proxy = CuttingOnce(str(valkey))
    with port_that(proxy) as port:
        app = Celery("shop", broker=f"redis://127.0.0.1:{port}/0", set_as_current=False)
        app.conf.task_publish_retry_policy = {"max_retries": 3, "interval_start": 0, "interval_step": 0}
        yield app, proxy
        app.close()
        pools.reset()


def sent_jobs(server: redis.Redis, queue: str = "celery") -> list[Any]:
    return sorted(loads(item)["headers"]["task"] for item in server.lrange(queue, 0, -1))


def test_a_job_is_sent_once_whichever_reply_is_cut(app: tuple[Celery, CuttingOnce], server: redis.Redis) -> None:
    shop, proxy = app
    shop.conf.broker_transport = "livectl.ops.transport:Transport"
    names = [f"shop.{number}" for number in range(REPLIES)]
    for number, name in enumerate(names):
        with shop.connection_for_write() as connection:
            proxy.left = number + 1
            shop.send_task(name, connection=connection)
        proxy.left = NEVER  # there may be fewer replies
    assert sent_jobs(server) == names


@pytest.mark.parametrize(("transport", "times"), [("livectl.ops.transport:Transport", 1), ("redis", 2)])
def test_whoever_tries_again_after_a_lost_answer(
    app: tuple[Celery, CuttingOnce], server: redis.Redis, transport: str, times: int
) -> None:
    shop, proxy = app
    shop.conf.broker_transport = transport
    shop.send_task("shop.first")
    proxy.left = 1
    shop.send_task("shop.second")
    shop.send_task("shop.third")
    assert Counter(sent_jobs(server)) == {"shop.first": 1, "shop.second": times, "shop.third": 1}


def test_a_message_for_several_queues_is_in_each_of_them_once(
    app: tuple[Celery, CuttingOnce], server: redis.Redis
) -> None:
    shop, proxy = app
    news = Exchange("news", type="topic")
    queues = [Queue(name, news, routing_key="news.#") for name in ("inbox", "archive", "index")]
    for number in range(len(queues)):
        with Connection(shop.conf.broker_url, transport="livectl.ops.transport:Transport") as connection:
            producer = connection.Producer(exchange=news)
            for queue in queues:
                queue(connection.default_channel).declare()
            connection.default_channel.get_table("news")
            proxy.left = number + 2  # the first one says which queues there are
            producer.publish({}, routing_key="news.today", retry=True, retry_policy={"interval_start": 0})
    assert [server.llen(queue.name) for queue in queues] == [len(queues)] * len(queues)


def test_who_sends_leaves_few_notes_however_much_it_sends(store_url: str, server: redis.Redis) -> None:
    url = store_url.replace("unix://", "redis+socket://").replace("?db=", "?virtual_host=")
    with Connection(url) as connection:
        connection.transport_cls = safe_transport.Transport
        sending._idle_senders.clear()
        for number in range(50):
            connection.Producer().publish(number, routing_key="q")
    (note,) = server.scan_iter("unacked_sent:*")
    assert 0 < server.ttl(note) <= sending.NOTE_S
    assert server.llen("q") == 50


def test_who_may_run_no_scripts_sends_all_the_same(
    store_url: str, server: redis.Redis, caplog: pytest.LogCaptureFixture
) -> None:
    server.execute_command("ACL", "SETUSER", "default", "-@scripting")  # type: ignore[no-untyped-call]
    try:
        url = store_url.replace("unix://", "redis+socket://").replace("?db=", "?virtual_host=")
        with Connection(url) as connection:
            connection.transport_cls = safe_transport.Transport
            connection.Producer().publish({}, routing_key="q")
    finally:
        server.execute_command("ACL", "SETUSER", "default", "+@scripting")  # type: ignore[no-untyped-call]
    assert server.llen("q") == 1
    assert "may be sent twice" in caplog.text


class OwnTransport(kombu_redis.Transport):  # type: ignore[misc]
    pass


class PlusTransport(virtual.Transport):  # type: ignore[misc]
    """As that of celery-redis-plus, which has nothing of kombu's for Redis."""

    driver_type = "valkey"


@pytest.mark.parametrize(
    ("options", "transport", "why"),
    [
        ({"broker_url": "redis://"}, "livectl", ""),
        ({"broker_url": "rediss://h?ssl_cert_reqs=required"}, "livectl", ""),
        ({"broker_url": "redis+socket:///run/v.sock"}, "livectl", ""),
        ({"broker_url": "sentinel://h"}, "livectl", ""),
        ({"broker_url": "redis://"}, "stock", "livectl.yaml says transport: stock"),
        ({"broker_url": "amqp://"}, "livectl", "the broker is amqp, and no Redis"),
        ({"broker_url": "memory://"}, "livectl", "the broker is memory, and no Redis"),
        ({"broker_url": "redis://", "broker_transport": f"{__name__}:OwnTransport"}, "livectl", "one of its own"),
        ({"broker_url": "redis://", "broker_transport": f"{__name__}:PlusTransport"}, "livectl", "one of its own"),
        ({"broker_url": "redis://", "broker_transport_options": {"ack_emulation": False}}, "livectl", "ack_emulation"),
        ({"broker_url": "redis://", "broker_transport": "livectl.ops.transport:Transport"}, "stock", ""),
    ],
)
def test_why_an_app_keeps_the_transport_of_celery(
    tmp_path: Path, options: dict[str, Any], transport: Any, why: str
) -> None:
    app = Celery("shop", set_as_current=False)
    app.conf.update(options)
    settings = Settings(home=tmp_path, folder=tmp_path, transport=transport)
    assert why in safe_transport.why_stock(app, settings)
    assert bool(why) == bool(safe_transport.why_stock(app, settings))


def test_all_connections_to_a_redis_have_it_once_it_is_chosen(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(transports, "TRANSPORT_ALIASES", dict(transports.TRANSPORT_ALIASES))
    monkeypatch.setattr(transports, "_transport_cache", {})
    app = Celery("shop", broker="redis+socket:///run/v.sock", set_as_current=False)
    assert safe_transport.choose(app, Settings(home=tmp_path, folder=tmp_path)) == ""
    assert app.connection_for_write().get_transport_cls() is safe_transport.Transport
    assert app.connection_for_write().Pool(1).new().get_transport_cls() is safe_transport.Transport
