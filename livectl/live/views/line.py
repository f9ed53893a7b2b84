"""A line to the store for a glance: what the store asks of a client, for reading, without importing redis-py.

That takes 150 ms to import; who is live is read and shown in less.
"""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from livectl import resp
from livectl.live.store import Store

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from livectl.address import Address
    from livectl.resp import RedisConnection


@contextmanager
def read_only_store(address: Address) -> Iterator[Store]:
    """The store at this address, to be read from. ServerError, in time, when it is away."""
    with resp.connect(address) as connection:
        client: Any = ReadOnlyRedis(connection)
        yield Store(client)


class ReadOnlyRedis:
    """The few questions that reading takes."""

    def __init__(self, connection: RedisConnection) -> None:
        self._connection = connection

    def register_script(self, text: str) -> Callable[..., Any]:
        def run(args: Sequence[str | float]) -> Any:
            return _decode(self._connection.execute("EVAL", text, 0, *args))

        return run

    def hmget(self, name: str, keys: Sequence[str]) -> Any:
        return _decode(self._connection.execute("HMGET", name, *keys))

    def pipeline(self, *, transaction: bool) -> ReadOnlyPipeline:
        return ReadOnlyPipeline(self._connection)


class ReadOnlyPipeline:
    """Questions that go in one journey."""

    def __init__(self, connection: RedisConnection) -> None:
        self._connection = connection
        self._commands: list[tuple[str, ...]] = []

    def hmget(self, name: str, keys: Sequence[str]) -> None:
        self._commands.append(("HMGET", name, *keys))

    def execute(self) -> Any:
        return _decode(self._connection.execute_all(self._commands))


def _decode(reply: Any) -> Any:
    if isinstance(reply, bytes):
        return reply.decode()
    return [_decode(item) for item in reply] if isinstance(reply, list) else reply
