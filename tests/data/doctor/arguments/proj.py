"""The task got a second parameter; the schedule still gives one."""

import os

from celery import Celery

app = Celery("proj", broker=os.environ["PROJ_BROKER"], backend=os.environ["PROJ_BROKER"])
app.conf.beat_schedule = {"hourly": {"task": "proj.sync", "schedule": 3600.0, "args": ("a",)}}


@app.task
def sync(source, target):
    return source, target
