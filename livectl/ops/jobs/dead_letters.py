"""Keeps dead letters: messages, jobs and alerts that cannot be handled, until a person decides what becomes of them.

`livectl:dead` is a hash in the store, id -> dead letter as JSON. An app on RabbitMQ that has no store keeps them there,
in a queue (`dead_queue`).
"""

from __future__ import annotations

import base64
from datetime import datetime  # noqa: TC003 - msgspec reads the annotations
from typing import TYPE_CHECKING, Any, NamedTuple, TypeVar
from uuid import uuid4

import msgspec

from livectl import redis_client
from livectl.errors import LivectlError, ServerError
from livectl.ops import deployment as deployments
from livectl.ops.jobs.job_request import JobRequest
from livectl.ops.protocol import dead_letter, message
from livectl.ops.protocol.dead_letter import MAX_REASON_CHARS, DeadLetter
from livectl.redaction import MAX_ARGUMENTS_CHARS, redact, redact_text
from livectl.suggestions import did_you_mean

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from redis import Redis

    from livectl.ops.deployment import Deployment
    from livectl.ops.transport.dead_queue import OpenLetter
    from livectl.redis_client import RedisConnection

T = TypeVar("T")

DEAD_LETTERS_KEY = "livectl:dead"
STARTS_PREFIX = "livectl:starts:"
STARTS_TTL_S = 86_400  # then a job that is started again counts as new

# KEYS: the dead letters. ARGV: id, the letter as it was read. A worker may have set its message aside anew by now.
FORGET_UNCHANGED = "if redis.call('HGET', KEYS[1], ARGV[1]) == ARGV[2] then redis.call('HDEL', KEYS[1], ARGV[1]) end"
MAX_DEAD_LETTERS = 10_000  # more are a flood, about which these tell all there is to know
MAX_TOTAL_BYTES = 256_000_000
MAX_AGE_S = 90 * 86_400
SCAN_COUNT, LOOKED_AT = 1_000, 20  # letters; each may be large


class DeadLetterSummary(msgspec.Struct, frozen=True):
    """A dead letter in a list."""

    id: str
    kind: str
    reason: str
    at: datetime
    task: str


class ListedLetter(DeadLetterSummary, frozen=True):
    """The same, with what it was called with, and whether it can be sent again."""

    arguments: str
    can_resend: bool


class NewestLetters(NamedTuple):
    """Some dead letters, and how many there are."""

    letters: list[ListedLetter]
    total: int


def starts_key(job_id: str) -> str:
    """Where it is counted how often a job was started whose worker died of it."""
    return STARTS_PREFIX + job_id


class StoreKeeper:
    """Keeps what a worker sets aside in the store, and counts there how often jobs were started."""

    def __init__(self, store: Redis) -> None:
        self._store = store

    def add(self, letter: DeadLetter) -> bool:
        """Sets a dead letter aside. False when there are too many already. Raises RedisError or OSError."""
        return add(self._store, letter)

    def starts(self, job_id: str) -> int:
        return int(self._store.get(starts_key(job_id)) or 0)

    def note_start(self, job_id: str, *, is_repeat: bool) -> int:
        """Counts one more start; a repeat that nobody counted before had one already."""
        key = starts_key(job_id)
        pipe = self._store.pipeline(transaction=False)
        if is_repeat:
            pipe.set(key, 1, ex=STARTS_TTL_S, nx=True)
        pipe.incr(key)
        pipe.expire(key, STARTS_TTL_S)
        return int(pipe.execute()[-2])

    def note_end(self, job_id: str) -> None:
        self._store.delete(starts_key(job_id))


def describe_one(store: Redis) -> str:
    """Of which task a dead letter is, and why, the newest of some; empty where nothing can be read."""
    found: Any = store.hscan(DEAD_LETTERS_KEY, count=LOOKED_AT)[1]
    letters = [letter for raw in found.values() if (letter := dead_letter.decode(raw))]
    newest = max(letters, key=lambda letter: letter.at, default=None)
    return ": ".join(filter(None, [newest.task, newest.reason])) if newest else ""


def add(store: Redis, letter: DeadLetter) -> bool:
    """Sets a dead letter aside, unless there are too many already. For workers, which have redis-py.

    The same message once more takes the place of its letter; another message of the same id gets a letter beside it.
    """
    size = store.memory_usage(DEAD_LETTERS_KEY, samples=0) or 0  # all of it: one large letter among a few would mislead
    if store.hlen(DEAD_LETTERS_KEY) >= MAX_DEAD_LETTERS or size > MAX_TOTAL_BYTES:
        return False
    letter = msgspec.structs.replace(letter, id=dead_letter.utf8(letter.id), reason=_shown_reason(letter))
    raw: Any = store.hget(DEAD_LETTERS_KEY, letter.id)
    namesake = dead_letter.decode(raw or b"")
    if namesake is not None and dead_letter.identity(namesake) != dead_letter.identity(letter):
        letter = msgspec.structs.replace(letter, id=f"{letter.id}-{uuid4().hex[:8]}")
    store.hset(DEAD_LETTERS_KEY, letter.id, dead_letter.encode(letter))
    return True


