"""Runs any Celery app; knows nothing of streamers."""
