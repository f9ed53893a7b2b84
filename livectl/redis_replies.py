"""What a Redis replies: the shape of each reply, and what a refusal means, with the next step."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from livectl.errors import ServerError

if TYPE_CHECKING:
    from collections.abc import Callable

MAX_WORDS_CHARS = 200  # of a refusal: some servers explain themselves at length

# How a server begins its refusal -> what that means, and the next step.
REFUSALS: tuple[tuple[tuple[str, ...], str, str], ...] = (
    (("LOADING",), "is still loading", "It reads its data: ask again in a moment."),
    (("READONLY",), "takes nothing", "That is a replica: name its primary instead."),
    (("OOM",), "is full", "Raise its maxmemory, or make room: `livectl queues purge`, `livectl dead drop`."),
    (("MISCONF",), "takes nothing", "It cannot write to its disk: look at its log, and at the room there."),
    (
        ("NOREPLICAS",),
        "takes nothing",
        "The embedded broker says so when its disk is full: make room. Any other: look at its replicas.",
    ),
    (("MASTERDOWN",), "takes nothing", "Look at the replicas of that server."),
    (
        ("CLUSTERDOWN",),
        "is a cluster that does not work",
        "`redis-cli --cluster check HOST:PORT` says which nodes it lacks.",
    ),
    (
        ("TTL exhausted",),
        "is a cluster whose nodes send each other what is asked",
        "Look at `CLUSTER NODES` on each: slots may be on their way, or the nodes disagree.",
    ),
    (
        ("MOVED", "ASK ", "CROSSSLOT"),
        "is a node of a cluster",
        "Write redis+cluster:// for a store; for a broker or results, name a server of its own.",
    ),
    (("DENIED",), "does not let us in", "It is in protected mode: give it a password, and write it in its address."),
    (("ERR max number of clients",), "takes no more connections", "Raise its maxclients, or end what holds them."),
    (
        ("ERR DB index", "ERR invalid DB index", "ERR SELECT"),
        "does not let us in",
        "Mend the database number in its address; most servers have 0 to 15.",
    ),
    (
        ("WRONGPASS", "NOAUTH", "ERR AUTH", "ERR invalid password", "ERR Client sent AUTH"),
        "does not let us in",
        "Mend user and password in its address.",
    ),
    (("NOPERM",), "refuses", "Give this user the right to it, with ACL SETUSER on that server."),
)


class RedisReplyError(ServerError):
    """A command that the server refuses; `words` are the server's own."""

    def __init__(self, words: str, server: str = "the server") -> None:
        self.words = " ".join(words.split())[:MAX_WORDS_CHARS]
        self.passes = self.words.startswith("LOADING")
        known = (row for row in REFUSALS if self.words.startswith(row[0]))
        _, meaning, hint = next(
            known, ((), "refuses", "Look at what this user may do there, and at what else uses that database.")
        )
        super().__init__(f"{server} {meaning}: {self.words}", hint)


def _is_bulk(reply: Any) -> bool:
    return reply is None or isinstance(reply, bytes)


def _is_number(reply: Any) -> bool:
    return isinstance(reply, int)


def _is_bulk_list(reply: Any) -> bool:
    return isinstance(reply, list) and all(map(_is_bulk, reply))


def _is_bytes_list(reply: Any) -> bool:
    return isinstance(reply, list) and all(isinstance(item, bytes) for item in reply)


def _is_hash(reply: Any) -> bool:
    return _is_bytes_list(reply) and len(reply) % 2 == 0


def _is_time(reply: Any) -> bool:
    return _is_bytes_list(reply) and len(reply) == 2 and all(item.isdigit() for item in reply)


def _is_scan(reply: Any) -> bool:
    return isinstance(reply, list) and len(reply) == 2 and isinstance(reply[0], bytes) and _is_bytes_list(reply[1])


def _is_pop(reply: Any) -> bool:
    return reply is None or (_is_bytes_list(reply) and len(reply) == 2)


# What a Redis replies to these commands, which are all that livectl sends but scripts.
REPLY_SHAPES: dict[str, Callable[[Any], bool]] = {
    **dict.fromkeys(("GET", "HGET", "LINDEX", "INFO", "ZSCORE"), _is_bulk),
    **dict.fromkeys(
        ("LLEN", "HLEN", "DEL", "HDEL", "SADD", "SREM", "ZADD", "LPUSH", "LREM", "EXISTS", "TTL", "PUBLISH", "EXPIRE"),
        _is_number,
    ),
    **dict.fromkeys(("MGET", "HMGET"), _is_bulk_list),
    **dict.fromkeys(("LRANGE", "HVALS", "HKEYS", "SMEMBERS", "ZRANGE", "KEYS"), _is_bytes_list),
    **dict.fromkeys(("HGETALL", "ZRANGEBYSCORE"), _is_hash),
    "TIME": _is_time,
    **dict.fromkeys(("SCAN", "SSCAN", "HSCAN", "ZSCAN"), _is_scan),
    "BRPOP": _is_pop,
    "PING": lambda reply: reply == "PONG",
}
