"""Makes kombu's virtual transports, such as Redis, outlive what they cannot read as a message."""

from __future__ import annotations

import bz2
import lzma
import time
import zlib
from functools import partial
from typing import TYPE_CHECKING, Any, TypeAlias

from kombu import compression
from kombu.transport import redis as kombu_redis
from kombu.transport import virtual

from livectl.ops.protocol import message_faults
from livectl.ops.transport.leases import LeasedQoS
from livectl.ops.transport.sending import SendingChannel
from livectl.ops.transport.taking import TakingChannel, TakingTransport, is_json
from livectl.redis_client import DISK_FULL

if TYPE_CHECKING:
    from collections.abc import Callable

    from livectl.ops.transport.leases import LeaseKeeper

    # Queue, what lay there, what is wrong with it. False if it could not be kept.
    SetAside: TypeAlias = Callable[[str, Any, str], bool | None]

READ_FAULTS = (ValueError, TypeError, LookupError, AttributeError, RecursionError, ArithmeticError)
REFUSED_PAUSE_S = 2.0  # Celery itself waits only for servers that take no connection


class UnreadableMessageError(Exception):
    """Raised while kombu makes a message of what lay in the queue."""


def guarded_transport(
    transport: Any,
    set_aside: SetAside,
    *,
    keeper: LeaseKeeper | None = None,
    is_stock: bool = False,
    is_patient: bool = False,
) -> Any:
    """The transport class, whose channels set aside what they cannot read. AMQP's stays as it is: it reads it all.

    What channels of Redis take has leases, unless they are to be as stock: this keeper renews them, or one of each
    connection. Patient ones wait where the disk of a Redis is full.
    """
    if not issubclass(transport, virtual.Transport):
        return transport
    channels: tuple[type, ...] = ()
    guards: tuple[type, ...] = (GuardedTransport,)
    members: dict[str, Any] = {"set_aside": staticmethod(set_aside)}
    channel_members: dict[str, Any] = {"Message": _guarded_message(transport.Channel.Message)}
    if issubclass(transport, kombu_redis.Transport):
        channels, guards = (GuardedRedisChannel,), (GuardedRedisTransport,)
        channel_members["is_patient"] = is_patient
        if not is_stock:
            channels, guards = (*channels, TakingChannel, SendingChannel), (*guards, TakingTransport)
            channel_members["QoS"] = LeasedQoS
            members["lasting_keeper"] = keeper
    channel_bases = [base for base in channels if not issubclass(transport.Channel, base)]
    bases = [base for base in guards if not issubclass(transport, base)]
    channel = type("GuardedChannel", (*channel_bases, transport.Channel), members | channel_members)
    return type("GuardedTransport", (*bases, transport), members | {"Channel": channel})


class GuardedTransport:
    """Mixed into a virtual transport, such as Redis."""

    set_aside: Any = None

    def _deliver(self, message: Any, queue: str) -> bool:
        """False for what can neither be delivered nor set aside."""
        try:
            super()._deliver(message, queue)  # type: ignore[misc]
        except UnreadableMessageError as error:
            return self.set_aside(queue, message, str(error)) is not False
        return True


class GuardedRedisTransport(GuardedTransport):
    """Mixed into the transport of Redis: it lets go of a lost connection without a word to the server.

    kombu's own reads and writes while it closes channel after channel. With a server that is away the first of them
    fails and the others stay as they were; closed a moment later, they look for an address that is gone by then, which
    ends the worker.
    """

    channels: Any
    cycle: Any
    _avail_channels: Any

    def _collect(self, connection: Any) -> None:
        for channels in (self._avail_channels, self.channels):
            while channels:
                channels.pop().abandon()
        self.cycle.close()


