"""Delivers alerts: sends each target the changes in the outbox, in order, from one worker at a time; and digests."""

from __future__ import annotations

import logging
import threading
import time
from contextlib import contextmanager, suppress
from functools import partial
from itertools import takewhile
from typing import TYPE_CHECKING, NamedTuple
from uuid import uuid4

from redis.exceptions import RedisError

from livectl import redis_client
from livectl.live import collecting, history
from livectl.live.alerts import digests, message, outbox, rules
from livectl.live.alerts.outbox import Lane, Outbox
from livectl.live.alerts.rules import Objection
from livectl.live.store_away import write_when_back
from livectl.live.store_reader import find_history
from livectl.units import format_count

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

    from redis import Redis

    from livectl.live.alerts.message import Alert, DeliveryOutcome
    from livectl.live.alerts.outbox import Judged, TargetState
    from livectl.live.alerts.targets import AlertSender
    from livectl.live.store import Store
    from livectl.models import Change
    from livectl.settings import Settings, Target
    from livectl.units import TimeOfDay


JOB_BUDGET_SECONDS = 20.0  # that one job sends to a target: it has to end within the 45 s of a job
LEASE_SECONDS = 10.0  # after which another worker takes a target over whose worker died
FAILOVER_LEASE_SECONDS = 40.0  # ... where a replica may become the store: that takes some 20 s, and no worker died
SETTLE_SECONDS, SETTLE_PAUSE_SECONDS = 30.0, 0.25  # for how long it is tried to note that an alert was sent, how often
RENEW_SECONDS = 3.0  # between two renewals of the lease while a target takes its time
FIRST_RETRY_SECONDS, MAX_RETRY_SECONDS = 5.0, 900.0  # between tries, doubled each time
ASIDE_PAUSE_SECONDS = 3.0  # of a target after an alert that it took ill: deliveries are 2 s apart
MAX_LANES = 20  # of a target that takes the alerts of so many streamers ill, it is the target that fails
MAX_DOUBLINGS = 10  # enough to reach MAX_RETRY_SECONDS
GIVE_UP_SECONDS = 86_400.0  # of trying, before an alert is a dead letter
READ_COUNTS = (5, 100)  # changes read at a time: mostly one of the first is told, and the others are read again then
LATE_READ_COUNT = 2000  # changes read at a time where they are old: they become one alert
QUIET_READ_COUNT = 20_000  # ... where they came in quiet hours

log = logging.getLogger(__name__)


class DispatchHooks(NamedTuple):
    """What a dispatcher takes from outside. Tests bring their own clock, and stop the dispatcher at any step."""

    clock: Callable[[], float]
    keep_letter: Callable[[Alert, str, float], None]  # keeps a dead letter, as ops does; the same one but once
    on_step: Callable[[str], None] = lambda name: None
    is_outdated: Callable[[], bool] = lambda: False  # whether other settings are in force by now
    is_idle: Callable[[str], bool] = lambda name: False  # whether nobody is behind this target now


class DeliveryPlan(NamedTuple):
    """What to do next for a target, or for one of its lanes: send an alert, or only skip changes up to this number."""

    alert: Alert | None
    skip_through: str = ""  # nothing for a lane that has caught up
    lane: Lane | None = None
    judged: Sequence[Judged] = ()  # the changes that this is done with, and why some are not told


