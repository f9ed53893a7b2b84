"""How Celery and kombu lay messages and results out on a Redis: every name depends on the app's settings."""

from __future__ import annotations

from bisect import bisect
from typing import TYPE_CHECKING, Any

import msgspec

if TYPE_CHECKING:
    from collections.abc import Mapping


# kombu's and Celery's own defaults
PRIORITY_STEPS = (0, 3, 6, 9)
SEPARATOR = "\x06\x16"
VISIBILITY_TIMEOUT = 3600.0  # seconds until an unacknowledged message is given to another worker
DEFAULT_QUEUE = "celery"
RESULT_PREFIX = "celery-task-meta-"
GROUP_PREFIX = "celery-taskset-meta-"
OWN_VISIBILITY_TIMEOUT = 120  # of livectl's own app, whose jobs end within 60 s
PREFIX_SEPARATORS = ":_-."  # Celery adds a "_" to a prefix of results that ends otherwise


class KeyLayout(msgspec.Struct, frozen=True, kw_only=True):
    """The names of one app: its lists, hashes and channels."""

    steps: tuple[int, ...] = PRIORITY_STEPS
    separator: str = SEPARATOR
    prefix: str = ""
    unacked: str = "unacked"
    unacked_index: str = "unacked_index"
    visibility_timeout: float = VISIBILITY_TIMEOUT
    fanout: str = "/{db}."
    control: str = "celery"
    default_queue: str = DEFAULT_QUEUE
    queues: tuple[str, ...] = ()  # that the settings name
    result_prefix: str = ""

    def list_key(self, queue: str, priority: int) -> str:
        """The list that holds a queue's messages of a priority."""
        step = self.steps[bisect(self.steps, priority) - 1]
        return f"{self.prefix}{queue}{self.separator}{step}" if step else f"{self.prefix}{queue}"

    def list_keys(self, queue: str) -> tuple[str, ...]:
        """All lists of a queue, the one that is emptied first first."""
        return tuple(self.list_key(queue, step) for step in self.steps)

    def bindings_key(self, exchange: str) -> str:
        return f"{self.prefix}_kombu.binding.{exchange}"

    @property
    def binding_deadlines_key(self) -> str:
        return f"{self.prefix}_kombu.binding_deadlines"

    @property
    def unacked_key(self) -> str:
        return self.prefix + self.unacked

    @property
    def unacked_index_key(self) -> str:
        return self.prefix + self.unacked_index

    def control_channel(self, database: int) -> str:
        """Where questions to all workers are published."""
        return f"{self.prefix}{self.fanout.format(db=database)}{self.control}.pidbox"

    @property
    def reply_exchange(self) -> str:
        return f"reply.{self.control}.pidbox"

    def result_key(self, job_id: str) -> str:
        return f"{self.result_prefix}{RESULT_PREFIX}{job_id}"

    def group_key(self, group_id: str) -> str:
        return f"{self.result_prefix}{GROUP_PREFIX}{group_id}"


def layout_from_settings(settings: Mapping[str, Any], queues: tuple[str, ...] = ()) -> KeyLayout:
    """The layout that an app's settings ask for."""
    options: Mapping[str, Any] = settings.get("broker_transport_options") or {}
    steps = tuple(int(step) for step in options.get("priority_steps") or PRIORITY_STEPS)
    default_queue = settings.get("task_default_queue") or DEFAULT_QUEUE
    return KeyLayout(
        steps=steps,
        separator=options.get("sep", SEPARATOR),
        prefix=options.get("global_keyprefix", ""),
        unacked=options.get("unacked_key", "unacked"),
        unacked_index=options.get("unacked_index_key", "unacked_index"),
        visibility_timeout=float(options.get("visibility_timeout", VISIBILITY_TIMEOUT)),
        fanout=_fanout_prefix(options.get("fanout_prefix", True)),
        control=settings.get("control_exchange") or "celery",
        default_queue=default_queue,
        queues=queues or (default_queue,),
        result_prefix=_result_prefix(settings.get("result_backend_transport_options") or {}),
    )


def _fanout_prefix(option: str | bool) -> str:  # noqa: FBT001 - kombu's own option is a switch or a text
    if isinstance(option, str):
        return option
    return "/{db}." if option else ""


def _result_prefix(options: Mapping[str, Any]) -> str:
    prefix = str(options.get("global_keyprefix") or "")
    return prefix if not prefix or prefix[-1] in PREFIX_SEPARATORS else f"{prefix}_"
