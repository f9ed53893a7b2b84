"""Reads Celery's messages as they lie in a Redis list, without Celery."""

from __future__ import annotations

import base64
import binascii
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import msgspec

from livectl.ops.protocol.keys import JSON_NAMES
from livectl.redaction import redact, redact_text

if TYPE_CHECKING:
    from collections.abc import Sequence

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
    except (msgspec.DecodeError, RecursionError):
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


def to_envelope(message: Any) -> dict[str, Any]:
    """A message that kombu has read, as it lies in Redis, whichever broker it came from."""
    if raw := getattr(message, "_raw", None):
        return dict(raw)
    body = message.body.encode() if isinstance(message.body, str) else bytes(message.body or b"")
    properties = {key: value for key, value in message.properties.items() if key != "application_headers"}
    return {
        "body": base64.b64encode(body).decode(),
        "content-type": message.content_type,
        "content-encoding": message.content_encoding,
        "headers": message.headers,
        "properties": {
            **properties,
            "body_encoding": "base64",
            "delivery_tag": str(message.delivery_tag),
            "delivery_info": {key: message.delivery_info.get(key) for key in ("exchange", "routing_key")},
        },
    }


def readdress(envelope: dict[str, Any], queue: str, *, exchange: str | None = None, tag: str = "") -> bytes:
    """The text of a message that is to lie in this queue. Its job sends its retries there, too.

    Without an exchange it is that of the queue's name. With a tag it is another message than before.
    """
    properties = _dict_field(envelope, "properties")
    if tag:
        properties = {**properties, "delivery_tag": tag}
    exchange = queue if exchange is None else exchange
    delivery_info = {**_dict_field(properties, "delivery_info"), "exchange": exchange, "routing_key": queue}
    return msgspec.json.encode({**envelope, "properties": {**properties, "delivery_info": delivery_info}})


def decode_body(envelope: dict[str, Any], accepted: Sequence[str] = ()) -> Any:
    """The decoded body, if it is JSON or made by a serializer that the app accepts; None otherwise.

    Unless an app accepts pickle, nothing is ever unpickled.
    """
    if not isinstance(envelope.get("body"), str):
        return None
    text: str = envelope["body"]
    try:
        encoded = _dict_field(envelope, "properties").get("body_encoding") == "base64"
        payload = base64.b64decode(text) if encoded else text.encode()
    except (binascii.Error, ValueError):
        return None
    return decode_payload(payload, envelope.get("content-type"), envelope.get("content-encoding"), accepted)


def decode_payload(payload: bytes, content_type: Any, encoding: Any, accepted: Sequence[str] = ()) -> Any:
    """The same of the bytes of a body."""
    if content_type == JSON_CONTENT_TYPE:
        try:
            return msgspec.json.decode(payload)
        except (msgspec.DecodeError, ValueError, RecursionError):
            return None
    return _decode_accepted(payload, content_type, encoding, accepted) if set(accepted) - JSON_NAMES else None


def encode_body(body: Any, serializer: str) -> tuple[str, str, bytes]:
    """Content type, encoding and bytes of a body."""
    if serializer in JSON_NAMES:
        return JSON_CONTENT_TYPE, "utf-8", msgspec.json.encode(body)
    from kombu.serialization import dumps

    content_type, encoding, payload = dumps(body, serializer)
    return content_type, encoding, payload if isinstance(payload, bytes) else payload.encode()


def _decode_accepted(payload: bytes, content_type: Any, encoding: Any, accepted: Sequence[str]) -> Any:
    """The body as kombu reads it, which refuses every serializer but those accepted."""
    from kombu.serialization import loads, prepare_accept_content

    try:
        content_types = prepare_accept_content(accepted)
        return loads(payload, content_type, encoding, accept=content_types)
    except Exception:  # each serializer has errors of its own, and so have the classes that it brings back
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


def chained_ids(envelope: dict[str, Any]) -> list[str]:
    """The ids of the jobs that follow this one in its chain, in their order."""
    body = decode_body(envelope)
    embed = body[2] if isinstance(body, list) and len(body) == PROTOCOL_2_BODY_PARTS else None
    chain = embed.get("chain") if isinstance(embed, dict) else None
    steps = [step for step in chain if isinstance(step, dict)] if isinstance(chain, list) else []
    ids = [_dict_field(step, "options").get("task_id") for step in reversed(steps)]
    return [job_id for job_id in ids if isinstance(job_id, str)]


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
