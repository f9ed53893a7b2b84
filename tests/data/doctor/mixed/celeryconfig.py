import os

BROKER_URL = os.environ["PROJ_BROKER"]
CELERY_RESULT_BACKEND = os.environ["PROJ_BROKER"]
task_acks_late = True
