"""The JSON twins of the pages: the field names are those of the commands. docs/api.md describes them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import msgspec

from livectl.live import history, views
from livectl.live.store_reader import StreamerHistory
from livectl.models import State
from livectl.units import utc_datetime

if TYPE_CHECKING:
    from livectl.errors import LivectlError
    from livectl.models import Session, StreamerRecord
    from livectl.web.data import BeatSchedule, JobsSnapshot, PageSection, StreamerList
    from livectl.web.heat_map import HeatMap

API_VERSION = 1  # of these shapes: fields may join, none changes its name or meaning


def live(wall: StreamerList, *, everybody: bool) -> bytes:
    records = [*wall.live, *(wall.others if everybody else ())]
    return _encode({"version": API_VERSION, "live": [row(record) for record in records]})


def row(record: StreamerRecord) -> dict[str, Any]:
    """A streamer as `livectl live --json` has it, and what only the page tells."""
    return {
        **msgspec.structs.asdict(views.from_record(record)),
        "ended_at": utc_datetime(record.ended_at) if record.state is not State.LIVE else None,
        "trouble": record.trouble,
        "troubled_since": utc_datetime(record.troubled_since) if record.trouble else None,
        "tags": record.streamer.tags if record.streamer else (),
    }


def streamer(record: StreamerRecord, sessions: list[Session], heat_map: HeatMap, now: float) -> bytes:
    """As `livectl history --json` has it."""
    history_data = history.history_view(StreamerHistory(record, sessions), heat_map.timezone, now).data
    return _encode({"version": API_VERSION, **history_data, **row(record), "followed": record.streamer is not None})


def jobs(snapshot: JobsSnapshot, alerts: list[dict[str, Any]] | None) -> bytes:
    workers, queue_depths = snapshot.workers.found, snapshot.queues.found
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
            "jobs": snapshot.recent.found,
            "dead": snapshot.dead.found,
            "alerts": alerts,
            "unknown": {name: section.why for name, section in sections.items() if section.why},
        }
    )


def schedule(beat_schedule: BeatSchedule) -> bytes:
    return _encode(
        {
            "version": API_VERSION,
            "beats": beat_schedule.beats,
            "looked_in": utc_datetime(beat_schedule.looked_in),
            "schedules": beat_schedule.rows,
        }
    )


def error(livectl_error: LivectlError) -> bytes:
    return _encode(
        {"error": {"code": livectl_error.code, "message": livectl_error.message, "hint": livectl_error.hint}}
    )


def _encode(document: Any) -> bytes:
    return msgspec.json.encode(document, enc_hook=str) + b"\n"
