"""Encodes the JSON twins of the pages, with the field names of the commands. docs/api.md describes them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import msgspec

from livectl.errors import FileError
from livectl.live import history, views
from livectl.live.alerts import views as alert_views
from livectl.models import State
from livectl.ops.beat import views as schedule_views
from livectl.units import utc_datetime

if TYPE_CHECKING:
    from livectl.errors import LivectlError
    from livectl.live.alerts.outbox import TargetStatus
    from livectl.live.store_order import OrderedPage
    from livectl.models import StreamerRecord
    from livectl.ops.beat.views import BeatSchedule
    from livectl.web.changes import Outcome
    from livectl.web.data import JobsSnapshot, PageSection, StreamerPage
    from livectl.web.streamer_list import StreamerList

API_VERSION = 1  # of these shapes: fields may join, none changes its name or meaning


def live(streamers: StreamerList, *, everybody: bool) -> bytes:
    records = [*streamers.live, *(streamers.others if everybody else ())]
    return _encode({"version": API_VERSION, "live": [_streamer_row(record) for record in records]})


def live_page(page: OrderedPage) -> bytes:
    """The same of some of many, and where the next page begins; null at the end."""
    rows = [_streamer_row(record) for record in page.streamers]
    return _encode({"version": API_VERSION, "live": rows, "next": page.next and str(page.next)})


def streamer(streamer_page: StreamerPage) -> bytes:
    """A streamer as `livectl history --json` has it, and what the page shows beside it."""
    record = streamer_page.history.record
    return _encode(
        {
            "version": API_VERSION,
            **history.history_json(streamer_page.history, streamer_page.heat_map),
            **_streamer_row(record),
            "followed": record.streamer is not None,
        }
    )


def jobs(snapshot: JobsSnapshot, targets: list[TargetStatus]) -> bytes:
    workers, queue_depths = snapshot.workers.value, snapshot.queues.value
    sections: dict[str, PageSection[Any]] = {
        "workers": snapshot.workers,
        "queues": snapshot.queues,
        "jobs": snapshot.recent,
        "dead": snapshot.dead,
    }
    return _encode(
        {
            "version": API_VERSION,
            "workers": workers.found if workers else None,
            "silent": workers.silent if workers else None,
            "queues": queue_depths.queues if queue_depths else None,
            "jobs": snapshot.recent.value,
            "dead": snapshot.dead.value,
            "alerts": [alert_views.target_json(status) for status in targets],
            "unknown": {name: section.why for name, section in sections.items() if section.why},
        }
    )


def schedule(beat_schedule: BeatSchedule) -> bytes:
    return _encode(
        {
            "version": API_VERSION,
            "beats": beat_schedule.beats,
            "looked_in": utc_datetime(beat_schedule.heartbeat_at),
            "schedules": [schedule_views.entry_json(entry) for entry in beat_schedule.entries],
        }
    )


def change(name: str, outcome: Outcome, message: str) -> bytes:
    """What came of a change, in words and with the names that it concerns."""
    return _encode(
        {"version": API_VERSION, "change": name, "outcome": outcome.outcome, "message": message, **outcome.data}
    )


def error(livectl_error: LivectlError) -> bytes:
    facts: dict[str, Any] = {
        "code": livectl_error.code,
        "message": livectl_error.message,
        "hint": livectl_error.hint,
    }
    if isinstance(livectl_error, FileError):
        facts["mistakes"] = [{"text": mistake.text, "hint": mistake.hint} for mistake in livectl_error.mistakes]
    return _encode({"error": facts})


def _streamer_row(record: StreamerRecord) -> dict[str, Any]:
    """A streamer as `livectl live --json` has it, and what only the page shows."""
    return {
        **msgspec.structs.asdict(views.from_record(record)),
        "ended_at": utc_datetime(record.ended_at) if record.state is not State.LIVE else None,
        "avatar": record.avatar or None,
        "trouble": record.trouble,
        "troubled_since": utc_datetime(record.troubled_since) if record.trouble else None,
        "tags": record.streamer.tags if record.streamer else (),
    }


def _encode(document: Any) -> bytes:
    return msgspec.json.encode(document, enc_hook=str) + b"\n"
