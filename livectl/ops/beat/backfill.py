"""Sends the runs of a past window, each once, however often that is killed and begun again.

    livectl:beat:backfill:NAME  hash  window: the runs that are wanted; number: how many windows the entry has had;
                                      position: the due instant of the latest run that was sent; sent, total: runs;
                                      owner, seen: who sends, and when that was last heard of; stop, done: 1 if so

The position is moved in the step that sends a run, where broker and store are one server; elsewhere right after it.
"""

from __future__ import annotations

import time
from itertools import islice, takewhile
from typing import TYPE_CHECKING, Any
from uuid import uuid4

import msgspec

from livectl.errors import LivectlError, ServerError, SettingsError, UsageError
from livectl.models import After, Run
from livectl.ops.beat import publisher
from livectl.ops.beat.entries import to_beat_entry
from livectl.ops.beat.run_store import KEY_PREFIX, Claim, PreparedRun, RunStore, StoreClock, script_source
from livectl.ops.jobs.numbers import JobNumbers
from livectl.ops.schedules import due_times
from livectl.render import View, sentence, table
from livectl.units import MS_PER_SECOND, Rate, format_count, format_instant

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

    import redis
    from celery import Celery

    from livectl.models import Schedule
    from livectl.ops.jobs.history import JobNote


BACKFILL_KEY = KEY_PREFIX + "backfill:"
LEASE_MS = 3_000  # without a word from it, a command that sends was killed, and the next one goes on
BEAT_S = 1.0  # between words of a command that waits for its rate
LOOK_S = 0.25  # between looks whether the command before is gone
BATCH_SIZE = 100  # runs in one call, where no rate is asked for
MAX_RUNS = 1_000_000
SCRIPTS = ("backfill_begin", "backfill_send", "backfill_step")


class BackfillWindow(msgspec.Struct, frozen=True, kw_only=True):
    """The runs that are wanted: those due after one instant up to another, and the keyword that tells them so."""

    after: int
    until: int
    keyword: str = ""

    @property
    def text(self) -> str:
        return f"{self.after} {self.until} {self.keyword}"


class BackfillProgress(msgspec.Struct, frozen=True, kw_only=True):
    """How far a backfill is. `status` is done, stopped, or lost to another command."""

    name: str
    sent: int
    total: int
    position: int
    status: str


def dues_of(schedule: Schedule, after: int, until: int) -> Iterator[int]:
    """The due instants after one instant, up to another."""

    def following() -> Iterator[int]:
        due = due_times.next_due(schedule, after)
        while due is not None:
            yield due
            due = due_times.next_due(schedule, due)

    return takewhile(lambda due: due <= until, following())


def count_runs(schedule: Schedule, window: BackfillWindow) -> int:
    """How many runs the window has. Raises UsageError for none, and for more than anybody means."""
    if isinstance(schedule.timing, After):
        raise UsageError(
            f"{schedule.name} has no time of its own", f"It runs {due_times.format_timing(schedule.timing)}."
        )
    count = sum(1 for _ in islice(dues_of(schedule, window.after, window.until), MAX_RUNS + 1))
    if not count:
        raise UsageError(
            f"{schedule.name} has no run in that time", "`livectl schedules next NAME --from --to --why` says why."
        )
    if count > MAX_RUNS:
        raise UsageError(f"these are more than {MAX_RUNS:,} runs", "Say a shorter time.")
    return count


class BackfillStore(RunStore):
    """The store as one backfill uses it: a run that is sent moves its position, and no beat hears of it."""

    def __init__(self, store: redis.Redis, clock: StoreClock, name: str) -> None:
        super().__init__(store, clock)
        self._scripts |= {script: store.register_script(script_source(script)) for script in SCRIPTS}
        self._name = name
        self._keys = [BACKFILL_KEY + name]
        self._caller = str(uuid4())
        self._number = ""

    def begin(self, window: BackfillWindow, total: int, *, anew: bool) -> tuple[str, int, int, str]:
        """Whether the backfill is this caller's now, its position, the runs sent, and the window that is under way."""
        arguments = (window.text, window.after, total, self._caller, int(anew), LEASE_MS)
        status, position, sent, self._number, known = self._run_script("backfill_begin", self._keys, *arguments)
        return status, int(position), int(sent), known

    def step(self, due: int | str = "", *, ends: bool = False, done: bool = False) -> tuple[str, int, int]:
        """Says that this caller is at work. Returns whether it still is to be, the position, and the runs sent."""
        status, position, sent = self._run_script("backfill_step", self._keys, self._caller, due, int(ends), int(done))
        return status, int(position), int(sent)

    def commit(self, prepared_runs: Sequence[PreparedRun], database: int) -> list[str]:
        arguments: list[Any] = [self.store.connection_pool.connection_kwargs.get("db") or 0, database, self._caller]
        for prepared in prepared_runs:
            arguments += [prepared.claim.run.due, len(prepared.commands)]
            arguments += [part for command in prepared.commands for part in (command.verb, command.key, command.value)]
        return list(self._run_script("backfill_send", self._keys, *arguments)) if prepared_runs else []

    def is_fresh(self, claim: Claim) -> bool:
        status, position, _ = self.step()
        return status == "ours" and claim.run.due > position

    def mark_done(self, claims: Sequence[Claim]) -> None:
        for claim in claims:
            self.step(claim.run.due)

    def give_back(self, claims: Sequence[Claim]) -> None:
        """Nothing to do: the position has not moved."""

    def drop(self, claims: Sequence[Claim]) -> None:
        raise SettingsError(f"a run of {self._name} cannot be sent at all", "`livectl schedules run` tells why.")

    def note(self, notes: Mapping[str, JobNote], numbers: JobNumbers, app: str) -> list[bool]:
        """A run of the past is late by years, and no beat's fault: it is not counted."""
        return super().note(notes, JobNumbers(), app)

    def task_id(self, run: Run) -> str:
        return super().task_id(Run(f"backfill {self._number} {run.name}", run.due))


