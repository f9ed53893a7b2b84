"""Finds what an app on RabbitMQ can lose there, as its settings say; livectl adds what it can without changing them."""

from __future__ import annotations

from typing import TYPE_CHECKING

from livectl.models import Finding
from livectl.units import format_names

if TYPE_CHECKING:
    from collections.abc import Iterator

    from livectl.doctor.facts import Facts

CONSUMER_TIMEOUT_S = 1_800.0  # RabbitMQ's own, which nobody can ask for


def check_confirms(facts: Facts) -> Iterator[Finding]:
    if facts.rabbitmq and not facts.rabbitmq.confirms:
        yield Finding(
            id="confirms-missing",
            level="warn",
            title="What this app sends may never reach RabbitMQ, without a word",
            evidence="broker_transport_options has no confirm_publish: the last messages before a process ends, "
            "or before its connection breaks, are lost",
            cure='broker_transport_options = {"confirm_publish": True}    (what livectl starts does so by itself)',
        )


def check_classic_queues(facts: Facts) -> Iterator[Finding]:
    if facts.classic_queues:
        yield Finding(
            id="queue-classic",
            level="warn",
            title="Queues live on one node of RabbitMQ, which gives out again what was done when it crashes",
            evidence=f"classic: {format_names(facts.classic_queues)}",
            cure='Once they are empty: task_default_queue_type = "quorum" (in task_queues: x-queue-type), '
            f"rabbitmqctl delete_queue {facts.classic_queues[0]}, and start workers and publishers again.",
        )


def check_transient_messages(facts: Facts) -> Iterator[Finding]:
    rabbitmq = facts.rabbitmq
    if rabbitmq and (rabbitmq.transient_queues or rabbitmq.sends_transient):
        reasons = [
            f"not durable or auto-deleted: {format_names(rabbitmq.transient_queues)}"
            if rabbitmq.transient_queues
            else "",
            "messages are sent as transient" if rabbitmq.sends_transient else "",
        ]
        yield Finding(
            id="messages-transient",
            level="bad",
            title="Jobs are gone when RabbitMQ is started again",
            evidence="; ".join(filter(None, reasons)),
            cure="Declare queues with durable=True and auto_delete=False, "
            'and set task_default_delivery_mode = "persistent".',
        )


def check_held_too_long(facts: Facts) -> Iterator[Finding]:
    """Only tasks whose limits say that they may run so long."""
    names = [task.name for task in facts.tasks if task.acks_late and (task.time_limit or 0) > CONSUMER_TIMEOUT_S]
    if facts.rabbitmq and names:
        yield Finding(
            id="held-too-long",
            level="warn",
            title="Jobs may run for longer than RabbitMQ waits for their acknowledgement",
            evidence="acknowledged late, and limited to more than "
            f"{CONSUMER_TIMEOUT_S / 60:.0f} min: {format_names(names)}",
            cure="Run them by `livectl worker`, which needs nothing for it. For other workers raise consumer_timeout "
            "in rabbitmq.conf: it ends them, and the job runs again and again.",
        )


def check_global_prefetch(facts: Facts) -> Iterator[Finding]:
    if facts.rabbitmq and facts.rabbitmq.globally_prefetched:
        yield Finding(
            id="prefetch-global",
            level="bad",
            title="Workers end at their start: quorum queues take no global prefetch",
            evidence="worker_detect_quorum_queues is false; quorum: "
            f"{format_names(facts.rabbitmq.globally_prefetched)}",
            cure="Leave worker_detect_quorum_queues out.",
        )
