"""The transport of Redis as any program can use it, and which transport the workers of an app have."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Any

from kombu import transport as kombu_transports
from kombu.transport import redis as kombu_redis

from livectl.ops.transport.guarded_channel import guarded_transport
from livectl.ops.transport.leases import LeaseKeeper, held_by_worker
from livectl.ops.transport.taking import TakingTransport

if TYPE_CHECKING:
    from livectl.ops.transport.delays import DelayKeeper
    from livectl.settings import Settings

log = logging.getLogger(__name__)

STOCK = (kombu_redis.Transport, kombu_redis.SentinelTransport)
REDIS_DRIVERS = ("redis", "valkey")  # as transports name the library that they speak by
TRANSPORTS = {
    "redis": "livectl.ops.transport:Transport",
    "rediss": "livectl.ops.transport:Transport",
    "sentinel": "livectl.ops.transport:SentinelTransport",
}


def _leave(queue: str, _raw: Any, reason: str) -> bool:
    """Of a program without dead letters: what it cannot read comes again after a while, to whoever takes it."""
    log.error("a message of the queue %s is left there: %s", queue, reason)
    return False


class LonelyTransport:
    """Mixed into a transport whose workers may be the only ones: they bring delayed jobs back that others left."""

    def make_keeper(self) -> LeaseKeeper:
        keeper: DelayKeeper | None = None

        def bring_back(client: Any, channel: Any) -> float:
            """Needs Celery, which a program that only sends does not."""
            nonlocal keeper
            if keeper is None:
                from livectl.ops.transport.delays import DelayKeeper

                keeper = DelayKeeper(only_returns=True)
            return keeper.bring_back(client, channel)

        return LeaseKeeper(held_by_worker, bring_back=bring_back)


class SentinelTransport(LonelyTransport, guarded_transport(kombu_redis.SentinelTransport, _leave)):  # type: ignore[misc]
    """kombu's transport of Redis behind Sentinel with leases."""


class Transport(LonelyTransport, guarded_transport(kombu_redis.Transport, _leave)):  # type: ignore[misc]
    """kombu's transport of Redis with leases, and of Sentinel where a `master_name` says so."""

    def __init__(self, client: Any, **options: Any) -> None:
        if "master_name" in client.transport_options:
            self.Channel, self.default_port = SentinelTransport.Channel, SentinelTransport.default_port
        super().__init__(client, **options)


def use_for_redis() -> None:
    """Makes it the transport of all connections to a Redis that this process makes from now on."""
    kombu_transports.TRANSPORT_ALIASES.update(TRANSPORTS)
    for name in TRANSPORTS:
        kombu_transports._transport_cache.pop(name, None)


def why_stock(app: Any, settings: Settings) -> str:
    """Why the workers of this app have Celery's own transport; empty where they have livectl's."""
    try:
        connection = app.connection_for_read()
        transport = connection.get_transport_cls()
    except ImportError as error:  # Celery says so itself as soon as it connects
        return f"the broker's transport is not installed: {error}"
    if issubclass(transport, TakingTransport):
        return ""
    is_kombus = issubclass(transport, kombu_redis.Transport)
    if not is_kombus and transport.driver_type not in REDIS_DRIVERS:
        return f"the broker is {transport.driver_type}, and no Redis"
    if not is_kombus or transport not in STOCK or transport.Channel.QoS is not kombu_redis.QoS:
        return f"the app has one of its own, {transport.__module__}.{transport.__qualname__}"
    if settings.transport == "stock":
        return "livectl.yaml says transport: stock"
    if not connection.transport_options.get("ack_emulation", True):
        return "the app switches acknowledgements off (ack_emulation)"
    return ""


def choose(app: Any, settings: Settings) -> str:
    """Sets the transport for what this process sends and takes. Returns why it is not livectl's, or nothing."""
    reason = why_stock(app, settings)
    if not reason:
        use_for_redis()
    return reason
