"""Mail is routed to a queue of its own, and the worker was started without it."""

import os

from celery import Celery

app = Celery("proj", broker=os.environ["PROJ_BROKER"], backend=os.environ["PROJ_BROKER"])
app.conf.task_routes = {"proj.send_mail": {"queue": "mail"}}


@app.task
def send_mail(to):
    return to
