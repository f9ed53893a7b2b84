"""Restarts a consumer of Redis that takes nothing although its queue holds something: its connection, then itself."""

from __future__ import annotations

import os
import socket
import time
from contextlib import suppress
from typing import TYPE_CHECKING, Any

from celery.bootsteps import RUN
from celery.utils.log import get_logger
from celery.worker import state

from livectl.errors import ServerError
from livectl.ops.transport.leases import LeasedQoS

if TYPE_CHECKING:
    from collections.abc import Callable

    from redis import Redis

logger = get_logger(__name__)

DEAF_S = 30.0  # that a consumer may take nothing, before its connection is restarted; after as long again, it is
EXIT_CODE = ServerError.code  # of a worker that ends itself


class DeafnessWatch:
    """Looks at a consumer from a thread of its own, since the consumer may hang."""

    def __init__(
        self, consumer: Any, clock: Callable[[], float] = time.monotonic, leave: Callable[[int], object] = os._exit
    ) -> None:
        self._consumer = consumer
        self._clock = clock
        self._leave = leave
        self._deaf_since: float | None = None
        self._cures = 0  # that were tried since then

    def look(self, client: Redis) -> None:
        """Does what is next for a consumer that is deaf for long enough."""
        now = self._clock()
        if self._cures == len(CURES):
            return
        is_stopping = self._cures == len(CURES) - 1
        if not is_stopping:
            if not self._is_consuming():  # between two connections nobody can tell
                return
            if not self._is_deaf(client):
                self._deaf_since, self._cures = None, 0
                return
        if self._deaf_since is None or LeasedQoS.taken_at > self._deaf_since:
            self._deaf_since, self._cures = now, 0
        if now - self._deaf_since >= DEAF_S * (self._cures + 1):
            CURES[self._cures](self)
            self._cures += 1

    def _is_consuming(self) -> bool:
        consumer = self._consumer
        is_running = consumer.blueprint.state == RUN and state.should_stop is None
        return is_running and consumer.task_consumer is not None and not consumer.task_consumer.channel.closed

    def _is_deaf(self, client: Redis) -> bool:
        channel = self._consumer.task_consumer.channel
        return not _is_busy(self._consumer, channel) and _has_messages(channel, client)

    def _reconnect(self) -> None:
        logger.warning("took nothing for %.0f s although the queue holds messages: connecting anew", DEAF_S)
        if self._consumer.hub is not None:
            self._consumer.hub.call_soon(_lose_connection)
            return
        for channel in self._consumer.task_consumer.channel.connection.channels:
            _cut(channel)

    def _stop(self) -> None:
        logger.critical("still takes nothing: this worker stops, for whatever started it to start it again")
        state.should_stop = EXIT_CODE

    def _end(self) -> None:
        logger.critical("it does not stop: ended. Other workers take over what it held")
        self._leave(EXIT_CODE)


CURES: tuple[Callable[[DeafnessWatch], None], ...] = (
    DeafnessWatch._reconnect,
    DeafnessWatch._stop,
    DeafnessWatch._end,
)


def _is_busy(consumer: Any, channel: Any) -> bool:
    """Whether it may take nothing because it has enough, or because a job runs where messages are taken."""
    pool = consumer.pool
    runs_here = getattr(pool, "is_green", False) or type(pool).__module__.endswith(".solo")
    if runs_here and state.active_requests:
        return True
    return not channel.qos.can_consume()


def _has_messages(channel: Any, client: Redis) -> bool:
    pipe = client.pipeline(transaction=False)
    for queue in list(channel.active_queues):
        for priority in channel.priority_steps:
            pipe.llen(channel.global_keyprefix + channel._q_for_pri(queue, priority))
    return any(pipe.execute())


def _cut(channel: Any) -> None:
    """Cuts its connections: whoever waits for them learns that they are lost."""
    for name in ("client", "subclient"):
        with suppress(OSError, AttributeError, KeyError):
            channel.__dict__[name].connection._sock.shutdown(socket.SHUT_RDWR)


def _lose_connection() -> None:
    raise ConnectionResetError("took nothing for too long")
