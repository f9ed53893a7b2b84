"""A Flask site with a factory; its tasks run inside the app context, as Flask's manual shows."""

import os

from celery import Celery, Task
from flask import Flask


def create_app():
    site = Flask("shop")
    site.config["GREETING"] = "hello"
    site.config["CELERY"] = {
        "broker_url": os.environ["PROJ_BROKER"],
        "result_backend": os.environ["PROJ_BROKER"],
        "beat_schedule": {"every-second": {"task": "shop.tasks.greet", "schedule": 1.0, "args": ("all",)}},
    }
    site.extensions["celery"] = celery_of(site)
    return site


def celery_of(site):
    class InContext(Task):
        def __call__(self, *args, **kwargs):
            with site.app_context():
                return self.run(*args, **kwargs)

    celery = Celery(site.name, task_cls=InContext)
    celery.config_from_object(site.config["CELERY"])
    celery.set_default()
    return celery
