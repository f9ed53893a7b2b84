"""The crew: two workers of one name, of several versions, with a pool that was not patched, with a secret on show."""

from __future__ import annotations

from collections import defaultdict
from itertools import pairwise
from typing import TYPE_CHECKING

from livectl.model import Finding
from livectl.ops.jobs.redaction import IN_ADDRESS, redact_text

if TYPE_CHECKING:
    from collections.abc import Iterator

    from livectl.doctor.facts import Facts

GREEN = ("gevent", "eventlet")
LONGEST_LINE = 300


def same_name(facts: Facts) -> Iterator[Finding]:
    pids = defaultdict(list)
    for one in facts.roll.workers:
        pids[one.name].append(str(one.pid))
    for name, found in pids.items():
        if len(found) > 1:
            yield Finding(
                id="same-name",
                level="bad",
                title=f"{len(found)} workers are called {name}",
                evidence=f"pids {', '.join(sorted(found))} answer under one name, each for the other",
                cure="Start them with -n and names of their own; `livectl worker` without -n does.",
            )


def versions(facts: Facts) -> Iterator[Finding]:
    known = {one.name: one.version for one in facts.roll.workers if one.version}
    if len(set(known.values())) > 1:
        yield Finding(
            id="versions-differ",
            level="warn",
            title="Workers run different versions of Celery",
            evidence=", ".join(f"{name} {version}" for name, version in sorted(known.items())),
            cure="Bring all to the newest of them, and restart.",
        )


def unpatched(facts: Facts) -> Iterator[Finding]:
    """Celery patches for `-P gevent` and `--pool=gevent` alone, since it looks before it has read anything else."""
    said = facts.value("worker_pool")
    variable = facts.environ.get("CELERY_WORKER_POOL", "")
    glued = [process for process in facts.processes if any(f"-P{pool}" in process.words for pool in GREEN)]
    started = any(_spells_pool(process.words) for process in facts.processes)
    where = "CELERY_WORKER_POOL" if variable in GREEN else "worker_pool" if said in GREEN else ""
    if glued:
        evidence = f"pid {glued[0].pid}: {redact_text(glued[0].line, LONGEST_LINE)}"
    elif where and not started:
        evidence = f"{where} is {variable or said}, which is read after the app is imported"
    else:
        return
    yield Finding(
        id="pool-unpatched",
        level="bad",
        title="A green pool runs an app that was not patched: one job that waits holds up all",
        evidence=evidence,
        cure=f"Start it as `livectl worker -P {'eventlet' if 'eventlet' in evidence else 'gevent'}`.",
    )


def secrets_on_show(facts: Facts) -> Iterator[Finding]:
    for process in facts.processes:
        if IN_ADDRESS.search(process.line):
            yield Finding(
                id="secret-in-argv",
                level="bad",
                title="A password is on a command line, where everybody on this machine can read it",
                evidence=f"pid {process.pid}: {redact_text(process.line, LONGEST_LINE)}",
                cure="Put the address into the settings, a file or the environment.",
            )


def _spells_pool(words: tuple[str, ...]) -> bool:
    return any(option in ("-P", "--pool") and pool in GREEN for option, pool in pairwise(words)) or any(
        f"--pool={pool}" in words for pool in GREEN
    )


ALL = (same_name, versions, unpatched, secrets_on_show)
