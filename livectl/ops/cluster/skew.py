"""How far the clocks of workers are from the broker's.

No answer of a worker's has a time in it. The heartbeat that it sends when asked to has, if it sends events at all: it
was made between our question and its arrival, so that the figure is right to within that time, some milliseconds.
"""

from __future__ import annotations

from contextlib import suppress
from typing import TYPE_CHECKING, Any

from livectl import resp
from livectl.errors import ServerError
from livectl.ops.cluster.pidbox import ControlCommand, ReplyQueue
from livectl.ops.jobs import message

if TYPE_CHECKING:
    from collections.abc import Collection

    from livectl.address import Address
    from livectl.ops.cluster.layout import KeyLayout
    from livectl.resp import RedisConnection

LISTEN_TIMEOUT_S = 0.5  # a heartbeat that was asked for comes within milliseconds
EVENT_EXCHANGE = "celeryev"  # Celery's exchange of events, with the routing key of heartbeats
HEARTBEAT_ROUTING_KEY = "worker.heartbeat"
SKEW_DECIMALS = 2  # of seconds; journeys of messages are finer than that, and so are not told


def measure_skews(
    connection: RedisConnection, broker: Address, layout: KeyLayout, names: Collection[str]
) -> dict[str, float]:
    """Seconds that a worker's clock is ahead of the broker's, by its name. Who sends no heartbeats is left out."""
    channel = f"{layout.prefix}{layout.fanout.format(db=broker.database)}{EVENT_EXCHANGE}"
    with suppress(ServerError), resp.connect(broker, LISTEN_TIMEOUT_S) as subscriber:
        subscriber.execute_all([("SUBSCRIBE", f"{channel}/{HEARTBEAT_ROUTING_KEY}"), ("SUBSCRIBE", channel)])
        asked_at = _broker_time(connection)
        reply_queue = ReplyQueue(layout, broker.database)
        connection.execute(
            "PUBLISH",
            reply_queue.channel,
            reply_queue.encode(ControlCommand(method="heartbeat", destination=tuple(names))),
        )
        return _collect_skews(subscriber, connection, set(names), asked_at)
    return {}


def _collect_skews(
    subscriber: RedisConnection, connection: RedisConnection, names: set[str], asked_at: float
) -> dict[str, float]:
    skews: dict[str, float] = {}
    with suppress(ServerError):  # its time is over
        while names - skews.keys():
            event = _parse_heartbeat(subscriber.read_push())
            if event.get("hostname") in names and isinstance(event.get("timestamp"), int | float):
                skews.setdefault(
                    event["hostname"], _skew_seconds(event["timestamp"], asked_at, _broker_time(connection))
                )
    return skews


def _skew_seconds(sent_at: float, asked_at: float, received_at: float) -> float:
    """Nothing, when it may have been made in between."""
    return round(sent_at - min(max(sent_at, asked_at), received_at), SKEW_DECIMALS)


def _parse_heartbeat(push: Any) -> dict[str, Any]:
    """An event, or a list of them, as they are published. Nothing, for what is none."""
    raw = push[-1] if isinstance(push, list) and push else b""
    event = message.decode_body(message.decode(raw)) if isinstance(raw, bytes) else None
    return event if isinstance(event, dict) else {}


def _broker_time(connection: RedisConnection) -> float:
    seconds, microseconds = connection.execute("TIME")
    return int(seconds) + int(microseconds) / 1_000_000
