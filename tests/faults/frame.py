"""What a row of the fault matrix is, what it finds, and how rows are played and told.

A row takes a `Case` and answers an `Outcome`. Its `Limits` say what may be counted at most; times are shown, and
guarded generously. Its `mechanism` is what makes livectl pass: played with `case.without`, the row has to turn red.
"""

from __future__ import annotations

import shutil
import signal
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass, field, fields, replace
from pathlib import Path
from typing import TYPE_CHECKING, TextIO

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence

HANG_S = 30.0  # after so long without a job, though there is one and its broker answers, a worker hangs


@dataclass(frozen=True)
class Outcome:
    """What one row found in one set-up. None: the row does not count that."""

    acknowledged: int = 0  # what its sender was told to be kept
    lost: int = 0  # acknowledged, and neither done nor set aside
    set_aside: int | None = None  # as a dead letter, which `livectl dead retry` puts back
    repeated: int | None = None  # begun more than once
    doubled: int | None = None  # done more than once
    missed: int | None = None  # not done by the time that it was due
    back_within_s: float | None = None  # the longest time from the end of a fault until the next work was done
    exits: int | None = None  # of processes that nobody killed
    hangs: int | None = None  # longer than HANG_S
    note: str = ""


@dataclass(frozen=True)
class Limits:
    """What a row may count at most. None: it is only shown."""

    lost: int = 0
    set_aside: int | None = 0
    repeated: int | None = None
    doubled: int | None = None
    missed: int | None = 0
    exits: int | None = 0
    hangs: int | None = 0
    back_within_s: float | None = 60.0  # a guard: how fast it is, the table shows

    def broken_by(self, outcome: Outcome) -> list[str]:
        found = []
        for limit in fields(self):
            most, counted = getattr(self, limit.name), getattr(outcome, limit.name)
            if most is not None and counted is not None and counted > most:
                found.append(f"{limit.name} {counted:g} > {most:g}")
        return found


@dataclass(frozen=True)
class Mechanism:
    """What keeps a row green, and how it is taken out: by settings, by a patch of the process, or by stock Celery."""

    name: str
    settings: str = ""  # YAML that is added to livectl.yaml
    patch: str = ""  # Python that the worker (or whatever the row starts) runs before anything else
    is_stock: bool = False  # Celery's own worker in place of livectl's


@dataclass(frozen=True)
class Case:
    """One play of a row."""

    setup: str
    seed: int
    folder: Path  # of its own, empty
    is_short: bool = False
    minutes: float = 10.0  # of the row that takes as long as it is told
    without: Mechanism | None = None

    def either(self, short: int, full: int) -> int:
        """A number of the short form, or of the whole one."""
        return short if self.is_short else full


@dataclass(frozen=True)
class Row:
    """One kind of harm."""

    name: str  # as in F6
    fault: str
    play: Callable[[Case], Outcome]
    setups: tuple[str, ...]  # the cheapest first: it is the one without the mechanism
    mechanism: Mechanism
    short_setups: tuple[str, ...] = ()  # of `make test`
    limits: Limits = field(default_factory=Limits)
    # of the short form, where fewer faults are done
    short_limits: Limits | None = None

    def limits_of(self, case: Case) -> Limits:
        return self.short_limits or self.limits if case.is_short else self.limits


@dataclass(frozen=True)
class Result:
    """An outcome held against its limits."""

    row: Row
    case: Case
    outcome: Outcome
    broken: tuple[str, ...]
    seconds: float

    @property
    def is_green(self) -> bool:
        return not self.broken


def play(row: Row, case: Case) -> Result:
    began = time.monotonic()
    try:
        outcome = row.play(case)
        broken = row.limits_of(case).broken_by(outcome)
    except (AssertionError, subprocess.TimeoutExpired) as error:  # what never came, such as a worker that is ready
        outcome, broken = Outcome(note=str(error).partition("\n")[0]), [f"gave up: {error}"]
    return Result(row, case, outcome, tuple(broken), time.monotonic() - began)


def play_in_folder(row: Row, case: Case) -> Result:
    """In a short folder of its own, which goes with it."""
    folder = Path(tempfile.mkdtemp(prefix="lv-f-"))
    try:
        return play(row, replace(case, folder=folder))
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def chosen_cases(
    rows: Sequence[Row], seeds: Sequence[int], setups: Sequence[str] = (), *, minutes: float = 10.0
) -> Iterator[tuple[Row, Case]]:
    """Each row in each of its set-ups whose words include one of `setups`, with each seed."""
    for row in rows:
        for setup in row.setups:
            if not setups or any(wanted in setup.split() or wanted == setup for wanted in setups):
                for seed in seeds:
                    yield row, Case(setup, seed, Path(), minutes=minutes)


def end_in_order() -> None:
    """Has a run that is told to end clean up after itself, in the background of a shell too."""
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda received, _: sys.exit(128 + received))


COLUMNS = ("acknowledged", "lost", "set_aside", "repeated", "doubled", "missed", "back_within_s", "exits", "hangs")


def table_head() -> str:
    titles = ("row", "fault", "set-up", *(name.removesuffix("_s").replace("_", " ") for name in COLUMNS), "verdict")
    return f"| {' | '.join(titles)} |\n|{' --- |' * len(titles)}"


def table_line(result: Result) -> str:
    counts = [_cell(getattr(result.outcome, name), is_time=name.endswith("_s")) for name in COLUMNS]
    verdict = "green" if result.is_green else f"RED: {'; '.join(result.broken)}".replace("\n", " ")[:300]
    verdict += f" ({result.outcome.note})" if result.outcome.note else ""
    return f"| {' | '.join([result.row.name, result.row.fault, result.case.setup, *counts, verdict])} |"


def _cell(value: float | None, *, is_time: bool) -> str:
    if value is None:
        return ""
    return f"{value:.1f} s" if is_time else str(value)


def play_all(cases: Iterable[tuple[Row, Case]], out: TextIO) -> bool:
    """Plays them one after another and prints the table as it grows. Whether all are green."""
    print(table_head(), file=out, flush=True)
    is_green = True
    for row, case in cases:
        result = play_in_folder(row, case)
        is_green &= result.is_green
        print(table_line(result), file=out, flush=True)
    return is_green


def play_without(rows: Iterable[Row], seed: int, out: TextIO) -> bool:
    """Plays each row in its first set-up without its mechanism. Whether all turn red, as they should."""
    all_red = True
    print("| row | without | turns |\n| --- | --- | --- |", file=out, flush=True)
    for row in rows:
        case = Case(row.setups[0], seed, Path(), is_short=True, without=row.mechanism)
        result = play_in_folder(row, case)
        all_red &= not result.is_green
        verdict = "GREEN: the row does not notice" if result.is_green else f"red: {'; '.join(result.broken)}"
        print(f"| {row.name} | {row.mechanism.name} | {verdict[:300]} |".replace("\n", " "), file=out, flush=True)
    return all_red
