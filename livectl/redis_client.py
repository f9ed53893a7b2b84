"""Connects to a Redis: with redis-py for the store, and with a small client of our own for short questions.

redis-py takes 150 ms to import, since it brings asyncio; a probe or a status is answered in less than that.
"""

from __future__ import annotations

import io
import socket
import time
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import msgspec

from livectl import tls
from livectl.address import Address
from livectl.errors import LivectlError, ServerAwayError, ServerError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from types import TracebackType

    from redis import Redis


RedisArgument = str | bytes | int | float

ANSWER_WITHIN_S = 3.0  # a person has an answer, or the reason why not, before they look for Ctrl-C
STARTUP_S = 1.0  # of these for Python, the settings and, with -A, Celery; 0.2 to 0.6 are usual, more on a busy machine
SERVER_TIMEOUT_S = ANSWER_WITHIN_S - STARTUP_S  # what is left for servers
MIN_TIMEOUT_S = 0.1  # a timeout of 0 would mean something else

# Of the store's client. A healthy server replies within a millisecond; one that takes seconds is stuck.
REPLY_TIMEOUT_S = 5
SCRIPT_TIMEOUT_S = 30.0  # for the slowest script: a purge searches a list of millions from its end
HEALTH_CHECK_INTERVAL_S = 30  # a connection that was idle for longer is tried before it is trusted
RESP_VERSION = 2  # replies have the same shapes with every redis-py and every server

# A write that changes nothing: no such key is there. A replica, a full server and one whose disk is full refuse it.
TRIAL_WRITE = ("SET", "livectl:probe", "1", "XX")
PING = ("PING",)
TRIAL_WRITE_TOLERATED = ("NOPERM", "ERR unknown command")  # what this user does with it, its own commands will show
# For the time being; the embedded broker says the latter then. The former is the answer to a PING, too, once something
# that the server writes by itself, such as an expiry, has found no room.
DISK_FULL = ("MISCONF", "NOREPLICAS")

# Nothing that a Redis sends is larger; what claims to be would take all memory.
MAX_LINE_BYTES = 65_536
MAX_BULK_BYTES = 512 * 1024 * 1024
MAX_ITEMS = 50_000_000
MAX_DEPTH = 16
MAX_WORDS_CHARS = 200  # of a refusal: some servers explain themselves at length

# How a server begins its refusal -> what that means, and the next step.
REFUSALS: tuple[tuple[tuple[str, ...], str, str], ...] = (
    (("LOADING",), "is still loading", "It reads its data: ask again in a moment."),
    (("READONLY",), "takes nothing", "That is a replica: name its primary instead."),
    (("OOM",), "is full", "Raise its maxmemory, or make room: `livectl queues purge`, `livectl dead drop`."),
    (("MISCONF",), "takes nothing", "It cannot write to its disk: look at its log, and at the room there."),
    (
        ("NOREPLICAS",),
        "takes nothing",
        "The embedded broker says so when its disk is full: make room. Any other: look at its replicas.",
    ),
    (("MASTERDOWN",), "takes nothing", "Look at the replicas of that server."),
    (("CLUSTERDOWN", "MOVED", "ASK ", "CROSSSLOT"), "is a node of a cluster", "Name a server of its own instead."),
    (("DENIED",), "does not let us in", "It is in protected mode: give it a password, and write it in its address."),
    (("ERR max number of clients",), "takes no more connections", "Raise its maxclients, or end what holds them."),
    (
        ("ERR DB index", "ERR invalid DB index", "ERR SELECT"),
        "does not let us in",
        "Mend the database number in its address; most servers have 0 to 15.",
    ),
    (
        ("WRONGPASS", "NOAUTH", "ERR AUTH", "ERR invalid password", "ERR Client sent AUTH"),
        "does not let us in",
        "Mend user and password in its address.",
    ),
    (("NOPERM",), "refuses", "Give this user the right to it, with ACL SETUSER on that server."),
)

# What reading something odd raises.
DATA_ERRORS = (ArithmeticError, AttributeError, LookupError, TypeError, ValueError, msgspec.MsgspecError)


class RedisReplyError(ServerError):
    """A command that the server refuses; `words` are the server's own."""

    def __init__(self, words: str, server: str = "the server") -> None:
        self.words = " ".join(words.split())[:MAX_WORDS_CHARS]
        self.passes = self.words.startswith("LOADING")
        known = (row for row in REFUSALS if self.words.startswith(row[0]))
        _, meaning, hint = next(
            known, ((), "refuses", "Look at what this user may do there, and at what else uses that database.")
        )
        super().__init__(f"{server} {meaning}: {self.words}", hint)