class AlertDispatcher:
    """Sends alerts to the targets of the settings. One for a process; each delivery has a token of its own."""

    def __init__(
        self, settings: Settings, store: Store, client: Redis, senders: Mapping[str, AlertSender], hooks: DispatchHooks
    ) -> None:
        self._settings = settings
        self._store = store
        self._client = client
        self._senders = senders
        self._hooks = hooks
        self._left: dict[str, str] = {}  # tokens of leases that a store that was away kept us from giving back
        self._lease_s = LEASE_SECONDS if redis_client.is_one_server(client) else FAILOVER_LEASE_SECONDS

    def deliver(self) -> None:
        """Delivers to all targets without a digest; also what is not collected yet, since its recorder was killed."""
        collecting.collect(self._client, self._store.cell_places())
        if any("trouble" in target.on for target in self._settings.alerts.values()):
            self._record_troubles(self._hooks.clock())
        names = [name for name, target in self._settings.alerts.items() if target.digest is None]
        self._deliver_all([name for name in names if not self._hooks.is_idle(name)])

    def deliver_digests(self) -> None:
        """Delivers to the targets with a digest, where its time of day has come."""
        self._deliver_all([name for name, target in self._settings.alerts.items() if target.digest is not None])

    def deliver_to(self, name: str) -> int:
        """Delivers to one target, unless another worker does. Returns how many alerts it took."""
        if rules.in_window(self._settings.alerts[name].quiet, self._hooks.clock(), self._settings.timezone):
            return 0
        token = self._left.pop(name, "") or uuid4().hex
        try:
            return self._deliver_as(token, name)
        except RedisError:  # the lease is still ours, and the next one goes on with it
            self._left[name] = token
            raise

    def _deliver_as(self, token: str, name: str) -> int:
        target, hooks = self._settings.alerts[name], self._hooks
        started_at = now = hooks.clock()
        target_outbox, delivered = Outbox(self._client, token), 0
        state = target_outbox.lease(name, now, self._lease_s, outbox.start_cursor(target, now))
        hooks.on_step("taken")
        while state is not None and now - started_at < JOB_BUDGET_SECONDS and not hooks.is_outdated():
            waiting = state.retry_at is not None and now < state.retry_at
            plan = None if waiting else self._next_plan(target_outbox, name, state, now)
            if plan is None or not self._execute(plan, target_outbox, name, state):
                break
            delivered += plan.alert is not None
            now = hooks.clock()
            state = target_outbox.lease(name, now, self._lease_s, state.cursor)
        target_outbox.release(name)
        return delivered

    def _record_troubles(self, now: float) -> None:
        Outbox(self._client, "").add_troubles(rules.find_troubles(self._store.health(now), now), now)

    def _deliver_all(self, names: Sequence[str]) -> None:
        """Delivers in a thread for each target, so that none waits for another."""
        threads = [threading.Thread(target=self._deliver_safely, args=(name,), daemon=True) for name in names]
        deadline = time.monotonic() + JOB_BUDGET_SECONDS + message.MAX_TIMEOUT_S
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(max(0.0, deadline - time.monotonic()))

    def _deliver_safely(self, name: str) -> None:
        try:
            self.deliver_to(name)
        except RedisError as error:
            log.warning("alerts to %s wait for the store: %s", name, " ".join(str(error).split()))
        except Exception:
            log.exception("alerts to %s could not be told", name)

    def _execute(self, plan: DeliveryPlan, target_outbox: Outbox, name: str, state: TargetState) -> bool:
        """False if nothing more can be sent to this target now."""
        hooks, alert, lane = self._hooks, plan.alert, plan.lane
        hooks.on_step("read")
        if lane is not None and not (alert or plan.skip_through):
            return target_outbox.end_lane(name, lane, hooks.clock())
        if alert is None:
            return target_outbox.skip(name, plan.skip_through, hooks.clock(), lane, plan.judged)
        target = self._settings.alerts[name]
        decision = target_outbox.begin_send(alert, hooks.clock(), self._lease_s, target.limit)
        hooks.on_step("held")
        if decision == "told":
            return target_outbox.skip(name, alert.last, hooks.clock(), lane)
        if decision != "go":
            return False
        with self._keeping_lease(target_outbox, name):
            outcome = self._senders[name](alert)
        hooks.on_step("sent")
        recorded = self._record_outcome(target_outbox, alert, outcome, state, plan)
        hooks.on_step("settled")
        return recorded

    @contextmanager
    def _keeping_lease(self, target_outbox: Outbox, name: str) -> Iterator[None]:
        """Renews the lease, however long the target takes: a worker that dies meanwhile renews nothing."""
        is_over = threading.Event()

        def renew() -> None:
            while not is_over.wait(RENEW_SECONDS):
                with suppress(RedisError):
                    target_outbox.renew(name, self._hooks.clock(), self._lease_s)

        renewing = threading.Thread(target=renew, daemon=True)
        renewing.start()
        try:
            yield
        finally:
            is_over.set()
            renewing.join()

    def _record_outcome(
        self, target_outbox: Outbox, alert: Alert, outcome: DeliveryOutcome, state: TargetState, plan: DeliveryPlan
    ) -> bool:
        now, lane = self._hooks.clock(), plan.lane
        if outcome.sent:
            log.info("told %s: %s %s", alert.target, alert.kind, alert.key)
            return _insist(partial(target_outbox.mark_sent, alert, now, lane, plan.judged))
        since = (lane or state).failing_since or now
        if outcome.permanent or now - since >= GIVE_UP_SECONDS:
            log.error("gave up telling %s: %s", alert.target, outcome.detail)
            self._hooks.keep_letter(alert, outcome.detail, now)
            self._hooks.on_step("lettered")
            return _insist(partial(target_outbox.give_up, alert, now, outcome.detail, lane, plan.judged))
        if not outcome.target_down and self._can_wait_aside(target_outbox, alert, lane):
            return self._put_aside(target_outbox, alert, outcome, state, plan)
        delay = _retry_delay(state.tries, outcome)
        log.warning("%s could not be told, again in %.0f s: %s", alert.target, delay, outcome.detail)
        target_outbox.mark_failed(alert, now, outcome.detail, now + delay)
        return False

    def _can_wait_aside(self, target_outbox: Outbox, alert: Alert, lane: Lane | None) -> bool:
        """Whether others need not wait for this alert. A digest has none behind it."""
        return lane is not None or bool(alert.changes and len(target_outbox.lanes(alert.target)) < MAX_LANES)

    def _put_aside(
        self, target_outbox: Outbox, alert: Alert, outcome: DeliveryOutcome, state: TargetState, plan: DeliveryPlan
    ) -> bool:
        """Gives an alert that its target took ill a lane of its own, or more time in its lane."""
        lane = plan.lane
        now, so_far = self._hooks.clock(), lane or state
        delay = _retry_delay(so_far.tries, outcome)
        log.warning("%s took one alert ill, again in %.0f s: %s", alert.target, delay, outcome.detail)
        later = Lane(
            id=lane.id if lane else alert.first,
            streamers=lane.streamers if lane else tuple({(change.platform, change.id) for change in alert.changes}),
            cursor=so_far.cursor,
            begun=alert.first,
            through=alert.last,
            tries=so_far.tries + 1,
            failing_since=so_far.failing_since or now,
            retry_at=now + delay,
            problem=outcome.detail,
        )
        pause_until = None if lane else now + ASIDE_PAUSE_SECONDS
        return target_outbox.put_aside(alert, now, later, pause_until, plan.judged) and lane is not None

    def _next_plan(self, target_outbox: Outbox, name: str, state: TargetState, now: float) -> DeliveryPlan | None:
        """The lanes come when there is nothing else: what they wait for has failed, what is new has not."""
        target = self._settings.alerts[name]
        if target.digest is not None:
            return self._digest_plan(name, target, target.digest, state, now)
        lanes = target_outbox.lanes(name)
        for count in READ_COUNTS:
            changes = self._read_changes(target, state, now, count)
            if not changes:
                break
            free = [change for change in changes if not any(lane.holds(change) for lane in lanes)]
            plan = self._plan(name, target, state, free, changes[-1].number, now)
            if plan.alert or len(changes) != count or count == READ_COUNTS[-1]:
                return plan
        due = [lane for lane in lanes if lane.retry_at is None or lane.retry_at <= now]
        return self._lane_plan(name, target, state, due[0], now) if due else None

    def _lane_plan(self, name: str, target: Target, state: TargetState, lane: Lane, now: float) -> DeliveryPlan:
        changes = self._read_changes(target, lane, now, READ_COUNTS[-1])
        behind = [change for change in changes if not outbox.is_after(change.number, state.cursor)]
        if not behind:
            return DeliveryPlan(None, lane=lane)
        held = [change for change in behind if lane.holds(change)]
        return self._plan(name, target, lane, held, behind[-1].number, now)._replace(lane=lane)

    def _plan(
        self, name: str, target: Target, state: TargetState, changes: Sequence[Change], through: str, now: float
    ) -> DeliveryPlan:
        """What to do about these changes; those up to `through` are done with if there is nothing to tell of them."""
        knowledge = outbox.find_knowledge(self._store, target, changes, self._settings.timezone)
        judged = [(change, rules.find_objection(name, target, change, knowledge)) for change in changes]
        pending = [change for change, objection in judged if objection is None]
        if not pending:
            return DeliveryPlan(None, through, judged=judged)
        alert = self._next_alert(name, target, state, pending, changes, now)
        if alert is None:
            return _late_command_plan(name, target, pending, judged, now)
        done = [(change, objection) for change, objection in judged if not outbox.is_after(change.number, alert.last)]
        return DeliveryPlan(alert, judged=done)

    def _next_alert(
        self,
        name: str,
        target: Target,
        state: TargetState,
        pending: Sequence[Change],
        changes: Sequence[Change],
        now: float,
    ) -> Alert | None:
        """The alert about the first of the pending changes, and those that it is told with.

        None for a command where these are too old.
        """
        in_flight = [change for change in pending if state.begun and not outbox.is_after(change.number, state.through)]
        if in_flight:
            return self._repeated_alert(name, target, in_flight, changes, state)
        zone = self._settings.timezone
        if rules.is_summed_up(target, pending[0], zone):
            missed = list(takewhile(lambda change: rules.is_summed_up(target, change, zone), pending))
            through = [change for change in changes if rules.is_summed_up(target, change, zone)][-1].number
            later = pending[len(missed) :]
            if later and outbox.is_after(through, later[0].number):  # of the next quiet hours
                through = missed[-1].number
            return self._missed_alert(name, target, missed, changes, through)
        late = list(takewhile(lambda change: _is_late(target, change, now, zone), pending))
        if late:
            return None if target.command else message.build_late_alert(name, target, late)
        return self._alert(name, target, pending[0])

    def _alert(self, name: str, target: Target, change: Change) -> Alert:
        zone = self._settings.timezone
        usual = ""
        if message.wants_usual_hours(target):
            streamer_history = find_history(self._store, change.platform, change.id)
            usual = history.describe_usual_hours(streamer_history, self._hooks.clock(), zone)
        return message.build_alert(name, target, change, zone, usual)

    def _missed_alert(
        self, name: str, target: Target, missed: Sequence[Change], changes: Sequence[Change], through: str
    ) -> Alert:
        meanwhile = [change for change in changes if not outbox.is_after(change.number, through)]
        return digests.build_missed_alert(name, target, missed, meanwhile, through, self._settings.timezone)

    def _read_changes(self, target: Target, state: TargetState, now: float, count: int) -> list[Change]:
        """The next so many changes; all that become one alert."""
        changes = self._store.changes(state.cursor, count)
        if len(changes) < count:
            return changes
        if any(rules.is_summed_up(target, change, self._settings.timezone) for change in changes):
            return self._store.changes(state.cursor, QUIET_READ_COUNT)
        if now - changes[0].at > target.max_age:
            return self._store.changes(state.cursor, LATE_READ_COUNT)
        return changes

    def _repeated_alert(
        self,
        name: str,
        target: Target,
        in_flight: Sequence[Change],
        changes: Sequence[Change],
        state: TargetState,
    ) -> Alert:
        """The alert that may have arrived already, with the key it had."""
        if rules.is_summed_up(target, in_flight[0], self._settings.timezone):
            return self._missed_alert(name, target, in_flight, changes, state.through)
        if state.begun == state.through:
            return self._alert(name, target, in_flight[0])
        return message.build_late_alert(name, target, in_flight, state.begun, state.through)

    def _digest_plan(
        self, name: str, target: Target, at: TimeOfDay, state: TargetState, now: float
    ) -> DeliveryPlan | None:
        zone = self._settings.timezone
        due, since = digests.last_due_time(at, now, zone), int(state.cursor.partition("-")[0]) / 1000
        if since >= due:
            return None
        return DeliveryPlan(
            digests.build_digest(name, target, self._store, since, due, zone), digests.digest_number(due)
        )


