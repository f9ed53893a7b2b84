"""The way to what is shown: opened on first need, and anew after it was lost."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING, TypeVar

from livectl import connect
from livectl.errors import ServerError

if TYPE_CHECKING:
    from collections.abc import Callable

    from redis import Redis

    from livectl.address import Address
    from livectl.ops.cluster.deployment import Deployment

T = TypeVar("T")


class Source:
    """One store and what belongs to it. `find` is asked again whenever the store was away: it may have moved."""

    def __init__(self, find: Callable[[], Deployment]) -> None:
        self._find = find
        self._lock = threading.Lock()
        self._found: tuple[Deployment, Redis] | None = None

    def place(self) -> tuple[Deployment, Address]:
        """The app that is shown, and its store."""
        deployment, _ = self._open()
        return deployment, _store(deployment)

    def read(self, work: Callable[[Redis], T]) -> T:
        """What `work` makes of the store. A connection that died meanwhile is made anew once."""
        from redis.exceptions import RedisError

        for last in (False, True):
            deployment, client = self._open()
            try:
                return work(client)
            except (RedisError, OSError) as error:
                self._lose()
                if last:
                    raise ServerError(f"the store at {_store(deployment).masked} does not answer") from error
        raise AssertionError("unreachable")

    def _open(self) -> tuple[Deployment, Redis]:
        with self._lock:
            if self._found is None:
                deployment = self._find()
                self._found = deployment, connect.open_store(_store(deployment))
            return self._found

    def _lose(self) -> None:
        with self._lock:
            lost, self._found = self._found, None
        if lost:
            lost[1].close()


def _store(deployment: Deployment) -> Address:
    if deployment.store is None:
        raise ServerError("there is no store to read", "Set `store:` in livectl.yaml.")
    return deployment.store
