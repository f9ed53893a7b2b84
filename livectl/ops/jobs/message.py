"""A Celery message as it lies in a Redis list: what it says of itself, read without Celery."""

from __future__ import annotations

import base64
import binascii
from datetime import UTC, datetime
from typing import Any

import msgspec

from livectl.ops.jobs.redaction import redact, redact_text

JSON = "application/json"
PROTOCOL_2_PARTS = 3  # of a body: args, kwargs, what comes after


class Message(msgspec.Struct, frozen=True, kw_only=True):
    """One sending of a task, as far as its message tells."""

    id: str = ""
    task: str = ""
    args: Any = None  # redacted; a list, or the text that the sender made of them
    kwargs: Any = None
    queue: str = ""
    priority: int = 0
    eta: datetime | None = None
    sent: datetime | None = None
    retries: int = 0
    group: str = ""
    redelivered: bool = False


def read(raw: bytes) -> Message:
    """What a message says; whatever is malformed in it is left out."""
    return describe(decode(raw))


def decode(raw: bytes) -> dict[str, Any]:
    try:
        found = msgspec.json.decode(raw)
    except msgspec.DecodeError:
        return {}
    return found if isinstance(found, dict) else {}


def describe(envelope: dict[str, Any]) -> Message:
    headers, properties = _part(envelope, "headers"), _part(envelope, "properties")
    delivery = _part(properties, "delivery_info")
    said = headers if headers.get("task") else _protocol_1(envelope)
    args, kwargs = _arguments(envelope, said)
    return Message(
        id=_text(said.get("id") or properties.get("correlation_id")),
        task=_text(said.get("task")),
        args=args,
        kwargs=kwargs,
        queue=_text(delivery.get("routing_key")),
        priority=_number(properties.get("priority")),
        eta=instant(said.get("eta")),
        sent=instant(headers.get("sent")),
        retries=_number(said.get("retries")),
        group=_text(headers.get("group")),
        redelivered=bool(headers.get("redelivered") or delivery.get("redelivered")),
    )


def body_of(envelope: dict[str, Any]) -> Any:
    """The decoded body, when it is JSON; None otherwise. Nothing is ever unpickled."""
    if envelope.get("content-type") != JSON or not isinstance(envelope.get("body"), str):
        return None
    text: str = envelope["body"]
    try:
        encoded = _part(envelope, "properties").get("body_encoding") == "base64"
        return msgspec.json.decode(base64.b64decode(text) if encoded else text)
    except (msgspec.DecodeError, binascii.Error, ValueError):
        return None


def instant(said: Any) -> datetime | None:
    """A time as messages and results spell it: ISO 8601 (UTC where no zone is named), or seconds since the epoch."""
    try:
        if isinstance(said, int | float) and not isinstance(said, bool):
            return datetime.fromtimestamp(said, UTC)
        if not isinstance(said, str) or not said:
            return None
        read_at = datetime.fromisoformat(said)
    except (ValueError, OverflowError, OSError):
        return None
    return read_at.replace(tzinfo=UTC) if read_at.tzinfo is None else read_at.astimezone(UTC)


def _arguments(envelope: dict[str, Any], said: dict[str, Any]) -> tuple[Any, Any]:
    body = body_of(envelope)
    if isinstance(body, list) and len(body) == PROTOCOL_2_PARTS:
        return redact(body[0]), redact(body[1])
    if isinstance(body, dict):
        return redact(body.get("args")), redact(body.get("kwargs"))
    return _shown(said.get("argsrepr")), _shown(said.get("kwargsrepr"))


def _protocol_1(envelope: dict[str, Any]) -> dict[str, Any]:
    body = body_of(envelope)
    return body if isinstance(body, dict) else {}


def _part(whole: dict[str, Any], name: str) -> dict[str, Any]:
    part = whole.get(name)
    return part if isinstance(part, dict) else {}


def _text(said: Any) -> str:
    return said if isinstance(said, str) else ""


def _shown(said: Any) -> str | None:
    return redact_text(said) if isinstance(said, str) else None


def _number(said: Any) -> int:
    return said if isinstance(said, int) and not isinstance(said, bool) else 0
