"""Identifies a process by its pid and its start, so that livectl never signals another with the same pid."""

from __future__ import annotations

import math
import os
import subprocess
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec

if TYPE_CHECKING:
    import signal
    from collections.abc import Iterator


EXIT_CHECK_SECONDS = 0.02  # between two looks at a process that is about to end


class ProcessIdentity(msgspec.Struct, frozen=True):
    """A pid and when its process started. Pids are used again; the two together are not."""

    pid: int
    started: str


def identify(pid: int) -> ProcessIdentity | None:
    """The process that has this pid now; None when there is none, or only its exit code is left."""
    started = _start_time_from_proc(pid) if sys.platform == "linux" else _start_time_from_ps(pid)
    return ProcessIdentity(pid, started) if started else None


def name_of(pid: int) -> str:
    """The program of a process, without its arguments; empty where nobody tells."""
    try:
        argv = Path(f"/proc/{pid}/cmdline").read_bytes().decode(errors="replace").split("\0")
    except OSError:
        argv = _run_ps("args=", pid).split()
    if any(Path(word).name == "livectl" for word in argv[:3]):
        return "another livectl"
    return Path(argv[0]).name if argv and argv[0] else ""


def is_alive(process: ProcessIdentity) -> bool:
    return identify(process.pid) == process


def send_signal(process: ProcessIdentity, number: signal.Signals) -> bool:
    """Sends the signal if the process is still the same one; False when it is gone."""
    if not is_alive(process):
        return False
    try:
        os.kill(process.pid, number)
    except ProcessLookupError:
        return False
    return True


def wait_for_exit(process: ProcessIdentity, seconds: float) -> bool:
    """True once the process has ended; False when it still runs after so many seconds."""
    deadline = time.monotonic() + seconds
    while is_alive(process):
        if time.monotonic() > deadline:
            return False
        time.sleep(EXIT_CHECK_SECONDS)
    return True


def cpu_seconds(pid: int) -> float:
    """What a process has used of processors so far; 0 where nobody tells."""
    ticks = _read_stat(pid)[11:13]  # its own, in user and in system mode
    return sum(map(int, ticks)) / os.sysconf("SC_CLK_TCK")


def _start_time_from_proc(pid: int) -> str:
    fields, boot = _read_stat(pid), _read_text(Path("/proc/sys/kernel/random/boot_id"))
    if not (fields and boot):
        return ""
    state, ticks = fields[0], fields[19]
    return "" if state in "ZX" else f"{boot}+{ticks}"


def _read_stat(pid: int) -> list[str]:
    """What Linux tells of a process, from its state on."""
    stat = _read_text(Path(f"/proc/{pid}/stat"))
    return stat.rpartition(")")[2].split()  # the name before it may hold spaces and brackets


def _start_time_from_ps(pid: int) -> str:
    state, _, started = _run_ps("stat=,lstart=", pid).strip().partition(" ")
    return "" if state.startswith("Z") else started.strip()


def _run_ps(columns: str, pid: int) -> str:
    argv = ["/bin/ps", "-o", columns, "-p", str(pid)]
    return subprocess.run(argv, capture_output=True, text=True, check=False).stdout


CGROUPS = Path("/sys/fs/cgroup")
CGROUP_MEMBERSHIP = Path("/proc/self/cgroup")


def available_processors(cgroups: Path = CGROUPS, membership: Path = CGROUP_MEMBERSHIP) -> int:
    """Whole processors, at least one: a worker with none would do nothing."""
    limits = [*_cgroup_v2_quotas(cgroups, membership), *_cgroup_v1_quota(cgroups / "cpu")]
    return max(1, math.ceil(min([_allowed_processors(), *limits])))


def _allowed_processors() -> float:
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def _cgroup_v2_quotas(cgroups: Path, membership: Path) -> Iterator[float]:
    """The quotas of our own group and of every group above it; the smallest one holds."""
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
