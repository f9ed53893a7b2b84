"""Streamers and the platforms they stream on; knows nothing of Celery."""
