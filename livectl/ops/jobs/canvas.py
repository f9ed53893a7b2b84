"""Reads what is to follow a job, or several jobs in one order: as text for a person, as JSON for a program.

A step is `proj.mul 10 factor=2`: a task and its arguments, as words. In JSON it is that text, or an object with `task`,
`args`, `kwargs`, `queue`, `priority` and `immutable`; a canvas is {"chain": [...]}, {"group": [...]} or
{"chord": [[...], step]}, one within the other.

    livectl:job:ID:ahead   the ids of the jobs that this one follows, in their order, as JSON
"""

from __future__ import annotations

import shlex
from contextlib import suppress
from typing import TYPE_CHECKING, Any, Literal
from uuid import uuid4

import msgspec

from livectl import redis_client
from livectl.errors import LivectlError, UsageError
from livectl.models import JobState
from livectl.ops.jobs.job_request import JobRequest, JobStep, parse_argument

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence
    from pathlib import Path

    from livectl.ops.deployment import Deployment
    from livectl.redis_client import RedisConnection

IMMUTABLE = "--immutable"  # of a step: it is not given the result before it
CANVAS_HINT = """Write '{"chain": ["proj.add 2 3", "proj.mul 10"]}'; also group, and chord with its last step."""
KINDS = ("chain", "group", "chord")
CHORD_PARTS = 2
AHEAD_TTL_S = 7 * 86_400  # for which is known what a job follows
MAX_AHEAD = 100  # of them
RESULT_BEFORE = "result"  # stands for it where arguments are checked


class Canvas(msgspec.Struct, frozen=True):
    """Several steps or canvases, and how they go together. Of a chord the last one follows the others."""

    kind: Literal["chain", "group", "chord"]
    parts: tuple[JobStep | Canvas, ...]


def parse_step(option: str, text: str) -> JobStep:
    """A step of a command line. Raises UsageError, which names the option."""
    try:
        words = shlex.split(text)
    except ValueError as error:
        raise UsageError(f"{option} {text!r}: {error}", f'Write {option} "proj.mul 10".') from error
    if not words or words == [IMMUTABLE]:
        raise UsageError(f"{option} names no task", f'Write {option} "proj.mul 10".')
    args, kwargs = [], {}
    for word in words[1:]:
        name, equals, value = word.partition("=")
        if equals and name.isidentifier():
            kwargs[name] = parse_argument(value)
        elif word != IMMUTABLE:
            args.append(parse_argument(word))
    return JobStep(task=words[0], args=tuple(args), kwargs=kwargs, immutable=IMMUTABLE in words)


def read_canvas(text: str, cwd: Path) -> Canvas:
    """The canvas of this JSON, or of the file that `@FILE` names."""
    source = text
    if text.startswith("@"):
        try:
            source = (cwd / text[1:]).read_text(encoding="utf-8")
        except (OSError, UnicodeDecodeError) as error:
            raise UsageError(f"--canvas {text}: {getattr(error, 'strerror', None) or error}", CANVAS_HINT) from error
    try:
        value = msgspec.json.decode(source)
        canvas = _read_part(value, "canvas")
    except (msgspec.DecodeError, RecursionError) as error:
        raise UsageError(f"--canvas is no JSON: {error}", CANVAS_HINT) from error
    return canvas if isinstance(canvas, Canvas) else Canvas("chain", (canvas,))


def _read_part(value: Any, place: str) -> JobStep | Canvas:
    if isinstance(value, str):
        return parse_step(f"--canvas: {place}", value)
    if isinstance(value, dict) and "task" in value:
        try:
            return msgspec.convert(value, JobStep)
        except msgspec.ValidationError as error:
            raise UsageError(f"--canvas: {place}: {error}", CANVAS_HINT) from error
    if not (isinstance(value, dict) and len(value) == 1 and next(iter(value)) in KINDS):
        raise UsageError(f"--canvas: {place} is no task, chain, group or chord", CANVAS_HINT)
    kind, parts = next(iter(value.items()))
    if kind == "chord" and isinstance(parts, list) and len(parts) == CHORD_PARTS and isinstance(parts[0], list):
        parts = [*parts[0], parts[1]]
    elif kind == "chord" or not isinstance(parts, list):
        raise UsageError(f"--canvas: {place}: {kind} has no list of its parts", CANVAS_HINT)
    if len(parts) < (CHORD_PARTS if kind == "chord" else 1):
        raise UsageError(f"--canvas: {place}: {kind} is empty", CANVAS_HINT)
    return Canvas(kind, tuple(_read_part(part, f"{kind}[{number}]") for number, part in enumerate(parts)))


