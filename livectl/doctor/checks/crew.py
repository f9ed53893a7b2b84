"""The crew: two workers of one name, of several versions, with a pool that was not patched, with a secret on show."""

from __future__ import annotations

from collections import defaultdict
from itertools import pairwise
from typing import TYPE_CHECKING

from livectl.model import Finding
from livectl.ops.jobs.redaction import PASSWORD_IN_URL, redact_text

if TYPE_CHECKING:
    from collections.abc import Iterator

    from livectl.doctor.facts import Facts

GREEN_POOLS = ("gevent", "eventlet")
MAX_COMMAND_LINE_CHARS = 300


def check_worker_names(facts: Facts) -> Iterator[Finding]:
    pids = defaultdict(list)
    for worker in facts.roll.workers:
        pids[worker.name].append(str(worker.pid))
    for name, worker_pids in pids.items():
        if len(worker_pids) > 1:
            yield Finding(
                id="same-name",
                level="bad",
                title=f"{len(worker_pids)} workers are called {name}",
                evidence=f"pids {', '.join(sorted(worker_pids))} answer under one name, each for the other",
                cure="Start them with -n and names of their own; `livectl worker` without -n does.",
            )


def check_worker_versions(facts: Facts) -> Iterator[Finding]:
    version_by_worker = {worker.name: worker.version for worker in facts.roll.workers if worker.version}
    if len(set(version_by_worker.values())) > 1:
        yield Finding(
            id="versions-differ",
            level="warn",
            title="Workers run different versions of Celery",
            evidence=", ".join(f"{name} {version}" for name, version in sorted(version_by_worker.items())),
            cure="Bring all to the newest of them, and restart.",
        )


def check_unpatched_pool(facts: Facts) -> Iterator[Finding]:
    """Celery patches for `-P gevent` and `--pool=gevent` alone, since it looks before it has read anything else."""
    configured_pool = facts.setting("worker_pool")
    pool_variable = facts.environ.get("CELERY_WORKER_POOL", "")
    unpatched_processes = [
        process for process in facts.processes if any(f"-P{pool}" in process.arguments for pool in GREEN_POOLS)
    ]
    has_patched_process = any(_has_pool_option(process.arguments) for process in facts.processes)
    pool_origin = (
        "CELERY_WORKER_POOL"
        if pool_variable in GREEN_POOLS
        else "worker_pool"
        if configured_pool in GREEN_POOLS
        else ""
    )
    if unpatched_processes:
        evidence = f"pid {unpatched_processes[0].pid}: {redact_text(unpatched_processes[0].command_line, MAX_COMMAND_LINE_CHARS)}"
    elif pool_origin and not has_patched_process:
        evidence = f"{pool_origin} is {pool_variable or configured_pool}, which is read after the app is imported"
    else:
        return
    yield Finding(
        id="pool-unpatched",
        level="bad",
        title="A green pool runs an app that was not patched: one job that waits holds up all",
        evidence=evidence,
        cure=f"Start it as `livectl worker -P {'eventlet' if 'eventlet' in evidence else 'gevent'}`.",
    )


def check_secrets_in_command_lines(facts: Facts) -> Iterator[Finding]:
    for process in facts.processes:
        if PASSWORD_IN_URL.search(process.command_line):
            yield Finding(
                id="secret-in-argv",
                level="bad",
                title="A password is on a command line, where everybody on this machine can read it",
                evidence=f"pid {process.pid}: {redact_text(process.command_line, MAX_COMMAND_LINE_CHARS)}",
                cure="Put the address into the settings, a file or the environment.",
            )


def _has_pool_option(arguments: tuple[str, ...]) -> bool:
    return any(option in ("-P", "--pool") and pool in GREEN_POOLS for option, pool in pairwise(arguments)) or any(
        f"--pool={pool}" in arguments for pool in GREEN_POOLS
    )


WORKER_CHECKS = (check_worker_names, check_worker_versions, check_unpatched_pool, check_secrets_in_command_lines)
