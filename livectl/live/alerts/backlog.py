"""The backlog: what each target has not been told yet."""

from __future__ import annotations

from typing import TYPE_CHECKING

from livectl.live.alerts import listening
from livectl.live.alerts.outbox import Outbox, Stand
from livectl.live.store import Store

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from redis import Redis

    from livectl.config import Settings, Target
    from livectl.model import Change, Known

MOST = 1000  # changes looked at for each target: more is "many"

Who = tuple[str, str]  # platform and id


def look(settings: Settings, client: Redis, now: float) -> tuple[dict[str, Stand], dict[str, int]]:
    """Where each target stands, and how many changes wait for it."""
    store = Store(client)
    stands = Outbox(client, "").stands(list(settings.alerts))
    waiting = {}
    for name, target in settings.alerts.items():
        changes = store.changes(stands[name].cursor or start(target, now), MOST)
        waiting[name] = len(pending(name, target, changes, known(store, changes)))
    return stands, waiting


def start(target: Target, now: float) -> str:
    """Where a new target begins in the outbox: with what is not too old. A digest begins with what comes."""
    since = now if target.digest is not None else now - target.max_age
    return f"{int(since * 1000)}-0"


def pending(name: str, target: Target, changes: Sequence[Change], known: Mapping[Who, Known]) -> list[Change]:
    """Those that this target is told."""
    found = []
    for change in changes:
        one = known.get((change.platform, change.id))
        if listening.wants(name, target, change, one) and not listening.is_over(target, change, one):
            found.append(change)
    return found


def known(store: Store, changes: Sequence[Change]) -> dict[Who, Known]:
    """What is known by now of everybody in these changes."""
    names: dict[str, dict[str, None]] = {}
    for change in changes:
        names.setdefault(change.platform, {})[change.id] = None
    found = [one for platform, ids in names.items() for one in store.some(platform, list(ids))]
    return {(one.platform, one.id): one for one in found}
