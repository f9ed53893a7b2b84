"""Keeps dead letters: messages, jobs and alerts that cannot be handled, until a person decides what becomes of them.

`livectl:dead` is a hash in the store, id -> dead letter as JSON.
"""

from __future__ import annotations

import base64
from contextlib import suppress
from datetime import datetime  # noqa: TC003 - msgspec reads the annotations
from typing import TYPE_CHECKING, Any, Literal
from uuid import uuid4

import msgspec

from livectl import redis_client
from livectl.errors import LivectlError, ServerError
from livectl.ops import deployment as deployments
from livectl.ops.jobs.job_request import JobRequest
from livectl.ops.protocol import message
from livectl.redaction import redact, redact_text
from livectl.suggestions import did_you_mean

if TYPE_CHECKING:
    from collections.abc import Sequence

    from redis import Redis

    from livectl.ops.deployment import Deployment
    from livectl.redis_client import RedisConnection


DEAD_LETTERS_KEY = "livectl:dead"
STARTS_PREFIX = "livectl:starts:"

# KEYS: the dead letters. ARGV: id, the letter as it was read. A worker may have set its message aside anew by now.
FORGET_UNCHANGED = "if redis.call('HGET', KEYS[1], ARGV[1]) == ARGV[2] then redis.call('HDEL', KEYS[1], ARGV[1]) end"
MAX_DEAD_LETTERS = 10_000  # more are a flood, about which these tell all there is to know
MAX_REASON_CHARS = 1_000
MAX_TOTAL_BYTES = 256_000_000
MAX_LETTER_BYTES = 16_000_000  # of one that is kept whole
MAX_AGE_S = 90 * 86_400
MAX_EXCERPT_CHARS = 4_000  # of one that cannot be kept whole
SCAN_COUNT = 1_000


class DeadLetter(msgspec.Struct, frozen=True, kw_only=True):
    """One thing that was set aside, and why."""

    id: str
    kind: Literal["message", "job", "alert"]  # a message as it was, a job to be sent, an alert to be sent
    reason: str
    at: datetime
    task: str = ""
    payload: Any = None  # of a message: {"queue", "message"}; of a job: a JobRequest; of an alert: what alerts need


class DeadLetterSummary(msgspec.Struct, frozen=True):
    """A dead letter in a list."""

    id: str
    kind: str
    reason: str
    at: datetime
    task: str


def starts_key(job_id: str) -> str:
    """Where it is counted how often a job was started whose worker died of it."""
    return STARTS_PREFIX + job_id


def add(store: Redis, letter: DeadLetter) -> bool:
    """Sets a dead letter aside, unless there are too many already. For workers, which have redis-py.

    The same message once more takes the place of its letter; another message of the same id gets a letter beside it.
    """
    size = store.memory_usage(DEAD_LETTERS_KEY) or 0
    if store.hlen(DEAD_LETTERS_KEY) >= MAX_DEAD_LETTERS or size > MAX_TOTAL_BYTES:
        return False
    letter = msgspec.structs.replace(letter, id=_utf8(letter.id), reason=_shown_reason(letter))
    raw: Any = store.hget(DEAD_LETTERS_KEY, letter.id)
    namesake = _decode(raw or b"")
    if namesake is not None and _delivery_tag(namesake) != _delivery_tag(letter):
        letter = msgspec.structs.replace(letter, id=f"{letter.id}-{uuid4().hex[:8]}")
    store.hset(DEAD_LETTERS_KEY, letter.id, _encode(letter))
    return True


def _delivery_tag(letter: DeadLetter) -> str:
    match letter.payload:
        case {"message": {"properties": {"delivery_tag": str() as tag}}}:
            return tag
    return ""


def _encode(letter: DeadLetter) -> bytes:
    """The letter as it is stored: whole, unless it is too large or holds what JSON cannot."""
    with suppress(TypeError, ValueError, RecursionError):
        encoded = msgspec.json.encode(letter, enc_hook=str)
        if len(encoded) <= MAX_LETTER_BYTES:
            return encoded
    reason, task = _utf8(letter.reason), _utf8(letter.task)
    payload = {"excerpt": _utf8(redact_text(repr(letter.payload), MAX_EXCERPT_CHARS))}
    return msgspec.json.encode(msgspec.structs.replace(letter, reason=reason, task=task, payload=payload))


