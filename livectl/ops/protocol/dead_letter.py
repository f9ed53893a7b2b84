"""The form of a dead letter: JSON, in the store as on RabbitMQ."""

from __future__ import annotations

from contextlib import suppress
from datetime import UTC, datetime
from typing import Any, Literal
from uuid import uuid4

import msgspec

from livectl.ops.protocol.message import to_envelope
from livectl.redaction import redact_text

MAX_LETTER_BYTES = 16_000_000  # of one that is kept whole
MAX_REASON_CHARS = 1_000
MAX_EXCERPT_CHARS = 4_000  # of one that cannot be kept whole


class DeadLetter(msgspec.Struct, frozen=True, kw_only=True):
    """One thing that was set aside, and why."""

    id: str
    kind: Literal["message", "job", "alert"]  # a message as it was, a job to be sent, an alert to be sent
    reason: str
    at: datetime
    task: str = ""
    payload: Any = None  # of a message: {"queue", "message"}; of a job: a JobRequest; of an alert: what alerts need


def from_message(message: Any, reason: str, queue: str) -> DeadLetter:
    """The dead letter of a message that kombu could read: whole, so that it can be put back into its queue."""
    headers = message.headers if isinstance(message.headers, dict) else {}
    job_id, task = headers.get("id"), headers.get("task")
    return DeadLetter(
        id=next((name for name in (job_id, message.delivery_tag) if isinstance(name, str) and name), str(uuid4())),
        kind="message",
        reason=reason,
        at=datetime.now(UTC),
        task=task if isinstance(task, str) else "",
        payload={"queue": queue, "message": to_envelope(message)},
    )


def from_unreadable(queue: str, raw: Any, reason: str) -> DeadLetter:
    """The dead letter of what kombu could make no message of."""
    text = raw.decode(errors="backslashreplace") if isinstance(raw, bytes) else repr(raw)
    payload = {"queue": queue, "excerpt": text[:MAX_EXCERPT_CHARS]}
    return DeadLetter(id=str(uuid4()), kind="message", reason=reason, at=datetime.now(UTC), payload=payload)


def encode(letter: DeadLetter) -> bytes:
    """The letter as it is stored: whole, unless it is too large or holds what JSON cannot."""
    with suppress(TypeError, ValueError, RecursionError):
        encoded = msgspec.json.encode(letter, enc_hook=str)
        if len(encoded) <= MAX_LETTER_BYTES:
            return encoded
    reason, task = utf8(letter.reason), utf8(letter.task)
    payload = {"excerpt": utf8(redact_text(repr(letter.payload), MAX_EXCERPT_CHARS))}
    return msgspec.json.encode(msgspec.structs.replace(letter, reason=reason, task=task, payload=payload))


def decode(raw: bytes) -> DeadLetter | None:
    try:
        return msgspec.json.decode(raw, type=DeadLetter)
    except (msgspec.DecodeError, msgspec.ValidationError, RecursionError):
        return None


def identity(letter: DeadLetter) -> tuple[str, str]:
    """By which a message is known from another one of its id. RabbitMQ's tags begin anew with each connection."""
    match letter.payload:
        case {"message": {"body": str() as body, "properties": {"delivery_tag": str() as tag}}}:
            return tag, body
    return "", ""


def utf8(text: str) -> str:
    return text.encode(errors="backslashreplace").decode()
