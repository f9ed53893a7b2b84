"""An app on RabbitMQ that has no Redis at all."""

import os

from celery import Celery

app = Celery("proj", broker=os.environ["PROJ_BROKER"], backend="rpc://", include=["proj.tasks"])
app.conf.update(task_default_queue_type="quorum", broker_transport_options={"confirm_publish": True})
app.conf.beat_schedule = {"every-second": {"task": "proj.tasks.add", "schedule": 1.0, "args": (16, 16)}}
