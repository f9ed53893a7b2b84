"""Renames old Celery settings in source files to the names that Celery reads today."""
