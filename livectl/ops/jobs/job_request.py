"""Reads the request for a job from a command line: its task, arguments and options."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any, TypedDict

import msgspec

from livectl.errors import SettingsError, UsageError
from livectl.ops.protocol.message import parse_time
from livectl.units import parse_duration

if TYPE_CHECKING:
    from collections.abc import Mapping


# What Celery writes into the headers of a job, and livectl.
OWN_HEADERS = frozenset(
    (
        *("lang", "task", "id", "shadow", "eta", "expires", "group", "group_index", "retries", "timelimit"),
        *("root_id", "parent_id", "argsrepr", "kwargsrepr", "origin", "ignore_result", "replaced_task_nesting"),
        *("stamped_headers", "stamps", "compression", "sent"),
    )
)


class JobStep(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A job that follows another: it is given the result of that first, unless it is immutable."""

    task: str
    args: tuple[Any, ...] = ()
    kwargs: dict[str, Any] = {}
    queue: str | None = None
    priority: int | None = None
    immutable: bool = False


class JobRequest(msgspec.Struct, frozen=True, kw_only=True):
    """A job to be sent."""

    task: str
    args: tuple[Any, ...] = ()
    kwargs: dict[str, Any] = {}
    queue: str | None = None
    priority: int | None = None
    eta: datetime | None = None
    expires: datetime | None = None
    chain: tuple[JobStep, ...] = ()  # one after the other, once it succeeded
    link: tuple[JobStep, ...] = ()  # all at once, once it succeeded
    link_error: tuple[JobStep, ...] = ()  # once it failed
    serializer: str | None = None
    exchange: str | None = None
    routing_key: str | None = None
    headers: dict[str, Any] = {}


class JobOptions(TypedDict):
    """Where a job is sent, and when it may run."""

    queue: str | None
    priority: int | None
    eta: datetime | None
    expires: datetime | None


def read_request(options: Mapping[str, Any], steps: Mapping[str, tuple[JobStep, ...]]) -> JobRequest:
    """Reads the options of `livectl call`, and takes over what follows by its kind.

    Arguments are JSON where they can be, and text otherwise.
    """
    if not options["task"]:
        raise UsageError("which task?", "Write its name: livectl call livectl.ping")
    if options["queue"] and (options["exchange"] or options["routing_key"]):
        raise UsageError("both --queue and an exchange or routing key", "Say one: a queue has an exchange and a key.")
    return JobRequest(
        task=options["task"],
        args=tuple(parse_argument(word) for word in options["args"]),
        kwargs=_parse_kwargs(options["kwargs"]),
        serializer=options["serializer"],
        exchange=options["exchange"],
        routing_key=options["routing_key"],
        headers=_parse_headers(options["headers"]),
        **steps,
        **read_job_options(options),
    )


def _parse_headers(words: tuple[str, ...]) -> dict[str, Any]:
    headers = {}
    for word in words:
        name, equals, value = word.partition("=")
        if not (name and equals):
            raise UsageError(f"--header {word} has no value", "Write --header tenant=ada.")
        if name in OWN_HEADERS:
            raise UsageError(f"--header {name}: Celery has a header of that name itself", "Choose another name.")
        headers[name] = parse_argument(value)
    return headers


def read_job_options(options: Mapping[str, Any]) -> JobOptions:
    """Reads --queue, --priority, --in, --at and --expires."""
    now = datetime.now(UTC)
    return JobOptions(
        queue=options["queue"],
        priority=options["priority"],
        eta=_parse_eta(options["delay"], options["at"], now),
        expires=now + parse_duration_option("--expires", options["expires"]) if options["expires"] else None,
    )


TOO_DEEP = "nested deeper than any job can be"


def parse_argument(text: str) -> Any:
    """The JSON value, or the text itself if it is no JSON."""
    try:
        return msgspec.json.decode(text)
    except RecursionError as error:
        raise UsageError(TOO_DEEP, "Is a bracket not closed?") from error
    except msgspec.DecodeError:
        return text


def _parse_kwargs(text: str | None) -> dict[str, Any]:
    if not text:
        return {}
    value = parse_argument(text)
    if not isinstance(value, dict):
        raise UsageError("--kwargs is no JSON object", """Write --kwargs '{"name": "Ada"}'.""")
    return value


def _parse_eta(delay: str | None, at: str | None, now: datetime) -> datetime | None:
    if delay and at:
        raise UsageError("both --in and --at", "Say one of the two.")
    if delay:
        return now + parse_duration_option("--in", delay)
    if not at:
        return None
    eta = parse_time(at)
    if eta is None:
        raise UsageError(f"--at {at} is no time", "Write it like 2027-01-31T09:00:00Z.")
    return eta


def parse_duration_option(option: str, text: str) -> timedelta:
    """Reads the duration of an option. Raises UsageError: the mistake is on the command line, and in no file."""
    try:
        return timedelta(seconds=parse_duration(text))
    except SettingsError as error:
        raise UsageError(f"{option} {text}: {error.message}", error.hint) from error
