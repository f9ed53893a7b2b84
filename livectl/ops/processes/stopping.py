"""How a worker of each pool is stopped so that it loses nothing."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from livectl.ops.launch import Pool

# After a SIGTERM has had its time, these put the jobs they have not finished back on SIGQUIT. Green pools would lose
# them, and solo would count them as failed: there SIGKILL is what loses nothing.
QUITTING: frozenset[Pool] = frozenset({"prefork", "threads"})

# The time for running jobs is over when SIGQUIT comes: Celery is not to give them its own once more.
NO_SECOND_GRACE = ("--", "worker_soft_shutdown_timeout=0")

IF_KILLED = "jobs that it had not acknowledged run again, on Redis once the visibility timeout is over"


def argv_for_quitting(argv: list[str]) -> list[str]:
    """The command line of a worker that puts its jobs back at once when it is told to, where its pool can."""
    pool = argv[argv.index("-P") + 1] if "-P" in argv else ""
    wanted = "worker" in argv and pool in QUITTING and NO_SECOND_GRACE[-1] not in argv
    return [*argv, *NO_SECOND_GRACE] if wanted else argv
