"""Reads what running beats leave in the store: their heartbeats, the schedules they loaded, a run they did not send.

It takes a plain connection, since health probes must not import redis-py.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, TypeVar

import msgspec

from livectl.ops.beat import run_store
from livectl.ops.beat.run_store import Claim, LoadedSchedule, Pause
from livectl.redis_replies import RedisReplyError
from livectl.units import MICROSECONDS_PER_MS, MS_PER_SECOND

if TYPE_CHECKING:
    from livectl.redis_client import RedisConnection

StructT = TypeVar("StructT", bound=msgspec.Struct)

LATE_CLAIM_MS = 10_000  # milliseconds; another beat takes over an unsent run after 3.5 s


class Heartbeat(msgspec.Struct, frozen=True):
    """A beat's latest sign of life: when, in UTC milliseconds, and from which process."""

    at: int
    host: str
    pid: int
    entries: int = 0

    @property
    def process(self) -> str:
        return f"{self.host}:{self.pid}"


class BeatActivity(msgspec.Struct, frozen=True):
    """All beats that work on a store, at one moment."""

    now: int  # of the store's clock, in UTC milliseconds
    heartbeats: dict[str, Heartbeat]  # by the id of the beat; the store keeps those of the last minute
    oldest_claim: Claim | None  # of a run that has not been sent; one that was given back is left out
    has_run: bool  # whether any beat ever claimed a run

    def age_s(self, heartbeat: Heartbeat) -> float:
        return (self.now - heartbeat.at) / MS_PER_SECOND

    @property
    def unsent_claim(self) -> Claim | None:
        """The claim of a run that should have been sent by now."""
        claim = self.oldest_claim
        return claim if claim and self.now - claim.at > LATE_CLAIM_MS else None


def read_activity(connection: RedisConnection) -> BeatActivity:
    first_score = run_store.GIVEN_BACK_SCORE + 1
    (seconds, microseconds), heartbeats, claims, has_run = _execute_all(
        connection,
        [
            ("TIME",),
            ("HGETALL", run_store.HEARTBEATS_KEY),
            ("ZRANGEBYSCORE", run_store.PENDING_KEY, first_score, "+inf", "WITHSCORES", "LIMIT", 0, 1),
            ("EXISTS", run_store.LAST_RUN_KEY),
        ],
    )
    return BeatActivity(
        now=int(seconds) * MS_PER_SECOND + int(microseconds) // MICROSECONDS_PER_MS,
        heartbeats=_decode_hash(heartbeats, Heartbeat),
        oldest_claim=run_store.parse_claim(claims[0].decode(), claims[1]) if claims else None,
        has_run=bool(has_run),
    )


def read_loaded_schedules(connection: RedisConnection) -> dict[str, LoadedSchedule]:
    """The schedule of each beat, by the id of the beat."""
    return _decode_hash(connection.execute("HGETALL", run_store.LOADED_SCHEDULES_KEY), LoadedSchedule)


def read_pauses(connection: RedisConnection) -> dict[str, Pause]:
    """All pauses, by entry."""
    return _decode_hash(connection.execute("HGETALL", run_store.PAUSED_KEY), Pause)


def _execute_all(connection: RedisConnection, commands: list[tuple[Any, ...]]) -> list[Any]:
    replies = connection.execute_all(commands)
    for reply in replies:
        if isinstance(reply, RedisReplyError):
            raise reply
    return replies


def _decode_hash(reply: list[bytes], struct: type[StructT]) -> dict[str, StructT]:
    return {
        name.decode(): msgspec.json.decode(data, type=struct)
        for name, data in zip(reply[::2], reply[1::2], strict=True)
    }