def open_store(
    address: Address | str,
    timeout_s: float = SERVER_TIMEOUT_S,
    *,
    trial_write: bool = True,
    reply_timeout_s: float = REPLY_TIMEOUT_S,
) -> Redis:
    """A redis-py client of this store. Raises ServerError within 3 s when the store cannot be reached or refuses us."""
    parsed = Address.parse(address) if isinstance(address, str) else address
    client = store_client(parsed, reply_timeout_s)
    connect(parsed, timeout_s, trial_write=trial_write).close()
    return client


def store_client(address: Address, reply_timeout_s: float = REPLY_TIMEOUT_S, *, decodes: bool = True) -> Redis:
    """A redis-py client that connects with its first command, for those who can wait until the store is there."""
    from redis import Redis
    from redis.backoff import NoBackoff
    from redis.retry import Retry

    return Redis.from_url(
        address.redis_url,
        decode_responses=decodes,
        protocol=RESP_VERSION,
        socket_connect_timeout=SERVER_TIMEOUT_S,
        socket_timeout=reply_timeout_s,
        health_check_interval=HEALTH_CHECK_INTERVAL_S,
        retry=Retry(NoBackoff(), 0),  # the caller knows whether it is harmless to send a command twice
    )


@contextmanager
def using_store(address: Address, timeout_s: float = SERVER_TIMEOUT_S) -> Iterator[Redis]:
    """A redis-py client of this store for one command. Whatever goes wrong with the store is a ServerError."""
    with open_store(address, timeout_s, reply_timeout_s=timeout_s) as client, explained(address):
        yield client


@contextmanager
def explained(address: Address) -> Iterator[None]:
    """Makes a ServerError of whatever goes wrong with this server in the block."""
    try:
        yield
    except Exception as error:
        if server_error := explain_error(error, address.masked):
            raise server_error from error
        raise


def explain_error(error: BaseException, masked: str) -> ServerError | None:
    """What an error means that came while a server was asked; None for one that is no matter of the server's.

    Data that is not what livectl keeps there comes from another server, another program or another livectl.
    """
    if isinstance(error, LivectlError):
        return None
    if isinstance(error, DATA_ERRORS):
        return ServerError(
            f"what {masked} answers or keeps cannot be read ({type(error).__name__})",
            "Look at what else uses that database; -v shows where.",
        )
    if type(error).__module__.partition(".")[0] != "redis":
        return None
    words = " ".join(str(error).split())
    if words.split(" ")[0].isupper():
        return RedisReplyError(words, masked)
    return ServerError(f"{masked} stopped answering: {words}", "Look whether that server still runs.")


def connect(
    address: Address, timeout: float = SERVER_TIMEOUT_S, *, trial_write: bool = True, reads_suffice: bool = True
) -> RedisConnection:
    """A connection that has logged in and may be used for `timeout` seconds. Raises ServerError if there is none.

    A server that takes nothing (a replica, a full one) counts as none; not without the trial write, for what only reads
    or makes room. One whose disk is full can be read all the same: it counts as none only where reads do not suffice.
    """
    started, connect_timeout = time.monotonic(), min(timeout, SERVER_TIMEOUT_S)
    try:
        sock = _open_socket(address, connect_timeout)
    except (OSError, ValueError) as error:  # ValueError: a host name that cannot be one
        raise ServerAwayError(
            f"no server answers at {address.masked}: {_reason(error)}",
            "Start it, or mend its address; `livectl up` brings one along.",
        ) from error
    try:
        if address.scheme == "rediss":
            sock = tls.wrap_socket(sock, address)
        connection = RedisConnection(sock, address.masked, started + connect_timeout)
        tolerated = TRIAL_WRITE_TOLERATED + (DISK_FULL if reads_suffice else ())
        _log_in(connection, address, trial_write=trial_write, tolerated=tolerated)
    except BaseException:
        sock.close()
        raise
    connection.deadline = started + timeout
    return connection


def _open_socket(address: Address, timeout: float) -> socket.socket:
    if not address.path:
        sock = socket.create_connection((address.host, address.port), timeout)
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        return sock
    sock = socket.socket(socket.AF_UNIX)
    sock.settimeout(timeout)
    try:
        sock.connect(address.path)
    except (OSError, ValueError):
        sock.close()
        raise
    return sock


