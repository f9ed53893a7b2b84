"""Keeps what is good of the embedded broker's data: looks it over before a start, and mends it after one that failed.

The server writes its commands one after the other into files (`appendonly.aof.2.base.aof`, then
`appendonly.aof.2.incr.aof`), and lists those that count in a manifest. What cannot be read is moved to a folder beside
the data, and whatever starts with less than it had says so: the functions return the sentences.
"""

from __future__ import annotations

import os
import re
import subprocess
from contextlib import suppress
from typing import IO, TYPE_CHECKING, NamedTuple

import msgspec

from livectl.atomic_write import write_file
from livectl.errors import ServerError
from livectl.ops.processes import state_dir

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence
    from pathlib import Path

LAYOUT = 1  # of what livectl keeps in `data`; a higher number is a newer livectl's
VERSION_SECONDS = 10.0  # to wait for a server to say its version
COPY_BYTES = 1_000_000
FILE_NAME = re.compile(r"appendonly\.aof\.(\d+)\.(base|incr)\.(?:rdb|aof)")
MANIFEST_LINE = re.compile(r"file (\S+) seq \d+ type ([bhi])(?: .*)?")
UNREADABLE_VERSION = re.compile(r"Can't handle RDB format version")
# What Redis and Valkey say of a command that they do not know, and Valkey of one with too few words.
UNKNOWN_COMMAND = re.compile(r"[Uu]nknown command '(.+?)'")
WRONG_COMMAND = re.compile(r"reading the append only file (\S+), error: .*'(.+?)' command")
VALKEY, REDIS = "valkey", "redis"
LAST_REDIS_THAT_VALKEY_READS = (7, 2)


class ServerVersion(NamedTuple):
    """Which server it is: `valkey` or `redis`, and its version."""

    product: str
    number: tuple[int, ...]

    def __str__(self) -> str:
        return f"{self.product} {'.'.join(map(str, self.number))}"

    def reads(self, other: ServerVersion) -> bool:
        """Whether it reads what the other wrote: a newer one reads what an older one wrote, not the other way round."""
        if self.product == other.product:
            return self.number[:2] >= other.number[:2]
        return self.product == VALKEY and other.product == REDIS and other.number[:2] <= LAST_REDIS_THAT_VALKEY_READS


class DataFormat(msgspec.Struct, frozen=True):
    """Who wrote the data, and how long its files were when livectl last looked."""

    layout: int
    server: str
    version: tuple[int, ...]
    sizes: dict[str, int]


class DataFile(NamedTuple):
    """A file of commands: a base that holds everything up to some moment, or an increment with what came later."""

    kind: str  # base or incr
    number: int
    path: Path
    size: int

    @property
    def manifest_line(self) -> str:
        return f"file {self.path.name} seq {self.number} type {self.kind[0]}\n"


def read_server_version(binary: str) -> ServerVersion:
    """What the server says of itself: `Valkey server v=9.1.2 sha=…`."""
    try:
        completed = subprocess.run([binary, "--version"], capture_output=True, timeout=VERSION_SECONDS, check=False)
    except (OSError, subprocess.TimeoutExpired) as error:
        raise ServerError(f"the embedded broker's server {binary} does not run: {error}") from error
    match = re.match(r"(\w+) server v=(\d+(?:\.\d+)*)", completed.stdout.decode(errors="replace"))
    if match is None:
        raise ServerError(f"{binary} does not say its version", "Is it a valkey-server or a redis-server?")
    return ServerVersion(match[1].lower(), tuple(map(int, match[2].split("."))))


