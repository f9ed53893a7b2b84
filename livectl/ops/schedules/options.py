"""Reads and checks the `options` of a schedule: what Celery's apply_async takes besides arguments."""

from __future__ import annotations

from datetime import datetime
from typing import TYPE_CHECKING, Any

from livectl import validation
from livectl.ops import task_signature
from livectl.ops.limits import partitions
from livectl.suggestions import did_you_mean
from livectl.task_settings import rule_for
from livectl.validation import quote

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from inspect import Signature

    from livectl.task_settings import TaskSettings
    from livectl.validation import FileLocation

    OptionReader = Callable[[FileLocation, Any], Any]


MAX_PRIORITY = 255
MAX_TASKS_SHOWN = 5  # task names in a hint at most
DELIVERY_MODES = ("transient", "persistent")
RETRY_NUMBERS = ("max_retries", "interval_start", "interval_step", "interval_max")
SIGNATURE_KEYS = ("task", "args", "kwargs", "options")
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


def read(location: FileLocation, value: Any) -> dict[str, Any]:
    """The options of an entry, as Celery takes them. Mistakes are noted at each option."""
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
    policy = validation.read_mapping(location, value)
    location.check_keys("key", policy, RETRY_NUMBERS)
    for key in RETRY_NUMBERS:
        number = policy.get(key)
        if number is not None and (not validation.is_number(number) or number < 0):
            unit = "tries" if key == "max_retries" else "seconds"
            location.child(key).add_mistake(f"{quote(number)} is no number of {unit}")
    return policy


def _read_callbacks(location: FileLocation, value: Any) -> list[dict[str, Any]]:
    """Tasks to send afterwards: one or a list, each a name or a mapping of task, args, kwargs and options."""
    if not isinstance(value, list):
        return [_read_signature(location, value)]
    return [_read_signature(location.child(index), item) for index, item in enumerate(value)]


def _read_signature(location: FileLocation, value: Any) -> dict[str, Any]:
    """A task and its arguments, in the shape that a worker reads as a Celery signature."""
    given = {"task": value} if isinstance(value, str) else validation.read_mapping(location, value)
    location.check_keys("key", given, SIGNATURE_KEYS)
    if not given.get("task"):
        location.add_mistake("no task to send", "proj.tasks.add, or {task: proj.tasks.add, args: [1]}")
    defaults: dict[str, Any] = {"args": [], "kwargs": {}, "options": {}, "subtask_type": None, "immutable": False}
    return defaults | given


OPTION_READERS: dict[str, OptionReader] = {
    "queue": validation.read_text,
    "priority": _read_priority,
    "expires": validation.read_duration,
    "countdown": validation.read_duration,
    "eta": _read_instant,
    "time_limit": validation.read_duration,
    "soft_time_limit": validation.read_duration,
    "headers": validation.read_mapping,
    "exchange": validation.read_text,
    "routing_key": validation.read_text,
    "serializer": validation.read_text,
    "compression": validation.read_text,
    "delivery_mode": _read_delivery_mode,
    "mandatory": validation.read_bool,
    "retry": validation.read_bool,
    "retry_policy": _read_retry_policy,
    "link": _read_callbacks,
    "link_error": _read_callbacks,
    "ignore_result": validation.read_bool,
    "shadow": validation.read_text,
    "argsrepr": validation.read_text,
    "kwargsrepr": validation.read_text,
    "reply_to": validation.read_text,
    "user_id": validation.read_text,
    "app_id": validation.read_text,
}


class KnownTasks(dict[str, Any]):
    """The tasks of an app by name, with what `tasks:` in livectl.yaml says of their jobs."""

    def __init__(self, tasks: Mapping[str, Any], settings: Mapping[str, TaskSettings]) -> None:
        super().__init__(tasks)
        self.settings = settings


