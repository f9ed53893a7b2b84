"""What livectl's workers mend of Celery's pool of child processes, on a pool that is played."""

from __future__ import annotations

import signal
from types import SimpleNamespace as Made
from typing import TYPE_CHECKING, Any
from unittest.mock import MagicMock

import pytest
from billiard.queues import _SimpleQueue

from livectl.ops.transport import children

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

KILLED = -signal.SIGKILL


def child(pid: int, ended_with: int | None = None) -> Any:
    return Made(pid=pid, exitcode=ended_with, _is_alive=lambda: ended_with is None)


def job(number: int, *, handed_to: Any = None, begun_by: int | None = None) -> Any:
    begun = begun_by is not None
    return Made(_job=number, _accepted=begun, _worker_pid=begun_by, _write_to=handed_to, ready=lambda: False)


@pytest.mark.parametrize("ends", [[None, None], [None, KILLED], [KILLED]])
def test_a_worker_whose_child_is_killed_before_it_is_ready_goes_on(ends: list[int | None]) -> None:
    processes = MagicMock(_pool=[child(number, end) for number, end in enumerate(ends, 1)])
    pool: Any = Made(_pool=processes)
    children.mend(pool)
    assert pool.did_start_ok()
    assert processes.maintain_pool.called


@pytest.mark.parametrize(
    ("ends", "says"),
    [
        ([None, 1], "1 of 2 child processes ended right after their start (exit code 1)."),
        ([KILLED, 3, 3], "2 of 3 child processes ended right after their start (exit code 3)."),
        ([-signal.SIGSEGV, 0], "2 of 2 child processes ended right after their start (SIGSEGV, exit code 0)."),
    ],
)
def test_a_worker_whose_children_end_by_themselves_says_so_and_ends(
    ends: list[int | None], says: str, caplog: pytest.LogCaptureFixture
) -> None:
    pool: Any = Made(_pool=MagicMock(_pool=[child(number, end) for number, end in enumerate(ends, 1)]))
    children.mend(pool)
    with pytest.raises(SystemExit, match="1"):
        pool.did_start_ok()
    (record,) = caplog.records
    assert says in record.getMessage()
    assert "-P threads" in record.getMessage()


class Queues:
    """The pipes of a pool."""

    def __init__(self) -> None:
        self._queues: dict[Any, Any] = {}
        self.hub_remove: Callable[[Any], None] = lambda end: None
        self._queues[self.create_process_queues()] = None

    def create_process_queues(self) -> Any:
        return _SimpleQueue(), _SimpleQueue(), None

    def close(self) -> None:
        for queue in [queue for queues in self._queues for queue in queues if queue]:
            queue.close()


@pytest.fixture
def queues() -> Iterator[Queues]:
    made = Queues()
    yield made
    made.close()


def test_a_new_child_reads_nothing_that_was_meant_for_a_dead_one(queues: Queues) -> None:
    (first,) = queues._queues
    assert children._empty_queues(queues) is first
    first[0].put("a job")
    fresh = children._empty_queues(queues)
    assert (fresh is not first, [*queues._queues], first[0]._reader.closed) == (True, [fresh], True)
    assert not fresh[0]._reader.poll(0)


def looks(processes: Any, times: int) -> list[tuple[int, int]]:
    """What children are told by so many looks."""
    told: list[tuple[int, int]] = []
    watch = children.ChildWatch(kill=lambda pid, number: told.append((pid, number)))
    for _ in range(times):
        watch.look(processes)
    return told


def test_a_child_that_does_not_begin_its_job_is_ended() -> None:
    idle, busy, dead = child(7), child(8), child(9, ended_with=KILLED)
    jobs = [job(1, handed_to=idle), job(2, handed_to=busy), job(3, begun_by=8), job(4, handed_to=dead), job(5)]
    processes = Made(_pool=[idle, busy], _cache={each._job: each for each in jobs})
    assert looks(processes, children.MAX_IDLE_LOOKS - 1) == []
    assert looks(processes, children.MAX_IDLE_LOOKS) == [(7, signal.SIGKILL)]


def test_a_job_whose_child_is_gone_unnoticed_goes_back() -> None:
    processes = MagicMock(_pool=[child(8)], _cache={1: job(1, begun_by=7), 2: job(2, begun_by=8)})
    looks(processes, 1)
    assert not processes.on_job_process_lost.called  # the pool may be about to notice
    looks(processes, 2)
    (call,) = processes.on_job_process_lost.call_args_list
    assert call.args == (processes._cache[1], 7, KILLED)
