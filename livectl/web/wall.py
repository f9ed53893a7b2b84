"""The wall: everyone followed, in the order in which they are shown."""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING

import msgspec

from livectl.live.store import Store
from livectl.model import Health, Known, State

if TYPE_CHECKING:
    from collections.abc import Mapping

    from redis import Redis

LONGEST_SEARCH = 100  # characters


class Wall(msgspec.Struct, frozen=True, kw_only=True):
    """One reading: live ones first, the latest on top; then the others by when they were last live."""

    live: tuple[Known, ...]
    others: tuple[Known, ...]
    health: tuple[Health, ...]
    digest: str  # of all of it
    shown: str  # of what the page shows of it: another look that found the same leaves the page as it is

    @property
    def platforms(self) -> list[str]:
        return sorted({one.platform for one in (*self.live, *self.others)})

    @property
    def tags(self) -> list[str]:
        return sorted({tag for one in (*self.live, *self.others) if one.streamer for tag in one.streamer.tags})


class Choice(msgspec.Struct, frozen=True, kw_only=True):
    """What a visitor wants to see of it."""

    platform: str = ""
    tag: str = ""
    text: str = ""

    def __bool__(self) -> bool:
        return bool(self.platform or self.tag or self.text)

    def takes(self, one: Known) -> bool:
        if self.platform and one.platform != self.platform:
            return False
        if self.tag and not (one.streamer and self.tag in one.streamer.tags):
            return False
        wanted = self.text.casefold()
        return not wanted or any(wanted in said.casefold() for said in (one.name, one.id, one.title, one.category))

    def of(self, wall: Wall) -> Wall:
        if not self:
            return wall
        live, others = (tuple(filter(self.takes, some)) for some in (wall.live, wall.others))
        return msgspec.structs.replace(wall, live=live, others=others)


def choice(words: Mapping[str, str]) -> Choice:
    """As the address of a page says it."""
    said = {name: words.get(name, "").strip()[:LONGEST_SEARCH] for name in ("platform", "tag", "q")}
    return Choice(platform=said["platform"], tag=said["tag"], text=said["q"])


def read(client: Redis, now: float) -> Wall:
    store = Store(client)
    everyone, health = store.everyone(), tuple(store.health(now))
    live = sorted((one for one in everyone if one.state is State.LIVE), key=_latest_start)
    others = sorted((one for one in everyone if one.state is not State.LIVE), key=_latest_end)
    return Wall(
        live=tuple(live),
        others=tuple(others),
        health=health,
        digest=_digest(live, others, health),
        shown=_digest([*map(_as_shown, live)], [*map(_as_shown, others)], [*map(_outline, health)]),
    )


def _latest_start(one: Known) -> tuple[float, str, str]:
    return (-(one.started_at or 0), one.platform, one.id)


def _latest_end(one: Known) -> tuple[float, float, str, str]:
    return (-(one.ended_at or 0), -(one.seen or 0), one.platform, one.id)


def _as_shown(one: Known) -> Known:
    """When somebody was last asked in vain is shown; when all is well, that moves with each look and is not."""
    return one if one.trouble else msgspec.structs.replace(one, seen=None)


def _outline(one: Health) -> Health:
    return Health(
        platform=one.platform,
        open_until=one.open_until,
        wait_until=one.wait_until,
        auth_since=one.auth_since,
        parser_broken=one.parser_broken,
        all_gone=one.all_gone,
    )


def _digest(*parts: object) -> str:
    return hashlib.blake2b(msgspec.json.encode(parts), digest_size=12).hexdigest()
