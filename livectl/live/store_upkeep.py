"""Looks after the store: what is in it, whether all of it fits together, and what brings an older one over."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import msgspec

from livectl.errors import ServerError
from livectl.live.cells import COMMON
from livectl.live.lua_scripts import lua_script
from livectl.live.old_keys import rename_keys
from livectl.live.store_follows import PIECE, apply_pieces, scan_hash

if TYPE_CHECKING:
    from collections.abc import Iterator

# Of the keys of the live wing. 1 had no order of those who are not live, and nothing packed; 2 had keys that no cluster
# could keep together.
KEYS_VERSION = 3
PROGRESS_KEY = "livectl:migrating"  # platform -> the cursor that the next piece begins at, or that it is done
DONE = "done"
MAX_NAMED = 5  # streamers of a finding
HARMLESS_POLICY = "noeviction"


class StoreInfo(msgspec.Struct, frozen=True, kw_only=True):
    """What is in a store, and what server it is."""

    server: str
    memory: int  # bytes
    policy: str
    version: int  # of the keys
    followed: int
    live: int
    unresolved: int
    known: int  # streamers of whom something was read, followed or not
    changes: int
    aliases: int
    generation: int  # of the follow list
    pieces_left: int  # of the list in force, to be applied still
    platforms: dict[str, int]


class StoreFinding(msgspec.Struct, frozen=True):
    """What does not fit together, and of how many."""

    what: str
    count: int
    names: tuple[str, ...] = ()


def bring_over(client: Any) -> int:
    """Gives everybody the place that this version looks at, piece by piece; returns how many had another.

    It goes on where it ended, and may run twice at a time.
    """
    moved, now = 0, float(client.time()[0])
    for platform in sorted(client.smembers("livectl:platforms")):
        cursor = client.hget(PROGRESS_KEY, platform) or "0"
        while cursor != DONE:
            cursor, rows = client.hscan(f"livectl:follows:{platform}", int(cursor), count=PIECE)
            moved += len(lua_script(client, "place")(platform, now, 1, *rows))
            cursor = str(cursor) if int(cursor) else DONE
            client.hset(PROGRESS_KEY, platform, cursor)
    rename_keys(client)
    client.set("livectl:version", KEYS_VERSION)
    client.delete(PROGRESS_KEY)
    return moved


def require_usable_server(client: Any, masked: str) -> None:
    """ServerError for a server that would lose what is kept there, or cannot keep it together."""
    if int(_info(client, "cluster").get("cluster_enabled", 0)):
        raise ServerError(
            f"{masked} is a node of a cluster, and the store takes one server.",
            "Name a server of its own as `store:`; the broker may be elsewhere.",
        )
    policy = _info(client, "memory").get("maxmemory_policy", HARMLESS_POLICY)
    if policy != HARMLESS_POLICY:
        raise ServerError(
            f"{masked} throws keys away when it is full: its maxmemory-policy is {policy}.",
            "Say `CONFIG SET maxmemory-policy noeviction` there, and in its configuration.",
        )


def require_whole(client: Any) -> None:
    """ServerError while something that takes many steps is half done."""
    if client.exists(PROGRESS_KEY):
        raise ServerError("The store is half brought over to this version.", "livectl store migrate goes on with it.")
    if client.exists("livectl:importing"):
        raise ServerError(
            "An import of the store was not finished.", "livectl store import with the same file goes on."
        )


def read_info(client: Any) -> StoreInfo:
    server, memory, platforms = _info(client, "server"), _info(client, "memory"), client.smembers("livectl:platforms")
    version = server.get("valkey_version") or server.get("redis_version", "?")

    def total(command: str, kind: str) -> int:
        return sum(int(getattr(client, command)(f"livectl:{kind}:{platform}")) for platform in platforms)

    return StoreInfo(
        server=f"{server.get('server_name', 'redis')} {version}",
        memory=int(memory.get("used_memory", 0)),
        policy=str(memory.get("maxmemory_policy", "")),
        version=int(client.get("livectl:version") or 0),
        followed=total("hlen", "follows"),
        live=total("zcard", "live"),
        unresolved=int(client.hlen("livectl:unresolved")),
        known=total("hlen", "now"),
        changes=int(client.xlen(f"{COMMON}outbox")),
        aliases=total("hlen", "alias"),
        generation=int(client.get("livectl:generation") or 0),
        pieces_left=int(client.llen("livectl:applying")),
        platforms={platform: int(client.hlen(f"livectl:follows:{platform}")) for platform in sorted(platforms)},
    )


def check(client: Any, now: float, *, mend: bool = False) -> list[StoreFinding]:
    """What does not fit together; with `mend` it does afterwards. Pieces of a thousand: nobody waits."""
    if mend:
        apply_pieces(client)
    return [*_check_list(client), *_check_places(client, now, mend=mend), *_check_strangers(client, mend=mend)]


def _check_list(client: Any) -> Iterator[StoreFinding]:
    if pieces := int(client.llen("livectl:applying")):
        yield StoreFinding("pieces of the follow list are in force and not applied yet", pieces)


def _check_places(client: Any, now: float, *, mend: bool) -> Iterator[StoreFinding]:
    """Those who are followed and would not be shown in their place, or not be asked."""
    for platform in sorted(client.smembers("livectl:platforms")):
        place = lua_script(client, "place")
        pages = scan_hash(client, f"livectl:follows:{platform}")
        wrong = {each: None for rows in pages for each in place(platform, now, int(mend), *rows)}
        if wrong:
            yield StoreFinding(f"followed on {platform} and out of place", len(wrong), tuple(wrong)[:MAX_NAMED])


def _check_strangers(client: Any, *, mend: bool) -> Iterator[StoreFinding]:
    """Those who have a place and are not followed."""
    for platform in sorted(client.smembers("livectl:platforms")):
        found: dict[str, None] = {}
        for kind in ("due", "claimed", "live", "ending", "others"):
            key, cursor = f"livectl:{kind}:{platform}", 0
            while True:
                cursor, pairs = client.zscan(key, cursor, count=PIECE)
                ids = [name for name, _ in pairs]
                follows = client.hmget(f"livectl:follows:{platform}", ids) if ids else []
                strangers = [each for each, text in zip(ids, follows, strict=True) if text is None]
                found |= dict.fromkeys(strangers)
                if strangers and mend:
                    client.zrem(key, *strangers)
                if not int(cursor):
                    break
        if found:
            yield StoreFinding(f"asked on {platform} and not followed", len(found), tuple(found)[:MAX_NAMED])


def _info(client: Any, section: str) -> dict[str, Any]:
    from redis.exceptions import ResponseError

    try:
        return dict(client.info(section))
    except ResponseError:  # a user without the right to it, or a server that has no such section
        return {}
