"""A child: a process to keep running, and how it is ended so that it loses nothing."""

from __future__ import annotations

import os
import selectors
import signal
import subprocess
import threading
import time
from collections import deque
from contextlib import suppress
from typing import TYPE_CHECKING

import msgspec

from livectl.errors import EXIT_DONE, EXIT_INTERRUPTED, LivectlError
from livectl.ops.processes import die_with_parent, output
from livectl.ops.processes.output import OutputReader, OutputStream

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from livectl.ops.processes.output import SignalReader
    from livectl.settings import Up


LAST_LINES = 5  # kept to be shown when it is given up


class ChildSpec(msgspec.Struct, frozen=True, kw_only=True):
    """What to keep running."""

    name: str
    start: Callable[[], subprocess.Popen[bytes]]
    ready: Callable[[], bool] | None = None  # whether what needs it may start now
    check_health: Callable[[int], bool | None] | None = None  # whether it works, by its pid; None where nobody can tell
    repair: Callable[[int], str] | None = None  # after its end: what was mended, or raises what cannot be
    grace_seconds: float = 15.0  # seconds that its running jobs get after SIGTERM
    requeues_on_quit: bool = (
        False  # SIGQUIT then makes it put its jobs back; where that would lose them, only SIGKILL is left
    )
    if_killed: str = ""  # what becomes of its jobs then


def spawn(command: list[str], environ: Mapping[str, str]) -> subprocess.Popen[bytes]:
    """The command on a tether to this process, in a session of its own: Ctrl-C in the terminal does not reach it."""
    return subprocess.Popen(
        die_with_parent.command_line(os.getpid(), command),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env={
            **environ,
            "PYTHONUNBUFFERED": "1",
        },  # a line is shown when it is written, not when 8 kB have come together
        start_new_session=True,
    )


class SupervisedProcess:
    """A child under supervision: its process, since when, and its luck so far."""

    def __init__(self, spec: ChildSpec) -> None:
        self.spec = spec
        self.popen: subprocess.Popen[bytes] | None = None
        self.started_at = 0.0  # 0 before its first start
        self.last_not_unhealthy_at = 0.0  # when its pulse was last good, or nobody could tell
        self.last_healthy_at = 0.0  # when its pulse was last good
        self.restart_at: float | None = None  # when to start it again
        self.restart_pause = 0.0
        self.failed_starts = 0
        self.last_lines = deque[str](maxlen=LAST_LINES)
        self._escalation: list[tuple[float, signal.Signals]] | None = None

    @property
    def name(self) -> str:
        return self.spec.name

    @property
    def was_healthy(self) -> bool:
        """Whether its pulse was good since it began."""
        return self.last_healthy_at > self.started_at

    @property
    def is_stopping(self) -> bool:
        return self._escalation is not None

    def start(self, now: float) -> list[OutputStream]:
        self.started_at, self.restart_at = now, None
        self.popen = popen = self.spec.start()
        return [OutputStream(self.name, pipe) for pipe in (popen.stdout, popen.stderr) if pipe]

    def poll_exit_code(self) -> int | None:
        """Its exit code, the first time that is asked after its end."""
        if self.popen is None or (code := self.popen.poll()) is None:
            return None
        if code < 0:  # it had no time to end its own children
            _signal_group(self.popen.pid, signal.SIGKILL)
        self.popen = None
        self._escalation = None
        return code

    def stop(self, now: float, quit_seconds: float, grace: float | None = None) -> None:
        """In order: it may end what it does, and is pressed harder as its grace runs out."""
        if self.popen is None:
            return
        if not self.is_stopping:
            self.popen.terminate()
        quit_step_at = now + (self.spec.grace_seconds if grace is None else grace)
        kill_step = (quit_step_at + quit_seconds, signal.SIGKILL)
        self._escalation = (
            [(quit_step_at, signal.SIGQUIT), kill_step]
            if self.spec.requeues_on_quit
            else [(quit_step_at, signal.SIGKILL)]
        )

    def kill(self) -> None:
        if self.popen:
            _signal_group(self.popen.pid, signal.SIGKILL)

    def escalate(self, now: float) -> signal.Signals | None:
        """The signal that it was sent just now, because its time was over."""
        if self.popen is None or not self._escalation or now < self._escalation[0][0]:
            return None
        _, number = self._escalation.pop(0)
        if number is signal.SIGKILL:
            self.kill()
        else:
            self.popen.send_signal(number)
        return number


def _signal_group(leader: int, number: signal.Signals) -> None:
    with suppress(ProcessLookupError, PermissionError):  # macOS answers the latter when only the dead are left
        os.killpg(leader, number)


