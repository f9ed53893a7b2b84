"""Says where in the store what lies. Keys of one place are in one slot of a cluster, and one script reaches them all.

livectl:{demo:3}:KIND      a cell: what is known of the streamers of a platform whose ids have this shard
livectl:{demo}:KIND        a platform as a whole: its budget, its circuit, its list of who is live
livectl:{-}:KIND           what belongs to nobody: the follow list's changes, the outbox
livectl:{target:NAME}:KIND a target of alerts
livectl:{lease:NAME}:KIND  what one process at a time may do
"""

from __future__ import annotations

from zlib import crc32

COMMON = "livectl:{-}:"
BUCKETS = 1024  # of a platform: a bucket of a million streamers is a piece
MAX_SHARDS = BUCKETS  # a bucket lies in one cell


def bucket_of(streamer_id: str) -> int:
    return crc32(streamer_id.encode()) % BUCKETS


def shard_of(streamer_id: str, shards: int) -> int:
    return bucket_of(streamer_id) % shards


def cell_place(platform: str, shard: int) -> str:
    return f"livectl:{{{platform}:{shard}}}:"


def platform_place(platform: str) -> str:
    return f"livectl:{{{platform}}}:"


def target_place(name: str) -> str:
    return f"livectl:{{target:{name}}}:"


def lease_place(name: str) -> str:
    return f"livectl:{{lease:{name}}}:"
