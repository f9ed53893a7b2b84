"""CELERY_BACKEND_URL is what many write, and nobody reads: AsyncResult raises about DisabledBackend."""

from celery import Celery

app = Celery("proj")
app.config_from_object("site_settings", namespace="CELERY")


@app.task
def add(x, y):
    return x + y
