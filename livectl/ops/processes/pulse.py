"""The pulse of a child: whether it works, felt again and again in a thread of its own."""

from __future__ import annotations

import threading
import time
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

    from livectl.ops.processes.child import Ward


class Pulses:
    """One thread for each ward that has a pulse: what takes its time to answer holds up nothing else."""

    def __init__(self, first_every: float, every: float) -> None:
        self._first_every = first_every  # seconds, until a pulse was good once
        self._every = every
        self._over = threading.Event()

    def feel(self, ward: Ward, pulse: Callable[[int], bool | None]) -> None:
        threading.Thread(target=self._feel, args=(ward, pulse), name=f"pulse of {ward.name}", daemon=True).start()

    def end(self) -> None:
        self._over.set()

    def _feel(self, ward: Ward, pulse: Callable[[int], bool | None]) -> None:
        while not self._over.wait(self._every if ward.heard > ward.begun else self._first_every):
            asked = time.monotonic()
            process = ward.process
            answer = pulse(process.pid) if process else False
            if answer:
                ward.answered = asked
            if answer is not False:  # nobody can tell: that is nothing against it
                ward.heard = asked
