"""Sends a task, and waits for its result if asked to."""

from __future__ import annotations

import re
import time
from typing import TYPE_CHECKING, Any

import click

from livectl.completing import complete
from livectl.context import CommandContext, pass_command_context
from livectl.errors import UnfinishedError, UsageError

if TYPE_CHECKING:
    from livectl.ops.jobs.job_request import JobRequest
    from livectl.ops.jobs.sender import JobSender, SentCanvas


PLACES = (
    "queue",
    "priority",
    "delay",
    "at",
    "expires",
    "serializer",
    "exchange",
    "routing_key",
    "headers",
)  # of one job
NEGATIVE_NUMBER = re.compile(r"-\.?\d[\d.eE+-]*")


class TaskCommand(click.Command):
    """Takes negative numbers as arguments, where Click would look for an option `-1`."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        words, raw = (args[: args.index("--")], args[args.index("--") :]) if "--" in args else (list(args), [])
        ctx.ignore_unknown_options = any(map(NEGATIVE_NUMBER.fullmatch, words))
        rest = super().parse_args(ctx, args)
        for word in (ctx.params.get("task") or "", *(ctx.params.get("args") or ())):
            if word[:1] == "-" != word and not NEGATIVE_NUMBER.fullmatch(word) and word not in raw:
                raise click.NoSuchOption(word, ctx=ctx)
        return rest


@click.command(cls=TaskCommand)
@click.argument("task", required=False, shell_complete=complete("tasks"))
@click.argument("args", nargs=-1, metavar="[ARG]...")
@click.option("-k", "--kwargs", metavar="JSON", help='Keyword arguments: \'{"name": "Ada"}\'.')
@click.option(
    "-Q",
    "--queue",
    metavar="NAME",
    shell_complete=complete("queues"),
    help="To this queue, instead of the one it is routed to.",
)
@click.option("--priority", type=click.IntRange(0, 255), help="On Redis 0 is taken first, 9 last.")
@click.option("--in", "delay", metavar="DURATION", help="Not before 30s, 10m, 1h30m have passed.")
@click.option("--at", metavar="TIME", help="Not before this time: 2027-01-31T09:00:00Z.")
@click.option("--expires", metavar="DURATION", help="Not at all once this has passed.")
@click.option("--chain", "chain", multiple=True, metavar="STEP", help='Then this, with its result: "proj.mul 10".')
@click.option("--link", multiple=True, metavar="STEP", help="Besides, once it succeeded.")
@click.option("--link-error", multiple=True, metavar="STEP", help="Once it failed.")
@click.option("--canvas", metavar="JSON", help="Chains, groups and chords, instead of a task; @FILE reads a file.")
@click.option("--serializer", metavar="NAME", help="Of its arguments: json, pickle, yaml, msgpack.")
@click.option("--exchange", metavar="NAME", help="To this exchange, instead of to a queue.")
@click.option("--routing-key", metavar="KEY", help="With this key.")
@click.option("--header", "headers", multiple=True, metavar="NAME=VALUE", help="In the header of its message.")
@click.option("--wait", is_flag=True, help="Wait for the result, with a bar if the task reports progress.")
@click.option("--timeout", type=click.FloatRange(min=0), metavar="SECONDS", help="Wait no longer than this.")
@click.option(
    "--from", "file", type=click.Path(dir_okay=False), help="Send each line of a JSONL file, and wait for all."
)
@click.option("--window", type=click.IntRange(min=1), default=100, show_default=True, help="Unfinished at a time.")
@click.option("--force", is_flag=True, help="Send what would be refused.")
@pass_command_context
def command(context: CommandContext, /, **options: Any) -> int:
    """An ARG is JSON if it can be, and text otherwise. Nothing is sent that cannot come to anything: an unknown task,
    arguments that it does not take, a queue that nobody reads.

    A STEP is a task and its arguments, in one word: "proj.mul 10 factor=2". It is given the result before it first,
    unless --immutable stands among them. With --chain the id that is printed is that of the last; --wait waits for it.

    \b
    Examples:
      livectl call livectl.ping --wait
      livectl -A proj call proj.add -2 3 --in 10m --chain "proj.mul 10"
      livectl -A proj call --from orders.jsonl --window 50
    """
    from livectl.ops.jobs import canvas, publish_many
    from livectl.ops.jobs.job_request import read_request

    job_sender = context.job_sender()
    if options["file"]:
        job_requests = publish_many.read_requests(context.cwd / options["file"], options["task"])
        return _send_batch(context, job_sender, job_requests, options)
    if options["canvas"]:
        return _send_canvas(context, job_sender, options)
    steps = {
        kind: tuple(canvas.parse_step(f"--{kind.replace('_', '-')}", text) for text in options[kind])
        for kind in ("chain", "link", "link_error")
    }
    job_request = read_request(options, steps)
    if not options["force"]:
        _validate(context, job_sender, [job_request, *canvas.steps_to_check(job_request)])
    if options["wait"]:
        return _send_and_wait(context, job_sender, job_request, options)
    return _send(context, job_sender, job_request, options)


def _validate(context: CommandContext, job_sender: JobSender, job_requests: list[JobRequest]) -> None:
    warnings = [job_sender.validate(job_request) for job_request in job_requests]
    for warning in dict.fromkeys(filter(None, warnings)):
        context.say(warning)


def _send(context: CommandContext, job_sender: JobSender, job_request: JobRequest, options: dict[str, Any]) -> int:
    from livectl.render import sentence

    sent = job_sender.send_with_steps(job_request, force=options["force"])
    if _has_steps(sent):
        _show_ids(context, sent)
        return 0
    context.say(f"sent {sent.jobs[0].task} to the queue {sent.jobs[0].queue}; its id:")
    context.show(sentence(sent.id, sent.jobs[0]))
    return 0


def _send_and_wait(
    context: CommandContext, job_sender: JobSender, job_request: JobRequest, options: dict[str, Any]
) -> int:
    from livectl.ops.jobs import wait

    wait.require_result_backend(context.deployment)
    sent = job_sender.send_with_steps(job_request, keep_result=True, force=options["force"])
    return _wait(context, sent, options)


def _send_canvas(context: CommandContext, job_sender: JobSender, options: dict[str, Any]) -> int:
    from livectl.ops.jobs import canvas, wait

    beside = [name for name in ("task", "chain", "link", "link_error", "kwargs", *PLACES) if options[name]]
    if beside:
        message = f"--canvas says which jobs are sent, and {beside[0].replace('_', '-')} stands beside it"
        raise UsageError(message, 'Put it into the canvas: {"task": …, "args": […], "queue": …}.')
    part = canvas.read_canvas(options["canvas"], context.cwd)
    if options["wait"]:
        wait.require_result_backend(context.deployment)
    if not options["force"]:
        _validate(context, job_sender, list(canvas.requests_to_check(part)))
    sent = job_sender.send_canvas(part)
    if options["wait"]:
        return _wait(context, sent, options)
    _show_ids(context, sent)
    return 0


def _wait(context: CommandContext, sent: SentCanvas, options: dict[str, Any]) -> int:
    """Follows what ends last, and shows it; or the first that failed, with which nothing more comes."""
    from livectl.ops.jobs import views, wait

    for job in sent.jobs:
        context.say(f"sent {job.id}" if len(sent.jobs) == 1 else f"{job.id}  {job.task}")
    for job in sent.links:
        context.say(f"{job.id}  {job.task}, beside")
    timeout_s = wait.FOREVER if options["timeout"] is None else options["timeout"]
    ids = [job.id for job in sent.jobs]
    is_one = ids == [sent.id]
    with context.working(f"waiting for {sent.jobs[-1].task}") as advance:
        for status in (
            wait.follow(context.deployment, sent.id, timeout_s)
            if is_one
            else wait.follow_canvas(context.deployment, sent.id, ids, timeout_s)
        ):
            if status.progress:
                advance(*status.progress)
    context.show(views.job_details(status))
    return wait.exit_code(status)


def _has_steps(sent: SentCanvas) -> bool:
    return len(sent.jobs) > 1 or bool(sent.links)


def _show_ids(context: CommandContext, sent: SentCanvas) -> None:
    """All ids to a person; what ends last to a script: that of the last, or of the group."""
    from livectl.render import sentence

    for job in sent.jobs:
        context.say(f"{job.id}  {job.task}, to the queue {job.queue}")
    for job in sent.links:
        context.say(f"{job.id}  {job.task}, beside, to the queue {job.queue}")
    context.say("the id to follow:")
    context.show(sentence(sent.id, sent))


def _send_batch(
    context: CommandContext, job_sender: JobSender, job_requests: list[JobRequest], options: dict[str, Any]
) -> int:
    from livectl.ops.jobs import publish_many, views, wait

    wait.require_result_backend(context.deployment)
    if not options["force"]:
        _validate(context, job_sender, job_requests)
    deadline = wait.FOREVER if options["timeout"] is None else time.monotonic() + options["timeout"]
    batch = publish_many.JobBatch(
        job_sender, context.deployment, window=options["window"], deadline=deadline, force=options["force"]
    )
    with context.working("waiting for the jobs") as advance:
        for summary in batch.run(job_requests):
            advance(ended_count := summary.succeeded + summary.failed, len(job_requests))
    context.show(views.batch_summary(summary, len(job_requests)))
    if summary.failed:
        return 1
    return UnfinishedError.code if ended_count < len(job_requests) else 0
