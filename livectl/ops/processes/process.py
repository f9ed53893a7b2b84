"""The state directory: everything that livectl keeps on this machine, for its user alone."""

from __future__ import annotations

import fcntl
import math
import os
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path
from typing import IO, TYPE_CHECKING

import msgspec

from livectl.errors import ServerError

if TYPE_CHECKING:
    import signal
    from collections.abc import Iterator


PRIVATE_MODE = 0o700
MAX_LOG_BYTES = 10_000_000  # bytes; a longer log is set aside at the next start
STATE_FOLDERS = ("run", "log", "data")


def make_state_dir(home: Path) -> None:
    """Its folders, private even where they were there already."""
    try:
        home.mkdir(mode=PRIVATE_MODE, parents=True, exist_ok=True)
        for name in STATE_FOLDERS:
            (home / name).mkdir(mode=PRIVATE_MODE, exist_ok=True)
            (home / name).chmod(PRIVATE_MODE)
    except OSError as error:
        raise state_dir_error(home, error) from error


def state_dir_error(home: Path, error: OSError) -> ServerError:
    return ServerError(
        f"the state directory {home} cannot be used: {error.strerror}",
        "Make room or give the rights there, or name another folder with LIVECTL_HOME.",
    )


def log_path(home: Path, name: str) -> Path:
    return home / "log" / f"{name}.log"


def open_log(home: Path, name: str) -> IO[bytes]:
    """The log, to write on at its end; a long one is set aside first."""
    path = log_path(home, name)
    if path.exists() and path.stat().st_size > MAX_LOG_BYTES:
        path.replace(path.with_name(f"{path.name}.1"))
    return path.open("ab")


LOCK_RETRY_SECONDS = 0.05  # seconds between two tries while a holder is on its way out


def acquire_lock(path: Path, timeout: float = 0) -> int | None:
    """The descriptor to keep open; None when another still holds the file after so many seconds.

    A child that inherits the descriptor holds the file too: it is free when the last of them has ended, however.
    """
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    deadline = time.monotonic() + timeout
    while not _try_lock(descriptor):
        if time.monotonic() >= deadline:
            os.close(descriptor)
            return None
        time.sleep(LOCK_RETRY_SECONDS)
    os.ftruncate(descriptor, 0)
    os.pwrite(descriptor, str(os.getpid()).encode(), 0)
    return descriptor


def read_lock_owner(path: Path) -> int | None:
    """The pid of whoever took it last."""
    with suppress(OSError, ValueError):
        return int(path.read_text())
    return None


def _try_lock(descriptor: int) -> bool:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


CGROUPS = Path("/sys/fs/cgroup")
CGROUP_MEMBERSHIP = Path("/proc/self/cgroup")


def available_processors(cgroups: Path = CGROUPS, membership: Path = CGROUP_MEMBERSHIP) -> int:
    """Whole processors, at least one. Half a processor counts as one: a worker with none would do nothing."""
    limits = [*_cgroup_v2_quotas(cgroups, membership), *_cgroup_v1_quota(cgroups / "cpu")]
    return max(1, math.ceil(min([_allowed_processors(), *limits])))


def _allowed_processors() -> float:
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def _cgroup_v2_quotas(cgroups: Path, membership: Path) -> Iterator[float]:
    """A quota may stand at our own group or at any above it, and the smallest holds."""
    own_group = _read_own_cgroup(membership)
    for group in [own_group, *own_group.parents]:
        quota, _, period = _read_text(cgroups / group / "cpu.max").partition(" ")
        if quota.isdigit() and period.isdigit():
            yield int(quota) / int(period)


def _cgroup_v1_quota(folder: Path) -> Iterator[float]:
    quota, period = _read_text(folder / "cpu.cfs_quota_us"), _read_text(folder / "cpu.cfs_period_us")
    if quota.isdigit() and period.isdigit():
        yield int(quota) / int(period)


def _read_own_cgroup(membership: Path) -> Path:
    for line in _read_text(membership).splitlines():
        if line.startswith("0::/"):
            return Path(line.removeprefix("0::/"))
    return Path()


def _read_text(path: Path) -> str:
    try:
        return path.read_text().strip()
    except OSError:
        return ""


EXIT_CHECK_SECONDS = 0.02  # seconds between looks at a process that is about to end


class ProcessIdentity(msgspec.Struct, frozen=True):
    """A pid, and when it began: pids come round again, a pid with its beginning does not."""

    pid: int
    started: str


def identify(pid: int) -> ProcessIdentity | None:
    """The process that has this pid now; None when none has, or only its exit code is left."""
    started = _start_time_from_proc(pid) if sys.platform == "linux" else _start_time_from_ps(pid)
    return ProcessIdentity(pid, started) if started else None


def is_alive(process: ProcessIdentity) -> bool:
    return identify(process.pid) == process


def send_signal(process: ProcessIdentity, number: signal.Signals) -> bool:
    """Signals it if it is still the same one; False when it is gone."""
    if not is_alive(process):
        return False
    try:
        os.kill(process.pid, number)
    except ProcessLookupError:
        return False
    return True


def wait_for_exit(process: ProcessIdentity, seconds: float) -> bool:
    """True once it has ended; False when it still runs after so many seconds."""
    deadline = time.monotonic() + seconds
    while is_alive(process):
        if time.monotonic() > deadline:
            return False
        time.sleep(EXIT_CHECK_SECONDS)
    return True


def _start_time_from_proc(pid: int) -> str:
    try:
        stat = Path(f"/proc/{pid}/stat").read_text()
        boot = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
    except OSError:
        return ""
    fields = stat.rpartition(")")[2].split()  # the name before it may hold spaces and brackets
    state, ticks = fields[0], fields[19]
    return "" if state in "ZX" else f"{boot}+{ticks}"


def _start_time_from_ps(pid: int) -> str:
    completed = subprocess.run(
        ["/bin/ps", "-o", "stat=,lstart=", "-p", str(pid)], capture_output=True, text=True, check=False
    )
    state, _, started = completed.stdout.strip().partition(" ")
    return "" if state.startswith("Z") else started.strip()
