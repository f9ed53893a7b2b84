"""Sends a task, and waits for its result if asked to."""

from __future__ import annotations

import re
import time
from typing import TYPE_CHECKING, Any

import click

from livectl.completing import complete
from livectl.context import CommandContext, pass_command_context
from livectl.errors import UnfinishedError

if TYPE_CHECKING:
    from livectl.ops.jobs.job_request import JobRequest
    from livectl.ops.jobs.sender import JobSender


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

    \b
    Examples:
      livectl call livectl.ping --wait
      livectl -A proj call proj.tasks.add -2 3 --in 10m -Q slow
      livectl -A proj call --from orders.jsonl --window 50
    """
    from livectl.ops.jobs import publish_many
    from livectl.ops.jobs.job_request import read_request

    job_sender = context.job_sender()
    if options["file"]:
        job_requests = publish_many.read_requests(context.cwd / options["file"], options["task"])
        return _send_batch(context, job_sender, job_requests, options)
    job_request = read_request(options)
    if not options["force"]:
        _validate(context, job_sender, [job_request])
    if options["wait"]:
        return _send_and_wait(context, job_sender, job_request, options)
    return _send(context, job_sender, job_request, options)


def _validate(context: CommandContext, job_sender: JobSender, job_requests: list[JobRequest]) -> None:
    warnings = [job_sender.validate(job_request) for job_request in job_requests]
    for warning in dict.fromkeys(filter(None, warnings)):
        context.say(warning)


def _send(context: CommandContext, job_sender: JobSender, job_request: JobRequest, options: dict[str, Any]) -> int:
    from livectl.render import sentence

    sent_job = job_sender.send(job_request, force=options["force"])
    context.say(f"sent {sent_job.task} to the queue {sent_job.queue}; its id:")
    context.show(sentence(sent_job.id, sent_job))
    return 0


def _send_and_wait(
    context: CommandContext, job_sender: JobSender, job_request: JobRequest, options: dict[str, Any]
) -> int:
    from livectl.ops.jobs import views, wait

    wait.require_result_backend(context.deployment)
    sent_job = job_sender.send(job_request, keep_result=True, force=options["force"])
    context.say(f"sent {sent_job.id}")
    timeout_s = wait.FOREVER if options["timeout"] is None else options["timeout"]
    with context.working(f"waiting for {sent_job.task}") as advance:
        for status in wait.follow(context.deployment, sent_job.id, timeout_s):
            if status.progress:
                advance(*status.progress)
    context.show(views.job_details(status))
    return wait.exit_code(status)


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
