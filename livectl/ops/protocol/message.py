"""Reads Celery's messages as they lie in a Redis list, without Celery."""

from __future__ import annotations

import base64
import binascii
from datetime import UTC, datetime
from typing import Any

import msgspec

from livectl.redaction import redact, redact_text

JSON_CONTENT_TYPE = "application/json"
PROTOCOL_2_BODY_PARTS = 3  # args, kwargs, and what to do afterwards


class JobMessage(msgspec.Struct, frozen=True, kw_only=True):
    """A job, as far as its message tells."""

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


def read(raw: bytes) -> JobMessage:
    """The job of a message; what is malformed in the message is left out."""
    return from_envelope(decode(raw))


def decode(raw: bytes) -> dict[str, Any]:
    """The envelope of a message; empty for what is no message."""
    try:
        envelope = msgspec.json.decode(raw)
    except msgspec.DecodeError:
        return {}
    return envelope if isinstance(envelope, dict) else {}


def from_envelope(envelope: dict[str, Any]) -> JobMessage:
    """The job of a decoded message."""
    headers, properties = _dict_field(envelope, "headers"), _dict_field(envelope, "properties")
    delivery_info = _dict_field(properties, "delivery_info")
    task_headers = headers if headers.get("task") else _protocol_1(envelope)
    args, kwargs = _redacted_arguments(envelope, task_headers)
    return JobMessage(
        id=_text(task_headers.get("id") or properties.get("correlation_id")),
        task=_text(task_headers.get("task")),
        args=args,
        kwargs=kwargs,
        queue=_text(delivery_info.get("routing_key")),
        priority=_int_or_zero(properties.get("priority")),
        eta=parse_time(task_headers.get("eta")),
        sent=parse_time(headers.get("sent")),
        retries=_int_or_zero(task_headers.get("retries")),
        group=_text(headers.get("group")),
        redelivered=bool(headers.get("redelivered") or delivery_info.get("redelivered")),
    )


def readdress(envelope: dict[str, Any], queue: str) -> bytes:
    """The text of a message that is to lie in this queue. Its job sends its retries there, too."""
    properties = _dict_field(envelope, "properties")
    delivery_info = {**_dict_field(properties, "delivery_info"), "exchange": queue, "routing_key": queue}
    return msgspec.json.encode({**envelope, "properties": {**properties, "delivery_info": delivery_info}})


def decode_body(envelope: dict[str, Any]) -> Any:
    """The decoded body, if it is JSON; None otherwise. Nothing is ever unpickled."""
    if envelope.get("content-type") != JSON_CONTENT_TYPE or not isinstance(envelope.get("body"), str):
        return None
    text: str = envelope["body"]
    try:
        encoded = _dict_field(envelope, "properties").get("body_encoding") == "base64"
        return msgspec.json.decode(base64.b64decode(text) if encoded else text)
    except (msgspec.DecodeError, binascii.Error, ValueError):
        return None


def parse_time(value: Any) -> datetime | None:
    """Reads a time of a message or result: ISO 8601 (UTC where no zone is named), or seconds since the epoch."""
    try:
        if isinstance(value, int | float) and not isinstance(value, bool):
            return datetime.fromtimestamp(value, UTC)
        if not isinstance(value, str) or not value:
            return None
        moment = datetime.fromisoformat(value)
    except (ValueError, OverflowError, OSError):
        return None
    return moment.replace(tzinfo=UTC) if moment.tzinfo is None else moment.astimezone(UTC)


def decode_arguments(envelope: dict[str, Any]) -> tuple[Any, Any] | None:
    """The args and kwargs of a message, secrets included; None where its body cannot be read."""
    body = decode_body(envelope)
    if isinstance(body, list) and len(body) == PROTOCOL_2_BODY_PARTS:
        return body[0], body[1]
    return (body.get("args"), body.get("kwargs")) if isinstance(body, dict) else None


def _redacted_arguments(envelope: dict[str, Any], task_headers: dict[str, Any]) -> tuple[Any, Any]:
    if arguments := decode_arguments(envelope):
        return redact(arguments[0]), redact(arguments[1])
    return _redacted_repr(task_headers.get("argsrepr")), _redacted_repr(task_headers.get("kwargsrepr"))


def _protocol_1(envelope: dict[str, Any]) -> dict[str, Any]:
    """What the first version of Celery's protocol keeps in the body instead of the headers."""
    body = decode_body(envelope)
    return body if isinstance(body, dict) else {}


def _dict_field(mapping: dict[str, Any], name: str) -> dict[str, Any]:
    value = mapping.get(name)
    return value if isinstance(value, dict) else {}


def _text(value: Any) -> str:
    return value if isinstance(value, str) else ""


def _redacted_repr(value: Any) -> str | None:
    return redact_text(value) if isinstance(value, str) else None


def _int_or_zero(value: Any) -> int:
    return value if isinstance(value, int) and not isinstance(value, bool) else 0
