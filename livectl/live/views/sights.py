"""A sight of a streamer, as commands show it: from the store, or from an answer that just came."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING

import msgspec

from livectl.model import State

if TYPE_CHECKING:
    from livectl.model import Known, Observation

NOT_LIVE = frozenset({State.OFFLINE, State.REPLAY, State.UPCOMING, State.NOT_FOUND, State.BANNED})


class Sight(msgspec.Struct, frozen=True, kw_only=True):
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


def seen(one: Observation, name: str = "") -> Sight:
    """An answer that just came."""
    return Sight(
        platform=one.platform,
        id=one.id,
        state=one.state,
        name=name or one.name or None,
        title=one.title or None,
        category=one.category or None,
        viewers=one.viewers,
        started_at=instant(one.started_at),
        url=one.url or None,
        cover=one.cover or None,
        session=one.session or None,
        checked_at=instant(one.at),
        problem=one.problem or None,
    )


def known(one: Known) -> Sight:
    """What the store knows: the last reading, which stands whatever went wrong since, and what that was."""
    live = one.state is State.LIVE
    return Sight(
        platform=one.platform,
        id=one.id,
        state=one.state or one.trouble or State.UNKNOWN,
        name=one.name or None,
        title=one.title or None,
        category=one.category or None,
        viewers=one.viewers,
        started_at=instant(one.started_at) if live else None,
        url=one.url or None,
        cover=one.cover or None,
        session=(one.session or None) if live else None,
        checked_at=instant(one.seen),
        problem=trouble(one),
    )


def trouble(one: Known) -> str | None:
    """Why there is no newer reading, in words."""
    if not one.trouble:
        return one.problem or None
    said = str(one.trouble).replace("_", " ")
    return f"{said}: {one.problem}" if one.problem else said


def instant(at: float | None) -> str | None:
    """ISO 8601 in UTC, to the second."""
    return None if at is None else f"{datetime.fromtimestamp(at, UTC):%Y-%m-%dT%H:%M:%SZ}"


def moment(said: str | None) -> float | None:
    return datetime.fromisoformat(said).timestamp() if said else None
