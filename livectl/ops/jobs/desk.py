"""Sends one job, after looking whether it can arrive; tries a job again; takes jobs back."""

from __future__ import annotations

import inspect
import time
from contextlib import suppress
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any
from uuid import uuid4

import msgspec

from livectl import connect, resp
from livectl.errors import LivectlError, ServerError, UsageError
from livectl.model import JobState
from livectl.ops.cluster import workers
from livectl.ops.cluster.pidbox import Question
from livectl.ops.cluster.purging import SET_HELD_ASIDE
from livectl.ops.jobs import records, search
from livectl.ops.jobs.verdict import ENDS
from livectl.ops.jobs.whereabouts import Inquiry
from livectl.ops.schedules.spot import did_you_mean

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from livectl.ops.cluster.deployment import Deployment
    from livectl.resp import Wire

RETRY_POLICY = {"max_retries": 1, "interval_start": 0, "interval_max": 0.5}
FORCE = "--force sends it all the same."


class Order(msgspec.Struct, frozen=True, kw_only=True):
    """A job to be sent."""

    task: str
    args: tuple[Any, ...] = ()
    kwargs: dict[str, Any] = {}
    queue: str | None = None
    priority: int | None = None
    eta: datetime | None = None
    expires: datetime | None = None


class Sent(msgspec.Struct, frozen=True):
    """A job on its way."""

    id: str
    task: str
    queue: str | None


class Revoked(msgspec.Struct, frozen=True):
    """What was done about one job."""

    id: str
    state: JobState  # that it was in
    done: str  # removed, told, terminated or nothing
    text: str


class Desk:
    """Where orders are taken, looked at and sent: one app, its tasks, and what its workers read."""

    def __init__(self, deployment: Deployment, app: Any, tasks: Mapping[str, Any]) -> None:
        self._deployment = deployment
        self._app = app
        self._tasks = tasks
        self._readers: tuple[set[str], set[str], int] | None = None

    def refuse(self, order: Order) -> None:
        """Raises when this order cannot come to anything: unknown task, arguments that do not fit, nobody to do it."""
        read, known, silent = self._ask_workers()
        if order.task in self._tasks:
            _bind(order, self._tasks[order.task])
        elif order.task not in known:
            names = {*self._tasks, *known}
            raise UsageError(f"no task {order.task}", f"{did_you_mean(order.task, names) or _some(names)} {FORCE}")
        queue = self.queue_of(order)
        if queue and queue not in read and not silent:
            readers = f"Workers read {', '.join(sorted(read))}." if read else "No worker answers."
            raise UsageError(f"nobody reads the queue {queue}", f"{readers} {FORCE}")
        self._refuse_far(order)

    def _refuse_far(self, order: Order) -> None:
        """On Redis a job that waits longer than the visibility timeout is given out, and run, several times."""
        limit = self._deployment.layout.visibility_timeout
        ahead = (order.eta - datetime.now(UTC)).total_seconds() if order.eta else 0.0
        if self._deployment.on_redis and ahead > limit:
            raise UsageError(
                f"due in {ahead:.0f} s, which is more than the visibility timeout of {limit:.0f} s: it would run again "
                "and again",
                f"Schedule it, or raise visibility_timeout. {FORCE}",
            )

    def send(self, order: Order, *, keep_result: bool = False, force: bool = False) -> Sent:
        """On its way; its sending is noted, so that its status has timings. By force, as it is."""
        from celery.result import denied_join_result
        from kombu.exceptions import OperationalError

        task_id, now = str(uuid4()), time.time()
        options = {"task_id": task_id, "headers": {"sent": now}, "retry_policy": RETRY_POLICY, **_options(order)}
        if keep_result:
            options["ignore_result"] = False
        task = None if force else self._tasks.get(order.task)
        send = task.apply_async if task is not None else _by_name(self._app, order.task)
        try:
            with denied_join_result():
                send(list(order.args), order.kwargs, **options)
        except OperationalError as error:
            raise ServerError(f"the broker did not take the job: {error}", "Look whether it still runs.") from error
        self._note(task_id, order, now)
        return Sent(task_id, order.task, self.queue_of(order))

    def queue_of(self, order: Order) -> str | None:
        """Where it will lie."""
        options = {"queue": order.queue} if order.queue else {}
        route = self._app.amqp.router.route(dict(options), order.task, order.args, order.kwargs)
        queue = route.get("queue")
        name: str | None = getattr(queue, "name", queue) or route.get("routing_key")
        return name

    def _note(self, task_id: str, order: Order, now: float) -> None:
        store = self._deployment.store
        if store is None:
            return
        eta = order.eta.timestamp() if order.eta else None
        with suppress(LivectlError, OSError):
            note(self._deployment, task_id, task=order.task, queue=self.queue_of(order), sent=now, eta=eta)

    def _ask_workers(self) -> tuple[set[str], set[str], int]:
        """The queues that are read, the tasks that are known, and how many workers said neither."""
        if self._readers is None:
            if self._deployment.broker is not None:
                connect.reach(self._deployment.broker)
            with _Line(self._deployment) as wire:
                queues = workers.ask(self._deployment, wire, Question(method="active_queues"))
                tasks = workers.ask(self._deployment, wire, Question(method="registered")) if queues.said else queues
            read = {queue["name"] for said in queues.said.values() if isinstance(said, list) for queue in said}
            known = {text.split(" [")[0] for said in tasks.said.values() for text in said if isinstance(text, str)}
            self._readers = read, known, queues.silent
        return self._readers


