"""The processors this process may really use: what the machine has, less what its container or affinity takes away."""

from __future__ import annotations

import math
import os
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

CGROUPS = Path("/sys/fs/cgroup")
MEMBERSHIP = Path("/proc/self/cgroup")


def available(cgroups: Path = CGROUPS, membership: Path = MEMBERSHIP) -> int:
    """Whole processors, at least one. Half a processor counts as one: a worker with none would do nothing."""
    limits = [*_quotas_v2(cgroups, membership), *_quota_v1(cgroups / "cpu")]
    return max(1, math.ceil(min([_allowed(), *limits])))


def _allowed() -> float:
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def _quotas_v2(cgroups: Path, membership: Path) -> Iterator[float]:
    """A quota may stand at our own group or at any above it, and the smallest holds."""
    own = _own_group(membership)
    for group in [own, *own.parents]:
        quota, _, period = _read(cgroups / group / "cpu.max").partition(" ")
        if quota.isdigit() and period.isdigit():
            yield int(quota) / int(period)


def _quota_v1(folder: Path) -> Iterator[float]:
    quota, period = _read(folder / "cpu.cfs_quota_us"), _read(folder / "cpu.cfs_period_us")
    if quota.isdigit() and period.isdigit():
        yield int(quota) / int(period)


def _own_group(membership: Path) -> Path:
    for line in _read(membership).splitlines():
        if line.startswith("0::/"):
            return Path(line.removeprefix("0::/"))
    return Path()


def _read(path: Path) -> str:
    try:
        return path.read_text().strip()
    except OSError:
        return ""
