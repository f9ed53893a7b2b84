"""What apply_async takes besides arguments, and how a file spells each of them."""

from __future__ import annotations

from datetime import datetime
from typing import TYPE_CHECKING, Any

from livectl.ops.schedules import plain
from livectl.ops.schedules.spot import quote

if TYPE_CHECKING:
    from collections.abc import Callable

    from livectl.ops.schedules.spot import FileLocation

    OptionReader = Callable[[FileLocation, Any], Any]

MAX_PRIORITY = 255
DELIVERY_MODES = ("transient", "persistent")
RETRY_NUMBERS = ("max_retries", "interval_start", "interval_step", "interval_max")
SIGNATURE_KEYS = ("task", "args", "kwargs", "options")


def read(location: FileLocation, value: Any) -> dict[str, Any]:
    """The options, each as Celery takes it; what is wrong with any of them is noted at its place."""
    if not isinstance(value, dict):
        location.add_mistake(f"{quote(value)} is no mapping", "{queue: slow, priority: 5, expires: 30s}")
        return {}
    options: dict[str, Any] = {}
    for key, option in value.items():
        if key in OPTION_READERS:
            options[key] = OPTION_READERS[key](location.child(key), option)
        elif key in REFUSED_OPTIONS:
            location.child(key).add_mistake("not for a schedule", REFUSED_OPTIONS[key], key=True)
        else:
            location.add_unknown("option", key, OPTION_READERS)
    return options


def _read_priority(location: FileLocation, value: Any) -> Any:
    if not isinstance(value, int) or isinstance(value, bool) or not 0 <= value <= MAX_PRIORITY:
        location.add_mistake(f"{quote(value)} is no priority", f"a number from 0 to 9, on RabbitMQ to {MAX_PRIORITY}")
    return value


def _read_instant(location: FileLocation, value: Any) -> Any:
    try:
        has_zone = datetime.fromisoformat(value).tzinfo is not None
    except (ValueError, TypeError):
        has_zone = False
    if not has_zone:
        location.add_mistake(f"{quote(value)} is no instant", "such as 2027-01-31T09:00:00Z")
    return value


def _read_delivery_mode(location: FileLocation, value: Any) -> Any:
    if value not in (*DELIVERY_MODES, 1, 2):
        location.add_mistake(f"{quote(value)} is no delivery mode", " or ".join(DELIVERY_MODES))
    return value


def _read_retry_policy(location: FileLocation, value: Any) -> dict[str, Any]:
    policy = plain.read_mapping(location, value)
    for key, number in policy.items():
        if key not in RETRY_NUMBERS:
            location.add_unknown("key", key, RETRY_NUMBERS)
        elif number is not None and (not plain.is_number(number) or number < 0):
            location.child(key).add_mistake(f"{quote(number)} is no number of {_retry_unit(key)}")
    return policy


def _retry_unit(key: str) -> str:
    return "tries" if key == "max_retries" else "seconds"


def _read_callbacks(location: FileLocation, value: Any) -> list[dict[str, Any]]:
    """Tasks sent afterwards: names, or mappings of task, args, kwargs and options; one or a list."""
    if not isinstance(value, list):
        return [_read_signature(location, value)]
    return [_read_signature(location.child(index), item) for index, item in enumerate(value)]


def _read_signature(location: FileLocation, value: Any) -> dict[str, Any]:
    """A task and its arguments, in the shape that a worker makes a Celery signature of."""
    given = {"task": value} if isinstance(value, str) else plain.read_mapping(location, value)
    for key in given:
        if key not in SIGNATURE_KEYS:
            location.add_unknown("key", key, SIGNATURE_KEYS)
    if not given.get("task"):
        location.add_mistake("no task to send", "proj.tasks.add, or {task: proj.tasks.add, args: [1]}")
    defaults: dict[str, Any] = {"args": [], "kwargs": {}, "options": {}, "subtask_type": None, "immutable": False}
    return defaults | given


OPTION_READERS: dict[str, OptionReader] = {
    "queue": plain.read_text,
    "priority": _read_priority,
    "expires": plain.read_duration,
    "countdown": plain.read_duration,
    "eta": _read_instant,
    "time_limit": plain.read_duration,
    "soft_time_limit": plain.read_duration,
    "headers": plain.read_mapping,
    "exchange": plain.read_text,
    "routing_key": plain.read_text,
    "serializer": plain.read_text,
    "compression": plain.read_text,
    "delivery_mode": _read_delivery_mode,
    "mandatory": plain.read_bool,
    "retry": plain.read_bool,
    "retry_policy": _read_retry_policy,
    "link": _read_callbacks,
    "link_error": _read_callbacks,
    "ignore_result": plain.read_bool,
    "shadow": plain.read_text,
    "argsrepr": plain.read_text,
    "kwargsrepr": plain.read_text,
    "reply_to": plain.read_text,
    "user_id": plain.read_text,
    "app_id": plain.read_text,
}

SET_BY_RUN_HINT = "each run names itself"
CODE_ONLY_HINT = "only code can give it"
REFUSED_OPTIONS: dict[str, str] = {
    "task_id": SET_BY_RUN_HINT,
    "correlation_id": SET_BY_RUN_HINT,
    "message_id": SET_BY_RUN_HINT,
    "root_id": SET_BY_RUN_HINT,
    "parent_id": SET_BY_RUN_HINT,
    "group_id": SET_BY_RUN_HINT,
    "group_index": SET_BY_RUN_HINT,
    "retries": SET_BY_RUN_HINT,
    "expiration": "say expires",
    "chain": CODE_ONLY_HINT,
    "chord": CODE_ONLY_HINT,
    "connection": CODE_ONLY_HINT,
    "producer": CODE_ONLY_HINT,
    "publisher": CODE_ONLY_HINT,
    "add_to_parent": "a schedule has no parent",
    "args": "it belongs beside task, not under options",
    "kwargs": "it belongs beside task, not under options",
}
