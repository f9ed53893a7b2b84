"""The pulse of a child: whether it works, felt again and again in a thread of its own."""

from __future__ import annotations

import threading
import time
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

    from livectl.ops.processes.child import SupervisedProcess


class HealthMonitor:
    """One thread for each ward that has a pulse: what takes its time to answer holds up nothing else."""

    def __init__(self, first_interval: float, interval: float) -> None:
        self._first_interval = first_interval  # seconds, until a pulse was good once
        self._interval = interval
        self._stopped = threading.Event()

    def watch(self, process: SupervisedProcess, check_health: Callable[[int], bool | None]) -> None:
        threading.Thread(
            target=self._check_repeatedly, args=(process, check_health), name=f"pulse of {process.name}", daemon=True
        ).start()

    def stop(self) -> None:
        self._stopped.set()

    def _check_repeatedly(self, process: SupervisedProcess, check_health: Callable[[int], bool | None]) -> None:
        while not self._stopped.wait(
            self._interval if process.last_not_unhealthy_at > process.started_at else self._first_interval
        ):
            asked_at = time.monotonic()
            popen = process.popen
            healthy = check_health(popen.pid) if popen else False
            if healthy:
                process.last_healthy_at = asked_at
            if healthy is not False:  # nobody can tell: that is nothing against it
                process.last_not_unhealthy_at = asked_at
