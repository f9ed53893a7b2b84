"""A setting of the tests that came along into production."""

import os

from celery import Celery

app = Celery("proj", broker=os.environ["PROJ_BROKER"], backend=os.environ["PROJ_BROKER"])
app.conf.task_always_eager = True


@app.task
def add(x, y):
    return x + y
