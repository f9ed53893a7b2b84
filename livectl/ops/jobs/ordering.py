"""The words of a command line, read as the order for a job."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import msgspec

from livectl.config import parse_duration
from livectl.errors import SettingsError, UsageError
from livectl.ops.jobs.desk import Order
from livectl.ops.jobs.message import instant

if TYPE_CHECKING:
    from collections.abc import Mapping


def read(words: Mapping[str, Any]) -> Order:
    """Arguments are JSON where they can be."""
    if not words["task"]:
        raise UsageError("which task?", "Write its name: livectl call livectl.ping")
    now = datetime.now(UTC)
    return Order(
        task=words["task"],
        args=tuple(argument(word) for word in words["args"]),
        kwargs=_kwargs(words["kwargs"]),
        queue=words["queue"],
        priority=words["priority"],
        eta=_eta(words["delay"], words["at"], now),
        expires=now + duration("--expires", words["expires"]) if words["expires"] else None,
    )


def argument(word: str) -> Any:
    try:
        return msgspec.json.decode(word)
    except msgspec.DecodeError:
        return word


def _kwargs(text: str | None) -> dict[str, Any]:
    if not text:
        return {}
    found = argument(text)
    if not isinstance(found, dict):
        raise UsageError("--kwargs is no JSON object", """Write --kwargs '{"name": "Ada"}'.""")
    return found


def _eta(delay: str | None, at: str | None, now: datetime) -> datetime | None:
    if delay and at:
        raise UsageError("both --in and --at", "Say one of the two.")
    if delay:
        return now + duration("--in", delay)
    if not at:
        return None
    found = instant(at)
    if found is None:
        raise UsageError(f"--at {at} is no time", "Write it like 2027-01-31T09:00:00Z.")
    return found


def duration(option: str, text: str) -> timedelta:
    """What an option says of time; a mistake in it is one of the command line, and of no file."""
    try:
        return timedelta(seconds=parse_duration(text))
    except SettingsError as error:
        raise UsageError(f"{option} {text}: {error.message}", error.hint) from error