def note_targets(
    settings: Settings, before: Settings | None, store: Store, client: Redis, place: str, now: float
) -> None:
    """Begins with the targets that are new in these settings, and says what waited for those that are gone.

    `place` names the settings file, on this machine; `before` is what was in force until now.
    """
    old_targets = before.alerts if before else {}
    gone = [name for name in old_targets if name not in settings.alerts]
    changes = Outbox(client, "").note_targets(settings, place, gone, now)
    for name in changes.added:
        log.info("%s is new: it is told of what happens from now on", name)
    for name, cursor in changes.gone.items():
        backlog = _describe_backlog(name, old_targets.get(name), store, cursor, now, settings.timezone)
        log.warning("%s is gone: %s", name, backlog)


def _describe_backlog(name: str, target: Target | None, store: Store, cursor: str, now: float, zone: str) -> str:
    """What waited for a target that is gone."""
    changes = store.changes(cursor or (outbox.start_cursor(target, now) if target else "0"), outbox.MAX_BACKLOG)
    if target:
        knowledge = outbox.find_knowledge(store, target, changes, zone)
        changes = outbox.pending_changes(name, target, changes, knowledge)
    if not changes:
        return "nothing waited for it"
    count = format_count(len(changes), "change")
    return f"it is not told of what waited for it: {count}{'' if target else ' at most'}"


