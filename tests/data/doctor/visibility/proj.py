"""A report takes half an hour; after ten minutes the broker gives it to somebody else as well."""

import os

from celery import Celery

app = Celery("proj", broker=os.environ["PROJ_BROKER"], backend=os.environ["PROJ_BROKER"])
app.conf.broker_transport_options = {"visibility_timeout": 600}


@app.task(acks_late=True, time_limit=1800)
def report():
    return None
