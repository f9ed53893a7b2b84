"""Renders what was taken out of queues and moved between them."""

from __future__ import annotations

from typing import TYPE_CHECKING

from livectl.render import View, sentence
from livectl.units import format_count

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from livectl.ops.cluster.move import MoveResult
    from livectl.ops.cluster.purge import PurgeResult


def task_counts(tasks: Mapping[str, int]) -> str:
    """How many messages of each task, the most first."""
    sorted_tasks = sorted(tasks.items(), key=lambda item: -item[1])
    return "\n".join(f"{count:>8} {task}" for task, count in sorted_tasks)


def purge_summary(purge_result: PurgeResult) -> View:
    if not purge_result.total:
        return sentence(f"Nothing to take out of {purge_result.queue}.", purge_result)
    held_text = f", {purge_result.held} of them held by workers and revoked there" if purge_result.held else ""
    return sentence(
        f"{task_counts(purge_result.tasks)}\n"
        f"Taken out of {purge_result.queue}: {purge_result.total}{held_text}. Saved in {purge_result.file}",
        purge_result,
    )


def purge_of_all(results: Sequence[PurgeResult]) -> View:
    """What was taken out of each queue that held something."""
    full = [result for result in results if result.total]
    lines = [f"Taken out of {result.queue}: {result.total}" for result in full]
    ending = f"Saved in {full[0].file}" if full else "Nothing to take out."
    return View(full, lambda: "\n".join([*lines, ending]))


def move_plan(source: str, tasks: Mapping[str, int], total: int) -> View:
    data = {"source": source, "tasks": tasks, "total": total}
    found = f"{task_counts(tasks)}\n" if tasks else ""
    return sentence(f"{found}Would be moved from {source}: {total}", data)


def move_summary(result: MoveResult) -> View:
    where = f"{result.target} of {result.broker}" if result.broker else result.target
    if not result.moved:
        return sentence(f"Nothing to move from {result.source}.", result)
    return sentence(f"{task_counts(result.tasks)}\nMoved from {result.source} to {where}: {result.moved}", result)


def restored_delays(count: int) -> View:
    return sentence(f"Put back into their queues: {format_count(count, 'message')}.", {"restored": count})
