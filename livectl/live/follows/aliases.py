"""Aliases: names, rooms and short links, each led once to the id that is followed, and remembered."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import msgspec

from livectl.errors import LivectlError
from livectl.live import platforms, polling
from livectl.live.follows import followlist
from livectl.live.platforms.base import CheckContext, NotAStreamer

if TYPE_CHECKING:
    from collections.abc import Sequence

    from livectl.config import Settings
    from livectl.live.network.fetch import Fetcher
    from livectl.live.platforms.base import Platform
    from livectl.live.store import Store
    from livectl.model import Streamer

MAX_LOOKUPS_AT_ONCE = 50  # asked in one go and for one platform: a new list of thousands is led home bit by bit


class ResolvedFollows(NamedTuple):
    """Streamers by the id that is followed, each once; those who could not be led there yet, and why."""

    streamers: tuple[Streamer, ...]
    problems: tuple[tuple[Streamer, str], ...]


def resolve_streamers(
    streamers: Sequence[Streamer], store: Store, fetcher: Fetcher, settings: Settings, now: float
) -> ResolvedFollows:
    """Leads everyone to their id: from memory, or by asking, as far as the platform's budget goes."""
    by_key: dict[tuple[str, str], Streamer] = {}
    problems: list[tuple[Streamer, str]] = []
    for platform_name in dict.fromkeys(streamer.platform for streamer in streamers):
        same_platform = [streamer for streamer in streamers if streamer.platform == platform_name]
        ids, reasons = _resolve_ids(
            platform_name, [streamer.id for streamer in same_platform], store, fetcher, settings, now
        )
        for streamer in same_platform:
            if streamer.id not in ids:
                problems.append((streamer, reasons.get(streamer.id, "not looked up yet")))
                continue
            resolved = msgspec.structs.replace(streamer, id=ids[streamer.id])
            key = (platform_name, resolved.id)
            by_key[key] = followlist.merge_streamers(by_key[key], resolved) if key in by_key else resolved
    return ResolvedFollows(tuple(by_key.values()), tuple(problems))


def _resolve_ids(
    platform_name: str, ids: list[str], store: Store, fetcher: Fetcher, settings: Settings, now: float
) -> tuple[dict[str, str], dict[str, str]]:
    """What each id leads to; and of those that lead nowhere, why."""
    try:
        platform = platforms.get(platform_name)
    except NotAStreamer as error:
        return {}, dict.fromkeys(ids, error.message)
    context = CheckContext(now, polling.platform_keys(settings.platforms.get(platform_name)))
    resolved = {alias: alias for alias in ids if _is_resolved(platform, alias, context)}
    resolved |= store.aliases(platform_name, [alias for alias in ids if alias not in resolved])
    limits = polling.polling_limits(settings, platform)
    limit = min(MAX_LOOKUPS_AT_ONCE, int(store.spend(limits, 0, now)))
    unresolved = [alias for alias in dict.fromkeys(ids) if alias not in resolved][: max(0, limit)]
    if not unresolved:
        return resolved, {}
    answers, requests = fetcher.resolve(platform, unresolved, context)
    store.spend(limits, requests, now)
    new = {alias: answer for alias, answer in zip(unresolved, answers, strict=True) if isinstance(answer, str)}
    store.save_aliases(platform_name, new)
    return resolved | new, {
        alias: _describe_error(answer) for alias, answer in zip(unresolved, answers, strict=True) if alias not in new
    }


def _is_resolved(platform: Platform, alias: str, context: CheckContext) -> bool:
    """A platform that need not ask anything has it as its id already."""
    if platform.resolve is None:
        return True
    steps = platform.resolve(alias, context)
    try:
        next(steps)
    except StopIteration as stop:
        return bool(stop.value == alias)
    except LivectlError:
        return False
    steps.close()
    return False


def _describe_error(error: str | Exception) -> str:
    return error.message if isinstance(error, LivectlError) else f"{type(error).__name__} while it was looked up"
