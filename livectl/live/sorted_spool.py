"""Sorts streamers of whom there may be too many for memory: in parts, which lie in a file without a name meanwhile."""

from __future__ import annotations

import heapq
import tempfile
from contextlib import ExitStack
from itertools import islice
from typing import IO, TYPE_CHECKING, Any

import msgspec

from livectl.live.list_spool import MAX_HELD, no_room
from livectl.models import StreamerRecord

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

BLOCK = 500  # records that are read together of each part

_decoder = msgspec.msgpack.Decoder(list[StreamerRecord])


def in_order(records: Iterable[StreamerRecord], key: Callable[[StreamerRecord], Any]) -> Iterator[StreamerRecord]:
    """All of them in this order, once the last one is there. NoRoomError where temporary files have no room."""
    left = iter(records)
    part = sorted(islice(left, MAX_HELD), key=key)
    if len(part) < MAX_HELD:
        yield from part
        return
    parts: list[list[tuple[int, int]]] = []
    with ExitStack() as stack:
        file: IO[bytes] = stack.enter_context(tempfile.TemporaryFile(prefix="livectl-"))
        while part:
            try:
                parts.append(_write(file, part))
            except OSError as error:
                raise no_room(error) from error
            part = sorted(islice(left, MAX_HELD), key=key)
        yield from heapq.merge(*(_read(file, blocks) for blocks in parts), key=key)


def _write(file: IO[bytes], part: list[StreamerRecord]) -> list[tuple[int, int]]:
    """Where each block of this part begins, and how long it is."""
    blocks = []
    for start in range(0, len(part), BLOCK):
        block = msgspec.msgpack.encode(part[start : start + BLOCK])
        blocks.append((file.seek(0, 2), file.write(block)))
    file.flush()
    return blocks


def _read(file: IO[bytes], blocks: list[tuple[int, int]]) -> Iterator[StreamerRecord]:
    for at, length in blocks:
        file.seek(at)
        yield from _decoder.decode(file.read(length))
