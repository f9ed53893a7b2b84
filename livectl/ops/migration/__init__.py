"""Old Celery settings to new ones, in the source files of a project one does not know."""
