"""Lists what options of a Celery worker can say: the pools that run its jobs, and how much it logs."""

from __future__ import annotations

from typing import Literal, TypeAlias, get_args

Pool: TypeAlias = Literal["prefork", "threads", "eventlet", "gevent", "solo"]

POOLS: tuple[Pool, ...] = get_args(Pool)
LOG_LEVELS = ("DEBUG", "INFO", "WARNING", "ERROR", "CRITICAL", "FATAL")
GREEN_POOLS: tuple[Pool, ...] = ("gevent", "eventlet")
