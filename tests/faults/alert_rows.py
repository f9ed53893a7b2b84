"""Rows between a check and an alert: the worker ends at each named step of it; the receiver is down, busy or slow."""

from __future__ import annotations

import time
from functools import partial
from typing import TYPE_CHECKING

from tests.faults.frame import Limits, Mechanism, Outcome, Row
from tests.faults.live_wing import live_wing
from tests.support.waiting import wait_for

if TYPE_CHECKING:
    from tests.faults.frame import Case
    from tests.faults.live_wing import LiveWing

# The steps from a check to an alert that was told, in their order: a module, a function in it, and the side on which
# the process ends. `after` waits for a call with a result: nothing to claim, to record or to send is no step.
STEPS = (
    ("livectl.live.polling", "claim", "after"),
    ("livectl.ops.jobs.publish_many", "publish_jobs", "before"),
    ("livectl.live.checker", "Checker.check", "before"),
    ("livectl.live.network.fetcher", "Fetcher.check", "after"),
    ("livectl.live.store", "Store.record", "before"),
    ("livectl.live.store", "Store.record", "after"),  # state and outbox are written
    ("livectl.live.alerts.outbox", "Outbox.lease", "after"),
    ("livectl.live.alerts.outbox", "Outbox.begin_send", "before"),
    ("livectl.live.alerts.outbox", "Outbox.begin_send", "after"),
    ("livectl.live.alerts.delivery", "AlertDispatcher._record_outcome", "before"),  # sent, and not marked as sent
    ("livectl.live.alerts.outbox", "Outbox.mark_sent", "after"),
    ("livectl.live.alerts.outbox", "Outbox.release", "before"),
)
SHORT_STEPS = (STEPS[5], STEPS[9])
STEP_S = (4, 13)  # from step to step
REPEATS = 1  # of the step between sending and marking, with the same key
ARMED_S = (1, 9)  # after its start, when what the last one held is back: in the short form and the whole one
# Each worker that starts takes the next step, and ends there. What it runs knows nothing of that.
ENDS_AT_ITS_STEP = """
import importlib, os, pathlib, sys, time
words = sys.orig_argv
if "livectl.celeryapp" in words and "worker" in words and "livectl.ops.processes.die_with_parent" not in words:
    lives = pathlib.Path({folder!r})
    life = len(list(lives.iterdir()))
    (lives / str(life)).touch()
    if life < len({steps!r}):
        module, path, side = {steps!r}[life]
        *owners, name = path.split(".")
        owner = importlib.import_module(module)
        for part in owners:
            owner = getattr(owner, part)
        real, armed_at = getattr(owner, name), time.monotonic() + {armed_s}
        def ending(*args, **kwargs):
            if time.monotonic() < armed_at:
                return real(*args, **kwargs)
            if side == "before":
                os._exit(70)
            result = real(*args, **kwargs)
            if result:
                os._exit(70)
            return result
        setattr(owner, name, ending)
"""
OUTBOX_LATER = """
from livectl.live import store
def record(self, limits, observations, extra_requests=0, real=store.Store.record):
    changes = real(self, limits, observations, extra_requests)
    for change in changes:
        self._client.xdel(store.OUTBOX_KEY, change.number)
    return changes
store.Store.record = record
"""
GIVES_UP = """
from livectl.live.alerts import delivery
def give_up(self, target_outbox, alert, outcome, state, plan):
    return target_outbox.mark_sent(alert, self._hooks.clock(), plan.lane)
delivery.AlertDispatcher._record_outcome = give_up
"""


def end_at_each_step(case: Case) -> Outcome:
    """F11."""
    steps = SHORT_STEPS if case.is_short else STEPS
    lives = case.folder / "lives"
    lives.mkdir()

    def next_life(number: int) -> None:
        wing.faults.append(time.monotonic())
        wait_for(lambda: len(list(lives.iterdir())) > number, what=f"the end at {steps[number - 1]}")

    patch = ENDS_AT_ITS_STEP.format(folder=str(lives), steps=steps, armed_s=case.either(*ARMED_S))
    with live_wing(case, patch=patch, waits=False, jobs=1) as wing:  # what ends is in no other job meanwhile
        wing.play([partial(next_life, number) for number in range(1, len(steps) + 1)], case.either(*STEP_S))
        wing.drain()
        found = wing.up.text.count("worker ended (exit code 70)")
    assert found == len(steps), f"the worker ended {found} times"
    return wing.outcome(exits=None)


def harm_the_receiver(case: Case) -> Outcome:
    """F25. It is down, then busy with a word on when to come back, then answers after the sender's time is over."""
    moods = ("down", "take", "busy", "take", "take slowly", "take", "ill", "take")

    def turn(wing: LiveWing, mood: str) -> None:
        wing.receiver.mood = lambda: mood
        time.sleep(case.either(1, 6))

    with live_wing(case) as wing:
        wing.play([partial(turn, wing, mood) for mood in moods])
        wing.receiver.mood = lambda: "take"
        wing.drain()
    return wing.outcome()


ROWS = (
    Row(
        "F11",
        "the worker ends at each of 12 steps from a check to an alert",
        end_at_each_step,
        ("embedded own threads",),
        Mechanism("state and outbox are written in one step", patch=OUTBOX_LATER),
        short_setups=("embedded own threads",),
        limits=Limits(repeated=REPEATS, doubled=0, missed=None, back_within_s=120.0),
    ),
    Row(
        "F25a",
        "the receiver is down, busy, slow and ill, while 200 of 500 go live",
        harm_the_receiver,
        ("embedded own threads",),
        Mechanism("what was not told is tried again", patch=GIVES_UP),
        limits=Limits(repeated=20, doubled=0),
    ),
)