class HealthMonitor:
    """One thread for each ward that has a pulse: what takes its time to answer holds up nothing else."""

    def __init__(self, first_interval: float, interval: float, clock: Callable[[], float]) -> None:
        self._first_interval = first_interval  # seconds, until a pulse was good once
        self._interval = interval
        self._clock = clock
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
            asked_at = self._clock()
            popen = process.popen
            healthy = check_health(popen.pid) if popen else False
            if healthy:
                process.last_healthy_at = asked_at
            if healthy is not False:  # nobody can tell: that is nothing against it
                process.last_not_unhealthy_at = asked_at


OWN_NAME = "up"
POLL_SECONDS = 0.25  # seconds between looks at what is due; output, signals and deaths are seen at once
START_POLL_SECONDS = 0.02
CLOSE_SECONDS = 1.0  # how long the end of the output is waited for once every child has ended
GRACEFUL_SIGNALS = frozenset({signal.SIGTERM, signal.SIGINT, signal.SIGHUP})
IMMEDIATE_SIGNALS = frozenset({signal.SIGQUIT})


CHECKS_PER_SILENCE = 6


class SupervisorTimings(msgspec.Struct, frozen=True):
    """How long is waited for what, in seconds."""

    failed_start_within: float = 5.0  # a child that ends sooner than this could not start
    max_failed_starts: int = 5  # so many such ends in a row, and it is given up
    first_pause: float = 1.0  # before it is started again; doubled each time
    max_pause: float = 30.0
    stable_after: float = 60.0  # after which the next pause is the first again; `at_once` for one whose pulse was good
    unhealthy_after: float = 60.0  # a child without a good pulse for so long is started again
    first_check_interval: float = 1.0
    check_interval: float = 10.0
    hurried_grace_seconds: float = (
        1.5  # after SIGTERM when there is no time for jobs; a worker notices it within 1 s, and then SIGQUIT
    )
    quit_seconds: float = 5.0  # what a child gets between SIGQUIT and SIGKILL

    @classmethod
    def from_settings(cls, up: Up) -> SupervisorTimings:
        """As the user wants them; a child is checked often enough to miss a check or two within its silence."""
        return cls(first_pause=up.pause, unhealthy_after=up.silence, check_interval=up.silence / CHECKS_PER_SILENCE)


