"""Broker, store and result backend: whether each is reached, and what it says of itself."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

from livectl import resp
from livectl.doctor.facts import ServerFacts, ServerRole
from livectl.doctor.machine import LOCAL_HOSTS
from livectl.errors import ServerError
from livectl.ops.cluster import health
from livectl.resp import RedisReplyError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from livectl.address import Address
    from livectl.resp import RedisConnection

SERVER_TIMEOUT_S = 2.0  # seconds for one server
MAX_SAMPLED_RESULTS = 200  # results looked at for their expiry


def check_server(role: ServerRole, address: Address) -> ServerFacts:
    """What there is to know within the time."""
    local = not address.path and address.host in LOCAL_HOSTS
    if not address.is_redis:
        server_health = health.probe_server(role, address)
        error = "" if server_health.healthy else server_health.reason
        return ServerFacts(role=role, address=address.masked, is_local=local, error=error)
    try:
        with resp.connect(address, SERVER_TIMEOUT_S) as connection:
            return _read_redis(role, address.masked, connection, local=local)
    except ServerError as error:
        return ServerFacts(role=role, address=address.masked, is_local=local, error=error.message, cure=error.hint)


def _read_redis(role: ServerRole, masked: str, connection: RedisConnection, *, local: bool) -> ServerFacts:
    before = time.time()
    info, clock, saves = connection.execute_all([("INFO",), ("TIME",), ("CONFIG", "GET", "save")])
    after = time.time()
    clock_ahead = 0.0
    if isinstance(clock, list):
        server_time = int(clock[0]) + int(clock[1]) / 1_000_000
        clock_ahead = server_time - after if server_time > after else min(0.0, server_time - before)
    info_fields = {} if isinstance(info, RedisReplyError) else _parse_info(info)
    save_setting = saves[1].decode() if isinstance(saves, list) and len(saves) > 1 else "unknown"
    return ServerFacts(
        role=role, address=masked, is_local=local, info=info_fields, save_setting=save_setting, clock_ahead=clock_ahead
    )


def _parse_info(info: Any) -> dict[str, str]:
    text = info.decode(errors="replace") if isinstance(info, bytes) else str(info)
    return dict(line.split(":", 1) for line in text.splitlines() if ":" in line)


def find_endless_results(address: Address, prefix: str) -> tuple[str, ...]:
    """Some of the results that will never go away by themselves."""
    with resp.connect(address, SERVER_TIMEOUT_S) as connection:
        _, keys = connection.execute("SCAN", 0, "MATCH", f"{prefix}*", "COUNT", MAX_SAMPLED_RESULTS * 10)
        sample: Sequence[bytes] = keys[:MAX_SAMPLED_RESULTS]
        ttls = connection.execute_all([("TTL", key) for key in sample]) if sample else []
    return tuple(key.decode(errors="replace") for key, ttl in zip(sample, ttls, strict=True) if ttl == -1)
