"""An entry of a schedule as beat runs it, and its due times."""

from __future__ import annotations

from hashlib import blake2b
from typing import TYPE_CHECKING, Any, Literal, Protocol

import msgspec

from livectl.ops.schedules import due_times

if TYPE_CHECKING:
    from livectl.models import Schedule


MS_PER_SECOND = 1_000  # milliseconds


class DueTimes(Protocol):
    """When something is due, in UTC milliseconds. Every beat must find the same instants."""

    @property
    def identity(self) -> str:
        """Another one when the timing is another one."""

    def after(self, moment: int) -> int | None:
        """The first due instant after this moment; None when there is none."""

    def latest(self, first: int, until: int) -> int:
        """The latest due instant up to `until`, where `first` is one that has passed."""


class BeatEntry(msgspec.Struct, frozen=True, kw_only=True):
    """A schedule as beat runs it, whoever wrote it."""

    name: str
    task: str
    due_times: DueTimes
    args: tuple[Any, ...] = ()
    kwargs: dict[str, Any] = {}
    options: dict[str, Any] = {}
    catchup: Literal["once", "skip"] = "once"
    deadline: float | None = None  # seconds
    overlap: Literal["allow", "skip"] = "allow"


class ComputedDueTimes(msgspec.Struct, frozen=True):
    """The due instants of a schedule that we can reckon."""

    schedule: Schedule

    @property
    def identity(self) -> str:
        return fingerprint(msgspec.json.encode((self.schedule.timing, self.schedule.timezone), order="deterministic"))

    def after(self, moment: int) -> int | None:
        return due_times.next_due(self.schedule, moment)

    def latest(self, first: int, until: int) -> int:
        return due_times.last_due(self.schedule, until) or first


def to_beat_entry(schedule: Schedule) -> BeatEntry:
    return BeatEntry(
        name=schedule.name,
        task=schedule.task,
        due_times=ComputedDueTimes(schedule),
        args=schedule.args,
        kwargs=schedule.kwargs,
        options=schedule.options,
        catchup=schedule.catchup,
        deadline=schedule.deadline,
        overlap=schedule.overlap,
    )


def fingerprint(data: bytes) -> str:
    return blake2b(data, digest_size=8).hexdigest()
