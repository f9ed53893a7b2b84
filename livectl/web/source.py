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


class StoreReader:
    """One store and what belongs to it. `find` is asked again whenever the store was away: it may have moved."""

    def __init__(self, find_deployment: Callable[[], Deployment]) -> None:
        self._find_deployment = find_deployment
        self._lock = threading.Lock()
        self._connection: tuple[Deployment, Redis] | None = None

    def deployment_and_store(self) -> tuple[Deployment, Address]:
        """The app that is shown, and its store."""
        deployment, _ = self._connect()
        return deployment, _store_address(deployment)

    def read(self, query: Callable[[Redis], T]) -> T:
        """What `work` makes of the store. A connection that died meanwhile is made anew once."""
        from redis.exceptions import RedisError

        for last_try in (False, True):
            deployment, client = self._connect()
            try:
                return query(client)
            except (RedisError, OSError) as error:
                self._disconnect()
                if last_try:
                    raise ServerError(f"the store at {_store_address(deployment).masked} does not answer") from error
        raise AssertionError("unreachable")

    def _connect(self) -> tuple[Deployment, Redis]:
        with self._lock:
            if self._connection is None:
                deployment = self._find_deployment()
                self._connection = deployment, connect.open_store(_store_address(deployment))
            return self._connection

    def _disconnect(self) -> None:
        with self._lock:
            connection, self._connection = self._connection, None
        if connection:
            connection[1].close()


def _store_address(deployment: Deployment) -> Address:
    if deployment.store is None:
        raise ServerError("there is no store to read", "Set `store:` in livectl.yaml.")
    return deployment.store
