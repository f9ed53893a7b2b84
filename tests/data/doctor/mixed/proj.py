"""An old file, and one new line in it: Celery refuses to start."""

from celery import Celery

app = Celery("proj")
app.config_from_object("celeryconfig")


@app.task
def add(x, y):
    return x + y
