"""A sight of a streamer, as commands show it: from the store, or from an answer that just came."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING

import msgspec

from livectl.model import State

if TYPE_CHECKING:
    from livectl.model import Observation, StreamerRecord

NOT_LIVE = frozenset({State.OFFLINE, State.REPLAY, State.UPCOMING, State.NOT_FOUND, State.BANNED})


class StreamerView(msgspec.Struct, frozen=True, kw_only=True):
    """What `check` and `live` tell of a streamer; None is not known."""

    platform: str
    id: str
    state: State
    name: str | None = None
    title: str | None = None
    category: str | None = None
    viewers: int | None = None
    started_at: str | None = None
    url: str | None = None
    cover: str | None = None
    session: str | None = None
    checked_at: str | None = None
    problem: str | None = None

    @property
    def live(self) -> bool | None:
        """Whether they are; None when nobody could say."""
        if self.state is State.LIVE or (self.state is State.RESTRICTED and self.session):
            return True
        return False if self.state in NOT_LIVE else None


def from_observation(observation: Observation, name: str = "") -> StreamerView:
    """An answer that just came."""
    return StreamerView(
        platform=observation.platform,
        id=observation.id,
        state=observation.state,
        name=name or observation.name or None,
        title=observation.title or None,
        category=observation.category or None,
        viewers=observation.viewers,
        started_at=format_utc(observation.started_at),
        url=observation.url or None,
        cover=observation.cover or None,
        session=observation.session or None,
        checked_at=format_utc(observation.at),
        problem=observation.problem or None,
    )


def from_record(record: StreamerRecord) -> StreamerView:
    """What the store knows: the last reading, which stands whatever went wrong since, and what that was."""
    is_live = record.state is State.LIVE
    return StreamerView(
        platform=record.platform,
        id=record.id,
        state=record.state or record.trouble or State.UNKNOWN,
        name=record.name or None,
        title=record.title or None,
        category=record.category or None,
        viewers=record.viewers,
        started_at=format_utc(record.started_at) if is_live else None,
        url=record.url or None,
        cover=record.cover or None,
        session=(record.session or None) if is_live else None,
        checked_at=format_utc(record.seen),
        problem=problem_text(record),
    )


def problem_text(record: StreamerRecord) -> str | None:
    """Why there is no newer reading, in words."""
    if not record.trouble:
        return record.problem or None
    reason = str(record.trouble).replace("_", " ")
    return f"{reason}: {record.problem}" if record.problem else reason


def format_utc(at: float | None) -> str | None:
    """ISO 8601 in UTC, to the second."""
    return None if at is None else f"{datetime.fromtimestamp(at, UTC):%Y-%m-%dT%H:%M:%SZ}"


def parse_utc(text: str | None) -> float | None:
    return datetime.fromisoformat(text).timestamp() if text else None