def requests_to_check(part: JobStep | Canvas, *, follows: bool = False) -> Iterator[JobRequest]:
    """Each job as it would be sent, with a stand-in for the result that it is given."""
    if isinstance(part, JobStep):
        args = (RESULT_BEFORE, *part.args) if follows and not part.immutable else part.args
        yield JobRequest(task=part.task, args=args, kwargs=part.kwargs, queue=part.queue, priority=part.priority)
        return
    for number, inner in enumerate(part.parts):
        is_after = number > 0 if part.kind == "chain" else part.kind == "chord" and inner is part.parts[-1]
        yield from requests_to_check(inner, follows=follows or is_after)


def steps_to_check(request: JobRequest) -> Iterator[JobRequest]:
    """What follows a job, likewise. What follows its failure gets other things, by the kind of its task."""
    for step in (*request.chain, *request.link):
        yield from requests_to_check(step, follows=True)


def build_signature(app: Any, part: JobStep | Canvas, sent: Callable[[JobStep, str], None]) -> Any:
    """The same as Celery has it. Each job has its id already: `sent` is told of each."""
    if isinstance(part, JobStep):
        sent(part, job_id := str(uuid4()))
        options = {name: value for name in ("queue", "priority") if (value := getattr(part, name)) is not None}
        return app.signature(
            part.task, args=part.args, kwargs=part.kwargs, immutable=part.immutable, task_id=job_id, **options
        )
    import celery

    parts = [build_signature(app, inner, sent) for inner in part.parts]
    if part.kind == "chord":
        return celery.chord(parts[:-1], parts[-1], app=app)
    if part.kind == "group":
        return celery.group(parts, app=app)
    return celery.chain(*parts, app=app) if len(parts) > 1 else parts[0]


def note_ahead(deployment: Deployment, ahead: Mapping[str, Sequence[str]]) -> None:
    """Notes which jobs each of these follows: of what is not sent yet nothing else is known. Needs a store."""
    commands = [
        ("SET", _ahead_key(job_id), msgspec.json.encode(list(ids)[-MAX_AHEAD:]), "EX", AHEAD_TTL_S)
        for job_id, ids in ahead.items()
        if ids
    ]
    if commands and deployment.store is not None:
        with suppress(LivectlError, OSError), redis_client.connect(deployment.store) as connection:
            connection.execute_all(commands)


def read_ahead(connection: RedisConnection, job_id: str) -> list[str]:
    """The jobs that this one follows, as it was noted."""
    raw = connection.execute("GET", _ahead_key(job_id))
    try:
        return msgspec.json.decode(raw or b"[]", type=list[str])
    except msgspec.DecodeError:
        return []


def _ahead_key(job_id: str) -> str:
    return f"livectl:job:{job_id}:ahead"


def first_failed(ids: Sequence[str], ended: Mapping[str, JobState]) -> str:
    """The first of these jobs that failed or was revoked; empty as long as none has."""
    return next((job_id for job_id in ids if ended.get(job_id, JobState.SUCCEEDED) != JobState.SUCCEEDED), "")


def describe_behind(
    ahead: Sequence[str], ended: Mapping[str, JobState], is_there: Callable[[str], bool]
) -> tuple[JobState, str]:
    """State and note of a job that is nowhere, and follows these; without a note when all of them have succeeded."""
    if failed := first_failed(ahead, ended):
        how = "was revoked" if ended[failed] is JobState.REVOKED else "failed"
        return ended[failed], f"never sent: {failed}, which it follows, {how}"
    current = next((job_id for job_id in ahead if job_id not in ended), "")
    if not current:
        return JobState.UNKNOWN, ""
    if not is_there(current):
        return JobState.UNKNOWN, f"not sent: it follows {current}, which is nowhere"
    return JobState.QUEUED, f"not sent yet: it follows {current}, and is sent when that has succeeded"
