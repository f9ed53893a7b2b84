"""Shows the targets: where each stands, and what it answered to a sample or to an alert that was sent again."""

from __future__ import annotations

from itertools import starmap
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from livectl import render
from livectl.live.alerts import targets
from livectl.models import State
from livectl.render import DIM, GREEN, RED, Column, Paragraph, Stack, View, with_lines
from livectl.secret import MASK
from livectl.units import format_hours_and_minutes, format_local_time, utc_datetime

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from livectl.live.alerts.message import Alert, DeliveryOutcome
    from livectl.live.alerts.outbox import TargetState, TargetStatus
    from livectl.live.alerts.reasons import LastSession, Reason
    from livectl.models import StreamerRecord
    from livectl.render import Renderable
    from livectl.settings import Target


NO_TARGETS = "No alerts yet: write a target under `alerts:` in livectl.yaml, see `livectl docs alerts`."
MINUTE_SECONDS = 60.0
REHEARSED = {True: "would be told {words}", False: "would not be told: {words}", None: "not at once: {words}"}
WHY = {True: "told {words}", False: "not told: {words}", None: "waits: {words}"}
TARGET_COLUMNS = (
    "target",
    Column("address", rank=2),
    Column("on", rank=3),
    Column("last told", "number", rank=1),
    Column("waiting", "number"),
    Column("state", "state"),
)


def outcomes_view(outcomes: Mapping[str, DeliveryOutcome]) -> View:
    data = [{"target": name, "sent": outcome.sent, "said": outcome.detail} for name, outcome in outcomes.items()]
    return View(data, lambda: Stack(*starmap(_outcome_line, outcomes.items())) if outcomes else Paragraph(NO_TARGETS))


def _outcome_line(name: str, outcome: DeliveryOutcome) -> Paragraph:
    """An answer whole, since it may end with the cure."""
    taken, colour = ("taken", GREEN) if outcome.sent else ("NOT taken", RED)
    return Paragraph(outcome.detail, f"{name}: {taken}: ", label_colour=colour)


def targets_view(statuses: Sequence[TargetStatus], zone: str, now: float) -> View:
    rows = [
        (
            status.name,
            target_address(status.target),
            " ".join(status.target.on),
            _format_age(status.state.sent_at, now),
            f"{status.backlog}+" if status.more else str(status.backlog),
            _state_text(status),
        )
        for status in statuses
    ]
    data = [target_json(status) for status in statuses]
    table_view = render.table(TARGET_COLUMNS, rows, data, empty=NO_TARGETS)
    return with_lines(table_view, _problem_lines(statuses, zone))


def target_json(status: TargetStatus) -> dict[str, Any]:
    """A target as `livectl alerts list --json` has it."""
    state = status.state
    return {
        "name": status.name,
        "kind": targets.target_kind(status.target),
        "address": target_address(status.target),
        "on": status.target.on,
        "sent": state.sent,
        "sent_at": utc_datetime(state.sent_at),
        "backlog": status.backlog,
        "failures": state.failures,
        "tries": state.tries,
        "failing_since": utc_datetime(state.failing_since),
        "retry_at": utc_datetime(state.retry_at),
        "dead": state.dead,
        "problem": targets.missing(status.target) or state.problem or None,
    }


def rehearsal_view(reasons: Sequence[Reason], notes: Sequence[str] = ()) -> View:
    """What each target would be told, and why others would not be."""
    width = max((len(reason.target) for reason in reasons), default=0)
    parts: list[Renderable] = []
    for reason in reasons:
        label = f"{reason.target:<{width}}  "
        parts.append(Paragraph(REHEARSED[reason.told].format(words=reason.words), label))
        if reason.alert and reason.told is not False:
            parts += [Paragraph(line, " " * (width + 4), colour=DIM) for line in _alert_lines(reason.alert)]
    parts += [Paragraph(note) for note in notes]
    return View([_rehearsal_json(reason) for reason in reasons], lambda: Stack(*parts))


def _alert_lines(alert: Alert) -> list[str]:
    return [alert.title, *alert.body.splitlines()]


