import os

CELERY_BROKER_URL = os.environ["PROJ_BROKER"]
CELERY_BACKEND_URL = os.environ["PROJ_BROKER"]
