"""Delivery: what is accepted, when messages are given out again, when they are acknowledged."""

from __future__ import annotations

from typing import TYPE_CHECKING

from livectl.model import Finding

if TYPE_CHECKING:
    from collections.abc import Iterator

    from livectl.doctor.facts import Facts

PICKLE = {"pickle", "application/x-python-serialize"}
CONTENT_TYPES = {"json": "application/json", "yaml": "application/x-yaml", "msgpack": "application/x-msgpack"}
GREEN_PREFETCH_HINT = "Set worker_prefetch_multiplier to 1, with task_acks_late; on Redis worker_disable_prefetch too."


def pickle(facts: Facts) -> Iterator[Finding]:
    for key in ("accept_content", "result_accept_content"):
        if PICKLE & set(facts.value(key) or ()):
            yield Finding(
                id="pickle-accepted",
                level="warn",
                title="Whoever can write to the broker can run any code in the workers",
                evidence=f"{key} = {sorted(facts.value(key))}",
                cure=f'Set {key} to ["json"], once no message in pickle is left.',
            )


def refused(facts: Facts) -> Iterator[Finding]:
    pairs = (("task_serializer", "accept_content"), ("result_serializer", "result_accept_content"))
    for serializer, accepted in pairs:
        said, taken = facts.value(serializer), facts.value(accepted) or facts.value("accept_content")
        if said and taken and not {said, CONTENT_TYPES.get(said, said)} & set(taken):
            yield Finding(
                id="serializer-refused",
                level="bad",
                title="What this app sends, its own workers refuse",
                evidence=f"{serializer} is {said}, and {accepted} only {sorted(taken)}",
                cure=f"Set {serializer} to one of them, or add {said} to {accepted}.",
            )


def short_visibility(facts: Facts) -> Iterator[Finding]:
    """Only a late acknowledgement comes after the job: an early one is there before the time is over."""
    wait = facts.visibility
    longest = max(
        (task for task in facts.tasks if task.late and task.limit), key=lambda task: task.limit or 0, default=None
    )
    if wait and longest and longest.limit and longest.limit > wait:
        yield Finding(
            id="visibility-limit",
            level="bad",
            title="Long jobs are given out, and run, again while they still run",
            evidence=f"visibility_timeout {wait:.0f} s, and {longest.name} may run {longest.limit:.0f} s",
            cure="Raise visibility_timeout in broker_transport_options above the longest time limit, or lower that.",
        )


def far_eta(facts: Facts) -> Iterator[Finding]:
    if facts.delayed:
        worst = max(facts.delayed, key=lambda one: one.seconds)
        yield Finding(
            id="visibility-eta",
            level="bad",
            title="Jobs that wait for their time will run more than once",
            evidence=f"{worst.task} {worst.id} due in {worst.seconds:.0f} s, visibility_timeout {facts.visibility} s",
            cure="Raise visibility_timeout above the longest countdown, or put such jobs into schedules.yaml.",
        )


def different_visibility(facts: Facts) -> Iterator[Finding]:
    known = {one.name: one.visibility for one in facts.roll.workers if one.visibility is not None}
    if len(set(known.values())) > 1:
        said = ", ".join(f"{name} {wait:.0f} s" for name, wait in sorted(known.items()))
        yield Finding(
            id="visibility-differs",
            level="bad",
            title="Workers differ in visibility_timeout: the shortest one holds for the jobs of all",
            evidence=said,
            cure="Give all workers the same broker_transport_options, and restart them.",
        )


def early_ack(facts: Facts) -> Iterator[Finding]:
    names = [task.name for task in facts.tasks if task.rejects and not task.late]
    if names:
        yield Finding(
            id="early-ack",
            level="warn",
            title="Jobs that are to come back when their worker is killed will not",
            evidence=f"task_reject_on_worker_lost without task_acks_late: {', '.join(names[:3])}",
            cure="Set task_acks_late too: an acknowledged message cannot be put back.",
        )


def hoarding(facts: Facts) -> Iterator[Finding]:
    if facts.roll.hoarded:
        owners = [one for one in facts.roll.workers if set(one.reserved) & set(facts.roll.hoarded)]
        yield Finding(
            id="prefetch-hoarding",
            level="warn",
            title="A worker keeps jobs for later while another has nothing to do",
            evidence=f"{len(facts.roll.hoarded)} jobs wait in the hands of {', '.join(one.name for one in owners)}",
            cure=GREEN_PREFETCH_HINT,
        )


def eager(facts: Facts) -> Iterator[Finding]:
    if facts.value("task_always_eager"):
        yield Finding(
            id="always-eager",
            level="bad",
            title="Nothing is ever sent: jobs run inside whoever calls them",
            evidence=f"task_always_eager is on, by {facts.conf.origins.get('task_always_eager', 'the app')}",
            cure="Set it in the tests only.",
        )


def soft_shutdown(facts: Facts) -> Iterator[Finding]:
    remapped = facts.environ.get("REMAP_SIGTERM") == "SIGQUIT"
    if remapped and not facts.value("worker_soft_shutdown_timeout"):
        yield Finding(
            id="soft-shutdown",
            level="bad",
            title="A worker that is told to stop drops its jobs at once",
            evidence="REMAP_SIGTERM=SIGQUIT, and worker_soft_shutdown_timeout is 0",
            cure="Set worker_soft_shutdown_timeout, or unset REMAP_SIGTERM: SIGTERM by itself waits for running jobs.",
        )


ALL = (
    pickle,
    refused,
    short_visibility,
    far_eta,
    different_visibility,
    early_ack,
    hoarding,
    eager,
    soft_shutdown,
)
