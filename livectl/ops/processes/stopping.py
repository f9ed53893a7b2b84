"""How a worker of each pool is stopped so that it loses nothing."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from livectl.ops.launch import Pool

# After a SIGTERM has had its time, these put the jobs they have not finished back on SIGQUIT. Green pools would lose
# them, and solo would count them as failed: there SIGKILL is what loses nothing.
REQUEUE_ON_QUIT_POOLS: frozenset[Pool] = frozenset({"prefork", "threads"})

# The time for running jobs is over when SIGQUIT comes: Celery is not to give them its own once more.
NO_SOFT_SHUTDOWN_OPTIONS = ("--", "worker_soft_shutdown_timeout=0")

KILLED_JOBS_NOTE = "jobs that it had not acknowledged run again, on Redis once the visibility timeout is over"


def argv_with_requeue_on_quit(argv: list[str]) -> list[str]:
    """The command line of a worker that puts its jobs back at once when it is told to, where its pool can."""
    pool = argv[argv.index("-P") + 1] if "-P" in argv else ""
    needs_options = "worker" in argv and pool in REQUEUE_ON_QUIT_POOLS and NO_SOFT_SHUTDOWN_OPTIONS[-1] not in argv
    return [*argv, *NO_SOFT_SHUTDOWN_OPTIONS] if needs_options else argv
