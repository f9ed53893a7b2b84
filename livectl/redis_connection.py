"""A connection to one Redis, by a small client of our own: it imports nothing, and has a deadline for everything.

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
from livectl.errors import LivectlError, ServerAwayError, ServerError
from livectl.redis_replies import REPLY_SHAPES, RedisReplyError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from types import TracebackType

    from livectl.address import Address


RedisArgument = str | bytes | int | float

ANSWER_WITHIN_S = 3.0  # a person has an answer, or the reason why not, before they look for Ctrl-C
STARTUP_S = 1.0  # of these for Python, the settings and, with -A, Celery; 0.2 to 0.6 are usual, more on a busy machine
SERVER_TIMEOUT_S = ANSWER_WITHIN_S - STARTUP_S  # what is left for servers
MIN_TIMEOUT_S = 0.1  # a timeout of 0 would mean something else

SCRIPT_TIMEOUT_S = 30.0  # for the slowest script: a purge searches a list of millions from its end

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

# What reading something odd raises.
DATA_ERRORS = (ArithmeticError, AttributeError, LookupError, TypeError, ValueError, msgspec.MsgspecError)


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


def open_connection(address: Address, timeout: float) -> RedisConnection:
    """A connection to one server, which has not logged in yet."""
    deadline = time.monotonic() + timeout
    try:
        sock = _open_socket(address, timeout)
    except (OSError, ValueError) as error:  # ValueError: a host name that cannot be one
        raise ServerAwayError(
            f"no server answers at {address.masked}: {_reason(error)}",
            "Start it, or mend its address; `livectl up` brings one along.",
        ) from error
    with closed_on_error(sock):
        if address.scheme == "rediss":
            sock = tls.wrap_socket(sock, address)
        return RedisConnection(sock, address.masked, deadline)


@contextmanager
def closed_on_error(connection: socket.socket | RedisConnection) -> Iterator[None]:
    try:
        yield
    except BaseException:
        connection.close()
        raise


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


def log_in(connection: RedisConnection, address: Address, *, trial_write: bool, tolerated: tuple[str, ...]) -> None:
    """Everything in one round trip: the first refusal is what counts. A cluster is not tried by its first node."""
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
        self.send_all(commands)
        return self.receive_all(commands)

    def send_all(self, commands: Sequence[Sequence[RedisArgument]]) -> None:
        """Asks, and leaves it to `receive_all` to wait for the replies."""
        self._max_silence_s = SERVER_TIMEOUT_S + sum(map(_blocking_seconds, commands))
        with self._within_deadline():
            self._set_timeout()
            self._socket.sendall(b"".join(_encode_command(arguments) for arguments in commands))

    def receive_all(self, commands: Sequence[Sequence[RedisArgument]]) -> list[Any]:
        with self._within_deadline():
            replies = [self._read_reply() for _ in commands]
        for arguments, reply in zip(commands, replies, strict=True):
            self._check_shape(str(arguments[0]), reply)
        return replies

    def check_nodes(self) -> None:
        """ServerError for what is wrong with the other nodes, where there are some."""

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
