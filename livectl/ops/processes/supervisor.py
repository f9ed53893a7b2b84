"""The supervisor: keeps children running, shows their lines, and ends them in order."""

from __future__ import annotations

import selectors
import signal
import time
from typing import TYPE_CHECKING

import msgspec

from livectl.errors import EXIT_DONE, EXIT_INTERRUPTED, LivectlError
from livectl.ops.processes import signals
from livectl.ops.processes.child import Ward
from livectl.ops.processes.output import Outputs
from livectl.ops.processes.pulse import Pulses

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from livectl.ops.processes.child import Child
    from livectl.ops.processes.signals import Inbox

OWN_NAME = "up"
LOOK_EVERY = 0.25  # seconds between looks at what is due; output, signals and deaths are seen at once
LOOK_EVERY_AT_START = 0.02
CLOSE_SECONDS = 1.0  # how long the end of the output is waited for once every child has ended
IN_ORDER = frozenset({signal.SIGTERM, signal.SIGINT, signal.SIGHUP})
AT_ONCE = frozenset({signal.SIGQUIT})


class Patience(msgspec.Struct, frozen=True):
    """How long is waited for what, in seconds."""

    at_once: float = 5.0  # a child that ends sooner than this could not start
    tries: int = 5  # so many such ends in a row, and it is given up
    first_pause: float = 1.0  # before it is started again; doubled each time
    longest_pause: float = 30.0
    good_run: float = 60.0  # after which the next pause is the first again; `at_once` for one whose pulse was good
    silence: float = 60.0  # a child without a good pulse for so long is started again
    first_pulse_every: float = 1.0
    pulse_every: float = 10.0
    hurry: float = 1.5  # after SIGTERM when there is no time for jobs; a worker notices it within 1 s, and then SIGQUIT
    quit: float = 5.0  # what a child gets between SIGQUIT and SIGKILL


