"""Aliases: names, rooms and short links, each led once to the id that is followed, and remembered."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import msgspec

from livectl.errors import LivectlError
from livectl.live import platforms, polling
from livectl.live.follows import followlist
from livectl.live.platforms.base import Means, Refused

if TYPE_CHECKING:
    from collections.abc import Sequence

    from livectl.config import Settings
    from livectl.live.network.fetch import Fetcher
    from livectl.live.platforms.base import Platform
    from livectl.live.store import Store
    from livectl.model import Streamer

AT_ONCE = 50  # asked in one go and for one platform: a new list of thousands is led home bit by bit


class Settled(NamedTuple):
    """Streamers by the id that is followed, each once; those who could not be led there yet, and why."""

    streamers: tuple[Streamer, ...]
    problems: tuple[tuple[Streamer, str], ...]


def settle(streamers: Sequence[Streamer], store: Store, fetcher: Fetcher, settings: Settings, now: float) -> Settled:
    """Leads everyone to their id: from memory, or by asking, as far as the platform's budget goes."""
    led: dict[tuple[str, str], Streamer] = {}
    problems: list[tuple[Streamer, str]] = []
    for name in dict.fromkeys(one.platform for one in streamers):
        some = [one for one in streamers if one.platform == name]
        found, why = _lead(name, [one.id for one in some], store, fetcher, settings, now)
        for one in some:
            if one.id not in found:
                problems.append((one, why.get(one.id, "not looked up yet")))
                continue
            home = msgspec.structs.replace(one, id=found[one.id])
            key = (name, home.id)
            led[key] = followlist.merge(led[key], home) if key in led else home
    return Settled(tuple(led.values()), tuple(problems))


def _lead(
    name: str, ids: list[str], store: Store, fetcher: Fetcher, settings: Settings, now: float
) -> tuple[dict[str, str], dict[str, str]]:
    """What each id leads to; and of those that lead nowhere, why."""
    try:
        platform = platforms.get(name)
    except Refused as refused:
        return {}, dict.fromkeys(ids, refused.message)
    means = Means(now, polling.keys(settings.platforms.get(name)))
    found = {one: one for one in ids if _is_home(platform, one, means)}
    found |= store.aliases(name, [one for one in ids if one not in found])
    terms = polling.terms(settings, platform)
    most = min(AT_ONCE, int(store.spend(terms, 0, now)))
    lost = [one for one in dict.fromkeys(ids) if one not in found][: max(0, most)]
    if not lost:
        return found, {}
    answers, requests = fetcher.resolve(platform, lost, means)
    store.spend(terms, requests, now)
    new = {one: answer for one, answer in zip(lost, answers, strict=True) if isinstance(answer, str)}
    store.alias(name, new)
    return found | new, {one: _why(answer) for one, answer in zip(lost, answers, strict=True) if one not in new}


def _is_home(platform: Platform, one: str, means: Means) -> bool:
    """A platform that need not ask anything has it as its id already."""
    if platform.resolve is None:
        return True
    asking = platform.resolve(one, means)
    try:
        next(asking)
    except StopIteration as ended:
        return bool(ended.value == one)
    except LivectlError:
        return False
    asking.close()
    return False


def _why(error: str | Exception) -> str:
    return error.message if isinstance(error, LivectlError) else f"{type(error).__name__} while it was looked up"
