"""The pool is named in the settings, which are read when it is too late to patch anything."""

import os

from celery import Celery

app = Celery("proj", broker=os.environ["PROJ_BROKER"], backend=os.environ["PROJ_BROKER"])
app.conf.worker_pool = "gevent"


@app.task
def add(x, y):
    return x + y