class Supervisor:
    """Children in the order in which they start; they end in the opposite one."""

    def __init__(
        self,
        specs: Sequence[ChildSpec],
        write: Callable[[str, str], None],
        timings: SupervisorTimings | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._processes = [SupervisedProcess(spec) for spec in specs]
        self._write = write  # called with who says it, and the line
        self._timings = timings or SupervisorTimings()
        self._clock = clock
        self._selector = selectors.DefaultSelector()
        self._output_reader = OutputReader(self._selector, self._write_line)
        self._health_monitor = HealthMonitor(self._timings.first_check_interval, self._timings.check_interval, clock)
        self._stopping = False
        self._is_hurried = False
        self._failure: LivectlError | None = None
        self._all_ready = False

    def run(self) -> int:
        """Until told to stop: 0 after an end in order. Raises why, when a child cannot be kept running."""
        for process in self._processes:
            if process.spec.check_health:
                self._health_monitor.watch(process, process.spec.check_health)
        with (
            output.capture_signals({*GRACEFUL_SIGNALS, *IMMEDIATE_SIGNALS, signal.SIGCHLD}) as signal_reader,
            self._selector,
        ):
            self._selector.register(signal_reader, selectors.EVENT_READ, lambda: self._handle_signals(signal_reader))
            while not self._stopping or any(process.popen for process in self._processes):
                self._step()
            self._selector.unregister(signal_reader)
            self._output_reader.close(CLOSE_SECONDS)
        self._health_monitor.stop()
        if self._failure:
            raise self._failure
        return EXIT_INTERRUPTED if self._is_hurried else EXIT_DONE

    def _step(self) -> None:
        for key, _ in self._selector.select(POLL_SECONDS if self._processes[-1].started_at else START_POLL_SECONDS):
            key.data()
        now = self._clock()
        for process in self._processes:
            self._check(process, now)
        if self._stopping:
            self._stop_next(now)
        else:
            self._start_next(now)
            self._report_ready()

    def _check(self, process: SupervisedProcess, now: float) -> None:
        if (code := process.poll_exit_code()) is not None:
            self._output_reader.read(process.name)
            if not self._stopping:
                self._handle_exit(process, code, now)
        elif process.restart_at and now >= process.restart_at and not self._stopping:
            self._start(process, now)
        elif number := process.escalate(now):
            self._write_own_line(_escalation_message(process, number))
        elif self._is_unhealthy(process, now):
            self._write_own_line(
                f"{process.name} has not answered for {self._timings.unhealthy_after:g} s and is started again"
            )
            process.stop(now, self._timings.quit_seconds)

    def _start_next(self, now: float) -> None:
        """The first that never ran, as soon as those before it are ready for it."""
        for process in self._processes:
            if not process.started_at:
                self._start(process, now)
                return
            if self._processes[-1].started_at or not (process.spec.ready is None or process.spec.ready()):
                return

    def _start(self, process: SupervisedProcess, now: float) -> None:
        try:
            for stream in process.start(now):
                self._output_reader.add(stream)
        except LivectlError as error:
            self._give_up(error)

    def _handle_exit(self, process: SupervisedProcess, code: int, now: float) -> None:
        """One that was to run on has ended: it is mended, given up, or started again after a pause."""
        lifetime = now - process.started_at
        never_worked = lifetime < self._timings.failed_start_within and not process.was_healthy
        process.failed_starts = process.failed_starts + 1 if never_worked else 0
        process.restart_pause = self._next_pause(process, lifetime)
        try:
            repaired = process.spec.repair(code) if process.spec.repair else ""
        except LivectlError as error:
            self._give_up(error)
            return
        if process.failed_starts >= self._timings.max_failed_starts:
            self._give_up(_gave_up_error(process, code))
            return
        if repaired:
            self._write_own_line(repaired)
        self._write_own_line(
            f"{process.name} ended ({describe_exit(code)}) and is started again in {process.restart_pause:g} s"
        )
        process.restart_at = now + process.restart_pause

    def _next_pause(self, process: SupervisedProcess, lifetime: float) -> float:
        stable_after = self._timings.failed_start_within if process.was_healthy else self._timings.stable_after
        if not process.restart_pause or lifetime >= stable_after:
            return self._timings.first_pause
        return min(process.restart_pause * 2, self._timings.max_pause)

    def _give_up(self, error: LivectlError) -> None:
        self._failure = self._failure or error
        self._stopping = True

    def _is_unhealthy(self, process: SupervisedProcess, now: float) -> bool:
        if process.spec.check_health is None or process.popen is None or process.is_stopping:
            return False
        return now - max(process.started_at, process.last_not_unhealthy_at) > self._timings.unhealthy_after

    def _report_ready(self) -> None:
        monitored = [process for process in self._processes if process.spec.check_health]
        if (
            monitored
            and not self._all_ready
            and all(process.last_not_unhealthy_at > process.started_at > 0 for process in monitored)
        ):
            self._all_ready = True
            self._write_own_line(f"ready: {', '.join(process.name for process in monitored)} at work")

    def _stop_next(self, now: float) -> None:
        """The last started of those that run: what started before it may still be needed by it."""
        running = [process for process in self._processes if process.popen]
        if running and not running[-1].is_stopping:
            running[-1].stop(
                now, self._timings.quit_seconds, self._timings.hurried_grace_seconds if self._is_hurried else None
            )

    def _handle_signals(self, signal_reader: SignalReader) -> None:
        for number in signal_reader.read():
            if number in IMMEDIATE_SIGNALS or (number in GRACEFUL_SIGNALS and self._stopping):
                self._hurry(self._clock())
            elif number in GRACEFUL_SIGNALS:
                self._write_own_line("stopping: running jobs end first; a second time stops at once")
                self._stopping = True

    def _hurry(self, now: float) -> None:
        """Still one after the other, but without grace for running jobs; asked once more, all are killed."""
        if self._is_hurried:
            for process in self._processes:
                process.kill()
            return
        self._write_own_line("stopping at once")
        self._stopping = self._is_hurried = True
        for process in self._processes:
            if process.is_stopping:
                process.stop(now, self._timings.quit_seconds, self._timings.hurried_grace_seconds)

    def _write_line(self, name: str, line: str) -> None:
        for process in self._processes:
            if process.name == name:
                process.last_lines.append(line)
        self._write(name, line)

    def _write_own_line(self, line: str) -> None:
        self._write(OWN_NAME, line)


def describe_exit(code: int) -> str:
    return f"exit code {code}" if code >= 0 else signal.Signals(-code).name


def _escalation_message(process: SupervisedProcess, number: signal.Signals) -> str:
    if number is signal.SIGQUIT:
        return f"{process.name} has not ended yet: it is told to put its jobs back"
    return f"{process.name} did not end and was killed{'; ' if process.spec.if_killed else ''}{process.spec.if_killed}"


def _gave_up_error(process: SupervisedProcess, code: int) -> LivectlError:
    last_lines = "".join(f"\n    {line}" for line in process.last_lines)
    return LivectlError(
        f"{process.name} ended right after its start {process.failed_starts} times in a row "
        f"({describe_exit(code)}): given up",
        f"Its last lines:{last_lines}" if last_lines else "",
    )
