"""Servers with one fault each: Redis with a password, as a replica, full, loading, with TLS; and odd ports."""

from __future__ import annotations

import shutil
import socket
import subprocess
import threading
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

import redis

from tests.support.servers import accepts, free_port, needed
from tests.support.waiting import wait_for

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

# As slowly as a server with millions of keys reads its data, and looking up from it after each of these.
LOADING_OPTIONS = ("--key-load-delay", "20000", "--loading-process-events-interval-bytes", "1024")
LOADED_KEYS = 5000


NEVER = 1_000_000_000  # the number of a reply that nobody waits for


class CuttingProxy:
    """Forwards to a server, and hangs up everywhere instead of passing on the reply that it is told of.

    The server is the path of a socket, or a port of this machine. It has done by then what it was asked to.
    """

    def __init__(self, target: str | int) -> None:
        self.target, self._left = target, NEVER
        self._lock = threading.Lock()
        self.open: set[socket.socket] = set()

    @property
    def left(self) -> int:
        """Replies until it hangs up."""
        return self._left

    @left.setter
    def left(self, replies: int) -> None:
        with self._lock:
            self._left = replies

    def __call__(self, call: socket.socket) -> None:
        with suppress(OSError), self._connect() as server:
            self.open |= {call, server}
            threading.Thread(target=self._forward, args=(call, server), daemon=True).start()
            while (data := server.recv(1 << 20)) and not self._is_last():
                call.sendall(data)
        _shut(call)

    def _connect(self) -> socket.socket:
        if isinstance(self.target, int):
            return socket.create_connection(("127.0.0.1", self.target))
        server = socket.socket(socket.AF_UNIX)
        server.connect(self.target)
        return server

    def _is_last(self) -> bool:
        with self._lock:
            self._left -= 1
            is_last = self._left <= 0
        if is_last:
            self.cut()
        return is_last

    def _forward(self, call: socket.socket, server: socket.socket) -> None:
        with suppress(OSError):
            while data := call.recv(1 << 20):
                server.sendall(data)
        _shut(server)

    def cut(self) -> None:
        for connection in list(self.open):
            self.open.discard(connection)
            _shut(connection)


def _shut(connection: socket.socket) -> None:
    with suppress(OSError):
        connection.shutdown(socket.SHUT_RDWR)


@contextmanager
def redis_server(folder: Path, *options: str) -> Iterator[int]:
    """A Redis with these options on a free port, which it is given unless they name one for TLS."""
    binary = needed(shutil.which("redis-server"), "redis-server")
    port = free_port()
    folder.mkdir(exist_ok=True)
    ports = ("--port", "0", "--tls-port") if "--tls-cert-file" in options else ("--port",)
    argv = [binary, *ports, str(port), "--bind", "127.0.0.1", "--dir", str(folder), "--save", "", *options]
    with subprocess.Popen(argv, stdout=subprocess.DEVNULL) as server:
        try:
            wait_for(lambda: accepts(port), what="redis-server")
            yield port
        finally:
            server.kill()


@contextmanager
def sentinel(folder: Path, master: int) -> Iterator[int]:
    """Declares a master dead that is silent for half a second, and needs nobody's consent to choose another."""
    binary, port = needed(shutil.which("redis-server"), "redis-server"), free_port()
    settings = folder / "sentinel.conf"
    settings.write_text(
        f"port {port}\nbind 127.0.0.1\ndir {folder}\nsentinel monitor shop 127.0.0.1 {master} 1\n"
        "sentinel down-after-milliseconds shop 500\nsentinel failover-timeout shop 3000\n"
    )
    with subprocess.Popen([binary, str(settings), "--sentinel"], stdout=subprocess.DEVNULL) as process:
        try:
            wait_for(lambda: accepts(port), what="the sentinel")
            yield port
        finally:
            process.kill()


def sees_a_replica(sentinel: Any) -> bool:
    """Whether a sentinel speaks to a replica, by a client of it."""
    return any(not each["is_disconnected"] for each in sentinel.sentinel_slaves("shop"))


@contextmanager
def loading_server(folder: Path) -> Iterator[int]:
    """A Redis that reads its data for longer than any test takes."""
    with redis_server(folder) as port, redis.Redis(port=port) as client:
        client.mset({f"key:{number}": "x" * 2000 for number in range(LOADED_KEYS)})
        client.save()
    with redis_server(folder, *LOADING_OPTIONS) as port:
        yield port


def certificate(folder: Path) -> Path:
    """A certificate for this machine that nobody signed but itself; its key lies beside it."""
    binary = needed(shutil.which("openssl"), "openssl")
    subject = ("-subj", "/CN=localhost", "-addext", "subjectAltName=DNS:localhost,IP:127.0.0.1")
    files = ("-keyout", str(folder / "key.pem"), "-out", str(folder / "cert.pem"))
    kind = ("-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-days", "2")
    subprocess.run([binary, "req", "-x509", *kind, *files, *subject], check=True, capture_output=True)
    return folder / "cert.pem"


def speaks_tls() -> bool:
    """Whether this machine's redis-server was built with TLS: only then it knows the options."""
    binary = needed(shutil.which("redis-server"), "redis-server")
    return b"tls-cert-file" in Path(binary).read_bytes()


def tls_options(cert: Path) -> tuple[str, ...]:
    files = ("--tls-cert-file", str(cert), "--tls-key-file", str(cert.with_name("key.pem")))
    return (*files, "--tls-ca-cert-file", str(cert), "--tls-auth-clients", "no")


@contextmanager
def port_that(answer: Callable[[socket.socket], None]) -> Iterator[int]:
    """A port whose callers are each given to `answer`, in a thread of their own, and hung up on afterwards."""
    with socket.create_server(("127.0.0.1", 0)) as listener, ExitStack() as open_calls:

        def serve(call: socket.socket) -> None:
            with suppress(OSError):
                answer(call)
            call.close()

        def listen() -> None:
            with suppress(OSError):
                while True:
                    call, _ = listener.accept()
                    open_calls.callback(_hang_up, call)
                    threading.Thread(target=serve, args=(call,), daemon=True).start()

        thread = threading.Thread(target=listen, daemon=True)
        thread.start()
        yield listener.getsockname()[1]
        listener.shutdown(socket.SHUT_RDWR)
        thread.join()


def _hang_up(call: socket.socket) -> None:
    with suppress(OSError):
        call.shutdown(socket.SHUT_RDWR)


def say_nothing(call: socket.socket) -> None:
    while call.recv(1000):
        pass


def say_http(call: socket.socket) -> None:
    call.recv(1000)
    call.sendall(b"HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\n\r\n")


def trickle(call: socket.socket) -> None:
    """A byte now and then: no single read takes too long, all together never end."""
    call.recv(1000)
    while True:
        call.sendall(b"$")
        threading.Event().wait(0.2)
