"""Knows the streamers and the platforms they stream on, and nothing of Celery."""
