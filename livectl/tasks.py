"""The tasks: what livectl's own workers know how to do."""

from __future__ import annotations

import os
import platform
from importlib.metadata import version
from typing import Any

from celery import Task, shared_task
from celery.utils.log import get_task_logger

from livectl import __version__

logger = get_task_logger(__name__)


# The answer is kept, unlike those of other tasks: a person asks for it to see that the whole way there and back works.
@shared_task(name="livectl.ping", ignore_result=False)
def ping() -> str:
    return "pong"


@shared_task(name="livectl.report", bind=True)
def report(self: Task) -> dict[str, Any]:
    """Who works here, with which versions; also a line of the worker's log."""
    versions = {"livectl": __version__, "celery": version("celery"), "python": platform.python_version()}
    told = {"worker": self.request.hostname, "pid": os.getpid(), **versions}
    logger.info("report: %s", ", ".join(f"{name} {value}" for name, value in told.items()))
    return told
