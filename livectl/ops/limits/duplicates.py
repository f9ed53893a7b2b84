"""Jobs that are the same as others: which are, and how one ends that is not done because of another."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

from celery import signals, states
from celery.app.task import Context
from celery.canvas import maybe_signature
from celery.utils.log import get_logger

from livectl.ops.limits import partitions
from livectl.ops.transport.consumer import task_headers

if TYPE_CHECKING:
    from inspect import Signature

    from livectl.task_settings import TaskRule

logger = get_logger(__name__)


class UniqueClaim(NamedTuple):
    """What a job that is unique asks for."""

    task: str
    arguments: str
    mode: str
    seconds: float
    until_end: bool


def claim_of(rule: TaskRule, signature: Signature | None, task: str, args: Any, kwargs: Any) -> UniqueClaim | None:
    """None for a task whose jobs are all done. Raises MissingArgumentError."""
    unique, debounce = rule.settings.unique, rule.settings.debounce
    if unique is not None:
        arguments = partitions.same_arguments(unique.by, task, args, kwargs, signature)
        return UniqueClaim(task, arguments, unique.then, unique.within, unique.until == "end")
    if debounce is None:
        return None
    if rule.settings.per is not None:
        arguments = partitions.partition_of(rule.settings, task, args, kwargs, signature)
    else:
        arguments = partitions.same_arguments((), task, args, kwargs, signature)
    return UniqueClaim(task, arguments, "debounce", debounce, until_end=True)


def end_as_revoked(app: Any, message: Any, first: str) -> None:
    """Tells whoever waits for a job that it is not done, and because of which."""
    request = _request_of(message)
    reason = f"the same as {first}, which is done instead" if first else "a later job is done instead"
    logger.info("Task %s[%s] is not done: %s", request.task, request.id, reason)
    task = app.tasks[request.task]
    task.backend.mark_as_revoked(request.id, reason, request=request, store_result=not _ignores(task, request))
    signals.task_revoked.send(sender=task, request=request, terminated=False, signum=None, expired=False)


def end_as_first(app: Any, message: Any, first: str) -> bool:
    """Ends a job as the first has ended, callbacks and all. False where that has not ended, or left no result."""
    request = _request_of(message)
    task = app.tasks[request.task]
    meta = task.backend.get_task_meta(first)
    if meta["status"] not in states.READY_STATES:
        return False
    logger.info("Task %s[%s] ends as %s did: %s", request.task, request.id, first, meta["status"])
    keeps = not _ignores(task, request)
    result = meta["result"]
    if meta["status"] == states.SUCCESS:
        task.backend.mark_as_done(request.id, result, request=request, store_result=keeps)
        _send_next(app, request, result)
    elif meta["status"] == states.REVOKED:
        task.backend.mark_as_revoked(request.id, str(result), request=request, store_result=keeps)
    else:
        task.backend.mark_as_failure(
            request.id, result, traceback=meta.get("traceback"), request=request, store_result=keeps
        )
    return True


def _send_next(app: Any, request: Any, result: Any) -> None:
    """What was to come after it: as Celery does when a job has ended well."""
    options = {"parent_id": request.id, "root_id": request.root_id or request.id}
    for callback in request.callbacks or ():
        maybe_signature(callback, app=app).apply_async((result,), **options)
    if request.chain:
        *others, following = request.chain
        maybe_signature(following, app=app).apply_async((result,), chain=others, **options)


def _request_of(message: Any) -> Context:
    headers = task_headers(message)
    _, _, embed = _parts(message)
    properties = message.properties or {}
    answers = {name: properties.get(name) for name in ("reply_to", "correlation_id")}
    return Context(headers, **(embed or {}), **answers)


def _parts(message: Any) -> tuple[Any, Any, Any]:
    """Arguments, keyword arguments and what comes after it, in either version of Celery's protocol."""
    payload = message.payload
    if isinstance(payload, dict):
        return payload.get("args") or [], payload.get("kwargs") or {}, {"callbacks": payload.get("callbacks")}
    return payload[0], payload[1], payload[2] if len(payload) > 2 else {}


def arguments_of(message: Any) -> tuple[Any, Any]:
    args, kwargs, _ = _parts(message)
    return args, kwargs


def _ignores(task: Any, request: Any) -> bool:
    own = request.get("ignore_result")
    return bool(task.ignore_result if own is None else own)