def _utf8(text: str) -> str:
    return text.encode(errors="backslashreplace").decode()


def drop_expired(store: Redis, now: float) -> int:
    """Forgets the dead letters that nobody has wanted for three months. Returns how many."""
    dropped = 0
    for letter_id, raw in store.hscan_iter(DEAD_LETTERS_KEY, count=SCAN_COUNT):
        letter = _decode(raw)
        if letter is not None and now - letter.at.timestamp() > MAX_AGE_S:
            dropped += int(store.hdel(DEAD_LETTERS_KEY, letter_id))
    return dropped


def list_summaries(deployment: Deployment) -> list[DeadLetterSummary]:
    """All dead letters, the newest first."""
    with _connect_store(deployment) as connection:
        letters = [letter for raw in connection.execute("HVALS", DEAD_LETTERS_KEY) if (letter := _decode(raw))]
    newest = sorted(letters, key=lambda letter: letter.at, reverse=True)
    return [
        DeadLetterSummary(letter.id, letter.kind, _shown_reason(letter), letter.at, letter.task) for letter in newest
    ]


def read_redacted(deployment: Deployment, letter_id: str) -> DeadLetter:
    """One dead letter, its secrets hidden."""
    with _connect_store(deployment) as connection:
        dead_letter = _load(connection, letter_id)
    return msgspec.structs.replace(
        dead_letter, reason=_shown_reason(dead_letter), payload=redact(_decode_payload(dead_letter))
    )


def _shown_reason(letter: DeadLetter) -> str:
    return redact_text(letter.reason, MAX_REASON_CHARS)


def find_alert(deployment: Deployment, letter_id: str) -> Any:
    """The payload of a dead letter that is an alert; None for another kind."""
    with _connect_store(deployment) as connection:
        dead_letter = _load(connection, letter_id)
    return dead_letter.payload if dead_letter.kind == "alert" else None


def find_request(deployment: Deployment, letter_id: str) -> JobRequest | None:
    """The request of a dead letter that is a job; None for another kind."""
    with _connect_store(deployment) as connection:
        dead_letter = _load(connection, letter_id)
    return msgspec.convert(dead_letter.payload, JobRequest) if dead_letter.kind == "job" else None


def find_request_of_job(deployment: Deployment, job_id: str) -> JobRequest | None:
    """The request of the job of this id, if the job is a dead letter."""
    if deployment.store is None:
        return None
    with _connect_store(deployment) as connection:
        raw = connection.execute("HGET", DEAD_LETTERS_KEY, job_id)
    dead_letter = _decode(raw) if raw else None
    if dead_letter and dead_letter.kind == "message":
        raise LivectlError(f"{job_id} is a dead letter", f"`livectl dead retry {job_id}` puts it back into its queue.")
    return msgspec.convert(dead_letter.payload, JobRequest) if dead_letter and dead_letter.kind == "job" else None


def requeue(deployment: Deployment, letter_id: str) -> str:
    """Puts a message back, as it was, at the end of its queue. Returns the queue."""
    with _connect_store(deployment) as connection:
        raw = _read(connection, letter_id)
        match _parse(raw, letter_id).payload:
            case {"queue": str() as queue, "message": dict() as envelope}:
                connection.execute("DEL", starts_key(letter_id))
                _put_back(deployment, queue, envelope)
            case _:
                raise LivectlError(
                    f"{letter_id} was no message that a worker could read", "`livectl dead drop` forgets it."
                )
        connection.execute("EVAL", FORGET_UNCHANGED, 1, DEAD_LETTERS_KEY, letter_id, raw)
    return str(queue)


