"""A plain app, as Celery's first steps make it."""

import os

from celery import Celery

app = Celery("proj", broker=os.environ["PROJ_BROKER"], backend=os.environ["PROJ_BROKER"], include=["proj.tasks"])
app.conf.result_expires = 3600
app.conf.beat_schedule = {"every-second": {"task": "proj.tasks.add", "schedule": 1.0, "args": (16, 16)}}
