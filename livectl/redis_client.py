"""Connects to a Redis: with redis-py for the store, and with a small client of our own for short questions.

redis-py takes 150 ms to import, since it brings asyncio; a probe or a status is answered in less than that.
"""

from __future__ import annotations

import socket
import time
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from livectl.address import Address
from livectl.errors import ServerError

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from types import TracebackType

    from redis import Redis


RedisArgument = str | bytes | int | float

ANSWER_WITHIN_S = 3.0  # a person has an answer, or the reason why not, before they look for Ctrl-C
STARTUP_S = 0.5  # of these for Python, the settings and, with -A, Celery; 0.2 to 0.4 are usual
SERVER_TIMEOUT_S = ANSWER_WITHIN_S - STARTUP_S  # what is left for servers
MIN_TIMEOUT_S = 0.1  # a timeout of 0 would mean something else

# Of the store's client. A healthy server replies within a millisecond; one that takes seconds is stuck.
REPLY_TIMEOUT_S = 5
HEALTH_CHECK_INTERVAL_S = 30  # a connection that was idle for longer is tried before it is trusted
RESP_VERSION = 2  # replies have the same shapes with every redis-py and every server

AMQP_HELLO = b"AMQP\x00\x00\x09\x01"
AMQP_METHOD_FRAME = b"\x01"  # RabbitMQ's first frame, Connection.Start, is of this kind


class RedisReplyError(ServerError):
    """A command that the server refuses, in the server's own words."""

    def __init__(self, message: str) -> None:
        super().__init__(message, "Look at what this user may do there, and at what else uses that database.")


def open_store(address: Address | str, timeout_s: float = SERVER_TIMEOUT_S) -> Redis:
    """A redis-py client of this store. Raises ServerError within 3 s when the store cannot be reached or refuses us."""
    from redis import Redis
    from redis.backoff import NoBackoff
    from redis.retry import Retry

    parsed = Address.parse(address) if isinstance(address, str) else address
    url = parsed.redis_url
    connect(parsed, timeout_s).close()
    return Redis.from_url(
        url,
        decode_responses=True,
        protocol=RESP_VERSION,
        socket_connect_timeout=SERVER_TIMEOUT_S,
        socket_timeout=REPLY_TIMEOUT_S,
        health_check_interval=HEALTH_CHECK_INTERVAL_S,
        retry=Retry(NoBackoff(), 0),  # the caller knows whether it is harmless to send a command twice
    )


def check_reachable(address: Address, timeout_s: float = SERVER_TIMEOUT_S) -> None:
    """Raises ServerError within 3 s when no server answers there. RabbitMQ's own client would try for ever."""
    if address.is_redis:
        connect(address, timeout_s).close()
        return
    hint = "Start RabbitMQ, or mend its address."
    try:
        frame_type = _read_amqp_greeting(address, timeout_s)
    except OSError as error:
        reason = error.strerror or "no answer in time"
        raise ServerError(f"no server answers at {address.masked}: {reason}", hint) from error
    if frame_type != AMQP_METHOD_FRAME:
        raise ServerError(f"what answers at {address.masked} is no RabbitMQ", hint)


def _read_amqp_greeting(address: Address, timeout_s: float) -> bytes:
    """The first byte of RabbitMQ's reply to our greeting. With TLS it is enough that the port is open."""
    deadline = time.monotonic() + timeout_s
    with socket.create_connection((address.host, address.port), timeout_s) as connection:
        if address.scheme == "amqps":
            return AMQP_METHOD_FRAME
        connection.settimeout(max(MIN_TIMEOUT_S, deadline - time.monotonic()))
        connection.sendall(AMQP_HELLO)
        return connection.recv(1)


def connect(address: Address, timeout: float = SERVER_TIMEOUT_S) -> RedisConnection:
    """A connection that has logged in and may be used for `timeout` seconds. Raises ServerError if there is none."""
    started, connect_timeout = time.monotonic(), min(timeout, SERVER_TIMEOUT_S)
    try:
        sock = _open_socket(address, connect_timeout)
    except OSError as error:
        raise ServerError(
            f"no server answers at {address.masked}: {_reason(error)}",
            "Start it, or mend its address; `livectl up` brings one along.",
        ) from error
    connection = RedisConnection(sock, address.masked, started + connect_timeout)
    try:
        _log_in(connection, address)
    except RedisReplyError as error:
        connection.close()
        raise ServerError(f"{address.masked} does not let us in: {error}", _login_hint(str(error))) from error
    except ServerError:
        connection.close()
        raise
    connection.deadline = started + timeout
    return connection


