"""Counts the processors that this process may use: a container often has fewer than the machine."""

from __future__ import annotations

import math
import os
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator


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
