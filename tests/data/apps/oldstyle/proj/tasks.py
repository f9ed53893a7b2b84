"""Its tasks."""

from proj.celery import app


@app.task
def add(x, y):
    return x + y


@app.task
def fail():
    raise ValueError("out of luck")
