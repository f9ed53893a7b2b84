"""livectl's own worker in a world whose clock a test moves: `celery -A tests.support.fast_worker worker`.

Only the edge is changed, where tasks and what sends alerts read the clock: an end that takes two minutes to be
believed takes two steps.
"""

from __future__ import annotations

import os
from pathlib import Path
from types import SimpleNamespace

from livectl import alert_sending, tasks
from livectl.celeryapp import app

__all__ = ["app"]

CLOCK = Path(os.environ["TESTS_CLOCK"])


def read() -> float:
    return float(CLOCK.read_text())


for module in (tasks, alert_sending):
    vars(module)["time"] = SimpleNamespace(time=read)