class BrokerData:
    """The data of one home. Call it only while the home is locked and no server runs."""

    def __init__(self, home: Path) -> None:
        self.folder = home / "data"
        self._files_folder = self.folder / "appendonlydir"
        self._manifest = self._files_folder / "appendonly.aof.manifest"
        self._format = self.folder / "format.json"

    def check_format(self, server: ServerVersion) -> None:
        """Raises where the data is of a newer server or of a newer livectl, which this one would spoil."""
        known = self._read_format()
        if known is None:
            return
        if known.layout > LAYOUT:
            raise ServerError(
                f"the broker's data in {self.folder} was written by a newer livectl",
                "Install that one again, or name another folder with LIVECTL_HOME.",
            )
        writer = ServerVersion(known.server, known.version)
        if not server.reads(writer):
            raise _newer_data_error(self.folder, str(writer), str(server))

    def look_over(self) -> list[str]:
        """Makes a manifest anew that does not list the files that are there; says what is gone of what was there."""
        files = self._find_files()
        return [*self._mend_manifest(files), *self._describe_losses(files)]

    def note(self, server: ServerVersion) -> None:
        """Records who writes the data, and how long its files are."""
        known = self._read_format()
        sizes = {file.path.name: file.size for file in self._find_files()}
        noted = DataFormat(LAYOUT, server.product, server.number, sizes)
        if noted == known:
            return
        try:
            write_file(self._format, msgspec.json.encode(noted), mode=state_dir.PRIVATE_FILE_MODE)
        except OSError:
            if known is None or (known.server, known.version) != (noted.server, noted.version):
                raise  # a full disk must not keep the same server from its data

    def note_filled(self) -> None:
        """Records the lengths once more if a file that was empty has got its first bytes."""
        known = self._read_format()
        if known and any(file.size and not known.sizes.get(file.path.name) for file in self._find_files()):
            self.note_sizes()

    def note_sizes(self) -> None:
        """Records how long the files are now; on a full disk they stay as noted before."""
        if known := self._read_format():
            with suppress(OSError):
                self.note(ServerVersion(known.server, known.version))

    def mend(self, log_text: str, server: str) -> str:
        """Takes away what kept the server from reading its data, by its log; empty if nothing is found."""
        if UNREADABLE_VERSION.search(log_text):
            raise _newer_data_error(self.folder, "a newer server", server)
        listed = self._listed_files(self._find_files())
        cuts = [
            (file, length)
            for file in listed
            if file.path.suffix == ".aof" and (length := _good_length(file.path, log_text)) < file.size
        ]
        if cuts:
            backup = self._make_backup_folder()
            return "; ".join(_cut(file, length, backup) for file, length in cuts)
        base = next((file for file in listed if file.path.suffix == ".rdb"), None)
        return self._drop_base(base, listed) if base else ""

    def set_aside(self) -> str:
        """Moves all of it away."""
        backup = _free_name(self.folder)
        self.folder.rename(backup)
        return f"the broker's data could not be read, and is kept in {backup}; it starts with none"

    def _drop_base(self, base: DataFile, listed: Sequence[DataFile]) -> str:
        backup = self._make_backup_folder()
        self._write_manifest(file for file in listed if file is not base)
        base.path.rename(backup / base.path.name)
        return (
            f"the broker's data in {base.path.name} could not be read, and is kept in {backup}; "
            "it starts with what was written after it"
        )

    def _mend_manifest(self, files: Sequence[DataFile]) -> list[str]:
        try:
            written = self._manifest.read_bytes()
        except FileNotFoundError:
            written = None
        if not files or self._is_complete(written, files):
            return [] if files or written is None else self._drop_manifest()
        chosen = _choose(files)
        backup = self._make_backup_folder() if written else None
        if backup and written:
            write_file(backup / self._manifest.name, written, mode=state_dir.PRIVATE_FILE_MODE)
        self._write_manifest(chosen)
        state = "was missing" if written is None else "was empty" if not written else f"was damaged (kept in {backup})"
        names = " and ".join(file.path.name for file in chosen)
        return [f"the list of the broker's data files {state}, and is made anew: it starts with {names}"]

    def _drop_manifest(self) -> list[str]:
        """Without any file there is nothing to list; the server makes a new manifest."""
        backup = self._make_backup_folder()
        self._manifest.rename(backup / self._manifest.name)
        return [f"the broker's data files are gone; their list is kept in {backup}, and it starts with no data"]

    def _is_complete(self, written: bytes | None, files: Sequence[DataFile]) -> bool:
        """Whether the manifest can be read, its files are there, and no later one with data is missing in it."""
        lines = (written or b"").decode(errors="replace").splitlines()
        matches = [match for line in lines if (match := MANIFEST_LINE.fullmatch(line))]
        names = {match[1] for match in matches if match[2] != "h"}
        if not names or len(matches) != len(lines) or not names <= {file.path.name for file in files}:
            return False
        newest = max((file.number for file in files if file.kind == "incr" and file.path.name in names), default=0)
        return not any(file.kind == "incr" and file.size and file.number > newest for file in files)

    def _describe_losses(self, files: Sequence[DataFile]) -> list[str]:
        known = self._read_format()
        sizes = {file.path.name: file.size for file in files}
        lost = []
        for name, size in (known.sizes if known else {}).items():
            match = FILE_NAME.fullmatch(name)
            if match is None or any(file.kind == match[2] and file.number > int(match[1]) for file in files):
                continue  # the server itself has replaced it since
            if (now := sizes.get(name, 0)) < size:
                lost.append(f"{name} {'is missing' if name not in sizes else f'has {now:,} bytes of {size:,}'}")
        return [f"the broker starts with less data than it had: {', '.join(lost)}"] if lost else []

    def _find_files(self) -> list[DataFile]:
        files = []
        for path in self._files_folder.glob("appendonly.aof.*"):
            if match := FILE_NAME.fullmatch(path.name):
                with suppress(FileNotFoundError):  # a server that runs replaces its files
                    files.append(DataFile(match[2], int(match[1]), path, path.stat().st_size))
        return sorted(files)

    def _listed_files(self, files: Sequence[DataFile]) -> list[DataFile]:
        text = self._manifest.read_text(errors="replace") if self._manifest.exists() else ""
        names = {match[1] for line in text.splitlines() if (match := MANIFEST_LINE.fullmatch(line)) and match[2] != "h"}
        return [file for file in files if file.path.name in names]

    def _write_manifest(self, files: Iterable[DataFile]) -> None:
        lines = "".join(file.manifest_line for file in files)
        write_file(self._manifest, lines, mode=state_dir.PRIVATE_FILE_MODE)

    def _make_backup_folder(self) -> Path:
        backup = _free_name(self.folder)
        backup.mkdir(mode=state_dir.PRIVATE_MODE)
        return backup

    def _read_format(self) -> DataFormat | None:
        try:
            return msgspec.json.decode(self._format.read_bytes(), type=DataFormat)
        except (OSError, msgspec.DecodeError):
            return None


