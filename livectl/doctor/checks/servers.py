"""Broker, store and result backend: reached, fit for messages, and safe to keep them."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from livectl.model import Finding

if TYPE_CHECKING:
    from collections.abc import Iterator

    from livectl.doctor.facts import Facts

MIN_REDIS_VERSION = (6, 2)  # Celery 5.7 and livectl's scripts use commands that came with it
MAX_SKEW_S = 5.0  # beyond what a slow network or a leap second explains
ROLE_NAMES = {"broker": "broker", "store": "store", "results": "result backend"}


def check_unreachable(facts: Facts) -> Iterator[Finding]:
    for server in facts.servers:
        if not server.error:
            continue
        if server.is_local and facts.container:
            yield Finding(
                id="localhost-in-container",
                level="bad",
                title=f"The {ROLE_NAMES[server.role]} is looked for inside this container",
                evidence=f"{server.error}; this is a container, where localhost is the container itself",
                cure="Name the host, or the service of the compose file: redis://redis:6379/0.",
            )
            continue
        yield Finding(
            id=f"{server.role}-unreachable",
            level="bad",
            title=f"The {ROLE_NAMES[server.role]} is not reached",
            evidence=server.error,
            cure=server.cure or "Start it, or mend its address.",
        )


def check_reachable(facts: Facts) -> Iterator[Finding]:
    for server in facts.reachable_servers():
        version = server.info.get("valkey_version") or server.info.get("redis_version", "")
        yield Finding(
            id=f"{server.role}-unreachable",
            level="ok",
            title=f"The {ROLE_NAMES[server.role]} is reached",
            evidence=f"{server.address} {version}".strip(),
        )


def check_eviction(facts: Facts) -> Iterator[Finding]:
    for server in facts.reachable_servers():
        policy, maxmemory = server.info.get("maxmemory_policy", ""), int(server.info.get("maxmemory", "0"))
        if maxmemory and policy.startswith("allkeys-"):
            yield Finding(
                id="redis-evicts",
                level="bad",
                title=f"The {ROLE_NAMES[server.role]} throws messages away when it is full",
                evidence=f"{server.address}: maxmemory {maxmemory}, maxmemory-policy {policy}",
                cure="Set maxmemory-policy to noeviction: a full server then refuses, and nothing is lost in silence.",
            )


def check_persistence(facts: Facts) -> Iterator[Finding]:
    for server in facts.reachable_servers():
        aof_enabled = server.info.get("aof_enabled")
        if server.role != "results" and aof_enabled == "0" and server.save_setting == "":
            yield Finding(
                id="redis-forgets",
                level="warn",
                title=f"The {ROLE_NAMES[server.role]} forgets everything when it restarts",
                evidence=f'{server.address}: appendonly no, save ""',
                cure="Set appendonly yes, or take a server whose messages may be lost on purpose and --ignore this.",
            )


def check_disk_writes(facts: Facts) -> Iterator[Finding]:
    for server in facts.reachable_servers():
        failed = [
            key
            for key in ("rdb_last_bgsave_status", "aof_last_write_status")
            if server.info.get(key, "ok").strip() == "err"
        ]
        if failed:
            yield Finding(
                id="redis-cannot-save",
                level="bad",
                title=f"The {ROLE_NAMES[server.role]} cannot write to its disk",
                evidence=f"{server.address}: {', '.join(failed)} err",
                cure="Look at its log and at the room on its disk: it refuses writes, or will lose them.",
            )


def check_redis_version(facts: Facts) -> Iterator[Finding]:
    for server in facts.reachable_servers():
        version = server.info.get("redis_version", "")
        if version and _parse_version(version) < MIN_REDIS_VERSION:
            yield Finding(
                id="redis-too-old",
                level="bad",
                title=f"The {ROLE_NAMES[server.role]} is too old",
                evidence=f"{server.address}: Redis {version}; Celery and livectl need 6.2",
                cure="Upgrade it to Redis 7 or Valkey 8.",
            )


def check_clock_skew(facts: Facts) -> Iterator[Finding]:
    for server in facts.reachable_servers():
        if abs(server.clock_ahead) > MAX_SKEW_S:
            direction = "ahead of" if server.clock_ahead > 0 else "behind"
            yield Finding(
                id="clock-skew",
                level="warn",
                title="Two clocks differ",
                evidence=f"the clock of {server.address} is {abs(server.clock_ahead):.0f} s {direction} this machine's",
                cure="Let both machines keep time (chrony, systemd-timesyncd): due times and expiries are compared.",
            )


def check_store_missing(facts: Facts) -> Iterator[Finding]:
    if facts.store_missing and facts.schedule:
        yield Finding(
            id="store-missing",
            level="warn",
            title="Beats of this app have nowhere to claim their runs",
            evidence=f"{facts.store_missing}, and `store:` is not set",
            cure="Set `store:` in livectl.yaml, or LIVECTL_STORE, to a Redis or Valkey.",
        )


def _parse_version(version: str) -> tuple[int, ...]:
    return tuple(int(part) for part in re.findall(r"\d+", version)[:2])


SERVER_CHECKS = (
    check_unreachable,
    check_reachable,
    check_eviction,
    check_persistence,
    check_disk_writes,
    check_redis_version,
    check_clock_skew,
    check_store_missing,
)