def _rehearsal_json(reason: Reason) -> dict[str, Any]:
    alert = reason.alert
    return {
        "target": reason.target,
        "change": reason.kind,
        "told": reason.told,
        "rule": reason.rule,
        "reason": reason.words,
        "title": alert.title if alert else None,
        "body": alert.body if alert else None,
        "format": {"lark": "markdown"}.get(alert.style, alert.style) if alert else None,
    }


def why_view(last_session: LastSession, zone: str, now: float) -> View:
    """Why each target was told or not told of the last session of a streamer."""
    record, reasons = last_session
    data = {
        "platform": record.platform,
        "id": record.id,
        "name": record.name,
        "session": record.session or None,
        "started_at": utc_datetime(record.started_at),
        "ended_at": utc_datetime(_ended_at(record)),
        "resumed_at": utc_datetime(record.resumed_at),
        "targets": [
            {
                "target": reason.target,
                "change": reason.kind or None,
                "told": reason.told,
                "rule": reason.rule,
                "reason": reason.words,
                "decided_at": utc_datetime(reason.at),
            }
            for reason in reasons
        ],
    }
    return View(data, lambda: Stack(*_why_lines(last_session, zone, now)))


def _why_lines(last_session: LastSession, zone: str, now: float) -> list[Renderable]:
    record, reasons = last_session
    key = f"{record.platform}/{record.id}"
    who = f"{record.name} ({key})" if record.name else key
    if not record.session:
        followed = "" if record.streamer else " No worker follows them: see livectl follow list."
        return [Paragraph(f"{who} has not been seen live yet: there was nothing to tell.{followed}")]
    lines: list[Renderable] = [Paragraph(f"{who}: {_describe_session(record, zone, now)}")]
    if record.resumed_at is not None:
        at = format_local_time(record.resumed_at, zone).partition(" ")[2]
        lines.append(Paragraph(f"It went on at {at} after a break: that is the same session, and is not told again."))
    if not reasons:
        return [*lines, NO_TARGETS]
    width = max(len(reason.target) for reason in reasons)
    kind_width = max(len(reason.kind) for reason in reasons)
    shown = ""
    lines.append("")
    for reason in reasons:
        name = "" if reason.target == shown else reason.target
        shown = reason.target
        label = f"{name:<{width}}  {reason.kind:<{kind_width}}  "
        lines.append(Paragraph(WHY[reason.told].format(words=reason.words), label))
    return lines


def _describe_session(record: StreamerRecord, zone: str, now: float) -> str:
    start = record.started_at or now
    ended_at = _ended_at(record)
    began = f"the last session began {format_local_time(start, zone)}"
    if ended_at is None:
        return f"{began} and is on."
    return f"{began} and lasted {format_hours_and_minutes(ended_at - start)}."


def _ended_at(record: StreamerRecord) -> float | None:
    return None if record.state is State.LIVE else record.ended_at


def target_address(target: Target) -> str:
    """As much of the address as is no secret."""
    if target.command:
        return target.command[0]
    if targets.unset_secret(target):
        return MASK
    parts = urlsplit(target.webhook.reveal() if target.webhook else target.url.reveal() if target.url else "")
    return f"{parts.scheme}://{parts.hostname if target.webhook else MASK}"


def _problem_lines(statuses: Sequence[TargetStatus], zone: str) -> list[str]:
    """What each failing target answered."""
    lacking = [
        f"{status.name}: {why} here; the worker's own environment counts"
        for status in statuses
        if (why := targets.missing(status.target))
    ]
    return lacking + [
        f"{status.name}: {status.state.problem}{_next_try(status.state, zone)}"
        for status in statuses
        if status.state.problem
    ]


def _next_try(state: TargetState, zone: str) -> str:
    if state.retry_at is None:
        return ""
    return f"; try {state.tries + 1} at {format_local_time(state.retry_at, zone).partition(' ')[2]}"


def _format_age(at: float | None, now: float) -> str:
    if at is None:
        return "never"
    return f"{format_hours_and_minutes(now - at)} ago" if now - at >= MINUTE_SECONDS else "just now"


def _state_text(status: TargetStatus) -> str:
    state = status.state
    if targets.unset_secret(status.target):
        return "secret unset"
    if targets.missing(status.target):
        return "Apprise missing"
    if state.retry_at is not None:
        return "failing"
    return "gave one up" if state.problem else "well"
