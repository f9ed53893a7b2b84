"""Its settings, under their old names."""

import os
from datetime import timedelta

BROKER_URL = os.environ["PROJ_BROKER"]
CELERY_RESULT_BACKEND = os.environ["PROJ_BROKER"]
CELERY_IMPORTS = ("proj.tasks",)
CELERY_TASK_SERIALIZER = "json"
CELERY_TASK_RESULT_EXPIRES = 3600
CELERYD_CONCURRENCY = 2
CELERYBEAT_SCHEDULE = {
    "every-second": {"task": "proj.tasks.add", "schedule": timedelta(seconds=1), "args": (16, 16)},
}
