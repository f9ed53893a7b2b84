"""The ledger of a row: a file outside the system, to which jobs and senders add lines of their own."""

from __future__ import annotations

import os
import time
from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path


@dataclass(frozen=True)
class Entry:
    event: str  # acknowledged, started or finished
    job: str
    at: float  # on the clock of all processes of this machine (monotonic)
    pid: int


class Ledger:
    """Reads on from where it last stopped; a line that is not whole yet is left for later."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.acknowledged: set[str] = set()
        self.starts: Counter[str] = Counter()
        self.ends: Counter[str] = Counter()
        self.entries: list[Entry] = []
        self.first_starts: dict[str, Entry] = {}  # of each job
        self._offset = 0

    def note(self, event: str, job: str) -> None:
        """As jobs do it: one write, at the end of the file."""
        line = f"{event} {job} {time.monotonic()} {os.getpid()}\n".encode()
        descriptor = os.open(self.path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
        try:
            os.write(descriptor, line)
        finally:
            os.close(descriptor)

    def read(self) -> Ledger:
        if not self.path.exists():
            return self
        with self.path.open("rb") as file:
            file.seek(self._offset)
            data = file.read()
        whole = data[: data.rfind(b"\n") + 1]
        self._offset += len(whole)
        for line in whole.decode().splitlines():
            self._take(line)
        return self

    def _take(self, line: str) -> None:
        event, job, at, pid = line.split()
        entry = Entry(event, job, float(at), int(pid))
        self.entries.append(entry)
        if event == "started":
            self.first_starts.setdefault(job, entry)
        if event == "acknowledged":
            self.acknowledged.add(job)
        else:
            (self.starts if event == "started" else self.ends)[job] += 1

    @property
    def open_jobs(self) -> set[str]:
        """Acknowledged and not done."""
        return self.acknowledged - self.ends.keys()

    @property
    def repeats(self) -> list[Entry]:
        """The first start of each job that was begun more than once."""
        return [self.first_starts[job] for job, times in self.starts.items() if times > 1]

    @property
    def repeated(self) -> int:
        return sum(times > 1 for times in self.starts.values())

    @property
    def doubled(self) -> int:
        return sum(times > 1 for times in self.ends.values())

    @property
    def last_at(self) -> float:
        return self.entries[-1].at if self.entries else 0.0

    def first_work_after(self, at: float) -> float | None:
        """Seconds from this moment until a job began or ended."""
        works = (entry.at - at for entry in self.entries if entry.event != "acknowledged" and entry.at > at)
        return min(works, default=None)
