"""Keeps the children of `livectl up` running: starts them in order, restarts what dies or hangs, ends them in order."""

from __future__ import annotations

import os
import selectors
import signal
import time
from contextlib import contextmanager
from typing import TYPE_CHECKING, Literal

import msgspec

from livectl.errors import EXIT_DONE, EXIT_INTERRUPTED, LivectlError
from livectl.ops.processes.output import OutputReader
from livectl.ops.processes.supervised_process import ChildSpec, HealthMonitor, SupervisedProcess

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterator, Sequence
    from types import FrameType

    from livectl.settings import Up


OWN_NAME = "up"
READY_PREFIX = "ready: "  # begins the line that says that every child has answered
STOPPING_PREFIX = "stopping"  # begins the lines that say that all is about to end
POLL_SECONDS = 0.25  # between two looks at what is due; output, signals and deaths wake the supervisor at once
START_POLL_SECONDS = 0.02  # the same while children start
CLOSE_SECONDS = 1.0  # to wait for the end of the output once every child has ended
GRACEFUL_SIGNALS = frozenset({signal.SIGTERM, signal.SIGINT, signal.SIGHUP})
IMMEDIATE_SIGNALS = frozenset({signal.SIGQUIT})
MAX_SIGNALS_READ = 64  # in one go; the rest is read the next time
CHECKS_PER_SILENCE = 6  # health checks in the time after which a silent child is restarted
START_SILENCE_SECONDS = 60.0


class SupervisorTimings(msgspec.Struct, frozen=True):
    """How long the supervisor waits for what, in seconds."""

    failed_start_within: float = 20.0  # a child that ends sooner could not start, where nobody can tell if it worked
    max_failed_starts: int = 5  # in a row; then a child is parked, or the supervisor gives up if it never worked at all
    first_pause: float = 1.0  # before a restart; doubled each time
    max_pause: float = 60.0
    stable_after: float = 60.0  # a child that ran so long gets the first pause again
    works_after: float = 5.0  # the same of one that was seen to work
    unhealthy_after: float = 20.0  # a child that passes no health check for so long is restarted
    unhealthy_start_after: float = START_SILENCE_SECONDS  # the same of one that has not passed any since its start
    longest_start: float = 600.0  # of one that is busy with its start, as everything takes long on a busy machine
    first_check_interval: float = 1.0
    check_interval: float = 10.0
    hurried_grace_seconds: float = 1.5  # from SIGTERM to SIGQUIT in a hurry; a worker notices SIGTERM within 1 s
    quit_seconds: float = 5.0  # from SIGQUIT to SIGKILL

    @classmethod
    def from_settings(cls, up: Up) -> SupervisorTimings:
        """Takes pause and silence from the settings, and checks so often that one missed check does no harm."""
        return cls(
            first_pause=up.pause,
            unhealthy_after=up.silence,
            unhealthy_start_after=max(up.silence, START_SILENCE_SECONDS),
            check_interval=up.silence / CHECKS_PER_SILENCE,
        )


class MemberRequest(msgspec.Struct, frozen=True, kw_only=True):
    """What is to be done with one child while the others go on."""

    action: Literal["stop", "restart", "add", "remove"]
    name: str
    spec: ChildSpec | None = None  # of one that is new, or to be another from now on
    now: bool = False  # whether its running jobs get no time
    patient: bool = False  # whether they get all the time that they take
    wakes: bool = True  # whether one starts again that was told to end