def _insist(settle: Callable[[], bool]) -> bool:
    """Settles what has happened, though the store is away for a moment: who does not, sends the alert once more."""
    return write_when_back(settle, SETTLE_SECONDS, SETTLE_PAUSE_SECONDS, (RedisError,))


def _retry_delay(tries: int, outcome: DeliveryOutcome) -> float:
    delay = min(FIRST_RETRY_SECONDS * 2.0 ** min(tries, MAX_DOUBLINGS), MAX_RETRY_SECONDS)
    return min(max(delay, outcome.retry_after_s), GIVE_UP_SECONDS)


def _is_late(target: Target, change: Change, now: float, zone: str) -> bool:
    return now - change.at > target.max_age and not rules.is_summed_up(target, change, zone)


def _late_command_plan(
    name: str, target: Target, pending: Sequence[Change], judged: Sequence[Judged], now: float
) -> DeliveryPlan:
    """A command is not run for changes that are too old."""
    late = list(takewhile(lambda change: now - change.at > target.max_age, pending))
    log.warning("%s is not run for %d changes that are too old", name, len(late))
    through = late[-1].number
    too_old = Objection("max_age", "too old when a worker came to it, and a command is not run late")
    done = [
        (change, objection or too_old) for change, objection in judged if not outbox.is_after(change.number, through)
    ]
    return DeliveryPlan(None, through, judged=done)
