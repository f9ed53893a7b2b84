"""How fast queues fill and empty, from two looks at them: as far as that can be told."""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping

    from livectl.ops.cluster.queues import QueueDepths


class QueueRate(msgspec.Struct, frozen=True):
    """Messages a second, into some queues and out of them. None where the readers could not be asked both times."""

    inward: float | None
    outward: float | None


QueueRates = dict[tuple[str, ...], QueueRate]  # by the queues that they are of, together


def rates_between(before: QueueDepths, after: QueueDepths, seconds: float) -> QueueRates:
    """A worker tells how many jobs it finished, not from which queue: queues that share a reader have one rate."""
    return {group: _group_rate(group, before, after, seconds) for group in _group_by_reader(after)}


def rate_notes(rates: Mapping[tuple[str, ...], QueueRate], reads: Mapping[str, Collection[str]]) -> list[str]:
    """What is known of queues whose rates cannot be told apart."""
    notes = []
    for group, rate in rates.items():
        if len(group) > 1 and rate.outward is not None:
            readers = sorted(worker for worker, queues in reads.items() if set(queues) & set(group))
            rate_text = f"{rate.inward:.1f} in/s, {rate.outward:.1f} out/s"
            notes.append(
                f"{', '.join(group)} together: {rate_text}; not told apart, since {', '.join(readers)} read them"
            )
    return notes


def _group_by_reader(depths: QueueDepths) -> list[tuple[str, ...]]:
    """The queues, those in one group that are joined by readers of several."""
    groups = [{queue.name} for queue in depths.queues]
    for queues in depths.reads.values():
        joined = [group for group in groups if group & set(queues)]
        if joined:
            groups = [group for group in groups if group not in joined] + [set().union(*joined)]
    return sorted(tuple(sorted(group)) for group in groups)


def _group_rate(names: tuple[str, ...], before: QueueDepths, after: QueueDepths, seconds: float) -> QueueRate:
    """What workers finished went out; that and how the queues grew came in."""
    finished = _finished_jobs(names, before, after)
    if finished is None:
        return QueueRate(None, None)
    growth = _message_count(after, names) - _message_count(before, names)
    return QueueRate(max(0.0, (finished + growth) / seconds), finished / seconds)


def _message_count(depths: QueueDepths, names: tuple[str, ...]) -> int:
    return sum(queue.ready + (queue.unacked or 0) for queue in depths.queues if queue.name in names)


def _finished_jobs(names: tuple[str, ...], before: QueueDepths, after: QueueDepths) -> int | None:
    """How many jobs of these queues were finished in between, if all their readers told it both times."""
    readers = [worker for worker, queues in after.reads.items() if set(queues) & set(names)]
    if any(worker not in before.processed or worker not in after.processed for worker in readers):
        return None
    return sum(max(0, after.processed[worker] - before.processed[worker]) for worker in readers)
