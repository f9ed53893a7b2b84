"""Run Celery well, and know which of the streamers you follow is live."""

__version__ = "0.2.0.dev0"