class Refusals:
    """Why an app cannot run entries. Of entries with one task and as many arguments, one is looked at."""

    def __init__(self, tasks: Mapping[str, Any]) -> None:
        self._tasks = tasks
        self._known: dict[tuple[str, int, tuple[str, ...]], str] = {}

    def of(self, name: str, args: Sequence[Any], kwargs: Mapping[str, Any]) -> str:
        """As `refusal`: how many arguments there are and their keywords decide it, and not their values."""
        key = (name, len(args), tuple(kwargs))
        reason = self._known.get(key)
        if reason is None:
            reason = self._known[key] = refusal(name, args, kwargs, self._tasks)
        return reason


def refusal(name: str, args: Sequence[Any], kwargs: Mapping[str, Any], tasks: Mapping[str, Any]) -> str:
    """Why the app cannot run an entry: it lacks the task, or the task does not take the arguments; else empty."""
    if name not in tasks:
        return f'the app has no task "{name}" ({did_you_mean(name, tasks) or _task_names_hint(tasks)})'
    return task_signature.argument_error(name, tasks[name], args, kwargs) or _missing_argument(
        name, args, kwargs, tasks
    )


def _missing_argument(name: str, args: Sequence[Any], kwargs: Mapping[str, Any], tasks: Mapping[str, Any]) -> str:
    """Which argument a worker would miss by which it is to tell jobs of this task apart."""
    if isinstance(tasks, KnownTasks):
        settings, signature = rule_for(tasks.settings, name).settings, task_signature.read_signature(tasks[name])
        try:
            partitions.check_arguments(settings, name, args, kwargs, signature)
        except partitions.MissingArgumentError as error:
            return error.message
    return ""


def check_task(location: FileLocation, entry: Any, tasks: Mapping[str, Any]) -> None:
    """Notes a task that the app does not have, or arguments that the task does not take."""
    name = entry.get("task") if isinstance(entry, dict) else None
    if not name or not isinstance(name, str):
        return
    if name not in tasks:
        location.child("task").add_mistake(
            f'the app has no task "{name}"', did_you_mean(name, tasks) or _task_names_hint(tasks)
        )
        return
    args, kwargs = entry.get("args", []), entry.get("kwargs", {})
    if isinstance(args, list) and isinstance(kwargs, dict):
        told_before = len(location.mistakes)
        _check_arguments(location, name, tasks[name], args, kwargs)
        if len(location.mistakes) == told_before and (reason := _missing_argument(name, args, kwargs, tasks)):
            key = "args" if args else "kwargs" if kwargs else "task"
            location.child(key).add_mistake(reason, "give it that argument, or change `per` or `by` there")


def _check_arguments(location: FileLocation, name: str, task: Any, args: list[Any], kwargs: dict[str, Any]) -> None:
    signature = task_signature.read_signature(task)
    if signature is None:
        return
    unknown = task_signature.unknown_keywords(signature, kwargs)
    for keyword in unknown:
        hint = did_you_mean(keyword, signature.parameters)
        location.child("kwargs").child(keyword).add_mistake(f"{name}{signature} takes no such argument", hint, key=True)
    known_kwargs = {keyword: value for keyword, value in kwargs.items() if keyword not in unknown}
    if reason := task_signature.bind_error(signature, args, known_kwargs):
        key = "args" if args else "kwargs" if known_kwargs else "task"
        location.child(key).add_mistake(f"{name}{signature}: {_bind_reason(reason, signature, args)}")


def _bind_reason(reason: str, signature: Signature, args: list[Any]) -> str:
    """Python's reason; for too many arguments, with their number."""
    if "too many" not in reason:
        return reason
    return f"too many arguments: {len(args)} for {task_signature.count_positional(signature)}"


def _task_names_hint(tasks: Mapping[str, Any]) -> str:
    """A few of the app's own tasks."""
    own_tasks = sorted(name for name in tasks if not name.startswith("celery."))
    shown = (
        f"{', '.join(own_tasks[:MAX_TASKS_SHOWN])}{', …' if len(own_tasks) > MAX_TASKS_SHOWN else ''}"
        if own_tasks
        else "none of its own"
    )
    return f"it has {shown}; -A names another app"
