"""What workers say of jobs: which they run, have received, or keep until their time."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal, cast

import msgspec

from livectl import connect
from livectl.errors import ServerError
from livectl.ops.cluster import pidbox
from livectl.ops.cluster.pidbox import ANSWER_SECONDS, Answers, Question
from livectl.ops.jobs import message
from livectl.ops.jobs.redaction import redact, redact_text

if TYPE_CHECKING:
    from collections.abc import Collection, Sequence
    from datetime import datetime

    from livectl.ops.cluster.deployment import Deployment
    from livectl.resp import Wire

Holding = Literal["active", "reserved", "scheduled", "ready"]


class Held(msgspec.Struct, frozen=True, kw_only=True):
    """A job as the worker that has it tells."""

    worker: str
    holding: Holding
    task: str | None = None
    args: Any = None
    kwargs: Any = None
    queue: str | None = None
    started: datetime | None = None
    eta: datetime | None = None


def ask(deployment: Deployment, wire: Wire | None, question: Question, seconds: float = ANSWER_SECONDS) -> Answers:
    """All workers, or those named: by our own words on a Redis, through kombu elsewhere."""
    if wire is not None and deployment.broker is not None:
        return pidbox.ask(wire, deployment.layout, deployment.broker.database, question, seconds)
    return _through_kombu(deployment, question, seconds)


def _through_kombu(deployment: Deployment, question: Question, seconds: float) -> Answers:
    """Nobody tells how many heard it, so that every question takes its whole time."""
    from kombu.exceptions import OperationalError

    from livectl.ops.cluster import deployment as deployments

    if deployment.broker is not None:
        connect.reach(deployment.broker)
    control = deployments.client(deployment).control
    destination = list(question.destination) if question.destination else None
    try:
        said = control.broadcast(
            question.method, arguments=question.arguments, destination=destination, reply=True, timeout=seconds
        )
    except (OperationalError, OSError) as error:
        raise ServerError(f"the broker does not answer: {redact_text(str(error))}", "Look whether it runs.") from error
    answers = {name: answer for one in said or [] for name, answer in one.items()}
    return Answers(answers, len(destination or answers))


def holding(deployment: Deployment, wire: Wire | None, ids: Sequence[str]) -> tuple[dict[str, Held], int]:
    """Of these jobs, those that workers have, and how many workers gave no answer."""
    answers = ask(deployment, wire, Question(method="query_task", arguments={"ids": list(ids)}))
    held: dict[str, Held] = {}
    for worker, said in answers.said.items():
        for job, (holds, info) in (said if isinstance(said, dict) and "error" not in said else {}).items():
            if held.get(job) is None or holds == "active":
                held[job] = describe(worker, holds, info)
    return held, answers.silent


def scheduled(deployment: Deployment, wire: Wire | None, ids: Collection[str]) -> dict[str, Held]:
    """The same for jobs that wait for their time, of which workers before Celery 5.7 do not tell otherwise."""
    answers = ask(deployment, wire, Question(method="scheduled"))
    held: dict[str, Held] = {}
    for worker, said in answers.said.items():
        for row in said if isinstance(said, list) else []:
            info = row.get("request") or {}
            if info.get("id") in ids:
                held[info["id"]] = describe(worker, "scheduled", info, message.instant(row.get("eta")))
    return held


def describe(worker: str, holds: str, info: dict[str, Any], eta: datetime | None = None) -> Held:
    delivery = info.get("delivery_info") or {}
    return Held(
        worker=worker,
        holding=cast("Holding", holds),
        task=info.get("name"),
        args=redact(info.get("args")),
        kwargs=redact(info.get("kwargs")),
        queue=delivery.get("routing_key") or None,
        started=message.instant(info.get("time_start")),
        eta=eta,
    )
