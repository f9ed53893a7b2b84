"""Carries messages on Redis so that none is only in the memory of a worker, and none is sent twice unnoticed.

An app's own programs have it by one line of Celery's settings: `broker_transport = "livectl.ops.transport:Transport"`.
"""

from typing import Any


def __getattr__(name: str) -> Any:
    """Makes the class on first use: it needs kombu, which takes its time."""
    if name not in ("Transport", "SentinelTransport"):
        message = f"module {__name__!r} has no attribute {name!r}"
        raise AttributeError(message)
    from livectl.ops.transport import safe_transport

    return getattr(safe_transport, name)
