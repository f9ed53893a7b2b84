"""What the watch says of a trouble and of its end: which run, why, what was expected, which command shows more."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from livectl.ops.beat import check_ins
from livectl.units import (
    MS_PER_SECOND,
    format_count,
    format_duration,
    format_instant,
    format_moment,
    format_names,
    format_precise_duration,
    format_yaml_duration,
)

if TYPE_CHECKING:
    from collections.abc import Sequence

    from livectl.ops.beat.expectations import CountedTask, EntryFacts, TaskCounts, TaskState, Trouble
    from livectl.ops.beat.heartbeats import Heartbeat
    from livectl.ops.cluster.queues import Queue
    from livectl.ops.jobs.history import JobLogEntry

FOREVER = float("inf")


class Report(NamedTuple):
    """What is to be told: once, to everybody who wants to know of jobs."""

    name: str
    kind: str  # a trouble, or `recovered`
    title: str
    details: str
    look: str  # the command that shows more, without `livectl`


class RunTrouble(NamedTuple):
    """What is wrong with a run of an entry, and what was expected."""

    trouble: Trouble
    due: int
    run: JobLogEntry | None
    start_within_s: float
    end_within_s: float
    usual_s: float | None
    is_again: bool


def _limit(seconds: float) -> str:
    """As it would stand in the settings."""
    return format_yaml_duration(round(seconds) if seconds >= 1 else round(seconds, 3))


# Entries, and what checks in


def of_run(facts: EntryFacts, told: RunTrouble) -> Report:
    run, when = told.run, format_moment(told.due / MS_PER_SECOND, facts.zone)
    ran = format_precise_duration(run.ran) if run and run.ran is not None else "long"
    titles = {
        "missed": f"{facts.name} {'has not checked in' if facts.checks_in else 'was not sent'}",
        "late": f"{facts.name} has not begun",
        "overrun": f"{facts.name} has not ended",
        "failed": f"{facts.name} failed{' again' if told.is_again else ''}",
        "slow": f"{facts.name} took {ran}",
    }
    words = {
        "missed": _missed_words(facts, told, when),
        "late": f"The run of {when} was sent{_to_queue(run)}, and no worker has begun it. "
        f"Expected: within {_limit(told.start_within_s)}.",
        "overrun": _overrun_words(facts, told, when),
        "failed": f"The run of {when}{_on_worker(run)}: {(run.error if run else '') or 'no reason is known'}",
        "slow": f"The run of {when}{_on_worker(run)} took {ran}. "
        f"Usual: {format_precise_duration(told.usual_s) if told.usual_s is not None else 'less'}.",
    }
    return Report(facts.name, told.trouble, titles[told.trouble], words[told.trouble], _look_at_run(facts, told))


def _missed_words(facts: EntryFacts, told: RunTrouble, when: str) -> str:
    within = _limit(told.start_within_s)
    if facts.checks_in:
        return f"It was expected at {when}, or up to {within} later."
    return f"No beat sent the run of {when}. Expected: within {within}."


def _overrun_words(facts: EntryFacts, told: RunTrouble, when: str) -> str:
    running = (facts.now / MS_PER_SECOND - told.run.started.timestamp()) if told.run and told.run.started else 0.0
    expected = f" Expected: at most {_limit(told.end_within_s)}." if told.end_within_s < FOREVER else ""
    return f"The run of {when} has been running for {format_duration(running)}{_on_worker(told.run)}.{expected}"


def _to_queue(run: JobLogEntry | None) -> str:
    return f" to the queue {run.queue}" if run and run.queue else ""


def _on_worker(run: JobLogEntry | None) -> str:
    return f" on {run.worker}" if run and run.worker else ""


def _look_at_run(facts: EntryFacts, told: RunTrouble) -> str:
    if facts.checks_in:
        return f"runs {check_ins.PREFIX}{facts.name}"
    if told.trouble == "missed":
        return f"schedules explain {facts.name} {format_instant(told.due / MS_PER_SECOND)}"
    if told.trouble in {"late", "overrun"} and told.run and told.run.id:
        return f"status {told.run.id}"
    return f"runs {facts.name}"


def recovered(facts: EntryFacts, failures: int) -> Report:
    failed = f" after {format_count(failures, 'failed run')}" if failures else ""
    look = f"runs {check_ins.PREFIX if facts.checks_in else ''}{facts.name}"
    return Report(facts.name, "recovered", f"{facts.name} is well again{failed}", "", look)


# Tasks


def of_task(facts: CountedTask, state: TaskState, fresh: TaskCounts, trouble: Trouble, *, is_again: bool) -> Report:
    since = f"of {format_count(fresh.ended, 'job')} since {format_moment(state.since / MS_PER_SECOND, facts.zone)}"
    name, running, expect = facts.name, facts.running, facts.expect
    if trouble == "failed":
        title = f"{name} failed{' again' if is_again else ''}"
        words = f"{fresh.failed:,} {since} failed: {facts.read_error() or 'no reason is known'}"
    elif trouble == "overrun" and running and not fresh.overlong:
        ran = format_duration((facts.now - running.started) / MS_PER_SECOND)
        title, words = f"{name} has not ended", f"The job {running.id} has been running for {ran}."
    elif trouble == "overrun":
        title, words = f"{name} took too long", f"{fresh.overlong:,} {since} ran for longer than expected."
    elif trouble == "late":
        title, words = f"{name} began late", f"Its jobs waited {format_precise_duration(fresh.wait_s)} on average."
        if fresh.late:
            words = f"{format_count(fresh.late, 'job')} waited longer than expected; {words[0].lower()}{words[1:]}"
    else:
        took, usual = format_precise_duration(fresh.ran_s), format_precise_duration(state.usual_ran_s)
        title, words = f"{name} is slow", f"Its jobs took {took} on average. Usual: {usual}."
    said = {"overrun": expect.end_within, "late": expect.start_within}.get(trouble)
    expected = f" Expected: at most {_limit(said)}." if said is not None else ""
    return Report(name, trouble, title, f"{words}{expected}", _look_at_task(facts, trouble))


def task_recovered(facts: CountedTask, failures: int) -> Report:
    failed = f" after {format_count(failures, 'failed job')}" if failures else ""
    return Report(facts.name, "recovered", f"{facts.name} is well again{failed}", "", _look_at_task(facts))


def _look_at_task(facts: CountedTask, trouble: Trouble = "") -> str:
    if trouble == "overrun" and facts.running:
        return f"status {facts.running.id}"
    if trouble == "late":
        return "queues"
    return f"results --task {facts.name}{' --state failed' if trouble == 'failed' else ''}"


# Beats, workers, queues, dead letters


def silent_beat(beat: Heartbeat, silent_s: float) -> Report:
    title = f"the beat {beat.process} has been silent for {format_duration(silent_s)}"
    return Report("beat", "silent", title, "Other beats send its runs.", "health beat")


def no_beat(away_s: float) -> Report:
    title = f"no beat was at work for {format_duration(away_s)}"
    return Report("beat", "away", title, "What was due meanwhile is caught up with as each entry says.", "runs")


def no_worker(silent_s: float, last: str) -> Report:
    title = f"no worker has answered for {format_duration(silent_s)}"
    return Report("workers", "down", title, f"The last that did: {last}." if last else "", "workers")


def workers_changed(names: Sequence[str], trouble: str) -> Report:
    """Of workers that fell silent, or are heard of again."""
    who = f"the worker {names[0]}" if len(names) == 1 else f"{len(names)} workers"
    verb, all_names = "has" if len(names) == 1 else "have", f"{format_names(names)}. " if len(names) > 1 else ""
    if not trouble:
        verb = "is" if len(names) == 1 else "are"
        return Report("workers", "recovered", f"{who} {verb} at work again", all_names.strip(), "workers")
    why = "Not told to end: killed, standing still, or cut off from the store."
    return Report("workers", "silent", f"{who} {verb} fallen silent", f"{all_names}{why}", "workers")


def workers_again() -> Report:
    return Report("workers", "recovered", "workers answer again", "", "workers")


def unread_queue(queue: Queue, silent_s: float, last: str) -> Report:
    title = f"no worker reads the queue {queue.name} any more"
    jobs = format_count(queue.ready, "job")
    details = (
        f"For {format_duration(silent_s)}; {jobs} {'waits' if queue.ready == 1 else 'wait'}. The last that did: {last}."
    )
    return Report(queue.name, "unread", title, details, "workers")


def waiting_queue(queue: Queue, limit_s: float) -> Report:
    jobs, limit = format_count(queue.ready, "job"), _limit(limit_s)
    if queue.oldest is None:
        title = f"the queue {queue.name} has grown to {jobs}"
        details = f"It has not been emptied for {limit}. {_readers(queue)}"
    else:
        title = f"the queue {queue.name}: the first of {jobs} has waited {format_duration(queue.oldest)}"
        details = f"Expected: at most {limit}. {_readers(queue)}"
    return Report(queue.name, "queue", title, details, f"queues -Q {queue.name}")


def _readers(queue: Queue) -> str:
    if queue.consumers is None:
        return ""
    number = format_count(queue.consumers, "worker", zero="No")
    return f"{number} {'read' if queue.consumers > 1 else 'reads'} it.".replace("No workers", "No worker")


def queue_again(queue: Queue) -> Report:
    return Report(queue.name, "recovered", f"the queue {queue.name} is well again", "", f"queues -Q {queue.name}")


def new_dead_letters(count: int, example: str) -> Report:
    details = f"Such as: {example}" if example else ""
    return Report("dead letters", "dead", format_count(count, "new dead letter"), details, "dead")