class Supervisor:
    """Children in the order in which they start; they end in the opposite one."""

    def __init__(
        self, children: Sequence[Child], write: Callable[[str, str], None], patience: Patience | None = None
    ) -> None:
        self._wards = [Ward(child) for child in children]
        self._write = write  # called with who says it, and the line
        self._patience = patience or Patience()
        self._selector = selectors.DefaultSelector()
        self._outputs = Outputs(self._selector, self._hand_on)
        self._pulses = Pulses(self._patience.first_pulse_every, self._patience.pulse_every)
        self._stopping = False
        self._in_a_hurry = False
        self._failure: LivectlError | None = None
        self._all_ready = False

    def run(self) -> int:
        """Until told to stop: 0 after an end in order. Raises why, when a child cannot be kept running."""
        for ward in self._wards:
            if ward.child.pulse:
                self._pulses.feel(ward, ward.child.pulse)
        with signals.caught({*IN_ORDER, *AT_ONCE, signal.SIGCHLD}) as inbox, self._selector:
            self._selector.register(inbox, selectors.EVENT_READ, lambda: self._hear(inbox))
            while not self._stopping or any(ward.process for ward in self._wards):
                self._turn()
            self._selector.unregister(inbox)
            self._outputs.close(CLOSE_SECONDS)
        self._pulses.end()
        if self._failure:
            raise self._failure
        return EXIT_INTERRUPTED if self._in_a_hurry else EXIT_DONE

    def _turn(self) -> None:
        for key, _ in self._selector.select(LOOK_EVERY if self._wards[-1].begun else LOOK_EVERY_AT_START):
            key.data()
        now = time.monotonic()
        for ward in self._wards:
            self._look_at(ward, now)
        if self._stopping:
            self._stop_next(now)
        else:
            self._start_next(now)
            self._tell_ready()

    def _look_at(self, ward: Ward, now: float) -> None:
        if (code := ward.ended()) is not None:
            self._outputs.read(ward.name)
            if not self._stopping:
                self._mourn(ward, code, now)
        elif ward.start_at and now >= ward.start_at and not self._stopping:
            self._begin(ward, now)
        elif number := ward.press(now):
            self._say(_pressed(ward, number))
        elif self._silent(ward, now):
            self._say(f"{ward.name} has not answered for {self._patience.silence:g} s and is started again")
            ward.stop(now, self._patience.quit)

    def _start_next(self, now: float) -> None:
        """The first that never ran, as soon as those before it are ready for it."""
        for ward in self._wards:
            if not ward.begun:
                self._begin(ward, now)
                return
            if self._wards[-1].begun or not (ward.child.ready is None or ward.child.ready()):
                return

    def _begin(self, ward: Ward, now: float) -> None:
        try:
            for stream in ward.begin(now):
                self._outputs.add(stream)
        except LivectlError as error:
            self._give_up(error)

    def _mourn(self, ward: Ward, code: int, now: float) -> None:
        """One that was to run on has ended: it is mended, given up, or started again after a pause."""
        ran = now - ward.begun
        never_worked = ran < self._patience.at_once and not ward.worked
        ward.deaths_at_once = ward.deaths_at_once + 1 if never_worked else 0
        ward.pause = self._next_pause(ward, ran)
        try:
            mended = ward.child.mend(code) if ward.child.mend else ""
        except LivectlError as error:
            self._give_up(error)
            return
        if ward.deaths_at_once >= self._patience.tries:
            self._give_up(_hopeless(ward, code))
            return
        if mended:
            self._say(mended)
        self._say(f"{ward.name} ended ({ending(code)}) and is started again in {ward.pause:g} s")
        ward.start_at = now + ward.pause

    def _next_pause(self, ward: Ward, ran: float) -> float:
        good_run = self._patience.at_once if ward.worked else self._patience.good_run
        if not ward.pause or ran >= good_run:
            return self._patience.first_pause
        return min(ward.pause * 2, self._patience.longest_pause)

    def _give_up(self, error: LivectlError) -> None:
        self._failure = self._failure or error
        self._stopping = True

    def _silent(self, ward: Ward, now: float) -> bool:
        if ward.child.pulse is None or ward.process is None or ward.stopping:
            return False
        return now - max(ward.begun, ward.heard) > self._patience.silence

    def _tell_ready(self) -> None:
        felt = [ward for ward in self._wards if ward.child.pulse]
        if felt and not self._all_ready and all(ward.heard > ward.begun > 0 for ward in felt):
            self._all_ready = True
            self._say(f"ready: {', '.join(ward.name for ward in felt)} at work")

    def _stop_next(self, now: float) -> None:
        """The last started of those that run: what started before it may still be needed by it."""
        running = [ward for ward in self._wards if ward.process]
        if running and not running[-1].stopping:
            running[-1].stop(now, self._patience.quit, self._patience.hurry if self._in_a_hurry else None)

    def _hear(self, inbox: Inbox) -> None:
        for number in inbox.read():
            if number in AT_ONCE or (number in IN_ORDER and self._stopping):
                self._hurry(time.monotonic())
            elif number in IN_ORDER:
                self._say("stopping: running jobs end first; a second time stops at once")
                self._stopping = True

    def _hurry(self, now: float) -> None:
        """Still one after the other, but without grace for running jobs; asked once more, all are killed."""
        if self._in_a_hurry:
            for ward in self._wards:
                ward.kill()
            return
        self._say("stopping at once")
        self._stopping = self._in_a_hurry = True
        for ward in self._wards:
            if ward.stopping:
                ward.stop(now, self._patience.quit, self._patience.hurry)

    def _hand_on(self, name: str, line: str) -> None:
        for ward in self._wards:
            if ward.name == name:
                ward.last.append(line)
        self._write(name, line)

    def _say(self, line: str) -> None:
        self._write(OWN_NAME, line)


def ending(code: int) -> str:
    return f"exit code {code}" if code >= 0 else signal.Signals(-code).name


def _pressed(ward: Ward, number: signal.Signals) -> str:
    if number is signal.SIGQUIT:
        return f"{ward.name} has not ended yet: it is told to put its jobs back"
    return f"{ward.name} did not end and was killed{'; ' if ward.child.if_killed else ''}{ward.child.if_killed}"


def _hopeless(ward: Ward, code: int) -> LivectlError:
    said = "".join(f"\n    {line}" for line in ward.last)
    return LivectlError(
        f"{ward.name} ended right after its start {ward.deaths_at_once} times in a row ({ending(code)}): given up",
        f"Its last lines:{said}" if said else "",
    )