def drop_expired(store: Redis, now: float) -> int:
    """Forgets the dead letters that nobody has wanted for three months. Returns how many."""
    dropped = 0
    for letter_id, raw in store.hscan_iter(DEAD_LETTERS_KEY, count=SCAN_COUNT):
        letter = dead_letter.decode(raw)
        if letter is not None and now - letter.at.timestamp() > MAX_AGE_S:
            dropped += int(store.hdel(DEAD_LETTERS_KEY, letter_id))
    return dropped


def list_summaries(deployment: Deployment) -> list[DeadLetterSummary]:
    """All dead letters, the newest first."""
    newest = sorted(_read_all(deployment), key=lambda letter: letter.at, reverse=True)
    return [
        DeadLetterSummary(letter.id, letter.kind, _shown_reason(letter), letter.at, letter.task) for letter in newest
    ]


def list_newest(deployment: Deployment, most: int) -> NewestLetters:
    """The newest dead letters, with what is known of their arguments."""
    newest = sorted(_read_all(deployment), key=lambda letter: letter.at, reverse=True)
    listed = [
        ListedLetter(
            letter.id,
            letter.kind,
            _shown_reason(letter),
            letter.at,
            letter.task,
            _shown_arguments(letter),
            can_resend(letter),
        )
        for letter in newest[:most]
    ]
    return NewestLetters(listed, len(newest))


def can_resend(letter: DeadLetter) -> bool:
    """Whether it is whole: of what no worker could read, or nobody could keep, there is an excerpt."""
    return not (isinstance(letter.payload, dict) and "excerpt" in letter.payload)


def _shown_arguments(letter: DeadLetter) -> str:
    """What it was called with, without secrets, in one line: JSON, or what an alert says."""
    match letter.payload:
        case {"message": dict() as envelope}:
            body = _shown_body(envelope)
            parts = body[:2] if isinstance(body, list) else [body]
        case {"title": str() as title}:
            return redact_text(title)
        case {"excerpt": str() as excerpt}:
            return redact_text(excerpt)
        case {"task": _, **rest}:
            parts = [rest.get("args"), rest.get("kwargs")]
        case _:
            return ""
    shown = [
        part if isinstance(part, str) else msgspec.json.encode(redact(part), enc_hook=str).decode()
        for part in parts
        if part
    ]
    return redact_text(" ".join(shown), MAX_ARGUMENTS_CHARS)


def _read_all(deployment: Deployment) -> list[DeadLetter]:
    if _is_on_rabbitmq(deployment):
        return _ask_queue(deployment, lambda letters: [each.letter for each in letters])
    with _connect_store(deployment) as connection:
        values = connection.execute("HVALS", DEAD_LETTERS_KEY)
    return [letter for raw in values if (letter := dead_letter.decode(raw))]


def read_redacted(deployment: Deployment, letter_id: str) -> DeadLetter:
    """One dead letter, its secrets hidden."""
    letter = _load(deployment, letter_id)
    return msgspec.structs.replace(letter, reason=_shown_reason(letter), payload=redact(_decode_payload(letter)))


def _shown_reason(letter: DeadLetter) -> str:
    return redact_text(letter.reason, MAX_REASON_CHARS)


def find_alert(deployment: Deployment, letter_id: str) -> Any:
    """The payload of a dead letter that is an alert; None for another kind."""
    letter = _load(deployment, letter_id)
    return letter.payload if letter.kind == "alert" else None


def find_request(deployment: Deployment, letter_id: str) -> JobRequest | None:
    """The request of a dead letter that is a job; None for another kind."""
    letter = _load(deployment, letter_id)
    return msgspec.convert(letter.payload, JobRequest) if letter.kind == "job" else None


def find_request_of_job(deployment: Deployment, job_id: str) -> JobRequest | None:
    """The request of the job of this id, if the job is a dead letter."""
    if deployment.store is None:
        return None
    with _connect_store(deployment) as connection:
        raw = connection.execute("HGET", DEAD_LETTERS_KEY, job_id)
    letter = dead_letter.decode(raw) if raw else None
    if letter and letter.kind == "message":
        raise LivectlError(f"{job_id} is a dead letter", f"`livectl dead retry {job_id}` puts it back into its queue.")
    return msgspec.convert(letter.payload, JobRequest) if letter and letter.kind == "job" else None