def _open_socket(address: Address, timeout: float) -> socket.socket:
    if address.path:
        sock = socket.socket(socket.AF_UNIX)
        sock.settimeout(timeout)
        try:
            sock.connect(address.path)
        except OSError:
            sock.close()
            raise
        return sock
    sock = socket.create_connection((address.host, address.port), timeout)
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return _wrap_tls(sock, address) if address.scheme == "rediss" else sock


def _wrap_tls(sock: socket.socket, address: Address) -> socket.socket:
    """TLS by the options of the address that redis-py reads too."""
    import ssl

    options = dict(address.options)
    context = ssl.create_default_context(cafile=options.get("ssl_ca_certs"))
    if options.get("ssl_cert_reqs") == "none" or options.get("ssl_check_hostname", "").lower() == "false":
        context.check_hostname = False
    if options.get("ssl_cert_reqs") == "none":
        context.verify_mode = ssl.CERT_NONE
    if certificate := options.get("ssl_certfile"):
        context.load_cert_chain(certificate, options.get("ssl_keyfile"))
    return context.wrap_socket(sock, server_hostname=address.host)


def _log_in(connection: RedisConnection, address: Address) -> None:
    if address.password:
        connection.execute("AUTH", *([address.user] if address.user else []), address.password)
    if address.database:
        connection.execute("SELECT", address.database)
    connection.execute("PING")


def _login_hint(refusal: str) -> str:
    if refusal.startswith("LOADING"):
        return "It still reads its data: ask again in a moment."
    return "Mend user, password or database number in its address."


class RedisConnection:
    """A connection to one Redis, with a deadline for everything that is asked on it."""

    def __init__(self, sock: socket.socket, masked: str, deadline: float) -> None:
        self._socket = sock
        self._reader = sock.makefile("rb")
        self._masked = masked
        self.deadline = deadline

    def execute(self, *arguments: RedisArgument) -> Any:
        """The reply to one command: bytes, numbers and lists. Raises RedisReplyError when the server refuses it."""
        (reply,) = self.execute_all([arguments])
        if isinstance(reply, RedisReplyError):
            raise reply
        return reply

    def execute_all(self, commands: Sequence[Sequence[RedisArgument]]) -> list[Any]:
        """The replies to many commands, in one round trip; a refused command has a RedisReplyError as its reply."""
        with self._within_deadline():
            self._socket.sendall(b"".join(_encode_command(arguments) for arguments in commands))
            return [self._read_reply() for _ in commands]

    def read_push(self) -> Any:
        """The next message of a channel that was subscribed to."""
        with self._within_deadline():
            return self._read_reply()

    @contextmanager
    def _within_deadline(self) -> Iterator[None]:
        try:
            self._socket.settimeout(self._seconds_left())
            yield
        except (OSError, ValueError) as error:
            raise ServerError(
                f"{self._masked} stopped answering: {_reason(error)}", "Look whether that server still runs."
            ) from error

    def _seconds_left(self) -> float:
        left = self.deadline - time.monotonic()
        if left <= 0:
            raise TimeoutError
        return left

    def _read_reply(self) -> Any:
        line = self._reader.readline()
        if not line.endswith(b"\r\n"):
            raise ConnectionResetError
        kind, rest = line[:1], line[1:-2]
        if kind == b"$":
            return None if rest == b"-1" else self._read_exactly(int(rest))
        if kind == b"*":
            return None if rest == b"-1" else [self._read_reply() for _ in range(int(rest))]
        if kind == b":":
            return int(rest)
        if kind == b"-":
            return RedisReplyError(rest.decode(errors="replace"))
        if kind == b"+":
            return rest.decode()
        raise ValueError("that is no Redis")

    def _read_exactly(self, size: int) -> bytes:
        body = self._reader.read(size + 2)
        if len(body) < size + 2:
            raise ConnectionResetError
        return body[:-2]

    def close(self) -> None:
        self._reader.close()
        self._socket.close()

    def __enter__(self) -> RedisConnection:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def _encode_command(arguments: Sequence[RedisArgument]) -> bytes:
    encoded = [argument if isinstance(argument, bytes) else str(argument).encode() for argument in arguments]
    return b"*%d\r\n" % len(encoded) + b"".join(b"$%d\r\n%b\r\n" % (len(argument), argument) for argument in encoded)


def _reason(error: Exception) -> str:
    if isinstance(error, TimeoutError):
        return "no answer in time"
    return getattr(error, "strerror", None) or str(error) or "connection closed"
