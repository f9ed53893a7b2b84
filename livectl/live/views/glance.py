"""A glance at the store: who is live, who else is followed, and what became of one of them."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import msgspec

from livectl.live.views import sights
from livectl.live.views.line import reading
from livectl.model import State

if TYPE_CHECKING:
    from livectl.address import Address
    from livectl.live.views.sights import Sight
    from livectl.model import Known, Session, Streamer


class Past(NamedTuple):
    """A streamer, and their sessions, oldest first."""

    known: Known
    sessions: list[Session]


def look(address: Address, *, everybody: bool) -> list[Sight]:
    """Those who are live, the newest first; then everybody else by when they were, if that is asked for."""
    with reading(address) as store:
        found = store.everyone() if everybody else store.live()
    return [sights.known(one) for one in sorted(found, key=_order)]


def past(address: Address, streamer: Streamer) -> Past:
    with reading(address) as store:
        one = store.aliases(streamer.platform, [streamer.id]).get(streamer.id, streamer.id)
        known, sessions = store.one(streamer.platform, one), store.sessions(streamer.platform, [one])[one]
    if sessions and sessions[-1].ended_at is None:  # what is on now has its title where everybody's is
        sessions[-1] = msgspec.structs.replace(sessions[-1], title=known.title, category=known.category)
    return Past(known, sessions)


def _order(one: Known) -> tuple[bool, bool, float, str, str]:
    live = one.state is State.LIVE
    last = one.started_at if live else one.ended_at
    return not live, one.state is None, -(last or 0.0), one.platform, one.id
