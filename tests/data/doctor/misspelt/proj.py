"""One letter short: the worker takes as many jobs as there are processors, and nobody says why."""

import os

from celery import Celery

app = Celery("proj", broker=os.environ["PROJ_BROKER"], backend=os.environ["PROJ_BROKER"])
app.conf.update(worker_concurency=2)


@app.task
def add(x, y):
    return x + y
