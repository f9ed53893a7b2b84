"""Shows streamers as tables and JSON: what the store knows, or what a check just answered."""

from __future__ import annotations

from collections import Counter
from datetime import datetime  # noqa: TC003 - msgspec reads the annotations
from typing import TYPE_CHECKING, Any

import msgspec

from livectl import render
from livectl.models import State
from livectl.units import format_duration, utc_datetime

if TYPE_CHECKING:
    from collections.abc import Sequence

    from livectl.models import Observation, StreamerRecord
    from livectl.render import View


NOT_LIVE = frozenset({State.OFFLINE, State.REPLAY, State.UPCOMING, State.NOT_FOUND, State.BANNED})
VERDICT_NAMES = {True: "live", False: "not live", None: "could not ask"}
STATE_TEXTS = {State.NOT_FOUND: "not found", State.RATE_LIMITED: "rate limited", State.PARSE_ERROR: "not understood"}
NOBODY_LIVE = "Nobody is live."
NOBODY_FOLLOWED = "Nobody is followed yet: livectl follow add ADDRESS"

MINUTE_SECONDS = 60
THOUSAND, MILLION = 1_000, 1_000_000
MAX_TITLE_CHARS = 60  # two lines of the title column


class StreamerView(msgspec.Struct, frozen=True, kw_only=True):
    """What `check` and `live` show of a streamer, with the field names of their JSON. None means unknown.

    Times are whole seconds in UTC, which JSON shows as `2026-11-28T09:00:00Z`.
    """

    platform: str
    id: str
    state: State
    name: str | None = None
    title: str | None = None
    category: str | None = None
    viewers: int | None = None
    started_at: datetime | None = None
    url: str | None = None
    cover: str | None = None
    session: str | None = None
    checked_at: datetime | None = None
    problem: str | None = None

    @property
    def live(self) -> bool | None:
        """Whether the streamer is live; None when the platform could not be asked."""
        if self.state is State.LIVE or (self.state is State.RESTRICTED and self.session):
            return True
        return False if self.state in NOT_LIVE else None


def from_observation(observation: Observation, name: str = "") -> StreamerView:
    """Shows an answer that just came, under the name that the follow list has for the streamer."""
    return StreamerView(
        **_page_fields(observation),
        state=observation.state,
        name=name or observation.name or None,
        started_at=utc_datetime(observation.started_at),
        session=observation.session or None,
        checked_at=utc_datetime(observation.at),
        problem=observation.problem or None,
    )


def from_record(record: StreamerRecord) -> StreamerView:
    """Shows what the store knows: the last reading, and the problem that has prevented a newer one."""
    is_live = record.state is State.LIVE
    return StreamerView(
        **_page_fields(record),
        state=record.state or record.trouble or State.UNKNOWN,
        name=record.name or None,
        started_at=utc_datetime(record.started_at) if is_live else None,
        session=(record.session or None) if is_live else None,
        checked_at=utc_datetime(record.seen),
        problem=problem_text(record),
    )


def problem_text(record: StreamerRecord) -> str | None:
    """Why there is no newer reading, in words."""
    if not record.trouble:
        return record.problem or None
    reason = str(record.trouble).replace("_", " ")
    return f"{reason}: {record.problem}" if record.problem else reason


def live_view(streamers: Sequence[StreamerView], now: float) -> View:
    """A table of the streamers who are live."""
    rows = [
        (
            address_text(streamer),
            streamer.name or "",
            _format_since(streamer.started_at, now),
            _viewers_text(streamer),
            _title_text(streamer),
        )
        for streamer in streamers
    ]
    return render.table(("streamer", "name", "for", "viewers", "title"), rows, streamers, empty=NOBODY_LIVE)


def everyone_view(streamers: Sequence[StreamerView], now: float) -> View:
    """A table of all streamers: the last state, how old it is, and the problem that has prevented a newer one."""
    ages = [_format_since(streamer.checked_at, now) for streamer in streamers]
    return _state_table(streamers, "seen", ages)


def check_view(streamers: Sequence[StreamerView], now: float) -> View:
    """A table of answers that just came."""
    lengths = [_format_since(streamer.started_at, now) for streamer in streamers]
    return _state_table(streamers, "for", lengths)


def summary_view(job_id: str, streamers: Sequence[StreamerView], seconds: float) -> View:
    """How many are live, are not live, and could not be asked, and why."""
    counts = Counter((VERDICT_NAMES[streamer.live], _reason(streamer)) for streamer in streamers)
    order = list(VERDICT_NAMES.values())
    tally = sorted(counts.items(), key=lambda row: (order.index(row[0][0]), -row[1]))
    data = {
        "id": job_id,
        "seconds": round(seconds, 2),
        "total": len(streamers),
        **{
            name.replace(" ", "_"): sum(streamer.live is verdict for streamer in streamers)
            for verdict, name in VERDICT_NAMES.items()
        },
        "reasons": [{"verdict": verdict, "reason": reason, "count": count} for (verdict, reason), count in tally],
        "streamers": streamers,
    }
    rows = [(str(count), verdict, "" if reason == verdict else reason) for (verdict, reason), count in tally]
    duration = f"{seconds:.1f} s" if seconds < MINUTE_SECONDS else format_duration(seconds)
    rows.append((str(len(streamers)), "in all", f"in {duration}"))
    return render.table(("streamers", "verdict", "said"), rows, data, empty=NOBODY_FOLLOWED)


def address_text(streamer: StreamerView) -> str:
    return f"{streamer.platform}/{streamer.id}"


def state_text(streamer: StreamerView) -> str:
    return STATE_TEXTS.get(streamer.state, str(streamer.state))


def _page_fields(source: Observation | StreamerRecord) -> dict[str, Any]:
    """The fields that an observation and a record have in common."""
    return {
        "platform": source.platform,
        "id": source.id,
        "title": source.title or None,
        "category": source.category or None,
        "viewers": source.viewers,
        "url": source.url or None,
        "cover": source.cover or None,
    }


def _state_table(streamers: Sequence[StreamerView], time_heading: str, times: Sequence[str]) -> View:
    rows = [
        (
            address_text(streamer),
            state_text(streamer),
            time_text,
            _viewers_text(streamer),
            _problem_or_title(streamer),
        )
        for streamer, time_text in zip(streamers, times, strict=True)
    ]
    columns = ("streamer", "state", time_heading, "viewers", "title or problem")
    return render.table(columns, rows, streamers, empty=NOBODY_FOLLOWED)


def _reason(streamer: StreamerView) -> str:
    """The state; where the platform could not be asked, the problem too."""
    if streamer.live is not None or not streamer.problem:
        return state_text(streamer)
    return f"{state_text(streamer)}: {streamer.problem}"


def _problem_or_title(streamer: StreamerView) -> str:
    if streamer.problem:
        return streamer.problem
    return _title_text(streamer) if streamer.live else ""


def _title_text(streamer: StreamerView) -> str:
    title = streamer.title or ""
    if len(title) > MAX_TITLE_CHARS:
        title = f"{title[: MAX_TITLE_CHARS - 1]}…"
    return f"{title} ({streamer.category})" if streamer.category else title


def _viewers_text(streamer: StreamerView) -> str:
    return _format_count(streamer.viewers) if streamer.live is True and streamer.viewers is not None else ""


def _format_count(count: int) -> str:
    if count >= MILLION:
        return f"{count / MILLION:.1f} M"
    return f"{count / THOUSAND:.1f} k" if count >= THOUSAND else str(count)


def _format_since(at: datetime | None, now: float) -> str:
    return "" if at is None else format_duration(now - at.timestamp())
