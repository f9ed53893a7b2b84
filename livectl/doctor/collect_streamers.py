"""Collects what the store knows of streamers and of the targets of their alerts: no platform is asked, nothing sent."""

from __future__ import annotations

from collections import Counter, defaultdict
from typing import TYPE_CHECKING, NamedTuple

from livectl import redis_client
from livectl import settings as livectl_settings
from livectl.doctor.facts import AlertFacts, FailingTarget, MisnamedPlatform, PlatformFacts, StoreUnfit
from livectl.errors import ServerAwayError, ServerError
from livectl.file_stamp import read_stamp
from livectl.suggestions import did_you_mean

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from livectl.address import Address
    from livectl.models import StreamerRecord
    from livectl.settings import Settings

MAX_TROUBLED_KEPT = 1000  # of a platform: the others are counted


def read_fitness(store: Address, settings: Settings) -> StoreUnfit:
    """Whether what is in the store is for this livectl and its settings."""
    from livectl.live import store_moving

    try:
        with redis_client.using_store(store) as client:
            store_moving.require_fit(client, settings.polling.shards)
    except ServerAwayError:
        raise
    except ServerError as error:
        return StoreUnfit(error.message, error.hint or "")
    return StoreUnfit()


def find_misnamed(settings: Settings) -> Iterator[MisnamedPlatform]:
    from livectl.live import platforms

    named = [("platforms", name) for name in settings.platforms]
    named += [
        (f"alerts.{target}.platforms", name) for target, alert in settings.alerts.items() for name in alert.platforms
    ]
    known = platforms.names() if named else ()
    for place, name in named:
        if name not in known:
            cure = did_you_mean(name, known) or f"There are: {', '.join(known)}."
            yield MisnamedPlatform(place=place, name=name, cure=cure)


def read_platforms(store: Address, settings: Settings, now: float) -> PlatformFacts:
    """The follow list and its platforms, as the store knows them: no platform is asked."""
    from livectl.live import polling
    from livectl.live.follows import follow_list
    from livectl.live.push.push_store import read_push
    from livectl.live.store import Store

    with redis_client.using_store(store) as client:
        live_store = Store(client)
        healths = live_store.health(now)
        lines = _longest_in_trouble(live_store.lines())
        unread = _longest_in_trouble(
            [record for record in page if not record.unresolved] for page in live_store.troubled()
        )
        waiting = follow_list.find_waiting(live_store, settings.follows)
        pushed = read_push(client, settings)
    new, stamp = [record for record in waiting.streamers if not record.unresolved], read_stamp(settings.follows)
    unresolved = [record for record in (*lines.records, *waiting.streamers) if record.unresolved]
    names = {health.platform for health in healths if health.followed}
    names |= {record.platform for record in (*unresolved, *waiting.streamers)}
    return PlatformFacts(
        pushed=pushed,
        health=tuple(health for health in healths if health.followed),
        followed=sum(health.followed for health in healths),
        slowest=float(settings.polling.slowest),
        unresolved=tuple(unresolved),
        more_unresolved=sum(lines.left_out.values()),
        unread=tuple(unread.records),
        more_unread=tuple(unread.left_out),
        waiting=len(new),
        list_changed=stamp.placed_at if new and stamp else None,
        list_path=str(settings.follows),
        list_problem=waiting.problem or _find_missing(settings),
        without_key=tuple(name for name in sorted(names) if polling.lacks_key(settings, name)),
    )


def _find_missing(settings: Settings) -> str:
    """Says that the follow list is not there which the settings name; where they name none, a new user has none."""
    is_named = settings.sources["follows"] != livectl_settings.DEFAULT_SOURCE
    return f"{settings.follows}: no such file" if is_named and not settings.follows.exists() else ""


class LongestInTrouble(NamedTuple):
    """Some streamers of each platform, those with the oldest troubles; and how many others there are."""

    records: list[StreamerRecord]
    left_out: Counter[str]


def _longest_in_trouble(pages: Iterable[list[StreamerRecord]]) -> LongestInTrouble:
    kept: dict[str, list[StreamerRecord]] = defaultdict(list)
    left_out = Counter[str]()
    for page in pages:
        for record in page:
            kept[record.platform].append(record)
        for platform, records in kept.items():
            if (more := len(records) - MAX_TROUBLED_KEPT) > 0:
                kept[platform] = sorted(records, key=lambda record: record.troubled_since or 0.0)[:MAX_TROUBLED_KEPT]
                left_out[platform] += more
    return LongestInTrouble([record for records in kept.values() for record in records], left_out)


def read_alerts(store: Address, settings: Settings) -> AlertFacts:
    """The targets of alerts, and how the last tries went: nothing is sent."""
    from livectl.live.alerts.outbox import Outbox

    with redis_client.using_store(store) as client:
        states = Outbox(client, "").target_states(list(settings.alerts))
    failing = (
        FailingTarget(target=name, since=state.troubled_since, tries=state.tries, problem=state.problem)
        for name, state in states.items()
        if state.troubled_since is not None
    )
    return AlertFacts(targets=len(states), failing=tuple(failing))
