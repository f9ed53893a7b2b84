"""An app that was written for Celery 3."""

from celery import Celery

app = Celery("proj")
app.config_from_object("proj.celeryconfig")
