"""The delivery of alerts: each target is told what it has not been told, in order, by one worker at a time."""

from __future__ import annotations

import logging
import threading
import time
from itertools import takewhile
from typing import TYPE_CHECKING, NamedTuple
from uuid import uuid4

from livectl.live.alerts import backlog, digest, listening, patience, trouble, wording
from livectl.live.alerts.outbox import Outbox

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from redis import Redis

    from livectl.config import Settings, Target
    from livectl.live.alerts.alert import Alert, Outcome
    from livectl.live.alerts.outbox import Grave, Stand
    from livectl.live.alerts.targets import Sender
    from livectl.live.store import Store
    from livectl.model import Change
    from livectl.quantity import Daytime

BUDGET = 20.0  # seconds that one job goes on telling a target: it has to end within the 45 s of a job
MARGIN = 10.0  # seconds a worker may take beside the sending itself, before another one takes over
FIRST_PAUSE, LONGEST_PAUSE = 5.0, 900.0  # seconds between tries, doubled each time
DAY = 86_400.0  # seconds of trying, before an alert is a dead letter
READ = 100  # changes looked at in one go
READ_LATE = 2000  # where they are old: they become one line

log = logging.getLogger(__name__)


class Tools(NamedTuple):
    """What a delivery works with. Tests bring their own clock, and end it at any of its steps."""

    clock: Callable[[], float]
    bury: Callable[[Alert, str, float], Grave]  # a dead letter, as ops writes it
    step: Callable[[str], None] = lambda name: None


class Plan(NamedTuple):
    """What is next for a target: an alert, or only changes that it needs not be told, up to a number."""

    alert: Alert | None
    passed: str = ""


class Courier:
    """Tells the targets of the settings. One for a process; each drain has a token of its own."""

    def __init__(
        self, settings: Settings, store: Store, client: Redis, senders: Mapping[str, Sender], tools: Tools
    ) -> None:
        self._settings = settings
        self._store = store
        self._client = client
        self._senders = senders
        self._tools = tools

    def deliver(self) -> None:
        """Tells all that are told at once."""
        if any("trouble" in target.on for target in self._settings.alerts.values()):
            self._note_trouble(self._tools.clock())
        self._drain_all([name for name, target in self._settings.alerts.items() if target.digest is None])

    def digest(self) -> None:
        """Tells those that want a digest, once their time has come."""
        self._drain_all([name for name, target in self._settings.alerts.items() if target.digest is not None])

    def _drain_all(self, names: Sequence[str]) -> None:
        """Beside each other, so that none waits for another."""
        threads = [threading.Thread(target=self._drain_safely, args=(name,), daemon=True) for name in names]
        deadline = time.monotonic() + BUDGET + patience.LONGEST
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(max(0.0, deadline - time.monotonic()))

    def drain(self, name: str) -> int:
        """Tells this target what there is to tell; how many it took. Nothing while another worker is at it."""
        target, tools = self._settings.alerts[name], self._tools
        began = now = tools.clock()
        if listening.is_quiet(target.quiet, now, self._settings.timezone):
            return 0
        outbox, taken = Outbox(self._client, uuid4().hex), 0
        stand = outbox.take(name, now, self._lease(target), backlog.start(target, now))
        tools.step("taken")
        while stand is not None and now - began < BUDGET:
            waiting = stand.retry_at is not None and now < stand.retry_at
            plan = None if waiting else self._plan(name, target, stand, now)
            if plan is None or not self._carry_out(plan, outbox, name, stand):
                break
            taken += plan.alert is not None
            now = tools.clock()
            stand = outbox.take(name, now, self._lease(target), stand.cursor)
        outbox.release(name)
        return taken

    def _note_trouble(self, now: float) -> None:
        Outbox(self._client, "").trouble(trouble.found(self._store.health(now), now), now)

    def _drain_safely(self, name: str) -> None:
        try:
            self.drain(name)
        except Exception:
            log.exception("alerts to %s could not be told", name)

    def _carry_out(self, plan: Plan, outbox: Outbox, name: str, stand: Stand) -> bool:
        """False when this target is not to be told more now."""
        tools, alert = self._tools, plan.alert
        tools.step("read")
        if alert is None:
            return outbox.passed(name, plan.passed, tools.clock())
        target = self._settings.alerts[name]
        said = outbox.hold(alert, tools.clock(), self._lease(target), target.limit)
        tools.step("held")
        if said == "told":
            return outbox.passed(name, alert.last, tools.clock())
        if said != "go":
            return False
        outcome = self._senders[name](alert)
        tools.step("sent")
        noted = self._settle(outbox, alert, outcome, stand)
        tools.step("settled")
        return noted

    def _settle(self, outbox: Outbox, alert: Alert, outcome: Outcome, stand: Stand) -> bool:
        now = self._tools.clock()
        if outcome.sent:
            log.info("told %s: %s %s", alert.target, alert.kind, alert.key)
            return outbox.sent(alert, now)
        since = stand.failing_since or now
        if outcome.hopeless or now - since >= DAY:
            log.error("gave up telling %s: %s", alert.target, outcome.said)
            return outbox.bury(alert, now, outcome.said, self._tools.bury(alert, outcome.said, now))
        pause = min(FIRST_PAUSE * 2 ** min(stand.tries, 10), LONGEST_PAUSE)
        pause = min(max(pause, outcome.wait), DAY)
        log.warning("%s could not be told, again in %.0f s: %s", alert.target, pause, outcome.said)
        outbox.failed(alert, now, outcome.said, now + pause)
        return False

    def _plan(self, name: str, target: Target, stand: Stand, now: float) -> Plan | None:
        if target.digest is not None:
            return self._digest(name, target, target.digest, stand, now)
        changes = self._store.changes(stand.cursor, READ)
        if len(changes) == READ and now - changes[0].at > target.max_age:
            changes = self._store.changes(stand.cursor, READ_LATE)
        if not changes:
            return None
        told = backlog.pending(name, target, changes, backlog.known(self._store, changes))
        begun = [one for one in told if stand.begun and not _beyond(one.number, stand.through)]
        if begun:
            return Plan(self._again(name, target, begun, stand))
        if not told:
            return Plan(None, changes[-1].number)
        old = list(takewhile(lambda one: now - one.at > target.max_age, told))
        if old:
            return self._late(name, target, old)
        return Plan(wording.tell(name, target, told[0], self._settings.timezone))

    def _digest(self, name: str, target: Target, at: Daytime, stand: Stand, now: float) -> Plan | None:
        zone = self._settings.timezone
        due, since = digest.last_due(at, now, zone), int(stand.cursor.partition("-")[0]) / 1000
        if since >= due:
            return None
        return Plan(digest.compose(name, target, self._store, since, due, zone), f"{int(due * 1000)}-0")

    def _again(self, name: str, target: Target, begun: Sequence[Change], stand: Stand) -> Alert:
        """What may have arrived already is sent as what it was."""
        if stand.begun == stand.through:
            return wording.tell(name, target, begun[0], self._settings.timezone)
        return wording.late(name, begun, stand.begun, stand.through)

    def _late(self, name: str, target: Target, old: Sequence[Change]) -> Plan:
        if not target.command:
            return Plan(wording.late(name, old))
        log.warning("%s is not run for %d changes that are too old", name, len(old))
        return Plan(None, old[-1].number)

    def _lease(self, target: Target) -> float:
        return patience.seconds(target) + MARGIN


def _beyond(number: str, other: str) -> bool:
    return [int(part) for part in number.split("-")] > [int(part) for part in other.split("-")]