def requeue(deployment: Deployment, letter_id: str) -> str:
    """Puts a message back, as it was, at the end of its queue. Returns the queue."""
    if _is_on_rabbitmq(deployment):
        return _ask_queue(deployment, lambda letters: _requeue_open(deployment, _pick(letters, letter_id)))
    with _connect_store(deployment) as connection:
        raw = _read(connection, letter_id)
        queue, envelope = _message_of(_parse(raw, letter_id))
        connection.execute("DEL", starts_key(letter_id))
        _put_back(deployment, queue, envelope)
        connection.execute("EVAL", FORGET_UNCHANGED, 1, DEAD_LETTERS_KEY, letter_id, raw)
    return queue


def _requeue_open(deployment: Deployment, open_letter: OpenLetter) -> str:
    queue, envelope = _message_of(open_letter.letter)
    _put_back(deployment, queue, envelope)
    open_letter.forget()
    return queue


def _message_of(letter: DeadLetter) -> tuple[str, dict[str, Any]]:
    match letter.payload:
        case {"queue": str() as queue, "message": dict() as envelope}:
            return queue, envelope
    raise LivectlError(f"{letter.id} was no message that a worker could read", "`livectl dead drop` forgets it.")


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
    if _is_on_rabbitmq(deployment):
        return _ask_queue(deployment, lambda letters: _drop_open(letters, letter_ids))
    with _connect_store(deployment, frees=True) as connection:
        if letter_ids:
            return int(connection.execute("HDEL", DEAD_LETTERS_KEY, *letter_ids))
        size, _ = connection.execute_all([("HLEN", DEAD_LETTERS_KEY), ("DEL", DEAD_LETTERS_KEY)])
        return int(size)


def _drop_open(letters: Sequence[OpenLetter], letter_ids: Sequence[str]) -> int:
    dropped = [each for each in letters if not letter_ids or each.letter.id in letter_ids]
    for open_letter in dropped:
        open_letter.forget()
    return len(dropped)


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


def _load(deployment: Deployment, letter_id: str) -> DeadLetter:
    if _is_on_rabbitmq(deployment):
        return _ask_queue(deployment, lambda letters: _pick(letters, letter_id).letter)
    with _connect_store(deployment) as connection:
        return _parse(_read(connection, letter_id), letter_id)


def _read(connection: RedisConnection, letter_id: str) -> bytes:
    raw: bytes | None = connection.execute("HGET", DEAD_LETTERS_KEY, letter_id)
    if raw is None:
        raise _unknown(letter_id, [key.decode() for key in connection.execute("HKEYS", DEAD_LETTERS_KEY)])
    return raw


def _parse(raw: bytes, letter_id: str) -> DeadLetter:
    letter = dead_letter.decode(raw)
    if letter is None:
        raise LivectlError(f"the dead letter {letter_id} is spoilt", "`livectl dead drop` forgets it.")
    return letter


def _pick(letters: Sequence[OpenLetter], letter_id: str) -> OpenLetter:
    """The newest of this id."""
    found = [each for each in letters if each.letter.id == letter_id]
    if not found:
        raise _unknown(letter_id, [each.letter.id for each in letters])
    return max(found, key=lambda each: each.letter.at)


def _unknown(letter_id: str, known_ids: Sequence[str]) -> LivectlError:
    return LivectlError(
        f"no dead letter {letter_id}", did_you_mean(letter_id, known_ids) or "`livectl dead` lists them."
    )


def _connect_store(deployment: Deployment, *, frees: bool = False) -> RedisConnection:
    """The store; also a full one, for what frees memory there."""
    if deployment.store is None:
        raise ServerError("dead letters are kept in the store, and there is none", "Set `store:` in livectl.yaml.")
    return redis_client.connect(deployment.store, trial_write=not frees)


def _is_on_rabbitmq(deployment: Deployment) -> bool:
    return deployment.store is None and deployment.on_rabbitmq


def _ask_queue(deployment: Deployment, question: Callable[[Sequence[OpenLetter]], T]) -> T:
    """What the question has to say of the dead letters that RabbitMQ keeps."""
    from amqp.exceptions import AMQPError

    from livectl.ops.transport import dead_queue
    from livectl.ops.transport.rabbitmq import Line

    def ask(channel: Any) -> T:
        with dead_queue.reading(channel) as letters:
            return question(letters)

    deployments.check_broker(deployment)
    line = Line(deployments.celery_client(deployment).connection_for_write)
    try:
        return line.ask(ask)
    except (AMQPError, OSError) as error:
        raise ServerError(f"the broker does not answer: {redact_text(str(error))}", "Look whether it runs.") from error
    finally:
        line.close()
