"""The task was renamed, the schedule was not: sent for ever, thrown away each time."""

import os

from celery import Celery

app = Celery("proj", broker=os.environ["PROJ_BROKER"], backend=os.environ["PROJ_BROKER"])
app.conf.beat_schedule = {"nightly": {"task": "proj.clean_up", "schedule": 86_400.0}}


@app.task
def cleanup():
    return None
