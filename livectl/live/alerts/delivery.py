"""The digest: who streamed since the last one, for how long, and who could not be asked, in one message."""

from __future__ import annotations

import logging
import threading
import time
from collections import Counter
from datetime import datetime, timedelta
from itertools import takewhile
from typing import TYPE_CHECKING, NamedTuple
from uuid import uuid4
from zoneinfo import ZoneInfo

from livectl.live.alerts import message, outbox, rules
from livectl.live.alerts.message import Alert
from livectl.live.alerts.outbox import Outbox
from livectl.units import format_hours_and_minutes, format_local_time

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence

    from redis import Redis

    from livectl.live.alerts.message import DeliveryOutcome
    from livectl.live.alerts.outbox import StoredDeadLetter, TargetState
    from livectl.live.alerts.targets import AlertSender
    from livectl.live.store import Store
    from livectl.models import Change, StreamerRecord
    from livectl.settings import Settings, Target
    from livectl.units import TimeOfDay


MINUTES_PER_HOUR = 60  # minutes
MAX_STREAMERS_LISTED = 5  # sessions that are told one by one


class StreamerActivity(NamedTuple):
    """What one streamer did in the time of a digest."""

    name: str
    seconds: float
    title: str
    is_live: bool


def last_due_time(at: TimeOfDay, now: float, zone: str) -> float:
    """The latest of these times of day that has come."""
    local = datetime.fromtimestamp(now, ZoneInfo(zone))
    due = local.replace(hour=at // MINUTES_PER_HOUR, minute=at % MINUTES_PER_HOUR, second=0, microsecond=0, fold=0)
    if due > local:
        due = (due - timedelta(days=1)).replace(fold=0)
    return due.timestamp()


def build_digest(name: str, target: Target, store: Store, since: float, due: float, zone: str) -> Alert | None:
    """None when there is nothing to tell."""
    records = [
        one for one in store.all_streamers() if one.streamer and rules.accepts_streamer(name, target, one.streamer)
    ]
    activities = sorted(_find_activities(store, records, since, due), key=lambda one: one.seconds, reverse=True)
    unasked_lines = _unasked_lines(records)
    if not activities and not unasked_lines:
        return None
    headline = f"{len(activities) or 'nobody'} streamed since {format_local_time(since, zone)}"
    title = f"{headline}, {live_count} live now" if (live_count := sum(one.is_live for one in activities)) else headline
    lines = [_activity_line(one) for one in activities[:MAX_STREAMERS_LISTED]]
    if others := activities[MAX_STREAMERS_LISTED:]:
        lines.append(f"Also {message.join_names([one.name for one in others])}.")
    lines += unasked_lines
    number = f"{int(due * 1000)}-0"
    return Alert(target=name, kind="digest", title=title, body="\n".join(lines), first=number, last=number)


def _find_activities(
    store: Store, records: Sequence[StreamerRecord], since: float, due: float
) -> Iterable[StreamerActivity]:
    for platform in {record.platform for record in records}:
        platform_records = [record for record in records if record.platform == platform]
        sessions = store.sessions(platform, [record.id for record in platform_records])
        for record in platform_records:
            overlapping = [
                session
                for session in sessions[record.id]
                if session.started_at < due and (session.ended_at or due) > since
            ]
            if overlapping:
                seconds = sum(min(session.ended_at or due, due) - session.started_at for session in overlapping)
                is_live = overlapping[-1].ended_at is None
                yield StreamerActivity(
                    _display_name(record), seconds, record.title if is_live else overlapping[-1].title, is_live
                )


def _unasked_lines(records: Iterable[StreamerRecord]) -> list[str]:
    """How many of each platform there is no newer reading of, and why."""
    troubles = Counter((record.platform, record.trouble) for record in records if record.trouble)
    return [
        f"Could not be asked: {count} of {platform} ({trouble.replace('_', ' ')})"
        for (platform, trouble), count in sorted(troubles.items())
        if trouble
    ]


def _activity_line(activity: StreamerActivity) -> str:
    text = f"{activity.name}: {format_hours_and_minutes(activity.seconds)}{', live now' if activity.is_live else ''}"
    return f"{text} ({activity.title})" if activity.title else text


def _display_name(record: StreamerRecord) -> str:
    return record.name or f"{record.platform}/{record.id}"


JOB_BUDGET_SECONDS = 20.0  # seconds that one job goes on telling a target: it has to end within the 45 s of a job
LEASE_MARGIN_SECONDS = 10.0  # seconds a worker may take beside the sending itself, before another one takes over
FIRST_RETRY_SECONDS, MAX_RETRY_SECONDS = 5.0, 900.0  # seconds between tries, doubled each time
GIVE_UP_SECONDS = 86_400.0  # seconds of trying, before an alert is a dead letter
READ_COUNT = 100  # changes looked at in one go
LATE_READ_COUNT = 2000  # where they are old: they become one line

log = logging.getLogger(__name__)


class DispatchHooks(NamedTuple):
    """What a delivery works with. Tests bring their own clock, and end it at any of its steps."""

    clock: Callable[[], float]
    dead_letter: Callable[[Alert, str, float], StoredDeadLetter]  # a dead letter, as ops writes it
    on_step: Callable[[str], None] = lambda name: None


class DeliveryPlan(NamedTuple):
    """What is next for a target: an alert, or only changes that it needs not be told, up to a number."""

    alert: Alert | None
    skip_through: str = ""


class AlertDispatcher:
    """Tells the targets of the settings. One for a process; each drain has a token of its own."""

    def __init__(
        self, settings: Settings, store: Store, client: Redis, senders: Mapping[str, AlertSender], hooks: DispatchHooks
    ) -> None:
        self._settings = settings
        self._store = store
        self._client = client
        self._senders = senders
        self._hooks = hooks

    def deliver(self) -> None:
        """Tells all that are told at once."""
        if any("trouble" in target.on for target in self._settings.alerts.values()):
            self._record_troubles(self._hooks.clock())
        self._deliver_all([name for name, target in self._settings.alerts.items() if target.digest is None])

    def deliver_digests(self) -> None:
        """Tells those that want a digest, once their time has come."""
        self._deliver_all([name for name, target in self._settings.alerts.items() if target.digest is not None])

    def _deliver_all(self, names: Sequence[str]) -> None:
        """Beside each other, so that none waits for another."""
        threads = [threading.Thread(target=self._deliver_safely, args=(name,), daemon=True) for name in names]
        deadline = time.monotonic() + JOB_BUDGET_SECONDS + message.MAX_TIMEOUT_S
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(max(0.0, deadline - time.monotonic()))

    def deliver_to(self, name: str) -> int:
        """Tells this target what there is to tell; how many it took. Nothing while another worker is at it."""
        target, hooks = self._settings.alerts[name], self._hooks
        started_at = now = hooks.clock()
        if rules.in_quiet_hours(target.quiet, now, self._settings.timezone):
            return 0
        target_outbox, delivered = Outbox(self._client, uuid4().hex), 0
        state = target_outbox.lease(name, now, self._lease_seconds(target), outbox.start_cursor(target, now))
        hooks.on_step("taken")
        while state is not None and now - started_at < JOB_BUDGET_SECONDS:
            waiting = state.retry_at is not None and now < state.retry_at
            plan = None if waiting else self._next_plan(name, target, state, now)
            if plan is None or not self._execute(plan, target_outbox, name, state):
                break
            delivered += plan.alert is not None
            now = hooks.clock()
            state = target_outbox.lease(name, now, self._lease_seconds(target), state.cursor)
        target_outbox.release(name)
        return delivered

    def _record_troubles(self, now: float) -> None:
        Outbox(self._client, "").add_troubles(rules.find_troubles(self._store.health(now), now), now)

    def _deliver_safely(self, name: str) -> None:
        try:
            self.deliver_to(name)
        except Exception:
            log.exception("alerts to %s could not be told", name)

    def _execute(self, plan: DeliveryPlan, target_outbox: Outbox, name: str, state: TargetState) -> bool:
        """False when this target is not to be told more now."""
        hooks, alert = self._hooks, plan.alert
        hooks.on_step("read")
        if alert is None:
            return target_outbox.skip(name, plan.skip_through, hooks.clock())
        target = self._settings.alerts[name]
        decision = target_outbox.begin_send(alert, hooks.clock(), self._lease_seconds(target), target.limit)
        hooks.on_step("held")
        if decision == "told":
            return target_outbox.skip(name, alert.last, hooks.clock())
        if decision != "go":
            return False
        outcome = self._senders[name](alert)
        hooks.on_step("sent")
        recorded = self._record_outcome(target_outbox, alert, outcome, state)
        hooks.on_step("settled")
        return recorded

    def _record_outcome(
        self, target_outbox: Outbox, alert: Alert, outcome: DeliveryOutcome, state: TargetState
    ) -> bool:
        now = self._hooks.clock()
        if outcome.sent:
            log.info("told %s: %s %s", alert.target, alert.kind, alert.key)
            return target_outbox.mark_sent(alert, now)
        since = state.failing_since or now
        if outcome.permanent or now - since >= GIVE_UP_SECONDS:
            log.error("gave up telling %s: %s", alert.target, outcome.detail)
            return target_outbox.dead_letter(
                alert, now, outcome.detail, self._hooks.dead_letter(alert, outcome.detail, now)
            )
        delay = min(FIRST_RETRY_SECONDS * 2 ** min(state.tries, 10), MAX_RETRY_SECONDS)
        delay = min(max(delay, outcome.retry_after_s), GIVE_UP_SECONDS)
        log.warning("%s could not be told, again in %.0f s: %s", alert.target, delay, outcome.detail)
        target_outbox.mark_failed(alert, now, outcome.detail, now + delay)
        return False

    def _next_plan(self, name: str, target: Target, state: TargetState, now: float) -> DeliveryPlan | None:
        if target.digest is not None:
            return self._digest_plan(name, target, target.digest, state, now)
        changes = self._store.changes(state.cursor, READ_COUNT)
        if len(changes) == READ_COUNT and now - changes[0].at > target.max_age:
            changes = self._store.changes(state.cursor, LATE_READ_COUNT)
        if not changes:
            return None
        wanted = outbox.pending_changes(name, target, changes, outbox.find_records(self._store, changes))
        in_flight = [change for change in wanted if state.begun and not _is_after(change.number, state.through)]
        if in_flight:
            return DeliveryPlan(self._rebuild_alert(name, target, in_flight, state))
        if not wanted:
            return DeliveryPlan(None, changes[-1].number)
        old = list(takewhile(lambda change: now - change.at > target.max_age, wanted))
        if old:
            return self._late_plan(name, target, old)
        return DeliveryPlan(message.build_alert(name, target, wanted[0], self._settings.timezone))

    def _digest_plan(
        self, name: str, target: Target, at: TimeOfDay, state: TargetState, now: float
    ) -> DeliveryPlan | None:
        zone = self._settings.timezone
        due, since = last_due_time(at, now, zone), int(state.cursor.partition("-")[0]) / 1000
        if since >= due:
            return None
        return DeliveryPlan(build_digest(name, target, self._store, since, due, zone), f"{int(due * 1000)}-0")

    def _rebuild_alert(self, name: str, target: Target, in_flight: Sequence[Change], state: TargetState) -> Alert:
        """What may have arrived already is sent as what it was."""
        if state.begun == state.through:
            return message.build_alert(name, target, in_flight[0], self._settings.timezone)
        return message.build_late_alert(name, in_flight, state.begun, state.through)

    def _late_plan(self, name: str, target: Target, old: Sequence[Change]) -> DeliveryPlan:
        if not target.command:
            return DeliveryPlan(message.build_late_alert(name, old))
        log.warning("%s is not run for %d changes that are too old", name, len(old))
        return DeliveryPlan(None, old[-1].number)

    def _lease_seconds(self, target: Target) -> float:
        return message.send_timeout(target) + LEASE_MARGIN_SECONDS


def _is_after(number: str, other: str) -> bool:
    return [int(part) for part in number.split("-")] > [int(part) for part in other.split("-")]
