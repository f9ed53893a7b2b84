"""Finished bodies, kept by what they show, each with the mark by which a visitor asks whether it changed."""

from __future__ import annotations

import hashlib
import threading
from collections import OrderedDict
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Callable, Hashable

MOST = 128  # languages times filters in use


class Body(NamedTuple):
    """What is sent, and its mark."""

    data: bytes
    etag: str


class Bodies:
    """Visitors who want the same one wait for one that is made."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._kept: OrderedDict[Hashable, Body] = OrderedDict()

    def get(self, key: Hashable, make: Callable[[], Body]) -> Body:
        found = self._kept.get(key)
        if found is not None:
            return found
        with self._lock:
            if key not in self._kept:
                self._kept[key] = make()
                if len(self._kept) > MOST:
                    self._kept.popitem(last=False)
            return self._kept[key]


def body(data: bytes) -> Body:
    return Body(data, hashlib.blake2b(data, digest_size=12).hexdigest())
