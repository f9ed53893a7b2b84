"""Keeps dead letters: messages, jobs and alerts that cannot be handled, until a person decides what becomes of them.

`livectl:dead` is a hash in the store, id -> dead letter as JSON.
"""

from __future__ import annotations

from datetime import datetime  # noqa: TC003 - msgspec reads the annotations
from typing import TYPE_CHECKING, Any, Literal

import msgspec

from livectl import redis_client
from livectl.errors import LivectlError, ServerError
from livectl.ops.jobs.job_request import JobRequest
from livectl.ops.protocol import message
from livectl.redaction import redact
from livectl.suggestions import did_you_mean

if TYPE_CHECKING:
    from collections.abc import Sequence

    from redis import Redis

    from livectl.ops.deployment import Deployment
    from livectl.redis_client import RedisConnection


DEAD_LETTERS_KEY = "livectl:dead"
MAX_DEAD_LETTERS = 10_000  # more are a flood, about which these tell all there is to know


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


def add(store: Redis, letter: DeadLetter) -> bool:
    """Sets a dead letter aside, unless there are too many already. For workers, which have redis-py."""
    if store.hlen(DEAD_LETTERS_KEY) >= MAX_DEAD_LETTERS:
        return False
    store.hset(DEAD_LETTERS_KEY, letter.id, msgspec.json.encode(letter))
    return True


def list_summaries(deployment: Deployment) -> list[DeadLetterSummary]:
    """All dead letters, the newest first."""
    with _connect_store(deployment) as connection:
        letters = [letter for raw in connection.execute("HVALS", DEAD_LETTERS_KEY) if (letter := _decode(raw))]
    newest = sorted(letters, key=lambda letter: letter.at, reverse=True)
    return [DeadLetterSummary(letter.id, letter.kind, letter.reason, letter.at, letter.task) for letter in newest]


def read_redacted(deployment: Deployment, letter_id: str) -> DeadLetter:
    """One dead letter, its secrets hidden."""
    with _connect_store(deployment) as connection:
        dead_letter = _load(connection, letter_id)
    return msgspec.structs.replace(dead_letter, payload=redact(_decode_payload(dead_letter)))


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
    if deployment.redis_broker is None:
        raise LivectlError(
            f"a message cannot be put back on {deployment.transport} as it was", "Send it with `livectl call`."
        )
    with _connect_store(deployment) as connection, redis_client.connect(deployment.redis_broker) as broker:
        dead_letter = _load(connection, letter_id)
        match dead_letter.payload:
            case {"queue": str() as queue, "message": dict() as envelope}:
                priority = message.from_envelope(envelope).priority
                broker.execute("LPUSH", deployment.layout.list_key(queue, priority), msgspec.json.encode(envelope))
            case _:
                raise LivectlError(
                    f"{letter_id} was no message that a worker could read", "`livectl dead drop` forgets it."
                )
        connection.execute("HDEL", DEAD_LETTERS_KEY, letter_id)
    return str(queue)


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
                "body": message.decode_body(envelope) or envelope.get("body"),
            }
    return letter.payload


def _load(connection: RedisConnection, letter_id: str) -> DeadLetter:
    raw = connection.execute("HGET", DEAD_LETTERS_KEY, letter_id)
    if raw is None:
        known_ids = [key.decode() for key in connection.execute("HKEYS", DEAD_LETTERS_KEY)]
        raise LivectlError(
            f"no dead letter {letter_id}", did_you_mean(letter_id, known_ids) or "`livectl dead` lists them."
        )
    dead_letter = _decode(raw)
    if dead_letter is None:
        raise LivectlError(f"the dead letter {letter_id} is spoilt", "`livectl dead drop` forgets it.")
    return dead_letter


def _decode(raw: bytes) -> DeadLetter | None:
    try:
        return msgspec.json.decode(raw, type=DeadLetter)
    except (msgspec.DecodeError, msgspec.ValidationError):
        return None


def _connect_store(deployment: Deployment, *, frees: bool = False) -> RedisConnection:
    """The store; also a full one, for what frees memory there."""
    if deployment.store is None:
        raise ServerError("dead letters are kept in the store, and there is none", "Set `store:` in livectl.yaml.")
    return redis_client.connect(deployment.store, trial_write=not frees)