class Supervisor:
    """Runs children, which start in the order given and end in the opposite order."""

    def __init__(
        self,
        specs: Sequence[ChildSpec],
        write: Callable[[str, str], None],
        timings: SupervisorTimings | None = None,
        clock: Callable[[], float] = time.monotonic,
        requests: Callable[[], Sequence[MemberRequest]] = tuple,
    ) -> None:
        self._requests = requests  # asked in each step: what is to be done since
        self._processes = [SupervisedProcess(spec) for spec in specs]
        self._write = write  # called with the name of the child, and a line
        self._timings = timings or SupervisorTimings()
        self._clock = clock
        self._selector = selectors.DefaultSelector()
        self._output_reader = OutputReader(self._selector, self._write_line)
        self._health_monitor = HealthMonitor(self._timings.first_check_interval, self._timings.check_interval, clock)
        self._stopping = False
        self._is_hurried = False  # running jobs get no time
        self._failure: LivectlError | None = None
        self._all_ready = False

    def run(self) -> int:
        """Runs until a signal stops it; returns the exit code. Raises when a child cannot be kept running."""
        for process in self._processes:
            if process.spec.check_health:
                self._health_monitor.watch(process, process.spec.check_health)
        with (
            _capture_signals({*GRACEFUL_SIGNALS, *IMMEDIATE_SIGNALS, signal.SIGCHLD}) as signal_reader,
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
        for process in list(self._processes):
            self._check(process, now)
        if self._stopping:
            self._stop_next(now)
        else:
            for request in self._requests():
                self._serve(request, now)
            self._start_next(now)
            self._report_ready()

    def _serve(self, request: MemberRequest, now: float) -> None:
        process = next((process for process in self._processes if process.name == request.name), None)
        if process is None:
            if request.action == "add" and request.spec:
                self._add(request.spec)
            return
        process.spec = request.spec or process.spec
        if request.action == "restart" and not (process.is_wanted or request.wakes):
            return
        process.is_wanted = request.action in {"restart", "add"}
        process.is_replaced, process.is_removed = process.is_wanted, request.action == "remove"
        if process.popen is None:
            process.restart_at, process.failed_starts = (now if process.is_wanted else None), 0
            self._forget_removed(process)
        elif not process.is_stopping or request.now:
            self._write_own_line(f"{process.name} is told to end{', and started anew' if process.is_wanted else ''}")
            grace = self._timings.hurried_grace_seconds if request.now else float("inf") if request.patient else None
            process.stop(now, self._timings.quit_seconds, grace)

    def _add(self, spec: ChildSpec) -> None:
        """One that is new does not end the others when it cannot be started."""
        process = SupervisedProcess(spec)
        process.has_worked = True
        self._processes.append(process)
        if spec.check_health:
            self._health_monitor.watch(process, spec.check_health)

    def _forget_removed(self, process: SupervisedProcess) -> None:
        if process.is_removed:
            self._processes.remove(process)

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
            silence = self._silence_allowed(process)
            self._write_own_line(f"{process.name} has not answered for {silence:g} s and is started again")
            process.stop(now, self._timings.quit_seconds)

    def _start_next(self, now: float) -> None:
        """Starts the next child that never ran, once every child before it is ready."""
        for process in self._processes:
            if not process.started_at and process.is_wanted:
                self._start(process, now)
                return
            if self._processes[-1].started_at or not (process.spec.ready is None or process.spec.ready()):
                return

    def _start(self, process: SupervisedProcess, now: float) -> None:
        try:
            streams = process.start(now)
        except (LivectlError, OSError) as error:
            self._handle_failure(process, error, now)
            return
        for stream in streams:
            self._output_reader.add(stream)

    def _handle_exit(self, process: SupervisedProcess, code: int, now: float) -> None:
        """Plans the restart of a child that ended by itself, or gives up."""
        if not process.is_wanted or process.is_replaced:
            self._handle_asked_exit(process, now)
            return
        lifetime = now - process.started_at
        if process.was_healthy or lifetime >= self._start_limit(process):
            process.has_worked = True
            process.failed_starts = 0
        else:
            process.failed_starts += 1
        try:
            repaired = process.spec.repair(code) if process.spec.repair else ""
        except (LivectlError, OSError) as error:
            self._handle_failure(process, error, now)
            return
        if repaired:
            self._write_own_line(repaired)
        if process.failed_starts >= self._timings.max_failed_starts and not process.has_worked:
            self._give_up(_gave_up_error(process, code))
            return
        process.restart_pause = self._next_pause(process, lifetime, was_killed=code == -signal.SIGKILL)
        process.restart_at = now + process.restart_pause
        self._write_own_line(_restart_message(process, code))
        if process.failed_starts == self._timings.max_failed_starts:
            self._write_own_line(_parked_message(process))

    def _start_limit(self, process: SupervisedProcess) -> float:
        """How long after its start an end means that it could not start. By its answers where it is asked, and not by
        seconds: it takes a busy machine long to find a mistake."""
        is_told = process.spec.check_health is not None and process.last_not_unhealthy_at < process.started_at
        return self._timings.unhealthy_start_after if is_told else self._timings.failed_start_within

    def _handle_asked_exit(self, process: SupervisedProcess, now: float) -> None:
        """One that was told to end is started anew at once, or stays away."""
        self._write_own_line(f"{process.name} has ended{', and is started anew' if process.is_wanted else ''}")
        process.restart_at, process.failed_starts = (now if process.is_wanted else None), 0
        process.is_replaced = False
        self._forget_removed(process)

    def _handle_failure(self, process: SupervisedProcess, error: LivectlError | OSError, now: float) -> None:
        """Tries again later what cannot be started or repaired now, unless it has never worked: then all ends."""
        if not process.has_worked:
            self._give_up(error if isinstance(error, LivectlError) else LivectlError(f"{process.name}: {error}"))
            return
        process.started_at = process.started_at or now
        process.restart_pause = min(max(process.restart_pause * 2, self._timings.first_pause), self._timings.max_pause)
        process.restart_at = now + process.restart_pause
        self._write_own_line(
            f"{process.name} cannot be started: {error}; it is tried again in {process.restart_pause:g} s, "
            "the others go on"
        )

    def _next_pause(self, process: SupervisedProcess, lifetime: float, *, was_killed: bool) -> float:
        """Twice the last pause; the first one again after a good run, and where somebody else ended one that worked."""
        stable_after = self._timings.works_after if process.was_healthy else self._timings.stable_after
        if not process.restart_pause or lifetime >= stable_after or (was_killed and process.was_healthy):
            return self._timings.first_pause
        return min(process.restart_pause * 2, self._timings.max_pause)

    def _give_up(self, error: LivectlError) -> None:
        self._failure = self._failure or error
        self._stopping = True

    def _is_unhealthy(self, process: SupervisedProcess, now: float) -> bool:
        if process.spec.check_health is None or process.popen is None or process.is_stopping:
            return False
        if now - max(process.started_at, process.last_not_unhealthy_at) <= self._silence_allowed(process):
            return False
        is_starting = not process.was_healthy and now - process.started_at <= self._timings.longest_start
        return not (is_starting and now - process.last_busy_at <= self._silence_allowed(process))

    def _silence_allowed(self, process: SupervisedProcess) -> float:
        return self._timings.unhealthy_after if process.was_healthy else self._timings.unhealthy_start_after

    def _report_ready(self) -> None:
        monitored = [process for process in self._processes if process.spec.check_health]
        if monitored and not self._all_ready and all(process.was_healthy for process in monitored):
            self._all_ready = True
            others = [process.name for process in self._processes if process not in monitored]
            started = f"; {', '.join(others)} started" if others else ""
            self._write_own_line(f"{READY_PREFIX}{', '.join(process.name for process in monitored)} at work{started}")

    def _stop_next(self, now: float) -> None:
        """Stops the last child that still runs: it may need the children that started before it."""
        running = [process for process in self._processes if process.popen]
        if running and not running[-1].is_stopping:
            running[-1].stop(
                now, self._timings.quit_seconds, self._timings.hurried_grace_seconds if self._is_hurried else None
            )

    def _handle_signals(self, signal_reader: _SignalReader) -> None:
        for number in signal_reader.read():
            if number in IMMEDIATE_SIGNALS or (number in GRACEFUL_SIGNALS and self._stopping):
                self._hurry(self._clock())
            elif number in GRACEFUL_SIGNALS:
                self._write_own_line("stopping: running jobs end first; a second time stops at once")
                self._stopping = True

    def _hurry(self, now: float) -> None:
        """Stops one child after the other, without time for running jobs. Called again, kills all of them."""
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


def _describe_exit(code: int) -> str:
    return f"exit code {code}" if code >= 0 else signal.Signals(-code).name


def _escalation_message(process: SupervisedProcess, number: signal.Signals) -> str:
    if number is signal.SIGQUIT:
        return f"{process.name} has not ended yet: it is told to put its jobs back"
    return f"{process.name} did not end and was killed{'; ' if process.spec.if_killed else ''}{process.spec.if_killed}"


def _restart_message(process: SupervisedProcess, code: int) -> str:
    return f"{process.name} ended ({_describe_exit(code)}) and is started again in {process.restart_pause:g} s"


def _parked_message(process: SupervisedProcess) -> str:
    last_lines = "".join(f"\n    {line}" for line in process.last_lines)
    return (
        f"{process.name} keeps ending right after its start: it is tried again at growing pauses, the others go on"
        f"{'. Its last lines:' if last_lines else ''}{last_lines}"
    )


def _gave_up_error(process: SupervisedProcess, code: int) -> LivectlError:
    last_lines = "".join(f"\n    {line}" for line in process.last_lines)
    return LivectlError(
        f"{process.name} ended right after its start {process.failed_starts} times in a row "
        f"({_describe_exit(code)}): given up",
        f"Its last lines:{last_lines}" if last_lines else "",
    )


class _SignalReader:
    """Reads the signals that this process got. A selector can wait for it."""

    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor

    def fileno(self) -> int:
        return self._descriptor

    def read(self) -> list[signal.Signals]:
        return [signal.Signals(number) for number in os.read(self._descriptor, MAX_SIGNALS_READ)]


@contextmanager
def _capture_signals(numbers: Collection[signal.Signals]) -> Iterator[_SignalReader]:
    """Delivers these signals to a reader, until the context ends. Only the main thread may do that."""
    read_fd, write_fd = os.pipe()
    os.set_blocking(read_fd, False)
    os.set_blocking(write_fd, False)
    handlers = {number: signal.signal(number, _ignore_signal) for number in numbers}
    previous_fd = signal.set_wakeup_fd(write_fd, warn_on_full_buffer=False)
    try:
        yield _SignalReader(read_fd)
    finally:
        signal.set_wakeup_fd(previous_fd)
        for number, handler in handlers.items():
            signal.signal(number, handler)
        os.close(read_fd)
        os.close(write_fd)


def _ignore_signal(number: int, frame: FrameType | None) -> None:
    """Handles the signal, because Python writes only handled signals to the pipe."""
