"""Schedules from and to what others keep them in: Celery's Python, django-celery-beat, crontab(5)."""