def _good_length(path: Path, log_text: str) -> int:
    """How many bytes of a file the server can read: whole commands, up to the one that its log refuses.

    A transaction counts when its end is there. Of commands of a known name the last is taken for the one refused.
    """
    unknown, wrong = UNKNOWN_COMMAND.search(log_text), WRONG_COMMAND.search(log_text)
    length = wrong_at = 0
    in_transaction = False
    for name, start, end in _read_commands(path):
        if unknown and name == unknown[1]:
            return length
        if wrong and path.name == wrong[1] and name.lower() == wrong[2].lower():
            wrong_at = start
        in_transaction = name.upper() == "MULTI" or (in_transaction and name.upper() != "EXEC")
        length = length if in_transaction else end
    return min(length, wrong_at) if wrong_at else length


def _read_commands(path: Path) -> Iterator[tuple[str, int, int]]:
    """The names of the whole commands of a file, with where each begins and ends, up to the first that is not whole."""
    with path.open("rb") as stream:
        total, start = os.fstat(stream.fileno()).st_size, 0
        while (name := _read_command(stream, total)) is not None:
            yield name.decode(errors="replace"), start, (start := stream.tell())


def _read_command(stream: IO[bytes], total: int) -> bytes | None:
    """The name of the next command; None where none is whole."""
    count = _read_number(stream, b"*")
    name = None
    for position in range(count):
        size = _read_number(stream, b"$")
        if size < 0 or stream.tell() + size + 2 > total:
            return None
        word = stream.read(size + 2)
        if not word.endswith(b"\r\n"):
            return None
        name = word[:-2] if position == 0 else name
    return name


def _read_number(stream: IO[bytes], mark: bytes) -> int:
    """The number after the mark; -1 where there is something else."""
    line = stream.readline(32)
    while mark == b"*" and line.startswith(b"#") and line.endswith(b"\n"):  # a note of the time
        line = stream.readline(32)
    digits = line[1:-2]
    return int(digits) if line[:1] == mark and line.endswith(b"\r\n") and digits.isdigit() else -1


def _choose(files: Sequence[DataFile]) -> list[DataFile]:
    """The newest base with the increments that follow it: an older base that is still there has all its increments."""
    bases = [file for file in files if file.kind == "base"]
    increments = [file for file in files if file.kind == "incr"]
    filled = [file for file in bases if file.size] or bases
    if len(bases) > 1 and filled[-1] is bases[-1]:
        increments = increments[-1:]
    return [*filled[-1:], *increments]


def _cut(file: DataFile, length: int, backup: Path) -> str:
    """Moves what follows this length into a file of the folder."""
    kept = backup / f"{file.path.name}.from-{length}"
    with file.path.open("r+b") as source, kept.open("xb") as target:
        os.fchmod(target.fileno(), state_dir.PRIVATE_FILE_MODE)
        source.seek(length)
        while piece := source.read(COPY_BYTES):
            target.write(piece)
        target.flush()
        os.fsync(target.fileno())
        source.truncate(length)
        os.fsync(source.fileno())
    return (
        f"the broker's data could be read up to byte {length:,} of {file.size:,} of {file.path.name}, "
        f"and it starts with that; the rest is kept in {kept}"
    )


def _free_name(folder: Path) -> Path:
    number = 1
    while (name := folder.with_name(f"{folder.name}.corrupt-{number}")).exists():
        number += 1
    return name


def _newer_data_error(folder: Path, writer: str, server: str) -> ServerError:
    return ServerError(
        f"the broker's data in {folder} was written by {writer}, which {server} cannot read",
        "Install that server or a newer one of its kind, or name another folder with LIVECTL_HOME.",
    )