def _put_back(deployment: Deployment, queue: str, envelope: dict[str, Any]) -> None:
    if deployment.redis_broker is not None:
        priority = message.from_envelope(envelope).priority
        with redis_client.connect(deployment.redis_broker) as broker:
            broker.execute("LPUSH", deployment.layout.list_key(queue, priority), msgspec.json.encode(envelope))
        return
    from amqp.exceptions import NotFound
    from kombu.exceptions import OperationalError

    try:
        with deployments.celery_client(deployment).connection_for_write() as connection:
            connection.default_channel.queue_declare(queue, passive=True)  # RabbitMQ drops what goes to no queue
            _publish(connection, queue, envelope)
    except NotFound as error:
        raise LivectlError(
            f"there is no queue {queue} any more", "Start a worker that reads it, then retry."
        ) from error
    except (OperationalError, OSError) as error:
        raise ServerError(f"the broker does not answer: {redact_text(str(error))}", "Look whether it runs.") from error


def _publish(connection: Any, queue: str, envelope: dict[str, Any]) -> None:
    """Sends a message with the very body and headers that it had."""
    body, properties = envelope.get("body") or "", envelope.get("properties") or {}
    connection.Producer().publish(
        base64.b64decode(body) if properties.get("body_encoding") == "base64" else body,
        routing_key=queue,
        content_type=envelope.get("content-type"),
        content_encoding=envelope.get("content-encoding"),
        headers=envelope.get("headers"),
        **{name: properties[name] for name in ("priority", "correlation_id", "reply_to") if properties.get(name)},
    )


def drop(deployment: Deployment, letter_ids: Sequence[str]) -> int:
    """Forgets these dead letters, or all when none is named. Returns how many it forgot."""
    with _connect_store(deployment, frees=True) as connection:
        if letter_ids:
            return int(connection.execute("HDEL", DEAD_LETTERS_KEY, *letter_ids))
        size, _ = connection.execute_all([("HLEN", DEAD_LETTERS_KEY), ("DEL", DEAD_LETTERS_KEY)])
        return int(size)


def _decode_payload(letter: DeadLetter) -> Any:
    """The payload, with a readable body if it is a message."""
    match letter.payload:
        case {"message": dict() as envelope, **rest}:
            return {
                **rest,
                "headers": envelope.get("headers"),
                "body": _shown_body(envelope),
            }
    return letter.payload


def _shown_body(envelope: dict[str, Any]) -> Any:
    """The decoded body. Of one that is no JSON the size alone: nothing in it could be hidden."""
    body = message.decode_body(envelope)
    return f"<{len(str(envelope.get('body') or ''))} characters, no JSON>" if body is None else body


def _load(connection: RedisConnection, letter_id: str) -> DeadLetter:
    return _parse(_read(connection, letter_id), letter_id)


def _read(connection: RedisConnection, letter_id: str) -> bytes:
    raw: bytes | None = connection.execute("HGET", DEAD_LETTERS_KEY, letter_id)
    if raw is None:
        known_ids = [key.decode() for key in connection.execute("HKEYS", DEAD_LETTERS_KEY)]
        raise LivectlError(
            f"no dead letter {letter_id}", did_you_mean(letter_id, known_ids) or "`livectl dead` lists them."
        )
    return raw


def _parse(raw: bytes, letter_id: str) -> DeadLetter:
    dead_letter = _decode(raw)
    if dead_letter is None:
        raise LivectlError(f"the dead letter {letter_id} is spoilt", "`livectl dead drop` forgets it.")
    return dead_letter


def _decode(raw: bytes) -> DeadLetter | None:
    try:
        return msgspec.json.decode(raw, type=DeadLetter)
    except (msgspec.DecodeError, msgspec.ValidationError, RecursionError):
        return None


def _connect_store(deployment: Deployment, *, frees: bool = False) -> RedisConnection:
    """The store; also a full one, for what frees memory there."""
    if deployment.store is None:
        raise ServerError("dead letters are kept in the store, and there is none", "Set `store:` in livectl.yaml.")
    return redis_client.connect(deployment.store, trial_write=not frees)