def _log_in(connection: RedisConnection, address: Address, *, trial_write: bool, tolerated: tuple[str, ...]) -> None:
    """Everything in one round trip: the first refusal is what counts."""
    commands: list[tuple[RedisArgument, ...]] = []
    if address.password:
        commands.append(("AUTH", *([address.user] if address.user else []), address.password))
    if address.database:
        commands.append(("SELECT", address.database))
    commands.append(PING)
    if trial_write:
        commands.append(TRIAL_WRITE)
    replies = connection.call_all(commands)
    for command, reply in zip(commands, replies, strict=True):
        if not isinstance(reply, RedisReplyError):
            continue
        if command in {PING, TRIAL_WRITE} and reply.words.startswith(tolerated):
            continue
        raise reply


class RedisConnection:
    """A connection to one Redis, with a deadline for everything that is asked on it."""

    def __init__(self, sock: socket.socket, masked: str, deadline: float) -> None:
        self._socket = sock
        self._reader = io.BufferedReader(_SocketReader(sock, self._set_timeout))
        self._masked = masked
        self._has_answered = False
        self._max_silence_s = SERVER_TIMEOUT_S
        self.deadline = deadline

    def execute(self, *arguments: RedisArgument) -> Any:
        """The reply to one command: bytes, numbers and lists. Raises RedisReplyError when the server refuses it."""
        (reply,) = self.call_all([arguments])
        if isinstance(reply, RedisReplyError):
            raise reply
        return reply

    def execute_all(self, commands: Sequence[Sequence[RedisArgument]]) -> list[Any]:
        """The replies to many commands, in one round trip. Raises the first refusal, unless it is about one key."""
        replies = self.call_all(commands)
        for reply in replies:
            if isinstance(reply, RedisReplyError) and not reply.words.startswith("WRONGTYPE"):
                raise reply
        return replies

    def call_all(self, commands: Sequence[Sequence[RedisArgument]]) -> list[Any]:
        """The same; every command that is refused has a RedisReplyError as its reply."""
        self._max_silence_s = SERVER_TIMEOUT_S + sum(map(_blocking_seconds, commands))
        with self._within_deadline():
            self._set_timeout()
            self._socket.sendall(b"".join(_encode_command(arguments) for arguments in commands))
            replies = [self._read_reply() for _ in commands]
        for arguments, reply in zip(commands, replies, strict=True):
            self._check_shape(str(arguments[0]), reply)
        return replies

    def extend(self, seconds: float = SERVER_TIMEOUT_S) -> None:
        """Grants the next reply so long: who has answered one page of many may answer the next."""
        self.deadline = max(self.deadline, time.monotonic() + seconds)

    def read_push(self) -> Any:
        """The next message of a channel that was subscribed to."""
        self._max_silence_s = float("inf")
        with self._within_deadline():
            return self._read_reply()

    @contextmanager
    def _within_deadline(self) -> Iterator[None]:
        try:
            yield
        except (OSError, ValueError) as error:
            raise self._describe(error) from error

    def _describe(self, error: OSError | ValueError) -> ServerError:
        if not isinstance(error, OSError):
            return self._no_redis()
        if self._has_answered:
            return ServerError(
                f"{self._masked} stopped answering: {_reason(error)}", "Look whether that server still runs."
            )
        if isinstance(error, TimeoutError):
            return ServerError(
                f"{self._masked} takes the connection and says nothing: no answer in time",
                "Look whether it hangs; one that speaks TLS wants rediss://.",
            )
        return ServerError(
            f"{self._masked} closes the connection: {_reason(error)}",
            "Look at its log; one that speaks TLS wants rediss://.",
        )

    def _no_redis(self) -> ServerError:
        return ServerError(
            f"what answers at {self._masked} is no Redis", "Mend its address; a server that speaks TLS wants rediss://."
        )

    def _check_shape(self, command: str, reply: Any) -> None:
        """Raises for a reply of a kind that no Redis gives to this command."""
        if isinstance(reply, RedisReplyError):
            return
        if (fits := REPLY_SHAPES.get(command)) is not None and not fits(reply):
            raise self._no_redis()

    def _set_timeout(self) -> None:
        left = self.deadline - time.monotonic()
        if left <= 0:
            raise TimeoutError
        self._socket.settimeout(min(left, self._max_silence_s))

    def _read_reply(self, depth: int = 0) -> Any:
        line = self._reader.readline(MAX_LINE_BYTES)
        if not line:
            raise ConnectionResetError
        self._has_answered = self._has_answered or line[:1] in b"$*:-+"
        if not line.endswith(b"\r\n"):
            raise ConnectionResetError if self._has_answered and len(line) < MAX_LINE_BYTES else ValueError(line)
        kind, rest = line[:1], line[1:-2]
        if kind == b"$":
            return self._read_bulk(int(rest))
        if kind == b"*":
            return self._read_items(int(rest), depth + 1)
        if kind == b":":
            return int(rest)
        if kind == b"-":
            return RedisReplyError(rest.decode(errors="replace"), self._masked)
        if kind == b"+":
            return rest.decode(errors="replace")
        raise ValueError(kind)

    def _read_bulk(self, size: int) -> bytes | None:
        if size > MAX_BULK_BYTES:
            raise ValueError(size)
        if size < 0:
            return None
        body = self._reader.read(size + 2)
        if len(body) < size + 2:
            raise ConnectionResetError
        return body[:-2]

    def _read_items(self, count: int, depth: int) -> list[Any] | None:
        if count > MAX_ITEMS or depth > MAX_DEPTH:
            raise ValueError(count)
        return None if count < 0 else [self._read_reply(depth) for _ in range(count)]

    def close(self) -> None:
        self._reader.close()
        self._socket.close()

    def __enter__(self) -> RedisConnection:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()
        if error is not None and (server_error := explain_error(error, self._masked)):
            raise server_error from error


