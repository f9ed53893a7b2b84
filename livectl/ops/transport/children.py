"""What Celery's pool of child processes leaves undone where one is killed, or where the broker is lost."""

from __future__ import annotations

import os
import signal
import time
from contextlib import suppress
from functools import partial
from typing import TYPE_CHECKING, Any

from celery.concurrency import asynpool
from celery.utils.log import get_logger

if TYPE_CHECKING:
    from collections.abc import Callable

logger = get_logger(__name__)

MAX_START_S, START_LOOK_S = 1.0, 0.05  # that a child may take to begin a job; between two looks
EXIT_FAILED = 1
NOT_STARTED = (
    "%d of %d child processes ended right after their start (%s). What they said stands above; code that runs in each "
    "of them, such as a handler of worker_process_init, may end them. -P threads works without child processes"
)
MAX_IDLE_LOOKS = 6  # at a child that has a job to begin, and does not


def runs_in_children(pool: Any) -> bool:
    """Whether it runs its jobs in child processes."""
    return bool(getattr(pool, "uses_semaphore", False))


def mend(pool: Any) -> None:
    """Has a pool outlive children that are killed in the wrong moment."""
    processes = pool._pool
    processes.get_process_queues = partial(_empty_queues, processes)
    pool.did_start_ok = partial(_has_started, processes)


def _has_started(processes: Any) -> bool:
    """Whether the children came up. Celery ends a worker whose child somebody kills before its loop runs.

    Raises SystemExit where a child ended by itself: Celery says no more than that it could not start.
    """
    ends = [process.exitcode for process in processes._pool]
    failed = [end for end in ends if end not in {None, -signal.SIGKILL}]
    if failed:
        kinds = ", ".join(sorted({_describe_end(end) for end in failed}))
        logger.critical(NOT_STARTED, len(failed), len(ends), kinds)
        raise SystemExit(EXIT_FAILED)
    processes.maintain_pool()
    return True


def _describe_end(code: int) -> str:
    return f"exit code {code}" if code >= 0 else signal.Signals(-code).name


def _empty_queues(processes: Any) -> Any:
    """Pipes for a new child, which may be those of one that was killed: what that had not read goes with it.

    It is a job that was given to others when the broker was lost, or half of one: a child that reads on in the middle
    waits for the rest for ever, and so does the next job that it is handed.
    """
    queues = next(queues for queues, owner in processes._queues.items() if owner is None)
    if not any(queue and queue._reader.poll(0) for queue in queues):
        return queues
    del processes._queues[queues]
    for end in [end for queue in queues if queue for end in (queue._reader, queue._writer)]:
        processes.hub_remove(end)
        end.close()
    queues = processes.create_process_queues()
    processes._queues[queues] = None
    return queues


class ChildWatch:
    """Looks from time to time for jobs of a pool that no child will do, and has them done."""

    def __init__(self, kill: Callable[[int, int], object] = os.kill) -> None:
        self._kill = kill
        self._idle_looks: dict[tuple[int, int], int] = {}  # by child, and the job that it has to begin
        self._orphaned: set[int] = set()

    def look(self, processes: Any) -> None:
        jobs = [*processes._cache.values()]
        begun = [job for job in jobs if job._accepted and not job.ready()]
        self._look_at_idle([job for job in jobs if not job._accepted], {job._worker_pid for job in begun})
        self._look_at_begun(begun, processes)

    def _look_at_idle(self, waiting: list[Any], busy: set[int]) -> None:
        """Ends a child that does not begin what it was handed: the pool then hands it to another."""
        handed = [job for job in waiting if job._write_to and job._write_to._is_alive()]
        idle = {(job._write_to.pid, job._job) for job in handed if job._write_to.pid not in busy}
        self._idle_looks = {key: self._idle_looks.get(key, 0) + 1 for key in idle}
        for pid in {pid for (pid, _), looks in self._idle_looks.items() if looks >= MAX_IDLE_LOOKS}:
            logger.warning("child %d does not begin the job that it has: it is ended, and another one has it", pid)
            with suppress(ProcessLookupError):
                self._kill(pid, signal.SIGKILL)

    def _look_at_begun(self, begun: list[Any], processes: Any) -> None:
        """Gives back what a child had begun that is gone, and whose end the pool has missed: seen twice in a row."""
        pids = {process.pid for process in processes._pool}
        gone = {job._job for job in begun if job._worker_pid and job._worker_pid not in pids}
        for job in [job for job in begun if job._job in gone & self._orphaned]:
            logger.warning("child %d is gone, and the job that it ran goes back", job._worker_pid)
            processes.on_job_process_lost(job, job._worker_pid, -signal.SIGKILL)
        self._orphaned = gone


def hear_of_starts(processes: Any) -> None:
    """Waits until the children have begun what they were handed, a second at most.

    Celery forgets what was not begun when it loses its broker or ends. What a child has by then runs all the same: its
    job is done once more by another worker, and the child waits for half a minute for its answer to be read.
    """
    results, until = processes._result_handler, time.monotonic() + MAX_START_S
    while (handed := _handed_jobs(processes)) and time.monotonic() < until:
        for job in handed:
            if (writer := job._writer()) in processes._active_writers:
                processes._flush_writer(job._write_to, writer)
        ready, _, _ = asynpool._select({job._write_to.outqR_fd for job in handed}, timeout=START_LOOK_S)
        for descriptor in ready:
            results._flush_outqueue(descriptor, int, processes._fileno_to_outq, results.on_state_change)


def _handed_jobs(processes: Any) -> list[Any]:
    """What was at least partly given to a child that lives, and is not known to have been begun."""
    jobs = [job for job in [*processes._cache.values()] if job._write_to and not job._accepted]
    return [job for job in jobs if job._write_to._is_alive()]
