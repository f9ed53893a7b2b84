"""A plain connection to a Redis, for questions that are not worth importing a client library for.

redis-py takes 150 ms to import, since it brings asyncio; a probe or a status is answered in less than that.
"""

from __future__ import annotations

import socket
import time
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from livectl.errors import ServerError

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from types import TracebackType

    from livectl.address import Address

Word = str | bytes | int | float

PROMISED = 3.0  # seconds in all: a person who asks has an answer, or is told why not, before he looks for Ctrl-C
START_UP = 0.5  # of these, for Python, the settings and, with -A, Celery; 0.2 to 0.4 are usual
PATIENCE = PROMISED - START_UP  # what is left for servers


class Refused(ServerError):  # noqa: N818 - an answer of the server, not a fault of ours
    """The server's own words for no."""

    def __init__(self, words: str) -> None:
        super().__init__(words, "Look at what this user may do there, and at what else uses that database.")


class Wire:
    """One connection, with so many seconds for all that is asked on it."""

    def __init__(self, line: socket.socket, masked: str, until: float) -> None:
        self._line = line
        self._reader = line.makefile("rb")
        self._masked = masked
        self.until = until

    def ask(self, *words: Word) -> Any:
        """One question; bytes, numbers and lists come back. Raises Refused when the server says no."""
        (answer,) = self.ask_all([words])
        if isinstance(answer, Refused):
            raise answer
        return answer

    def ask_all(self, questions: Sequence[Sequence[Word]]) -> list[Any]:
        """Many questions in one journey; a refusal stands in the place of its answer."""
        with self._in_time():
            self._line.sendall(b"".join(_packed(words) for words in questions))
            return [self._read() for _ in questions]

    def hear(self) -> Any:
        """What the server says next, unasked: a message of a channel that was subscribed to."""
        with self._in_time():
            return self._read()

    @contextmanager
    def _in_time(self) -> Iterator[None]:
        try:
            self._line.settimeout(self._left())
            yield
        except (OSError, ValueError) as error:
            raise ServerError(
                f"{self._masked} stopped answering: {_reason(error)}", "Look whether that server still runs."
            ) from error

    def _left(self) -> float:
        left = self.until - time.monotonic()
        if left <= 0:
            raise TimeoutError
        return left

    def _read(self) -> Any:
        line = self._reader.readline()
        if not line.endswith(b"\r\n"):
            raise ConnectionResetError
        kind, rest = line[:1], line[1:-2]
        if kind == b"$":
            return None if rest == b"-1" else self._read_exactly(int(rest))
        if kind == b"*":
            return None if rest == b"-1" else [self._read() for _ in range(int(rest))]
        if kind == b":":
            return int(rest)
        if kind == b"-":
            return Refused(rest.decode(errors="replace"))
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
        self._line.close()

    def __enter__(self) -> Wire:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def dial(address: Address, patience: float = PATIENCE) -> Wire:
    """A connection that is let in, for so many seconds; ServerError in time when there is none."""
    began, entry = time.monotonic(), min(patience, PATIENCE)
    try:
        line = _connect(address, entry)
    except OSError as error:
        raise ServerError(
            f"no server answers at {address.masked}: {_reason(error)}",
            "Start it, or mend its address; `livectl up` brings one along.",
        ) from error
    wire = Wire(line, address.masked, began + entry)
    try:
        _enter(wire, address)
    except Refused as error:
        wire.close()
        raise ServerError(f"{address.masked} does not let us in: {error}", _cure(str(error))) from error
    except ServerError:
        wire.close()
        raise
    wire.until = began + patience
    return wire


def _connect(address: Address, patience: float) -> socket.socket:
    if address.path:
        line = socket.socket(socket.AF_UNIX)
        line.settimeout(patience)
        try:
            line.connect(address.path)
        except OSError:
            line.close()
            raise
        return line
    line = socket.create_connection((address.host, address.port), patience)
    line.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return _secured(line, address) if address.scheme == "rediss" else line


def _secured(line: socket.socket, address: Address) -> socket.socket:
    """TLS by the same words in the address that redis-py reads."""
    import ssl

    wanted = dict(address.options)
    context = ssl.create_default_context(cafile=wanted.get("ssl_ca_certs"))
    if wanted.get("ssl_cert_reqs") == "none" or wanted.get("ssl_check_hostname", "").lower() == "false":
        context.check_hostname = False
    if wanted.get("ssl_cert_reqs") == "none":
        context.verify_mode = ssl.CERT_NONE
    if certificate := wanted.get("ssl_certfile"):
        context.load_cert_chain(certificate, wanted.get("ssl_keyfile"))
    return context.wrap_socket(line, server_hostname=address.host)


def _enter(wire: Wire, address: Address) -> None:
    if address.password:
        wire.ask("AUTH", *([address.user] if address.user else []), address.password)
    if address.database:
        wire.ask("SELECT", address.database)
    wire.ask("PING")


def _cure(refusal: str) -> str:
    if refusal.startswith("LOADING"):
        return "It still reads its data: ask again in a moment."
    return "Mend user, password or database number in its address."


def _packed(words: Sequence[Word]) -> bytes:
    spelt = [word if isinstance(word, bytes) else str(word).encode() for word in words]
    return b"*%d\r\n" % len(spelt) + b"".join(b"$%d\r\n%b\r\n" % (len(word), word) for word in spelt)


def _reason(error: Exception) -> str:
    if isinstance(error, TimeoutError):
        return "no answer in time"
    return getattr(error, "strerror", None) or str(error) or "connection closed"
