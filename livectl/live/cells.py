"""Says where in the store what lies. Keys of one place are in one slot of a cluster, and one script reaches them all.

livectl:{demo:3.38}:KIND  a cell: what is known of the streamers of a platform whose ids have this shard
livectl:{demo}:KIND        a platform as a whole: its budget, its circuit, its list of who is live
livectl:{-}:KIND           what belongs to nobody: the follow list's changes, the outbox
livectl:{target:NAME}:KIND a target of alerts
livectl:{lease:NAME}:KIND  what one process at a time may do
"""

from __future__ import annotations

from binascii import crc_hqx
from functools import cache
from zlib import crc32

COMMON = "livectl:{-}:"
BUCKETS = 1024  # of a platform: a bucket of a million streamers is a piece
MAX_SHARDS = BUCKETS  # a bucket lies in one cell
SLOTS = 16_384  # of a cluster
WINDOW = SLOTS // 128  # slots that a cell may lie in


def bucket_of(streamer_id: str) -> int:
    return crc32(streamer_id.encode()) % BUCKETS


def shard_of(streamer_id: str, shards: int) -> int:
    return bucket_of(streamer_id) % shards


@cache
def cell_place(platform: str, shard: int) -> str:
    """A cell. Those of a platform lie evenly over the slots of a cluster, however many they and its nodes are: by their
    plain names one node of three would have half of them.
    """
    first = int((_spread(shard) + crc32(platform.encode()) / 2**32) * SLOTS)
    tag, tries = f"{platform}:{shard}", 0
    while (_slot(tag) - first) % SLOTS >= WINDOW:
        tries += 1
        tag = f"{platform}:{shard}.{tries}"
    return f"livectl:{{{tag}}}:"


def _slot(tag: str) -> int:
    return crc_hqx(tag.encode(), 0) % SLOTS


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