class GuardedRedisChannel:
    """Mixed into the channel of Redis."""

    set_aside: Any = None
    is_patient = False
    unread: tuple[str, bytes] | None = None  # a message that had come when it was abandoned, and its key

    def abandon(self) -> None:
        """Ends it where the server may be away. What it holds stays noted as held, and can be acknowledged later."""
        channel: Any = self
        self.unread = self._find_unread()
        channel._in_poll = channel._in_listen = None
        channel._closing = channel.closed = True
        if channel._qos is not None:
            channel._qos._on_collect.cancel()  # nothing is put back when the process ends
        if channel._pool is not None:
            channel._pool.disconnect(inuse_connections=False)
        if channel._async_pool is not None:
            channel._async_pool.disconnect()
        channel._close_clients()
        channel.connection.cycle.discard(channel)
        channel.connection = None  # which tells a sender that it is to try again on another

    def _find_unread(self) -> tuple[str, bytes] | None:
        """The message that BRPOP has answered with, and nobody has read: it is nowhere else."""
        channel: Any = self
        if getattr(channel, "takes", False):  # it is noted, then, and back when its lease has run out
            return None
        connection = channel._in_poll
        try:
            if connection and kombu_redis._socket_readable(connection._sock):
                reply = channel.client.parse_response(connection, "BRPOP")
                return reply and (reply[0].decode(), reply[1])
        except (*channel.connection_errors, *READ_FAULTS):  # the end of the connection was all there was to read
            pass
        return None

    def close(self) -> None:
        if not self.closed:  # type: ignore[attr-defined]
            super().close()  # type: ignore[misc]

    def _create_client(self, *args: Any, **options: Any) -> Any:
        client = super()._create_client(*args, **options)  # type: ignore[misc]
        parse, separator = client.parse_response, self.sep  # type: ignore[attr-defined]

        def parse_guarded(connection: Any, command: str, **parse_options: Any) -> Any:
            """The reply of BRPOP, or none where it is no JSON: the channel then asks again."""
            reply = parse(connection, command, **parse_options)
            if command != "BRPOP" or not reply or is_json(reply[1]):
                return reply
            queue = bytes(reply[0]).decode(errors="replace").rsplit(separator, 1)[0]
            self.set_aside(queue, reply[1], "the message is no valid JSON")
            return None

        client.parse_response = parse_guarded
        return client

    def _connparams(self, *args: Any, **options: Any) -> Any:
        params = super()._connparams(*args, **options)  # type: ignore[misc]
        if not self.is_patient:
            return params
        return params | {"connection_class": _patient_connection(params["connection_class"])}


def _patient_connection(base: Any) -> Any:
    """The connection class, to which a server that takes nothing for now, as on a full disk, is one that is away.

    Celery connects again and again to one that is away, and ends its worker over any other refusal.
    """
    from redis.exceptions import ConnectionError as AwayError
    from redis.exceptions import ResponseError

    class PatientConnection(base):  # type: ignore[misc]
        def read_response(self, *args: Any, **options: Any) -> Any:
            try:
                return super().read_response(*args, **options)
            except ResponseError as error:
                if not str(error).startswith(DISK_FULL):
                    raise
                self.disconnect()
                time.sleep(REFUSED_PAUSE_S)
                raise AwayError(f"the broker takes nothing: {error}") from error

    return PatientConnection


def _guarded_message(base: type) -> type:
    if getattr(base, "is_guarded", False):
        return base

    class GuardedMessage(base):  # type: ignore[misc]
        """A message that says what it lacks instead of raising KeyError within the loop of the worker."""

        is_guarded = True

        def __init__(self, payload: Any, channel: Any = None, **options: Any) -> None:
            if fault := message_faults.envelope_fault(payload):
                raise UnreadableMessageError(fault)
            try:
                super().__init__(payload, channel=channel, **options)
            except READ_FAULTS as error:
                raise UnreadableMessageError(f"the body cannot be decoded: {error}") from error

    return GuardedMessage


MAX_LZMA_MEMORY_BYTES = 100_000_000  # its strongest setting needs 65 MB
BROTLI_STEP_BYTES = 64  # of input: brotli has no limit to what it puts out at once


def bound_decompression(max_bytes: int) -> None:
    """Has kombu open no compressed body to more than this: one of a few kilobytes may become gigabytes."""
    for name in compression.encoders():
        encode, _ = compression.get_encoder(name)
        if opener := _bounded_openers().get(name):
            compression.register(encode, partial(_open_bounded, opener, max_bytes), name)


def _bounded_openers() -> dict[str, Callable[[bytes, int], tuple[bytes, bool]]]:
    """By kombu's name of it, what opens so many bytes at most, and tells whether that is all."""
    return {
        "application/x-gzip": lambda data, limit: _opened(zlib.decompressobj(), data, limit),
        "application/x-bz2": lambda data, limit: _opened(bz2.BZ2Decompressor(), data, limit),
        "application/x-lzma": lambda data, limit: _opened(
            lzma.LZMADecompressor(memlimit=MAX_LZMA_MEMORY_BYTES), data, limit
        ),
        "application/zstd": lambda data, limit: _opened(compression.zstd.ZstdDecompressor(), data, limit),
        "application/x-brotli": _open_brotli,
    }


def _opened(opener: Any, data: bytes, limit: int) -> tuple[bytes, bool]:
    return opener.decompress(data, limit), opener.eof


def _open_brotli(data: bytes, limit: int) -> tuple[bytes, bool]:
    opener, opened = compression.brotli.Decompressor(), bytearray()
    for start in range(0, len(data), BROTLI_STEP_BYTES):
        opened += opener.process(data[start : start + BROTLI_STEP_BYTES])
        if len(opened) >= limit:
            return bytes(opened), False
    return bytes(opened), opener.is_finished()


def _open_bounded(opener: Callable[[bytes, int], tuple[bytes, bool]], max_bytes: int, data: bytes) -> bytes:
    opened, is_whole = opener(data, max_bytes + 1)
    if len(opened) > max_bytes:
        message = f"the body has more than {max_bytes:,} bytes when it is opened"
        raise ValueError(message)
    if not is_whole:
        message = "the compressed body ends too early"
        raise ValueError(message)
    return opened
