"""Broker, store and result backend: reached, fit for messages, and safe to keep them."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from livectl.model import Finding

if TYPE_CHECKING:
    from collections.abc import Iterator

    from livectl.doctor.facts import Facts

OLDEST_REDIS = (6, 2)  # Celery 5.7 and livectl's scripts use commands that came with it
SKEW_SECONDS = 5.0  # beyond what a slow network or a leap second explains
NAMES = {"broker": "broker", "store": "store", "results": "result backend"}


def unreached(facts: Facts) -> Iterator[Finding]:
    for server in facts.servers:
        if not server.error:
            continue
        if server.local and facts.container:
            yield Finding(
                id="localhost-in-container",
                level="bad",
                title=f"The {NAMES[server.role]} is looked for inside this container",
                evidence=f"{server.error}; this is a container, where localhost is the container itself",
                cure="Name the host, or the service of the compose file: redis://redis:6379/0.",
            )
            continue
        yield Finding(
            id=f"{server.role}-unreachable",
            level="bad",
            title=f"The {NAMES[server.role]} is not reached",
            evidence=server.error,
            cure=server.cure or "Start it, or mend its address.",
        )


def reached(facts: Facts) -> Iterator[Finding]:
    for server in facts.reached():
        version = server.info.get("valkey_version") or server.info.get("redis_version", "")
        yield Finding(
            id=f"{server.role}-unreachable",
            level="ok",
            title=f"The {NAMES[server.role]} is reached",
            evidence=f"{server.address} {version}".strip(),
        )


def evicts(facts: Facts) -> Iterator[Finding]:
    for server in facts.reached():
        policy, most = server.info.get("maxmemory_policy", ""), int(server.info.get("maxmemory", "0"))
        if most and policy.startswith("allkeys-"):
            yield Finding(
                id="redis-evicts",
                level="bad",
                title=f"The {NAMES[server.role]} throws messages away when it is full",
                evidence=f"{server.address}: maxmemory {most}, maxmemory-policy {policy}",
                cure="Set maxmemory-policy to noeviction: a full server then refuses, and nothing is lost in silence.",
            )


def forgets(facts: Facts) -> Iterator[Finding]:
    for server in facts.reached():
        appends = server.info.get("aof_enabled")
        if server.role != "results" and appends == "0" and server.saves == "":
            yield Finding(
                id="redis-forgets",
                level="warn",
                title=f"The {NAMES[server.role]} forgets everything when it restarts",
                evidence=f'{server.address}: appendonly no, save ""',
                cure="Set appendonly yes, or take a server whose messages may be lost on purpose and --ignore this.",
            )


def cannot_save(facts: Facts) -> Iterator[Finding]:
    for server in facts.reached():
        failed = [
            key
            for key in ("rdb_last_bgsave_status", "aof_last_write_status")
            if server.info.get(key, "ok").strip() == "err"
        ]
        if failed:
            yield Finding(
                id="redis-cannot-save",
                level="bad",
                title=f"The {NAMES[server.role]} cannot write to its disk",
                evidence=f"{server.address}: {', '.join(failed)} err",
                cure="Look at its log and at the room on its disk: it refuses writes, or will lose them.",
            )


def too_old(facts: Facts) -> Iterator[Finding]:
    for server in facts.reached():
        version = server.info.get("redis_version", "")
        if version and _numbers(version) < OLDEST_REDIS:
            yield Finding(
                id="redis-too-old",
                level="bad",
                title=f"The {NAMES[server.role]} is too old",
                evidence=f"{server.address}: Redis {version}; Celery and livectl need 6.2",
                cure="Upgrade it to Redis 7 or Valkey 8.",
            )


def skewed(facts: Facts) -> Iterator[Finding]:
    for server in facts.reached():
        if abs(server.ahead) > SKEW_SECONDS:
            direction = "ahead of" if server.ahead > 0 else "behind"
            yield Finding(
                id="clock-skew",
                level="warn",
                title="Two clocks differ",
                evidence=f"the clock of {server.address} is {abs(server.ahead):.0f} s {direction} this machine's",
                cure="Let both machines keep time (chrony, systemd-timesyncd): due times and expiries are compared.",
            )


def no_store(facts: Facts) -> Iterator[Finding]:
    if facts.store_missing and facts.schedule:
        yield Finding(
            id="store-missing",
            level="warn",
            title="Beats of this app have nowhere to claim their runs",
            evidence=f"{facts.store_missing}, and `store:` is not set",
            cure="Set `store:` in livectl.yaml, or LIVECTL_STORE, to a Redis or Valkey.",
        )


def _numbers(version: str) -> tuple[int, ...]:
    return tuple(int(part) for part in re.findall(r"\d+", version)[:2])


ALL = (unreached, reached, evicts, forgets, cannot_save, too_old, skewed, no_store)
