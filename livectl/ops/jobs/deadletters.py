"""Messages and alerts that were set aside because they cannot be handled: kept in the store until a person decides.

`livectl:dead` is a hash, id -> letter as JSON. Whoever sets something aside writes it with `add`.
"""

from __future__ import annotations

from datetime import datetime  # noqa: TC003 - msgspec reads the annotations
from typing import TYPE_CHECKING, Any, Literal

import msgspec

from livectl import resp
from livectl.errors import LivectlError, ServerError
from livectl.ops.jobs import message
from livectl.ops.jobs.desk import Order
from livectl.ops.jobs.redaction import redact
from livectl.ops.schedules.spot import did_you_mean

if TYPE_CHECKING:
    from collections.abc import Sequence

    from redis import Redis

    from livectl.ops.cluster.deployment import Deployment
    from livectl.resp import Wire

KEY = "livectl:dead"
MOST = 10_000  # letters kept; what comes after is a flood, of which these tell all there is to know


class Letter(msgspec.Struct, frozen=True, kw_only=True):
    """One thing set aside, and why."""

    id: str
    kind: Literal["message", "job", "alert"]  # a broker's message as it was, a job to be sent, an alert to be told
    reason: str
    at: datetime
    task: str = ""
    payload: Any = None  # of a message: {"queue", "message"}; of a job: an Order; of an alert: what alerts want


class Summary(msgspec.Struct, frozen=True):
    """A dead letter in a list."""

    id: str
    kind: str
    reason: str
    at: datetime
    task: str


def add(store: Redis, letter: Letter) -> bool:
    """Sets it aside, unless there are too many already. For workers."""
    if store.hlen(KEY) >= MOST:
        return False
    store.hset(KEY, letter.id, msgspec.json.encode(letter))
    return True


def listed(deployment: Deployment) -> list[Summary]:
    """The newest first."""
    with _store(deployment) as wire:
        letters = [letter for raw in wire.ask("HVALS", KEY) if (letter := _read(raw))]
    newest = sorted(letters, key=lambda letter: letter.at, reverse=True)
    return [Summary(letter.id, letter.kind, letter.reason, letter.at, letter.task) for letter in newest]


def show(deployment: Deployment, letter: str) -> Letter:
    """All of one, its secrets hidden."""
    with _store(deployment) as wire:
        found = _get(wire, letter)
    return msgspec.structs.replace(found, payload=redact(_opened(found)))


def alert(deployment: Deployment, letter: str) -> Any:
    """What is to be told, for a letter that is an alert; None for others."""
    with _store(deployment) as wire:
        found = _get(wire, letter)
    return found.payload if found.kind == "alert" else None


def order(deployment: Deployment, letter: str) -> Order | None:
    """The job to be sent for a letter that is one; None for a message that goes back as it is."""
    with _store(deployment) as wire:
        found = _get(wire, letter)
    return msgspec.convert(found.payload, Order) if found.kind == "job" else None


def of_job(deployment: Deployment, job: str) -> Order | None:
    """The job of this id, if it lies here to be sent again."""
    if deployment.store is None:
        return None
    with _store(deployment) as wire:
        raw = wire.ask("HGET", KEY, job)
    found = _read(raw) if raw else None
    if found and found.kind == "message":
        raise LivectlError(f"{job} is a dead letter", f"`livectl dead retry {job}` puts it back into its queue.")
    return msgspec.convert(found.payload, Order) if found and found.kind == "job" else None


def put_back(deployment: Deployment, letter: str) -> str:
    """A message goes back, as it was, to the end of its queue; which queue that is."""
    if deployment.broker is None or not deployment.broker.is_redis:
        raise LivectlError(
            f"a message cannot be put back on {deployment.transport} as it was", "Send it with `livectl call`."
        )
    with _store(deployment) as wire, resp.dial(deployment.broker) as broker:
        found = _get(wire, letter)
        match found.payload:
            case {"queue": str() as queue, "message": dict() as envelope}:
                priority = message.describe(envelope).priority
                broker.ask("LPUSH", deployment.layout.key(queue, priority), msgspec.json.encode(envelope))
            case _:
                raise LivectlError(
                    f"{letter} was no message that a worker could read", "`livectl dead drop` forgets it."
                )
        wire.ask("HDEL", KEY, letter)
    return str(queue)


def drop(deployment: Deployment, letters: Sequence[str]) -> int:
    """Forgets them, or all when none is named; how many there were."""
    with _store(deployment) as wire:
        if letters:
            return int(wire.ask("HDEL", KEY, *letters))
        size, _ = wire.ask_all([("HLEN", KEY), ("DEL", KEY)])
        return int(size)


def _opened(letter: Letter) -> Any:
    """A message's payload with its body readable."""
    match letter.payload:
        case {"message": dict() as envelope, **rest}:
            return {
                **rest,
                "headers": envelope.get("headers"),
                "body": message.body_of(envelope) or envelope.get("body"),
            }
    return letter.payload


def _get(wire: Wire, letter: str) -> Letter:
    raw = wire.ask("HGET", KEY, letter)
    if raw is None:
        known = [key.decode() for key in wire.ask("HKEYS", KEY)]
        raise LivectlError(f"no dead letter {letter}", did_you_mean(letter, known) or "`livectl dead` lists them.")
    found = _read(raw)
    if found is None:
        raise LivectlError(f"the dead letter {letter} is spoilt", "`livectl dead drop` forgets it.")
    return found


def _read(raw: bytes) -> Letter | None:
    try:
        return msgspec.json.decode(raw, type=Letter)
    except (msgspec.DecodeError, msgspec.ValidationError):
        return None


def _store(deployment: Deployment) -> Wire:
    if deployment.store is None:
        raise ServerError("dead letters are kept in the store, and there is none", "Set `store:` in livectl.yaml.")
    return resp.dial(deployment.store)