def note(deployment: Deployment, job: str, **facts: Any) -> None:
    """Into the store, over a plain connection."""
    if deployment.store is not None:
        with resp.dial(deployment.store) as wire:
            wire.ask_all(records.commands(job, **facts))


def again(deployment: Deployment, job: str) -> Order:
    """The order that a job was, where its backend or livectl's notes kept it. Raises when nobody did."""
    with Inquiry(deployment) as inquiry:
        found = inquiry.evidence(job)
    if found.state not in {*ENDS, JobState.UNKNOWN, JobState.REDELIVERY}:
        raise LivectlError(f"{job} is {found.state}: it has not ended", "`livectl revoke` takes it back first.")
    record, outcome = found.record, found.outcome
    if record and record.message:
        return msgspec.json.decode(record.message, type=Order)
    if outcome and outcome.task and isinstance(outcome.args, list | tuple) and isinstance(outcome.kwargs, dict):
        return Order(task=outcome.task, args=tuple(outcome.args), kwargs=outcome.kwargs, queue=outcome.queue)
    if found.state is JobState.UNKNOWN:
        raise LivectlError(f"{job}: nothing is known of it", "Its result has expired, or it was never sent here.")
    raise LivectlError(
        f"{job}: its arguments were not kept",
        "Set result_extended in the app, and send it anew with `livectl call`.",
    )


def revoke(deployment: Deployment, ids: Sequence[str], *, terminate: bool) -> list[Revoked]:
    """Takes each out of its queue, and tells the workers, which drop it if they have it."""
    with Inquiry(deployment) as inquiry:
        found = {job: inquiry.evidence(job) for job in ids}
    live = [job for job, evidence in found.items() if evidence.state not in ENDS]
    with _Line(deployment) as wire:
        removed = {job: _remove(deployment, wire, found[job].found) for job in live} if wire else {}
        told = [job for job in live if terminate or found[job].state is not JobState.RUNNING]
        if told:
            arguments = {"task_id": told, "terminate": terminate}
            workers.ask(deployment, wire, Question(method="revoke", arguments=arguments))
    done = []
    for job, evidence in found.items():
        done.append(_revoked(job, evidence.state, evidence.held, removed=removed.get(job, False), terminate=terminate))
        if done[-1].done in {"removed", "told"}:
            with suppress(LivectlError):
                note(deployment, job, state=JobState.REVOKED, finished=time.time())
    return done


def _revoked(job: str, state: JobState, held: Any, *, removed: bool, terminate: bool) -> Revoked:
    worker = held.worker if held else "its worker"
    if state in ENDS:
        return Revoked(job, state, "nothing", f"has {state} already")
    if state is JobState.RUNNING and terminate:
        return Revoked(job, state, "terminated", f"was running: {worker} was told to kill it")
    if state is JobState.RUNNING:
        return Revoked(job, state, "nothing", f"is running on {worker} and goes on; --terminate kills it")
    if removed:
        return Revoked(
            job, state, "removed", f"was {state}: taken {f'back from {worker}' if held else 'out of its queue'}"
        )
    if state is JobState.UNKNOWN:
        return Revoked(job, state, "nothing", "is nowhere; the workers will drop it should it come")
    return Revoked(job, state, "told", f"was {state}: {worker} drops it when its turn comes")


def _remove(deployment: Deployment, wire: Wire, found: search.Found | None) -> bool:
    """From its queue, or from what a dead worker held. True when it was still there."""
    layout = deployment.layout
    if found is None:
        return False
    if not found.tag:
        return bool(wire.ask("LREM", found.key, -1, found.raw))
    aside = f"livectl:purged:{uuid4()}"
    keys = (layout.unacked_key, layout.unacked_index_key, aside)
    moved = wire.ask("EVAL", SET_HELD_ASIDE, len(keys), *keys, found.tag, found.raw)
    wire.ask("DEL", aside)
    return bool(moved)


class _Line:
    """A connection to the broker if it is a Redis; None otherwise."""

    def __init__(self, deployment: Deployment) -> None:
        self._broker = deployment.broker
        self._wire: Wire | None = None

    def __enter__(self) -> Wire | None:
        if self._broker is not None and self._broker.is_redis:
            self._wire = resp.dial(self._broker)
        return self._wire

    def __exit__(self, *_: object) -> None:
        if self._wire:
            self._wire.close()


def _bind(order: Order, task: Any) -> None:
    try:
        signature = inspect.signature(task.run)
    except (TypeError, ValueError):
        return  # nothing can be said of what Python itself cannot tell
    try:
        signature.bind(*order.args, **order.kwargs)
    except TypeError as error:
        shown = signature.replace(return_annotation=inspect.Signature.empty)
        raise UsageError(f"{order.task}{shown}: {error}", FORCE) from error


def _options(order: Order) -> dict[str, Any]:
    names = ("queue", "priority", "eta", "expires")
    return {name: value for name in names if (value := getattr(order, name)) is not None}


def _by_name(app: Any, name: str) -> Any:
    return lambda args, kwargs, **options: app.send_task(name, args, kwargs, **options)


def _some(names: set[str]) -> str:
    own = sorted(name for name in names if not name.startswith("celery."))
    return f"There are {', '.join(own[:5])}{', …' if len(own) > 5 else ''}." if own else "There are none."