class Backfill:
    """Sends the runs of a window in their order."""

    def __init__(
        self, app: Celery, store: BackfillStore, schedule: Schedule, window: BackfillWindow, rate: Rate | None = None
    ) -> None:
        self._app = app
        self._store = store
        self._schedule = schedule
        self._window = window
        self._rate = rate

    def send(self, show: Callable[[float, float], None], *, anew: bool = False) -> BackfillProgress:
        """Sends what is not sent yet. Raises LivectlError when it cannot go on; begun again, it does."""
        total = count_runs(self._schedule, self._window)
        status, position, sent = self._begin(total, anew=anew)
        if status == "done":
            return self._progress("sent before", total, position, sent)
        sender = publisher.open_publisher(self._app, self._store)
        try:
            while batch := list(islice(dues_of(self._schedule, position, self._window.until), self._batch_size())):
                show(sent, total)
                self._send(sender, batch)
                status, reached, sent = self._store.step()
                if status != "ours":
                    break
                if reached < batch[-1]:
                    raise ServerError("the broker refused a run", "Look at it, then begin again: it goes on there.")
                position = reached
                status = self._wait()
                if status != "ours":
                    break
        except publisher.BrokerUnavailableError as error:
            raise ServerError(
                f"the broker is away: {error}", "Begin again once it is back: it goes on there."
            ) from error
        finally:
            sender.close()
        done = status == "ours"
        _, position, sent = self._store.step(ends=True, done=done)
        return self._progress("done" if done else status, total, position, sent)

    def _begin(self, total: int, *, anew: bool) -> tuple[str, int, int]:
        looks = range(int(LEASE_MS / MS_PER_SECOND / LOOK_S) + 2)
        for _ in looks:
            status, position, sent, known = self._store.begin(self._window, total, anew=anew)
            if status != "busy":
                break
            time.sleep(LOOK_S)
        if status == "busy":
            raise LivectlError(
                "another command sends these runs now", "`livectl schedules backfill NAME --stop` stops it."
            )
        if status == "other":
            after, until, _ = known.split(" ", 2)
            period = f"from {_instant(int(after) + 1)} to {_instant(int(until))}"
            raise UsageError(
                f"a backfill of {self._schedule.name} {period} is not done yet",
                "Say its --from, --to and --as to go on with it, or --again to begin this one in its place.",
            )
        return status, position, sent

    def _batch_size(self) -> int:
        return BATCH_SIZE if self._rate is None else 1

    def _send(self, sender: publisher.Publisher, dues: Sequence[int]) -> None:
        jobs = []
        for due in dues:
            run, schedule = Run(self._schedule.name, due), self._schedule
            if self._window.keyword:
                kwargs = {**schedule.kwargs, self._window.keyword: _instant(due)}
                schedule = msgspec.structs.replace(schedule, kwargs=kwargs)
            jobs.append(publisher.ClaimedJob(Claim(run, 0), to_beat_entry(schedule), self._store.task_id(run)))
        sender.connect()
        sender.send(jobs)

    def _wait(self) -> str:
        """Waits as the rate wants it, and says meanwhile that it is at work."""
        status = "ours"
        wait = self._rate.seconds / self._rate.amount if self._rate else 0.0
        while wait > 0 and status == "ours":
            time.sleep(min(wait, BEAT_S))
            wait -= BEAT_S
            status = self._store.step()[0]
        return status

    def _progress(self, status: str, total: int, position: int, sent: int) -> BackfillProgress:
        return BackfillProgress(name=self._schedule.name, sent=sent, total=total, position=position, status=status)


def stop(store: redis.Redis, name: str) -> BackfillProgress | None:
    """Lets the command that sends these runs stop after the run at hand. None where nothing is under way."""
    key = BACKFILL_KEY + name
    total, sent, position, done = (str(fact or "") for fact in store.hmget(key, ["total", "sent", "position", "done"]))
    if not total or done == "1":
        return None
    store.hset(key, "stop", 1)
    return BackfillProgress(name=name, sent=int(sent), total=int(total), position=int(position), status="stopped")


def render_runs(schedule: Schedule, window: BackfillWindow, zone: str) -> View:
    """The runs that would be sent, each with its due instant."""
    from livectl.ops.beat.views import local_time

    dues = list(dues_of(schedule, window.after, window.until))
    rows = [[f"{local_time(due, zone):%Y-%m-%d %H:%M:%S}", schedule.name] for due in dues]
    return table(
        (f"due, {zone}", "name"), rows, [{"name": schedule.name, "due": _instant(due)} for due in dues], empty="No run."
    )


def render(progress: BackfillProgress) -> View:
    runs = format_count(progress.total, "run")
    texts = {
        "done": f"{progress.name}: all {runs} of that time are sent.",
        "sent before": f"{progress.name}: all {runs} of that time were sent before; --again sends them again.",
        "stopped": f"{progress.name}: stopped after {progress.sent:,} of {runs}; the same command goes on.",
        "lost": f"{progress.name}: another command goes on with it, after {progress.sent:,} of {runs}.",
    }
    position = _instant(progress.position)
    data = {"name": progress.name, "status": progress.status, "sent": progress.sent, "total": progress.total}
    return sentence(texts[progress.status], {**data, "position": position})


def _instant(moment: int) -> str:
    return format_instant(moment / MS_PER_SECOND, "milliseconds" if moment % MS_PER_SECOND else "seconds")
