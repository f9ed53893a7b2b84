"""The code names a backend; CELERY_RESULT_BACKEND in the environment of the deployment names another one."""

import os

from celery import Celery

app = Celery("proj", broker=os.environ["PROJ_BROKER"], backend=os.environ["PROJ_BROKER"])


@app.task
def add(x, y):
    return x + y
