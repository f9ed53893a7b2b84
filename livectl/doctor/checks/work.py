"""Work: what is scheduled and routed, and whether there is anybody to do it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from livectl.model import Finding
from livectl.ops.schedules.spot import did_you_mean

if TYPE_CHECKING:
    from collections.abc import Iterator

    from livectl.doctor.facts import Facts

SHOWN = 3


def broken_schedule(facts: Facts) -> Iterator[Finding]:
    if facts.schedule_error:
        yield Finding(
            id="schedule-broken",
            level="bad",
            title="The schedule file cannot be used",
            evidence=facts.schedule_error,
            cure="livectl schedules validate",
        )


def unknown_tasks(facts: Facts) -> Iterator[Finding]:
    """Sent for ever, and thrown away by every worker with a line in its log."""
    if facts.app_error or facts.settings_error:
        return
    ours = facts.task_names()
    theirs = [set(one.tasks) for one in facts.roll.workers if one.tasks] if facts.roll.complete else []
    for each in facts.schedule:
        known = set.union(ours, *theirs)
        if each.task.startswith("celery."):
            continue
        if each.task not in known:
            yield _unknown(f"{each.name} is scheduled to send {each.task}", each.task, known, "nobody knows it")
        elif theirs and not any(each.task in some for some in theirs):
            yield _unknown(
                f"{each.name} is scheduled to send {each.task}", each.task, set(), "no worker that answers knows it"
            )
    for task in facts.routes:
        if task not in set.union(ours, *theirs) and ours:
            yield _unknown(f"{task} is routed to {facts.routes[task]}", task, ours, "the app has no such task")


def arguments(facts: Facts) -> Iterator[Finding]:
    for entry, why in facts.unbound.items():
        yield Finding(
            id="arguments",
            level="bad",
            title=f"{entry} is scheduled with arguments that its task does not take",
            evidence=why,
            cure="Mend args and kwargs of the entry: each of its jobs fails.",
        )


def unread_queues(facts: Facts) -> Iterator[Finding]:
    """Only when every worker has answered is it sure that nobody reads a queue."""
    if not facts.roll.complete:
        return
    read = {queue for one in facts.roll.workers for queue in one.queues}
    readers = f"workers read {', '.join(sorted(read)) or 'nothing'}"
    told = set()
    for queue in facts.queues:
        if queue.ready and queue.name not in read:
            told.add(queue.name)
            yield _unread(queue.name, f"{queue.ready} messages wait there; {readers}")
    for entry, name in facts.destinations.items():
        if name not in read | told:
            told.add(name)
            yield _unread(name, f"{entry} is scheduled to be sent there; {readers}")
    for task, name in facts.routes.items():
        if name and name not in read | told:
            told.add(name)
            yield _unread(name, f"{task} is routed there; {readers}")


def dead_letters(facts: Facts) -> Iterator[Finding]:
    if facts.letters.count:
        yield Finding(
            id="dead-letters",
            level="warn",
            title=f"{facts.letters.count} dead letters wait for a decision",
            evidence=f"the newest: {facts.letters.newest}",
            cure="livectl dead list, then retry or drop them",
        )


def _unknown(evidence: str, task: str, known: set[str], why: str) -> Finding:
    return Finding(
        id="unknown-task",
        level="bad",
        title=f"There is no task {task}" if known else f"No worker knows the task {task}",
        evidence=f"{evidence}, and {why}",
        cure=did_you_mean(task, known) or "Import its module (imports, include), and restart the workers.",
    )


def _unread(queue: str, evidence: str) -> Finding:
    return Finding(
        id="queue-unread",
        level="bad",
        title=f"Nobody reads the queue {queue}",
        evidence=evidence,
        cure=f"Start a worker with -Q {queue}, or send elsewhere.",
    )


ALL = (broken_schedule, unknown_tasks, arguments, unread_queues, dead_letters)
