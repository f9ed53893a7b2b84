"""How fast queues fill and empty, from two looks at them: as far as that can be told."""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping

    from livectl.ops.cluster.queues import Depths


class Rate(msgspec.Struct, frozen=True):
    """Messages a second, into some queues and out of them. None where the readers could not be asked both times."""

    inward: float | None
    outward: float | None


Rates = dict[tuple[str, ...], Rate]  # by the queues that they are of, together


def between(before: Depths, after: Depths, seconds: float) -> Rates:
    """A worker tells how many jobs it finished, not from which queue: queues that share a reader have one rate."""
    return {together: _of(together, before, after, seconds) for together in _together(after)}


def notes(rates: Mapping[tuple[str, ...], Rate], reads: Mapping[str, Collection[str]]) -> list[str]:
    """What is known of queues whose rates cannot be told apart."""
    found = []
    for together, rate in rates.items():
        if len(together) > 1 and rate.outward is not None:
            readers = sorted(worker for worker, queues in reads.items() if set(queues) & set(together))
            speeds = f"{rate.inward:.1f} in/s, {rate.outward:.1f} out/s"
            found.append(
                f"{', '.join(together)} together: {speeds}; not told apart, since {', '.join(readers)} read them"
            )
    return found


def _together(depths: Depths) -> list[tuple[str, ...]]:
    """The queues, those in one group that are joined by readers of several."""
    groups = [{queue.name} for queue in depths.queues]
    for queues in depths.reads.values():
        joined = [group for group in groups if group & set(queues)]
        if joined:
            groups = [group for group in groups if group not in joined] + [set().union(*joined)]
    return sorted(tuple(sorted(group)) for group in groups)


def _of(names: tuple[str, ...], before: Depths, after: Depths, seconds: float) -> Rate:
    """What workers finished went out; that and how the queues grew came in."""
    done = _done(names, before, after)
    if done is None:
        return Rate(None, None)
    grown = _size(after, names) - _size(before, names)
    return Rate(max(0.0, (done + grown) / seconds), done / seconds)


def _size(depths: Depths, names: tuple[str, ...]) -> int:
    return sum(queue.ready + (queue.unacked or 0) for queue in depths.queues if queue.name in names)


def _done(names: tuple[str, ...], before: Depths, after: Depths) -> int | None:
    """How many jobs of these queues were finished in between, if all their readers told it both times."""
    readers = [worker for worker, queues in after.reads.items() if set(queues) & set(names)]
    if any(worker not in before.processed or worker not in after.processed for worker in readers):
        return None
    return sum(max(0, after.processed[worker] - before.processed[worker]) for worker in readers)
