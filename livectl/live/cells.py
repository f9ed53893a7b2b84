"""Says where in the store what lies. Keys of one place are in one slot of a cluster, and one script reaches them all.

livectl:{demo:3.38}:KIND    a cell: what is known of the streamers of a platform whose ids have this shard
livectl:{demo}:KIND         a platform as a whole: its budget, its circuit, its list of who is live
livectl:{-}:KIND            what belongs to nobody: the follow list's changes, the outbox
livectl:{target:NAME}:KIND  a target of alerts
livectl:{lease:NAME}:KIND   what one process at a time may do

How many shards a platform has is noted in the store, and which of its cells are in use.

Of a cell, livectl:{PLATFORM:SHARD}:KIND
    follows    id -> streamer as the follow list has it
    now        id -> what was last read, and what went wrong since
    page       id -> title, category, name, url, cover, avatar of the last good answer
    log        id -> sessions of 400 days, six characters each; recent: the last ones with their titles
    viewers    id -> how many watched the last session, sixty counts at most
    live       who is live, by start; ending: who was seen gone once, by that look
    others     who is followed and not live, by their last end (shared.lua: place)
    due        who is asked next, by when: who is being asked, when that lapses (lapse.lua)
    leases     when claims lapse; claimed: whom an older livectl was asking, by when that lapses
    pull       id -> poll weight in each hour of the week; pulls: their sums
    unlearned  whose sessions the poll weights do not reflect yet
    shown      whom the platform's list of who is live has shown, and who is asked because of that
    pushed     of whom the platform tells by itself (push/push_store.py)
    alias      name as pasted -> the id that is followed, by the shard of the name
    listed     bucket -> count and digest of its lines of the follow list; applied: its last piece (store_follows.py)
    repaced    how far due times were moved as the settings changed
    outbox     changes, in order, until they are collected
Of a platform, livectl:{PLATFORM}:KIND
    health     budget, circuit, waits, counters; standing: the counts of its cells (standing.py)
    exit:NAME  the same as health, of one of network.exits
    listing    how its list of who is live stands; reading: the token of who reads it
    kept:KEY   what a platform keeps between checks
Of nobody, livectl:{-}:KIND
    version, shards, platforms  of the keys; cells that a platform has at most; those in use, by platform
    outbox     changes of all cells, in order, until they are dropped
    unresolved platform/name -> a line of the follow list that leads to nobody, and why
    generation, stamp, staged:ID, applying  of the follow list: changes to come, and those in force
    migrating  what is being done to all cells, while it is
Of any place, livectl:{...}:fence, the number of the last process that moved what is there (fence.py)

Only the files of the store, the Lua scripts, alerts/outbox.py and push/push_store.py name these keys.
"""

from __future__ import annotations

import time
from collections import defaultdict
from functools import cache
from typing import TYPE_CHECKING, Any, NamedTuple, TypeAlias
from zlib import crc32

from livectl.cluster_keys import SLOTS, key_slot
from livectl.errors import ServerError
from livectl.setting_types import MAX_SHARDS

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

COMMON = "livectl:{-}:"
VERSION_KEY, SHARDS_KEY, PLATFORMS_KEY = COMMON + "version", COMMON + "shards", COMMON + "platforms"
MIGRATING_KEY = COMMON + "migrating"  # what is being done to all cells, while it is
OLD_VERSION_KEY = "livectl:version"  # of stores that had no cells; since then, a sign for older livectls
KEYS_VERSION = 4  # 1 had no order of those who are not live, and nothing packed; 2 and 3 had no cells
DEFAULT_SHARDS = 16
BUCKETS = MAX_SHARDS  # of a platform; a bucket lies in one cell
WINDOW = SLOTS // 128  # slots that a cell may lie in
NOTED_SECONDS = 5.0  # for so long the number of shards is taken as known; whoever changes it waits for twice as long


Split: TypeAlias = "dict[Cell, list[str]]"  # ids by their cells


class Cell(NamedTuple):
    """The streamers of a platform whose ids have this shard."""

    platform: str
    shard: int

    @property
    def place(self) -> str:
        return cell_place(*self)

    def __str__(self) -> str:
        return f"{self.platform}:{self.shard}"


