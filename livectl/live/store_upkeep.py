"""Looks after the store: what is in it, whether all of it fits together, and what brings an older one over."""

from __future__ import annotations

from itertools import product
from typing import TYPE_CHECKING, Any

import msgspec

from livectl import redis_client, replicas
from livectl.errors import ServerError
from livectl.live import store_moving
from livectl.live.cells import COMMON, OLD_VERSION_KEY, VERSION_KEY, Cells
from livectl.live.lua_scripts import lua_script
from livectl.live.store_follows import APPLYING_KEY, GENERATION_KEY, UNRESOLVED_KEY, apply_pieces, scan_hash, scan_pages

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from livectl.address import Address
    from livectl.live.cells import Cell

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
    shards: int  # cells of a platform at most
    generation: int  # of the follow list
    pieces_left: int  # of the list in force, to be applied still
    platforms: dict[str, int]


class StoreFinding(msgspec.Struct, frozen=True):
    """What does not fit together, and of how many."""

    what: str
    count: int
    names: tuple[str, ...] = ()


def prepare(address: Address, shards: int | None) -> None:
    """Makes this store ready for livectl's own workers and beats. ServerError for one in which they could do nothing,
    or that would lose what they keep there."""
    with redis_client.using_store(address) as client:
        require_usable_server(client, address.masked)
        store_moving.prepare(client, shards)


def require_usable_server(client: Any, masked: str) -> None:
    """ServerError for a server that would lose what is kept there, or cannot keep it together."""
    if not replicas.is_cluster(client) and int(_info(client, "cluster").get("cluster_enabled", 0)):
        raise ServerError(
            f"{masked} is a node of a cluster, and is named as one server.",
            "Name the cluster by some of its nodes: `store: redis+cluster://HOST:PORT,HOST:PORT`.",
        )
    policy = _info(client, "memory").get("maxmemory_policy", HARMLESS_POLICY)
    if policy != HARMLESS_POLICY:
        raise ServerError(
            f"{masked} throws keys away when it is full: its maxmemory-policy is {policy}.",
            "Say `CONFIG SET maxmemory-policy noeviction` there, and in its configuration.",
        )


def read_info(client: Any) -> StoreInfo:
    server, memory = _info(client, "server"), _info(client, "memory")
    cells = Cells(client, changing=True)
    version = server.get("valkey_version") or server.get("redis_version", "?")
    totals = {
        platform: {kind: _total(client, cells.possible(platform), kind) for kind in ("follows", "live", "now", "alias")}
        for platform in cells.in_use()
    }

    def total(kind: str) -> int:
        return sum(counts[kind] for counts in totals.values())

    return StoreInfo(
        server=f"{server.get('server_name', 'redis')} {version}",
        memory=int(memory.get("used_memory", 0)),
        policy=str(memory.get("maxmemory_policy", "")),
        version=int(client.get(VERSION_KEY) or client.get(OLD_VERSION_KEY) or 0),
        followed=total("follows"),
        live=total("live"),
        unresolved=int(client.hlen(UNRESOLVED_KEY)),
        known=total("now"),
        changes=int(client.xlen(f"{COMMON}outbox")),
        aliases=total("alias"),
        shards=cells.shards,
        generation=int(client.get(GENERATION_KEY) or 0),
        pieces_left=int(client.llen(APPLYING_KEY)),
        platforms={platform: counts["follows"] for platform, counts in totals.items()},
    )


def _total(client: Any, cells: Sequence[Cell], kind: str) -> int:
    pipe = client.pipeline(transaction=False)
    for cell in cells:
        (pipe.zcard if kind == "live" else pipe.hlen)(f"{cell.place}{kind}")
    return sum(map(int, pipe.execute()))


def check(client: Any, now: float, *, mend: bool = False) -> list[StoreFinding]:
    """What does not fit together; with `mend` it does afterwards. Pieces of a thousand: nobody waits."""
    cells = Cells(client)
    if mend:
        apply_pieces(client, cells)
    return [
        *_check_list(client),
        *_check_homes(client, mend=mend),
        *_check_places(client, cells.in_use(), now, mend=mend),
        *_check_strangers(client, cells, mend=mend),
    ]


def _check_list(client: Any) -> Iterator[StoreFinding]:
    if pieces := int(client.llen(APPLYING_KEY)):
        yield StoreFinding("pieces of the follow list are in force and not applied yet", pieces)


def _check_homes(client: Any, *, mend: bool) -> Iterator[StoreFinding]:
    """Those of whom something is in a cell that is not theirs: nobody looks there, or they are there twice."""
    strays = list(store_moving.find_strays(client))
    found: dict[str, dict[str, None]] = {}
    for cell, kind, names in strays:
        whose = f"of {cell.platform}" if kind != "listed" else f"digests of the list of {cell.platform}"
        found.setdefault(whose, {}).update(dict.fromkeys(names))
    if strays and mend:
        store_moving.send_home(client, strays)
    for whose, wrong in found.items():
        yield StoreFinding(f"{whose} in a cell that is not theirs", len(wrong), tuple(wrong)[:MAX_NAMED])


def _check_places(
    client: Any, in_use: Mapping[str, Sequence[Cell]], now: float, *, mend: bool
) -> Iterator[StoreFinding]:
    """Those who are followed and would not be shown in their place, or not be asked."""
    place = lua_script(client, "place")
    for platform, cells in in_use.items():
        wrong = {
            each: None
            for cell in cells
            for rows in scan_hash(client, f"{cell.place}follows")
            for each in place(cell.place, now, int(mend), *rows)
        }
        if wrong:
            yield StoreFinding(f"followed on {platform} and out of place", len(wrong), tuple(sorted(wrong)[:MAX_NAMED]))


def _check_strangers(client: Any, cells: Cells, *, mend: bool) -> Iterator[StoreFinding]:
    """Those who have a place and are not followed."""
    for platform in cells.in_use():
        found: dict[str, None] = {}
        for cell, kind in product(cells.possible(platform), ("due", "claimed", "live", "ending", "others")):
            for pairs in scan_pages(client.zscan, f"{cell.place}{kind}"):
                ids = [name for name, _ in pairs]
                follows = client.hmget(f"{cell.place}follows", ids)
                strangers = [each for each, text in zip(ids, follows, strict=True) if text is None]
                found |= dict.fromkeys(strangers)
                if strangers and mend:
                    client.zrem(f"{cell.place}{kind}", *strangers)
        if found:
            yield StoreFinding(f"asked on {platform} and not followed", len(found), tuple(found)[:MAX_NAMED])


def _info(client: Any, section: str) -> dict[str, Any]:
    from redis.exceptions import ResponseError

    try:
        return dict(client.info(section))
    except ResponseError:  # a user without the right to it, or a server that has no such section
        return {}
