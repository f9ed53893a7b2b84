"""Shows the targets: where each stands, and what it answered to a sample or to an alert that was sent again."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from livectl import render
from livectl.live.alerts import targets
from livectl.render import Column, View, with_lines
from livectl.secret import MASK
from livectl.units import format_hours_and_minutes, format_local_time, utc_datetime

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from livectl.live.alerts.message import DeliveryOutcome
    from livectl.live.alerts.outbox import TargetState, TargetStatus
    from livectl.settings import Target


NO_TARGETS = "No alerts yet: write a target under `alerts:` in livectl.yaml, see `livectl docs alerts`."
MINUTE_SECONDS = 60.0
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
    rows = [(name, "yes" if outcome.sent else "NO", outcome.detail) for name, outcome in outcomes.items()]
    return render.table(("target", Column("taken", "state"), "answer"), rows, data, empty=NO_TARGETS)


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
