"""Celery's consumer without what it declares on RabbitMQ for nothing; a setting, `worker_consumer`, names it."""

from __future__ import annotations

from typing import Any

from celery.worker import consumer


class FrugalConsumer(consumer.Consumer):  # type: ignore[misc]
    """It declares the queues of delayed delivery only where a queue of the app can be reached by them.

    Their names are the same for every app on a RabbitMQ, and their type is fixed by whoever comes first. Celery sends
    nothing by them to a direct exchange, which is the usual one and livectl's own.
    """

    def __init__(self, *args: Any, app: Any = None, **options: Any) -> None:
        if all(queue.exchange.type == "direct" for queue in app.amqp.queues.values() if queue.exchange):
            self.Blueprint = BlueprintWithoutDelayedDelivery
        super().__init__(*args, app=app, **options)


class BlueprintWithoutDelayedDelivery(consumer.Consumer.Blueprint):  # type: ignore[misc]
    default_steps = tuple(step for step in consumer.Consumer.Blueprint.default_steps if "delayed" not in step)
