"""A Django project whose Celery app was never told where Django's settings are."""

import os

from celery import Celery

app = Celery("proj", broker=os.environ["PROJ_BROKER"], backend=os.environ["PROJ_BROKER"])


@app.task
def count():
    from django.contrib.contenttypes.models import ContentType

    return ContentType.objects.count()
