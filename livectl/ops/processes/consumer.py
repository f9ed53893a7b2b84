"""The consumer of livectl's own workers on RabbitMQ, which the setting `worker_consumer` names."""

from __future__ import annotations

from celery.worker import consumer


class Consumer(consumer.Consumer):  # type: ignore[misc]
    """Celery's, but it declares nothing for delayed delivery.

    The names of those 28 queues and their exchanges are the same for every app on a RabbitMQ, and their type is fixed
    by whoever comes first. livectl's queue has a direct exchange, which delayed delivery does not work with.
    """

    class Blueprint(consumer.Consumer.Blueprint):  # type: ignore[misc]
        default_steps = tuple(step for step in consumer.Consumer.Blueprint.default_steps if "delayed" not in step)
