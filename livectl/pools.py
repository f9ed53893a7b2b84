"""Lists the pools that a Celery worker can run its jobs in."""

from __future__ import annotations

from typing import Literal, TypeAlias, get_args

Pool: TypeAlias = Literal["prefork", "threads", "eventlet", "gevent", "solo"]

POOLS: tuple[Pool, ...] = get_args(Pool)
GREEN_POOLS: tuple[Pool, ...] = ("gevent", "eventlet")
