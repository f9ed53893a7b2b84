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
    from livectl.resp import Wire


@contextmanager
def reading(address: Address) -> Iterator[Store]:
    """The store at this address, to be read from. ServerError, in time, when it is away."""
    with resp.dial(address) as wire:
        client: Any = Line(wire)
        yield Store(client)


class Line:
    """The few questions that reading takes."""

    def __init__(self, wire: Wire) -> None:
        self._wire = wire

    def register_script(self, text: str) -> Callable[..., Any]:
        def run(args: Sequence[str | float]) -> Any:
            return _decoded(self._wire.ask("EVAL", text, 0, *args))

        return run

    def hmget(self, name: str, keys: Sequence[str]) -> Any:
        return _decoded(self._wire.ask("HMGET", name, *keys))

    def pipeline(self, *, transaction: bool) -> Batch:
        return Batch(self._wire)


class Batch:
    """Questions that go in one journey."""

    def __init__(self, wire: Wire) -> None:
        self._wire = wire
        self._questions: list[tuple[str, ...]] = []

    def hmget(self, name: str, keys: Sequence[str]) -> None:
        self._questions.append(("HMGET", name, *keys))

    def execute(self) -> Any:
        return _decoded(self._wire.ask_all(self._questions))


def _decoded(answer: Any) -> Any:
    if isinstance(answer, bytes):
        return answer.decode()
    return [_decoded(one) for one in answer] if isinstance(answer, list) else answer
