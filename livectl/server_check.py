"""Whether a broker or store lets livectl in and takes what is written; and what the errors of its clients mean.

Celery would try again for ever, and in silence, also after a wrong password.
"""

from __future__ import annotations

import errno
import socket
import threading
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from livectl import redis_client, tls
from livectl.errors import ServerAwayError, ServerError
from livectl.redaction import redact_text
from livectl.redis_client import SERVER_TIMEOUT_S

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from amqp.exceptions import AMQPError

    from livectl.address import Address


DEFAULT_LOGIN = ("guest", "guest")  # RabbitMQ's, where the address names none
START_RABBITMQ = "Start RabbitMQ, or mend its address."
AMQP_HELLO = b"AMQP\x00\x00\x09\x01"
AMQP_METHOD_FRAME = b"\x01"  # RabbitMQ's first frame, Connection.Start, is of this kind
GREETING_TIMEOUT_S = 0.3  # it has just been shown to answer at once
MAX_WORDS_CHARS = 200  # of an error of a server
NOBODY_THERE = frozenset({errno.ENETUNREACH, errno.EHOSTUNREACH, errno.EADDRNOTAVAIL})
SERVER_PACKAGES = frozenset({"amqp", "kombu", "redis", "vine"})  # whose errors are about servers

# What RabbitMQ's refusals have in them -> the next step.
REFUSAL_HINTS: tuple[tuple[str, str], ...] = (
    ("Login was refused", "Mend user and password in its address."),
    ("can only connect via localhost", "Make a user of your own: RabbitMQ lets guest in from its own machine only."),
    ("access to vhost", "Give this user the right to it: rabbitmqctl set_permissions."),
    ("vhost", "Mend the virtual host at the end of its address, or make it: rabbitmqctl add_vhost."),
)


class _BlockedError(Exception):
    """RabbitMQ takes nothing at the moment: its memory or disk is full."""


def check_server(address: Address, timeout_s: float = SERVER_TIMEOUT_S) -> None:
    """Raises ServerError within this time when no server answers there, refuses livectl, or takes nothing."""
    if address.is_redis:
        redis_client.check_redis(address, timeout_s, reads_suffice=False)
        return
    _check_rabbitmq(address, timeout_s)


def check_broker_of(app: Any, timeout_s: float = SERVER_TIMEOUT_S) -> None:
    """The same of a broker that only kombu can talk to: whether it takes the connection."""

    def connect() -> None:
        with app.connection_for_write() as connection:
            connection.ensure_connection(max_retries=1, interval_start=0, interval_step=0, timeout=timeout_s)

    if (error := _error_within(timeout_s, connect)) is not None:
        words = "no answer in time" if isinstance(error, TimeoutError) else one_line(error) or type(error).__name__
        raise ServerAwayError(f"the broker does not answer: {words}", "Look whether it runs.") from error


def _check_rabbitmq(address: Address, timeout_s: float) -> None:
    """Logs in, and sends a message to a queue of its own."""
    if (error := _error_within(timeout_s, lambda: _log_in_and_send(address, timeout_s))) is not None:
        raise rabbitmq_error(address, error) from error


def _error_within(timeout_s: float, ask: Callable[[], None]) -> Exception | None:
    """What asking raises, or that it takes too long: a server that trickles would never time out by itself."""
    errors: list[Exception] = []

    def run() -> None:
        try:
            ask()
        except Exception as error:  # clients let through whatever they make of what they are sent
            errors.append(error)

    thread = threading.Thread(target=run, daemon=True)
    thread.start()
    thread.join(timeout_s)
    return TimeoutError() if thread.is_alive() else errors[0] if errors else None


def ask_rabbitmq(address: Address, ask: Callable[[Any], None], timeout_s: float = SERVER_TIMEOUT_S) -> None:
    """Calls with an open connection of py-amqp. Raises ServerError within this time when RabbitMQ does not answer."""

    def run() -> None:
        with _logged_in(address, timeout_s) as connection:
            ask(connection)

    if (error := _error_within(timeout_s, run)) is not None:
        raise rabbitmq_error(address, error) from error


def _log_in_and_send(address: Address, timeout_s: float) -> None:
    from amqp import Message
    from amqp.exceptions import AccessRefused

    with _logged_in(address, timeout_s) as connection:
        channel = connection.channel()
        try:
            queue, _, _ = channel.queue_declare("", exclusive=True, auto_delete=True)
            channel.basic_publish(Message(""), routing_key=queue, timeout=timeout_s)
        except AccessRefused:
            pass  # it lets this user in, who may use queues of some names only


