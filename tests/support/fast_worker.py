"""livectl's own worker in a world where time flies: `celery -A tests.support.fast_worker worker`.

Only the edge is changed, where tasks read the clock: an end that takes two minutes to be believed takes seconds.
"""

from __future__ import annotations

import os
import time
from types import SimpleNamespace

from livectl import tasks
from livectl.celeryapp import app

__all__ = ["app"]

BEGAN, SPEED = (float(word) for word in os.environ["TESTS_CLOCK"].split())


def flown() -> float:
    return BEGAN + (time.time() - BEGAN) * SPEED


vars(tasks)["time"] = SimpleNamespace(time=flown)
