"""What apply_async takes besides arguments, and how a file spells each of them."""

from __future__ import annotations

from datetime import datetime
from typing import TYPE_CHECKING, Any

from livectl.ops.schedules import plain
from livectl.ops.schedules.spot import quoted

if TYPE_CHECKING:
    from collections.abc import Callable

    from livectl.ops.schedules.spot import Spot

    Reader = Callable[[Spot, Any], Any]

MAX_PRIORITY = 255
DELIVERY_MODES = ("transient", "persistent")
RETRY_NUMBERS = ("max_retries", "interval_start", "interval_step", "interval_max")
SIGNATURE_KEYS = ("task", "args", "kwargs", "options")


def read(spot: Spot, value: Any) -> dict[str, Any]:
    """The options, each as Celery takes it; what is wrong with any of them is noted at its place."""
    if not isinstance(value, dict):
        spot.wrong(f"{quoted(value)} is no mapping", "{queue: slow, priority: 5, expires: 30s}")
        return {}
    read: dict[str, Any] = {}
    for key, each in value.items():
        if key in READERS:
            read[key] = READERS[key](spot.into(key), each)
        elif key in REFUSED:
            spot.into(key).wrong("not for a schedule", REFUSED[key], key=True)
        else:
            spot.unknown("option", key, READERS)
    return read


def _priority(spot: Spot, value: Any) -> Any:
    if not isinstance(value, int) or isinstance(value, bool) or not 0 <= value <= MAX_PRIORITY:
        spot.wrong(f"{quoted(value)} is no priority", f"a number from 0 to 9, on RabbitMQ to {MAX_PRIORITY}")
    return value


def _instant(spot: Spot, value: Any) -> Any:
    try:
        zoned = datetime.fromisoformat(value).tzinfo is not None
    except (ValueError, TypeError):
        zoned = False
    if not zoned:
        spot.wrong(f"{quoted(value)} is no instant", "such as 2027-01-31T09:00:00Z")
    return value


def _delivery_mode(spot: Spot, value: Any) -> Any:
    if value not in (*DELIVERY_MODES, 1, 2):
        spot.wrong(f"{quoted(value)} is no delivery mode", " or ".join(DELIVERY_MODES))
    return value


def _retry_policy(spot: Spot, value: Any) -> dict[str, Any]:
    policy = plain.mapping(spot, value)
    for key, number in policy.items():
        if key not in RETRY_NUMBERS:
            spot.unknown("key", key, RETRY_NUMBERS)
        elif number is not None and (not plain.is_number(number) or number < 0):
            spot.into(key).wrong(f"{quoted(number)} is no number of {_unit(key)}")
    return policy


def _unit(key: str) -> str:
    return "tries" if key == "max_retries" else "seconds"


def _callbacks(spot: Spot, value: Any) -> list[dict[str, Any]]:
    """Tasks sent afterwards: names, or mappings of task, args, kwargs and options; one or a list."""
    if not isinstance(value, list):
        return [_signature(spot, value)]
    return [_signature(spot.into(index), each) for index, each in enumerate(value)]


def _signature(spot: Spot, value: Any) -> dict[str, Any]:
    """A task and its arguments, in the shape that a worker makes a Celery signature of."""
    given = {"task": value} if isinstance(value, str) else plain.mapping(spot, value)
    for key in given:
        if key not in SIGNATURE_KEYS:
            spot.unknown("key", key, SIGNATURE_KEYS)
    if not given.get("task"):
        spot.wrong("no task to send", "proj.tasks.add, or {task: proj.tasks.add, args: [1]}")
    empty: dict[str, Any] = {"args": [], "kwargs": {}, "options": {}, "subtask_type": None, "immutable": False}
    return empty | given


READERS: dict[str, Reader] = {
    "queue": plain.text,
    "priority": _priority,
    "expires": plain.duration,
    "countdown": plain.duration,
    "eta": _instant,
    "time_limit": plain.duration,
    "soft_time_limit": plain.duration,
    "headers": plain.mapping,
    "exchange": plain.text,
    "routing_key": plain.text,
    "serializer": plain.text,
    "compression": plain.text,
    "delivery_mode": _delivery_mode,
    "mandatory": plain.switch,
    "retry": plain.switch,
    "retry_policy": _retry_policy,
    "link": _callbacks,
    "link_error": _callbacks,
    "ignore_result": plain.switch,
    "shadow": plain.text,
    "argsrepr": plain.text,
    "kwargsrepr": plain.text,
    "reply_to": plain.text,
    "user_id": plain.text,
    "app_id": plain.text,
}

OF_THE_RUN = "each run names itself"
IN_CODE = "only code can give it"
REFUSED: dict[str, str] = {
    "task_id": OF_THE_RUN,
    "correlation_id": OF_THE_RUN,
    "message_id": OF_THE_RUN,
    "root_id": OF_THE_RUN,
    "parent_id": OF_THE_RUN,
    "group_id": OF_THE_RUN,
    "group_index": OF_THE_RUN,
    "retries": OF_THE_RUN,
    "expiration": "say expires",
    "chain": IN_CODE,
    "chord": IN_CODE,
    "connection": IN_CODE,
    "producer": IN_CODE,
    "publisher": IN_CODE,
    "add_to_parent": "a schedule has no parent",
    "args": "it belongs beside task, not under options",
    "kwargs": "it belongs beside task, not under options",
}