class Cells:
    """The cells of a store. While all of them change they are refused, but to those who change them."""

    def __init__(self, client: Any, clock: Callable[[], float] = time.monotonic, *, changing: bool = False) -> None:
        self._client = client
        self._clock = clock
        self._changing = changing
        self._shards, self._noted_at = 0, 0.0

    @property
    def shards(self) -> int:
        """How many cells a platform has at most. ServerError while that changes, and for an older store."""
        if not self._shards or self._clock() - self._noted_at > NOTED_SECONDS:
            self.in_use()
        return self._shards

    def in_use(self) -> dict[str, list[Cell]]:
        """The cells of each platform that was ever followed on, as the store has them now."""
        pipe = self._client.pipeline(transaction=False)
        pipe.get(SHARDS_KEY)
        pipe.hgetall(MIGRATING_KEY)
        pipe.hgetall(PLATFORMS_KEY)
        pipe.get(VERSION_KEY)
        shards, migrating, platforms, version = pipe.execute()
        require_no_newer(int(version or 0))
        if migrating and not self._changing:
            raise half_done(migrating)
        if shards is None:
            require_no_older(self._client)
        self._shards, self._noted_at = int(shards or DEFAULT_SHARDS), self._clock()
        return {name: unpack_cells(name, platforms[name]) for name in sorted(platforms)}

    def of(self, platform: str) -> list[Cell]:
        """The cells of this platform that are in use."""
        return self.in_use().get(platform, [])

    def possible(self, platform: str) -> list[Cell]:
        """All cells that this platform may have."""
        return [Cell(platform, shard) for shard in range(self.shards)]

    def find(self, platform: str, streamer_id: str) -> Cell:
        """The cell of a streamer."""
        return Cell(platform, shard_of(streamer_id, self.shards))

    def key(self, kind: str, platform: str, streamer_id: str) -> str:
        """The key of this kind that knows of this streamer."""
        return self.find(platform, streamer_id).place + kind

    def split(self, platform: str, ids: Iterable[str]) -> Split:
        """These ids by their cells."""
        shards, by_shard = self.shards, defaultdict[int, list[str]](list)
        for each in ids:
            by_shard[shard_of(each, shards)].append(each)
        return {Cell(platform, shard): some for shard, some in by_shard.items()}


def half_done(migrating: Mapping[str, str]) -> ServerError:
    """What is refused while all cells change, and how that goes on."""
    if copy := migrating.get("copy"):
        return ServerError(
            f"The store is half filled from a copy, {copy}.", "livectl store import goes on with the same file."
        )
    to = migrating.get("to")
    what = f"to {to} shards" if to else "to this version"
    return ServerError(f"The store is half brought over {what}.", "livectl store migrate goes on with it.")


def require_no_newer(version: int) -> None:
    """ServerError for a store that a newer livectl wrote, also where it does so while this one runs."""
    if version > KEYS_VERSION:
        raise ServerError(
            f"The store was written by a newer livectl: its keys are version {version}, this one knows {KEYS_VERSION}.",
            "Upgrade this livectl, or name another store in the settings.",
        )


def require_no_older(client: Any) -> None:
    """ServerError for a store that was written before there were cells."""
    version = client.get(OLD_VERSION_KEY)
    if version is not None and int(version) < KEYS_VERSION:
        raise ServerError(
            f"The store was written by an older livectl: its keys are version {version}.",
            "livectl store migrate brings it over; where few are followed a worker does so by itself.",
        )


def pack_cells(cells: Iterable[Cell]) -> str:
    return " ".join(str(shard) for shard in sorted({cell.shard for cell in cells}))


def unpack_cells(platform: str, text: str) -> list[Cell]:
    return [Cell(platform, int(shard)) for shard in text.split()]


def bucket_of(streamer_id: str) -> int:
    return crc32(streamer_id.encode()) % BUCKETS


def shard_of(streamer_id: str, shards: int) -> int:
    return bucket_of(streamer_id) % shards


def exit_of(shard: int, exits: int) -> int:
    """The number of the exit, of so many, that serves a shard: a streamer keeps to one."""
    return shard % exits


@cache
def cell_place(platform: str, shard: int) -> str:
    """A cell. Those of a platform lie evenly over the slots of a cluster, however many they and its nodes are: by their
    plain names one node of three would have half of them.
    """
    first = int((_spread(shard) + crc32(platform.encode()) / 2**32) * SLOTS)
    place, tries = f"livectl:{{{platform}:{shard}}}:", 0
    while (key_slot(place) - first) % SLOTS >= WINDOW:
        tries += 1
        place = f"livectl:{{{platform}:{shard}.{tries}}}:"
    return place


def _spread(number: int) -> float:
    """The first numbers, however many, evenly over 0 to 1: 0, 1/2, 1/4, 3/4, 1/8 ..."""
    place, share = 0.0, 0.5
    while number:
        place, number, share = place + share * (number & 1), number >> 1, share / 2
    return place


def platform_place(platform: str) -> str:
    return f"livectl:{{{platform}}}:"


def target_place(name: str) -> str:
    return f"livectl:{{target:{name}}}:"


def lease_place(name: str) -> str:
    return f"livectl:{{lease:{name}}}:"
