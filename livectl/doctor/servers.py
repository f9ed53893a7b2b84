"""Broker, store and result backend: whether each is reached, and what it says of itself."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

from livectl import resp
from livectl.doctor.facts import Role, Server
from livectl.doctor.machine import LOCAL_HOSTS
from livectl.errors import ServerError
from livectl.ops.cluster import health
from livectl.resp import Refused

if TYPE_CHECKING:
    from collections.abc import Sequence

    from livectl.address import Address
    from livectl.resp import Wire

PATIENCE = 2.0  # seconds for one server
SAMPLE = 200  # results looked at for their expiry


def ask(role: Role, address: Address) -> Server:
    """What there is to know within the time."""
    local = not address.path and address.host in LOCAL_HOSTS
    if not address.is_redis:
        said = health.server(role, address)
        error = "" if said.healthy else said.reason
        return Server(role=role, address=address.masked, local=local, error=error)
    try:
        with resp.dial(address, PATIENCE) as wire:
            return _redis(role, address.masked, wire, local=local)
    except ServerError as error:
        return Server(role=role, address=address.masked, local=local, error=error.message, cure=error.hint)


def _redis(role: Role, masked: str, wire: Wire, *, local: bool) -> Server:
    before = time.time()
    info, clock, saves = wire.ask_all([("INFO",), ("TIME",), ("CONFIG", "GET", "save")])
    after = time.time()
    ahead = 0.0
    if isinstance(clock, list):
        theirs = int(clock[0]) + int(clock[1]) / 1_000_000
        ahead = theirs - after if theirs > after else min(0.0, theirs - before)
    said = {} if isinstance(info, Refused) else _lines(info)
    when = saves[1].decode() if isinstance(saves, list) and len(saves) > 1 else "unknown"
    return Server(role=role, address=masked, local=local, info=said, saves=when, ahead=ahead)


def _lines(info: Any) -> dict[str, str]:
    text = info.decode(errors="replace") if isinstance(info, bytes) else str(info)
    return dict(line.split(":", 1) for line in text.splitlines() if ":" in line)


def endless(address: Address, prefix: str) -> tuple[str, ...]:
    """Some of the results that will never go away by themselves."""
    with resp.dial(address, PATIENCE) as wire:
        _, keys = wire.ask("SCAN", 0, "MATCH", f"{prefix}*", "COUNT", SAMPLE * 10)
        some: Sequence[bytes] = keys[:SAMPLE]
        lives = wire.ask_all([("TTL", key) for key in some]) if some else []
    return tuple(key.decode(errors="replace") for key, left in zip(some, lives, strict=True) if left == -1)
