"""Work: what is scheduled and routed, and whether there is anybody to do it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from livectl.model import Finding
from livectl.ops.schedules.spot import did_you_mean

if TYPE_CHECKING:
    from collections.abc import Iterator

    from livectl.doctor.facts import Facts

SHOWN = 3


def check_schedule_file(facts: Facts) -> Iterator[Finding]:
    if facts.schedule_error:
        yield Finding(
            id="schedule-broken",
            level="bad",
            title="The schedule file cannot be used",
            evidence=facts.schedule_error,
            cure="livectl schedules validate",
        )


def check_unknown_tasks(facts: Facts) -> Iterator[Finding]:
    """Sent for ever, and thrown away by every worker with a line in its log."""
    if facts.app_error or facts.settings_error:
        return
    app_tasks = facts.task_names()
    worker_tasks = [set(worker.tasks) for worker in facts.roll.workers if worker.tasks] if facts.roll.complete else []
    for entry in facts.schedule:
        known_tasks = set.union(app_tasks, *worker_tasks)
        if entry.task.startswith("celery."):
            continue
        if entry.task not in known_tasks:
            yield _unknown_task(
                f"{entry.name} is scheduled to send {entry.task}", entry.task, known_tasks, "nobody knows it"
            )
        elif worker_tasks and not any(entry.task in task_names for task_names in worker_tasks):
            yield _unknown_task(
                f"{entry.name} is scheduled to send {entry.task}", entry.task, set(), "no worker that answers knows it"
            )
    for task in facts.routes:
        if task not in set.union(app_tasks, *worker_tasks) and app_tasks:
            yield _unknown_task(
                f"{task} is routed to {facts.routes[task]}", task, app_tasks, "the app has no such task"
            )


def check_arguments(facts: Facts) -> Iterator[Finding]:
    for entry, problem in facts.unbound.items():
        yield Finding(
            id="arguments",
            level="bad",
            title=f"{entry} is scheduled with arguments that its task does not take",
            evidence=problem,
            cure="Mend args and kwargs of the entry: each of its jobs fails.",
        )


def check_unread_queues(facts: Facts) -> Iterator[Finding]:
    """Only when every worker has answered is it sure that nobody reads a queue."""
    if not facts.roll.complete:
        return
    read_queues = {queue for worker in facts.roll.workers for queue in worker.queues}
    readers = f"workers read {', '.join(sorted(read_queues)) or 'nothing'}"
    reported = set()
    for queue in facts.queues:
        if queue.ready and queue.name not in read_queues:
            reported.add(queue.name)
            yield _unread_queue(queue.name, f"{queue.ready} messages wait there; {readers}")
    for entry, name in facts.destinations.items():
        if name not in read_queues | reported:
            reported.add(name)
            yield _unread_queue(name, f"{entry} is scheduled to be sent there; {readers}")
    for task, name in facts.routes.items():
        if name and name not in read_queues | reported:
            reported.add(name)
            yield _unread_queue(name, f"{task} is routed there; {readers}")


def check_dead_letters(facts: Facts) -> Iterator[Finding]:
    if facts.letters.count:
        yield Finding(
            id="dead-letters",
            level="warn",
            title=f"{facts.letters.count} dead letters wait for a decision",
            evidence=f"the newest: {facts.letters.newest}",
            cure="livectl dead list, then retry or drop them",
        )


def _unknown_task(evidence: str, task: str, known_tasks: set[str], problem: str) -> Finding:
    return Finding(
        id="unknown-task",
        level="bad",
        title=f"There is no task {task}" if known_tasks else f"No worker knows the task {task}",
        evidence=f"{evidence}, and {problem}",
        cure=did_you_mean(task, known_tasks) or "Import its module (imports, include), and restart the workers.",
    )


def _unread_queue(queue: str, evidence: str) -> Finding:
    return Finding(
        id="queue-unread",
        level="bad",
        title=f"Nobody reads the queue {queue}",
        evidence=evidence,
        cure=f"Start a worker with -Q {queue}, or send elsewhere.",
    )


WORK_CHECKS = (check_schedule_file, check_unknown_tasks, check_arguments, check_unread_queues, check_dead_letters)
