"""The way to a server: whether it answers, and the one Redis connection that everything of a process shares."""

from __future__ import annotations

import socket
import time
from typing import TYPE_CHECKING

from livectl import resp
from livectl.address import Address
from livectl.errors import ServerError

if TYPE_CHECKING:
    from redis import Redis

REPLY_TIMEOUT_S = 5  # a healthy server answers in a millisecond; what takes longer is stuck, and is told
CONNECT_TIMEOUT_S = resp.SERVER_TIMEOUT_S
MIN_TIMEOUT_S = 0.1  # seconds; a timeout of nothing would mean something else
HEALTH_CHECK_INTERVAL_S = 30  # a connection idle for longer is tried before it is trusted
AMQP_HELLO = b"AMQP\x00\x00\x09\x01"
AMQP_METHOD_FRAME = b"\x01"  # the kind of frame that asks who comes: Connection.Start
RESP_VERSION = 2  # the answers have the same shapes with every redis-py and every server


def check_reachable(address: Address) -> None:
    """Nothing, when a server answers there. ServerError within 3 s otherwise: RabbitMQ's client would try for ever."""
    if address.is_redis:
        resp.connect(address).close()
        return
    hint = "Start RabbitMQ, or mend its address."
    try:
        frame_type = _read_amqp_greeting(address)
    except OSError as error:
        reason = error.strerror or "no answer in time"
        raise ServerError(f"no server answers at {address.masked}: {reason}", hint) from error
    if frame_type != AMQP_METHOD_FRAME:
        raise ServerError(f"what answers at {address.masked} is no RabbitMQ", hint)


def _read_amqp_greeting(address: Address) -> bytes:
    """The first byte that RabbitMQ answers to a greeting. Behind TLS it is enough that somebody listens."""
    until = time.monotonic() + CONNECT_TIMEOUT_S
    with socket.create_connection((address.host, address.port), CONNECT_TIMEOUT_S) as connection:
        if address.scheme == "amqps":
            return AMQP_METHOD_FRAME
        connection.settimeout(max(MIN_TIMEOUT_S, until - time.monotonic()))
        connection.sendall(AMQP_HELLO)
        return connection.recv(1)


def open_store(address: Address | str) -> Redis:
    """The store at this address. ServerError within 3 s when it cannot be reached, or lets us not in."""
    from redis import Redis
    from redis.backoff import NoBackoff
    from redis.retry import Retry

    parsed = Address.parse(address) if isinstance(address, str) else address
    url = parsed.redis_url
    resp.connect(parsed).close()
    return Redis.from_url(
        url,
        decode_responses=True,
        protocol=RESP_VERSION,
        socket_connect_timeout=CONNECT_TIMEOUT_S,
        socket_timeout=REPLY_TIMEOUT_S,
        health_check_interval=HEALTH_CHECK_INTERVAL_S,
        retry=Retry(NoBackoff(), 0),  # whoever asks knows whether asking twice is harmless
    )
