"""Where a key lies in a cluster, and what it is called there.

A cluster keeps keys on one node whose names have the same word in braces, and a script may use the keys of one node
alone. On one server livectl's keys are called what they always were: `livectl:beat:last`. On a cluster those that
change together have a tag: `livectl:{beat}:last`. The clients for clusters write it, so that nobody else has to.
"""

from __future__ import annotations

import re
from binascii import crc_hqx
from functools import lru_cache
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

SLOTS = 16_384
CLOCK = "livectl:{beat}"  # the clock of the node that has this is the clock of all: beats reckon by it
# The first word of a key -> the tag of all keys that a script changes with it. Others lie each by itself.
TAGS = {
    "beat": "beat",
    "numbers": "numbers",
    **dict.fromkeys(("jobs", "runs"), "jobs"),
    **dict.fromkeys(("limits", "limit", "unique"), "limits"),
    **dict.fromkeys(("watch", "outbox"), "-"),  # what the watch tells goes out with the alerts
}
KEY = re.compile(rf"(.*?livectl:)({'|'.join(TAGS)})(?=:|$)(:?.*)", re.DOTALL)
HASH_TAG = re.compile(rb"\{([^}]+)\}")

# Commands by where their keys stand; all others have one, right after the name.
WITHOUT_KEYS = frozenset(
    {
        *("ACL", "ASKING", "AUTH", "CLIENT", "CLUSTER", "COMMAND", "CONFIG", "DBSIZE", "FLUSHALL", "FLUSHDB", "HELLO"),
        *("INFO", "KEYS", "LATENCY", "PING", "PUBLISH", "READONLY", "ROLE", "SCAN", "SCRIPT", "SELECT", "SENTINEL"),
        *("SLOWLOG", "SUBSCRIBE", "TIME", "WAIT"),
    }
)
WITH_KEYS_ALONE = frozenset({"DEL", "EXISTS", "MGET", "TOUCH", "UNLINK"})
WITH_TWO_KEYS = frozenset({"COPY", "LMOVE", "RENAME", "RENAMENX", "RPOPLPUSH", "SMOVE"})
WITH_SUBCOMMAND = frozenset({"MEMORY", "OBJECT", "XGROUP", "XINFO"})
WITH_SCRIPT = frozenset({"EVAL", "EVALSHA", "EVAL_RO", "EVALSHA_RO"})
BLOCKING_POPS = frozenset({"BLPOP", "BRPOP", "BZPOPMAX", "BZPOPMIN"})


@lru_cache(maxsize=65_536)
def cluster_key(key: str) -> str:
    """What a key is called on a cluster."""
    match = KEY.fullmatch(key)
    if match is None:
        return key
    start, word, rest = match.groups()
    tag = TAGS[word]
    return f"{start}{{{tag}}}{rest}" if tag == word else f"{start}{{{tag}}}:{word}{rest}"


def key_slot(key: str | bytes) -> int:
    """The slot of a key by its name on the cluster."""
    raw = key if isinstance(key, bytes) else key.encode()
    tag = HASH_TAG.search(raw) if raw.find(b"{}") != raw.find(b"{") else None
    return crc_hqx(tag[1] if tag else raw, 0) % SLOTS


def key_places(command: Sequence[object]) -> range:
    """Where in a command its keys stand."""
    name, _, sub = str(command[0]).upper().partition(" ")
    if name in WITHOUT_KEYS:
        return range(0)
    if name in WITH_SCRIPT:
        return range(3, 3 + int(str(command[2])))
    if name in WITH_KEYS_ALONE:
        return range(1, len(command))
    if name in WITH_TWO_KEYS:
        return range(1, 3)
    if name in WITH_SUBCOMMAND:
        return range(1, 2) if sub else range(2, 3)
    if name in BLOCKING_POPS:
        return range(1, len(command) - 1)
    if name == "XREAD":
        first = next(place for place, word in enumerate(command) if str(word).upper() == "STREAMS") + 1
        return range(first, first + (len(command) - first) // 2)
    return range(1, 2)


def cluster_command(command: Sequence[Any]) -> tuple[list[Any], int | None]:
    """A command with the names that its keys have on a cluster, and their slot: None where it has no keys.

    ValueError for keys of several slots: no node can do that.
    """
    places, named = key_places(command), list(command)
    for place in places:
        key = named[place]
        if isinstance(key, str):
            named[place] = cluster_key(key)
    if command[0] == "TIME":
        return named, key_slot(CLOCK)
    slots = {key_slot(key if isinstance(key, bytes) else str(key)) for key in (named[place] for place in places)}
    if len(slots) > 1:
        raise ValueError(f"{command[0]}: keys of several slots: {named[places.start]} …")
    return named, slots.pop() if slots else None


def split_by_slot(command: Sequence[Any]) -> list[tuple[list[Any], int | None, list[int]]]:
    """A command as one for each slot of its keys, with the places that its keys had: of those that take many."""
    if str(command[0]).upper() not in WITH_KEYS_ALONE or len(command) <= 2:
        named, slot = cluster_command(command)
        return [(named, slot, [])]
    keys = [cluster_command((command[0], key)) for key in command[1:]]
    slots = dict.fromkeys(slot for _, slot in keys)
    of_slots = {slot: [place for place, (_, other) in enumerate(keys) if other == slot] for slot in slots}
    return [([command[0], *(keys[place][0][1] for place in of)], slot, of) for slot, of in of_slots.items()]


def merge_replies(command: Sequence[object], parts: Iterable[tuple[list[int], object]]) -> object:
    """The one reply to a command that was split: values in the order of its keys, or a sum."""
    known = list(parts)
    if len(known) == 1:
        return known[0][1]
    for _, reply in known:
        if not isinstance(reply, list | int):
            return reply  # a refusal
    if str(command[0]).upper() != "MGET":
        return sum(reply for _, reply in known if isinstance(reply, int))
    lists = [(of, reply) for of, reply in known if isinstance(reply, list)]
    values = {place: value for of, reply in lists for place, value in zip(of, reply, strict=True)}
    return [values[place] for place in range(len(values))]
