"""Tasks that need Django's models."""

from celery import shared_task


@shared_task
def count():
    from jobs.models import Visit

    return Visit._meta.label


@shared_task
def fail():
    raise ValueError("out of luck")