def _blocking_seconds(arguments: Sequence[RedisArgument]) -> float:
    """For how long a sound server may be silent over a command."""
    if arguments[0] == "BRPOP":
        return float(arguments[-1])
    return SCRIPT_TIMEOUT_S if arguments[0] in {"EVAL", "EVALSHA"} else 0.0


def _encode_command(arguments: Sequence[RedisArgument]) -> bytes:
    encoded = [argument if isinstance(argument, bytes) else str(argument).encode() for argument in arguments]
    return b"*%d\r\n" % len(encoded) + b"".join(b"$%d\r\n%b\r\n" % (len(argument), argument) for argument in encoded)


def _reason(error: Exception) -> str:
    if isinstance(error, TimeoutError):
        return "no answer in time"
    return getattr(error, "strerror", None) or str(error) or "connection closed"


class _SocketReader(io.RawIOBase):
    """Reads from a socket, each time within what is left of the deadline."""

    def __init__(self, sock: socket.socket, set_timeout: Callable[[], None]) -> None:
        self._socket = sock
        self._set_timeout = set_timeout

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        self._set_timeout()
        return self._socket.recv_into(buffer)


def _is_bulk(reply: Any) -> bool:
    return reply is None or isinstance(reply, bytes)


def _is_number(reply: Any) -> bool:
    return isinstance(reply, int)


def _is_bulk_list(reply: Any) -> bool:
    return isinstance(reply, list) and all(map(_is_bulk, reply))


def _is_bytes_list(reply: Any) -> bool:
    return isinstance(reply, list) and all(isinstance(item, bytes) for item in reply)


def _is_hash(reply: Any) -> bool:
    return _is_bytes_list(reply) and len(reply) % 2 == 0


def _is_time(reply: Any) -> bool:
    return _is_bytes_list(reply) and len(reply) == 2 and all(item.isdigit() for item in reply)


def _is_scan(reply: Any) -> bool:
    return isinstance(reply, list) and len(reply) == 2 and isinstance(reply[0], bytes) and _is_bytes_list(reply[1])


def _is_pop(reply: Any) -> bool:
    return reply is None or (_is_bytes_list(reply) and len(reply) == 2)


# What a Redis replies to these commands, which are all that livectl sends but scripts.
REPLY_SHAPES: dict[str, Callable[[Any], bool]] = {
    **dict.fromkeys(("GET", "HGET", "LINDEX", "INFO", "ZSCORE"), _is_bulk),
    **dict.fromkeys(
        ("LLEN", "HLEN", "DEL", "HDEL", "SADD", "SREM", "ZADD", "LPUSH", "LREM", "EXISTS", "TTL", "PUBLISH", "EXPIRE"),
        _is_number,
    ),
    **dict.fromkeys(("MGET", "HMGET"), _is_bulk_list),
    **dict.fromkeys(("LRANGE", "HVALS", "HKEYS", "SMEMBERS", "ZRANGE", "KEYS"), _is_bytes_list),
    **dict.fromkeys(("HGETALL", "ZRANGEBYSCORE"), _is_hash),
    "TIME": _is_time,
    **dict.fromkeys(("SCAN", "SSCAN", "HSCAN", "ZSCAN"), _is_scan),
    "BRPOP": _is_pop,
    "PING": lambda reply: reply == "PONG",
}
