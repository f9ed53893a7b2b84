"""A glance at the store: who is live, who else is followed, and what became of one of them."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import msgspec

from livectl.live.views import sights
from livectl.live.views.line import read_only_store
from livectl.model import State

if TYPE_CHECKING:
    from livectl.address import Address
    from livectl.live.views.sights import StreamerView
    from livectl.model import Session, Streamer, StreamerRecord


class StreamerHistory(NamedTuple):
    """A streamer, and their sessions, oldest first."""

    record: StreamerRecord
    sessions: list[Session]


def list_streamers(address: Address, *, everybody: bool) -> list[StreamerView]:
    """Those who are live, the newest first; then everybody else by when they were, if that is asked for."""
    with read_only_store(address) as store:
        records = store.all_streamers() if everybody else store.live_streamers()
    return [sights.from_record(record) for record in sorted(records, key=_sort_key)]


def read_history(address: Address, streamer: Streamer) -> StreamerHistory:
    with read_only_store(address) as store:
        streamer_id = store.aliases(streamer.platform, [streamer.id]).get(streamer.id, streamer.id)
        record, sessions = (
            store.find_streamer(streamer.platform, streamer_id),
            store.sessions(streamer.platform, [streamer_id])[streamer_id],
        )
    if sessions and sessions[-1].ended_at is None:  # what is on now has its title where everybody's is
        sessions[-1] = msgspec.structs.replace(sessions[-1], title=record.title, category=record.category)
    return StreamerHistory(record, sessions)


def _sort_key(record: StreamerRecord) -> tuple[bool, bool, float, str, str]:
    is_live = record.state is State.LIVE
    last_at = record.started_at if is_live else record.ended_at
    return not is_live, record.state is None, -(last_at or 0.0), record.platform, record.id
