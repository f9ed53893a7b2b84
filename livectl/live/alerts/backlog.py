"""The backlog: what each target has not been told yet."""

from __future__ import annotations

from typing import TYPE_CHECKING

from livectl.live.alerts import listening
from livectl.live.alerts.outbox import Outbox, TargetState
from livectl.live.store import Store

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from redis import Redis

    from livectl.config import Settings, Target
    from livectl.model import Change, StreamerRecord

MAX_CHANGES = 1000  # changes looked at for each target: more is "many"

StreamerKey = tuple[str, str]  # platform and id


def read_backlog(settings: Settings, client: Redis, now: float) -> tuple[dict[str, TargetState], dict[str, int]]:
    """Where each target stands, and how many changes wait for it."""
    store = Store(client)
    states = Outbox(client, "").target_states(list(settings.alerts))
    waiting = {}
    for name, target in settings.alerts.items():
        changes = store.changes(states[name].cursor or start_cursor(target, now), MAX_CHANGES)
        waiting[name] = len(pending_changes(name, target, changes, find_records(store, changes)))
    return states, waiting


def start_cursor(target: Target, now: float) -> str:
    """Where a new target begins in the outbox: with what is not too old. A digest begins with what comes."""
    since = now if target.digest is not None else now - target.max_age
    return f"{int(since * 1000)}-0"


def pending_changes(
    name: str, target: Target, changes: Sequence[Change], records: Mapping[StreamerKey, StreamerRecord]
) -> list[Change]:
    """Those that this target is told."""
    wanted = []
    for change in changes:
        record = records.get((change.platform, change.id))
        if listening.should_alert(name, target, change, record) and not listening.is_outdated(target, change, record):
            wanted.append(change)
    return wanted


def find_records(store: Store, changes: Sequence[Change]) -> dict[StreamerKey, StreamerRecord]:
    """What is known by now of everybody in these changes."""
    ids_by_platform: dict[str, dict[str, None]] = {}
    for change in changes:
        ids_by_platform.setdefault(change.platform, {})[change.id] = None
    records = [
        record for platform, ids in ids_by_platform.items() for record in store.find_streamers(platform, list(ids))
    ]
    return {(record.platform, record.id): record for record in records}
