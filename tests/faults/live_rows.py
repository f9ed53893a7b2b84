"""Rows that harm what `up` runs while streamers go live: its members, all of it at once, its disk."""

from __future__ import annotations

import os
import signal
import time
from contextlib import suppress
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING

from tests.faults.frame import Limits, Mechanism, Row
from tests.faults.live_wing import MEMBERS, live_wing
from tests.support.processes import children
from tests.support.waiting import wait_for

if TYPE_CHECKING:
    from collections.abc import Sequence

    from tests.faults.frame import Case, Outcome

THREADS, PREFORK = "embedded own threads", "embedded own prefork"

SHORT_KILLS = 3

AT_MOST_ONCE = """
import time
from livectl.live.alerts import delivery, outbox
def told_before(self, alert, now, lease, limit, begin=outbox.Outbox.begin_send):
    decision = begin(self, alert, now, lease, limit)
    if decision == "go":
        self.mark_sent(alert, now)
        time.sleep(0.6)
    return decision
outbox.Outbox.begin_send = told_before
delivery.AlertDispatcher._record_outcome = lambda self, *args: True
"""
NO_FILE = """
from livectl.ops.processes import embedded_broker
embedded_broker.SERVER_OPTIONS += ("--appendonly", "no")
"""


def kill_members(case: Case, names: Sequence[str]) -> Outcome:
    """F2, F6, F13, F30. One after another, whichever the dice name, each time when all is at work."""

    def kill(name: str) -> None:
        wing.wait_for_checks()
        wing.signal(name)

    with live_wing(case) as wing:
        chosen = names[:SHORT_KILLS] if case.is_short else wing.dice.choices(names, k=20)
        wing.play([partial(kill, name) for name in chosen])
        wing.drain()
    return wing.outcome()


def kill_worker_children(case: Case) -> Outcome:
    """F1."""

    def kill_child() -> None:
        found = wait_for(lambda: children(wing.member("worker")), what="children of the worker")
        with suppress(ProcessLookupError):
            os.kill(wing.dice.choice(found), signal.SIGKILL)
        wing.faults.append(time.monotonic())

    with live_wing(case, pool="prefork") as wing:
        wing.play([kill_child] * case.either(4, 20))
        wing.drain()
    return wing.outcome()


def cut_the_power(case: Case) -> Outcome:
    """F3. All processes at once, `up` as well, which is then started again."""

    def kill_all() -> None:
        wing.faults.append(time.monotonic())
        wing.end()
        wing.start()

    with live_wing(case) as wing:
        wing.play([kill_all] * case.either(2, 20))
        wing.drain()
    return wing.outcome()


def stop_members(case: Case) -> Outcome:
    """F14. SIGSTOP: each lives, and does nothing."""

    def stop(name: str) -> None:
        ended = wing.up.text.count(f"{name} ended")
        wing.signal(name, signal.SIGSTOP)
        wait_for(lambda: wing.up.text.count(f"{name} ended") > ended, what=f"the end of the stopped {name}")
        wing.wait_for_checks()

    with live_wing(case) as wing:
        wing.play([partial(stop, name) for name in ("worker", "beat", "broker", "page")])
        wing.drain()
    return wing.outcome(exits=None, hangs=None)


# Told again with the same key: killed between sending and noting that.
AGAIN, SHORT_AGAIN = Limits(repeated=20, missed=2), Limits(repeated=4, missed=2)
WHILE = "while 200 of 500 go live"
MARKED_AFTER = Mechanism("an alert is marked as told after it was sent", patch=AT_MOST_ONCE)
ON_DISK = Mechanism("the broker's data is on the disk before it answers", patch=NO_FILE)
COMES_BACK = Mechanism("a member that ends is started again", settings="up: {pause: 10m}")
IS_MISSED = Mechanism("a member that does not answer is noticed", settings="up: {silence: 10m}")

_ROWS = (
    Row("F1a", f"kill -9 a child of `up`'s worker, x20, {WHILE}", kill_worker_children, (PREFORK,), MARKED_AFTER),
    Row("F2a", f"kill -9 `up`'s worker, x20, {WHILE}", partial(kill_members, names=["worker"]), (THREADS,), COMES_BACK),
    Row("F3a", f"kill -9 all of `up` at once, x20, {WHILE}", cut_the_power, (THREADS,), ON_DISK),
    Row("F6a", f"kill -9 `up`'s broker, x20, {WHILE}", partial(kill_members, names=["broker"]), (THREADS,), ON_DISK),
    Row("F13a", f"kill -9 `up`'s beat, x20, {WHILE}", partial(kill_members, names=["beat"]), (THREADS,), COMES_BACK),
    Row("F14a", f"SIGSTOP each member of `up`, {WHILE}", stop_members, (THREADS,), IS_MISSED),
    Row(
        "F30a",
        f"kill -9 any member of `up`, x20, {WHILE}",
        partial(kill_members, names=list(MEMBERS)),
        (THREADS, PREFORK),
        COMES_BACK,
        short_setups=(THREADS,),
    ),
)
ROWS = tuple(replace(row, limits=AGAIN, short_limits=SHORT_AGAIN) for row in _ROWS)
