"""Connections to a Redis: made within three seconds, or one sentence that says why not."""

from __future__ import annotations

import os
import socket
import threading
from typing import TYPE_CHECKING

import pytest

from livectl.address import Address
from livectl.errors import ServerError, SettingsError
from livectl.redis_client import open_store
from tests.support.waiting import in_time

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

TIMEOUT_S = 0.3


@pytest.fixture
def listener() -> Iterator[socket.socket]:
    """A port that is open and never answers."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield server


@pytest.fixture
def web_server(listener: socket.socket) -> Iterator[int]:
    """A server that speaks HTTP."""

    def answer() -> None:
        with listener.accept()[0] as caller:
            caller.recv(1000)
            caller.sendall(b"HTTP/1.1 400 Bad Request\r\n\r\n")

    thread = threading.Thread(target=answer)
    thread.start()
    yield listener.getsockname()[1]
    thread.join()


def open_error(address: Address | str) -> ServerError:
    with in_time(), pytest.raises(ServerError) as refused:
        open_store(address, TIMEOUT_S)
    assert "hush" not in refused.value.message + refused.value.hint
    assert "\n" not in refused.value.message
    assert refused.value.hint
    return refused.value


def test_a_store_is_opened_by_address_or_text(store_url: str) -> None:
    for address in (store_url, Address.parse(store_url)):
        with open_store(address) as store:
            store.set("livectl:test", "é")
            assert store.get("livectl:test") == "é"


def test_the_database_is_the_one_named(store_url: str) -> None:
    with open_store(store_url.replace("db=0", "db=5")) as other, open_store(store_url) as store:
        other.set("livectl:test", "5")
        assert store.get("livectl:test") is None
        other.flushdb()


def test_answers_have_the_same_shape_with_every_server(store_url: str) -> None:
    with open_store(store_url) as store:
        store.zadd("livectl:test", {"a": 1})
        assert store.zrange("livectl:test", 0, -1, withscores=True) == [("a", 1.0)]


def test_a_store_that_dies_is_not_asked_twice(store_url: str) -> None:
    with open_store(store_url) as store:
        assert store.connection_pool.connection_kwargs["retry"].get_retries() == 0


def test_nothing_listens(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as gone:
        port = gone.getsockname()[1]
    error = open_error(f"redis://:hush@127.0.0.1:{port}/1")
    assert error.message == f"no server answers at redis://:***@127.0.0.1:{port}/1: Connection refused"
    assert "No such file" in open_error(f"unix://:hush@{tmp_path}/none.sock").message


def test_nobody_answers(listener: socket.socket) -> None:
    assert "no answer in time" in open_error(f"redis://:hush@127.0.0.1:{listener.getsockname()[1]}").message


def test_somebody_else_answers(web_server: int) -> None:
    assert "is no Redis" in open_error(f"127.0.0.1:{web_server}").message


def test_a_host_that_is_none() -> None:
    assert "redis://no-such-host.invalid:6379/0" in open_error("no-such-host.invalid").message


def test_a_password_that_is_wrong(valkey: Path) -> None:
    address = Address(scheme="unix", path=str(valkey), user="nobody", password="hush")
    assert f"unix://nobody:***@{valkey}?db=0" in open_error(address).message


def test_a_database_that_is_none(valkey: Path) -> None:
    assert "does not let us in" in open_error(Address(scheme="unix", path=str(valkey), database=9999)).message


@pytest.mark.skipif(os.geteuid() == 0, reason="root may open every socket")
def test_a_socket_of_somebody_else(tmp_path: Path) -> None:
    path = tmp_path / "v.sock"
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(str(path))
        path.chmod(0)
        assert "Permission denied" in open_error(f"unix://{path}").message


def test_rabbitmq_is_no_store() -> None:
    with pytest.raises(SettingsError, match="is no Redis"):
        open_store("amqp://user:hush@host")
