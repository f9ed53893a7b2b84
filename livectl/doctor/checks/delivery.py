"""Delivery: what is accepted, when messages are given out again, when they are acknowledged."""

from __future__ import annotations

from typing import TYPE_CHECKING

from livectl.model import Finding

if TYPE_CHECKING:
    from collections.abc import Iterator

    from livectl.doctor.facts import Facts

PICKLE_CONTENT_TYPES = {"pickle", "application/x-python-serialize"}
CONTENT_TYPES = {"json": "application/json", "yaml": "application/x-yaml", "msgpack": "application/x-msgpack"}
GREEN_PREFETCH_HINT = "Set worker_prefetch_multiplier to 1, with task_acks_late; on Redis worker_disable_prefetch too."


def check_pickle(facts: Facts) -> Iterator[Finding]:
    for key in ("accept_content", "result_accept_content"):
        if PICKLE_CONTENT_TYPES & set(facts.setting(key) or ()):
            yield Finding(
                id="pickle-accepted",
                level="warn",
                title="Whoever can write to the broker can run any code in the workers",
                evidence=f"{key} = {sorted(facts.setting(key))}",
                cure=f'Set {key} to ["json"], once no message in pickle is left.',
            )


def check_refused_serializers(facts: Facts) -> Iterator[Finding]:
    pairs = (("task_serializer", "accept_content"), ("result_serializer", "result_accept_content"))
    for serializer, accepted in pairs:
        sent_type, accepted_types = (
            facts.setting(serializer),
            facts.setting(accepted) or facts.setting("accept_content"),
        )
        if (
            sent_type
            and accepted_types
            and not {sent_type, CONTENT_TYPES.get(sent_type, sent_type)} & set(accepted_types)
        ):
            yield Finding(
                id="serializer-refused",
                level="bad",
                title="What this app sends, its own workers refuse",
                evidence=f"{serializer} is {sent_type}, and {accepted} only {sorted(accepted_types)}",
                cure=f"Set {serializer} to one of them, or add {sent_type} to {accepted}.",
            )


def check_visibility_and_time_limit(facts: Facts) -> Iterator[Finding]:
    """Only a late acknowledgement comes after the job: an early one is there before the time is over."""
    visibility_timeout = facts.visibility
    longest_task = max(
        (task for task in facts.tasks if task.acks_late and task.time_limit),
        key=lambda task: task.time_limit or 0,
        default=None,
    )
    if visibility_timeout and longest_task and longest_task.time_limit and longest_task.time_limit > visibility_timeout:
        yield Finding(
            id="visibility-limit",
            level="bad",
            title="Long jobs are given out, and run, again while they still run",
            evidence=f"visibility_timeout {visibility_timeout:.0f} s, and {longest_task.name} may run {longest_task.time_limit:.0f} s",
            cure="Raise visibility_timeout in broker_transport_options above the longest time limit, or lower that.",
        )


def check_visibility_and_eta(facts: Facts) -> Iterator[Finding]:
    if facts.delayed:
        latest = max(facts.delayed, key=lambda delayed: delayed.seconds)
        yield Finding(
            id="visibility-eta",
            level="bad",
            title="Jobs that wait for their time will run more than once",
            evidence=f"{latest.task} {latest.id} due in {latest.seconds:.0f} s, visibility_timeout {facts.visibility} s",
            cure="Raise visibility_timeout above the longest countdown, or put such jobs into schedules.yaml.",
        )


def check_visibility_differs(facts: Facts) -> Iterator[Finding]:
    timeouts = {
        worker.name: worker.visibility_timeout for worker in facts.roll.workers if worker.visibility_timeout is not None
    }
    if len(set(timeouts.values())) > 1:
        evidence = ", ".join(f"{name} {timeout:.0f} s" for name, timeout in sorted(timeouts.items()))
        yield Finding(
            id="visibility-differs",
            level="bad",
            title="Workers differ in visibility_timeout: the shortest one holds for the jobs of all",
            evidence=evidence,
            cure="Give all workers the same broker_transport_options, and restart them.",
        )


def check_early_ack(facts: Facts) -> Iterator[Finding]:
    names = [task.name for task in facts.tasks if task.reject_on_worker_lost and not task.acks_late]
    if names:
        yield Finding(
            id="early-ack",
            level="warn",
            title="Jobs that are to come back when their worker is killed will not",
            evidence=f"task_reject_on_worker_lost without task_acks_late: {', '.join(names[:3])}",
            cure="Set task_acks_late too: an acknowledged message cannot be put back.",
        )


def check_prefetch_hoarding(facts: Facts) -> Iterator[Finding]:
    if facts.roll.hoarded:
        owners = [worker for worker in facts.roll.workers if set(worker.reserved) & set(facts.roll.hoarded)]
        yield Finding(
            id="prefetch-hoarding",
            level="warn",
            title="A worker keeps jobs for later while another has nothing to do",
            evidence=f"{len(facts.roll.hoarded)} jobs wait in the hands of {', '.join(worker.name for worker in owners)}",
            cure=GREEN_PREFETCH_HINT,
        )


def check_always_eager(facts: Facts) -> Iterator[Finding]:
    if facts.setting("task_always_eager"):
        yield Finding(
            id="always-eager",
            level="bad",
            title="Nothing is ever sent: jobs run inside whoever calls them",
            evidence=f"task_always_eager is on, by {facts.conf.origins.get('task_always_eager', 'the app')}",
            cure="Set it in the tests only.",
        )


def check_soft_shutdown(facts: Facts) -> Iterator[Finding]:
    remapped = facts.environ.get("REMAP_SIGTERM") == "SIGQUIT"
    if remapped and not facts.setting("worker_soft_shutdown_timeout"):
        yield Finding(
            id="soft-shutdown",
            level="bad",
            title="A worker that is told to stop drops its jobs at once",
            evidence="REMAP_SIGTERM=SIGQUIT, and worker_soft_shutdown_timeout is 0",
            cure="Set worker_soft_shutdown_timeout, or unset REMAP_SIGTERM: SIGTERM by itself waits for running jobs.",
        )


DELIVERY_CHECKS = (
    check_pickle,
    check_refused_serializers,
    check_visibility_and_time_limit,
    check_visibility_and_eta,
    check_visibility_differs,
    check_early_ack,
    check_prefetch_hoarding,
    check_always_eager,
    check_soft_shutdown,
)