@contextmanager
def _logged_in(address: Address, timeout_s: float) -> Iterator[Any]:
    from amqp import Connection

    connection = Connection(
        host=f"[{address.host}]:{address.port}" if ":" in address.host else f"{address.host}:{address.port}",
        userid=address.user or DEFAULT_LOGIN[0],
        password=address.password or DEFAULT_LOGIN[1],
        virtual_host=address.vhost,
        login_method="PLAIN",
        ssl=address.scheme == "amqps" and (tls.amqp_options(address) or True),
        confirm_publish=True,
        on_blocked=_raise_blocked,
        **dict.fromkeys(("connect_timeout", "read_timeout", "write_timeout"), timeout_s),
    )
    try:
        connection.connect()
        yield connection
        connection.close()
    finally:
        connection.collect()


def _greets_otherwise(address: Address) -> bool:
    """Whether what hung up speaks first, and not as RabbitMQ does: py-amqp waits for the rest of what it takes for a
    frame."""
    if address.scheme == "amqps":
        return False
    try:
        with socket.create_connection((address.host, address.port), GREETING_TIMEOUT_S) as connection:
            connection.sendall(AMQP_HELLO)
            return connection.recv(1) not in {b"", AMQP_METHOD_FRAME}
    except OSError:
        return False


def _raise_blocked(reason: str) -> None:
    raise _BlockedError(reason)


def _is_away(error: OSError) -> bool:
    """Whether no connection came about."""
    return isinstance(error, ConnectionRefusedError | socket.gaierror) or error.errno in NOBODY_THERE


def rabbitmq_error(address: Address, error: Exception) -> ServerError:
    """The error of py-amqp in one sentence with the next step."""
    from amqp.exceptions import AMQPError

    if isinstance(error, UnicodeError) or (isinstance(error, OSError) and _is_away(error)):
        reason = getattr(error, "strerror", None) or "no such host"
        return ServerAwayError(f"no server answers at {address.masked}: {reason}", START_RABBITMQ)
    if isinstance(error, _BlockedError):
        return ServerError(
            f"{address.masked} takes nothing: its memory or its disk is full",
            "`rabbitmq-diagnostics alarms` there says which; make room, or raise its limit.",
        )
    if isinstance(error, AMQPError) and error.reply_code:
        return _refusal(address, error)
    if isinstance(error, OSError) and not isinstance(error, AMQPError):
        return _connection_error(address, error)
    return _no_rabbitmq(address)


def _refusal(address: Address, error: AMQPError) -> ServerError:
    """What RabbitMQ itself says."""
    from amqp.exceptions import AccessRefused, NotAllowed

    words = one_line(error.reply_text)
    if not isinstance(error, AccessRefused | NotAllowed):
        return ServerError(f"{address.masked} refuses: {words}", "Look at its log.")
    hint = next((hint for part, hint in REFUSAL_HINTS if part in words), "Look at what this user may do there.")
    words = words.removesuffix(" For details see the broker logfile.")
    return ServerError(f"{address.masked} does not let us in: {words}", hint)


def _connection_error(address: Address, error: OSError) -> ServerError:
    """What a connection that came about, and broke, says."""
    import ssl

    if isinstance(error, ssl.SSLError):
        return tls.handshake_error(address, error)
    if isinstance(error, TimeoutError):
        return ServerError(
            f"{address.masked} takes the connection and says nothing: no answer in time",
            "Look whether it hangs; one that speaks TLS wants amqps://.",
        )
    is_about_file = isinstance(error, FileNotFoundError | PermissionError)  # load_verify_locations names no file
    if is_about_file or (address.scheme == "amqps" and error.filename is not None):
        return tls.file_error(address, error)
    if _greets_otherwise(address):
        return _no_rabbitmq(address)
    return ServerError(
        f"{address.masked} closes the connection: {error.strerror or one_line(error)}",
        "Look at its log; one that speaks TLS wants amqps://.",
    )


def _no_rabbitmq(address: Address) -> ServerError:
    return ServerError(f"what answers at {address.masked} is no RabbitMQ", START_RABBITMQ)


def from_client_error(error: BaseException) -> ServerError | None:
    """What an error of redis-py, kombu or py-amqp means; None for an error of anything else."""
    package = type(error).__module__.partition(".")[0]
    if package == "kombu" and error.__cause__ is not None:
        return from_client_error(error.__cause__)
    if package == "redis":
        return redis_client.explain_error(error, "a server")
    if isinstance(error, redis_client.DATA_ERRORS) and _raising_package(error) in SERVER_PACKAGES:
        return redis_client.explain_error(error, "a server")
    if package in SERVER_PACKAGES or isinstance(error, ConnectionError | TimeoutError | socket.gaierror):
        words = one_line(error) or type(error).__name__
        return ServerError(f"a server does not answer as it should: {words}", "Look at it with: livectl doctor")
    return None


def _raising_package(error: BaseException) -> str:
    """The package whose code raised the error."""
    trace = error.__traceback__
    while trace is not None and trace.tb_next is not None:
        trace = trace.tb_next
    return str(trace.tb_frame.f_globals.get("__name__", "")).partition(".")[0] if trace else ""


def one_line(error: object) -> str:
    """The words of a server, on one line and without secrets."""
    return redact_text(" ".join(str(error).split()), MAX_WORDS_CHARS)
