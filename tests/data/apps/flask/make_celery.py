"""Where -A finds the app."""

from shop import create_app, tasks  # noqa: F401 - tasks register themselves

site = create_app()
app = site.extensions["celery"]
