"""Sends a task."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

import click

from livectl.context import CommandContext, pass_command_context
from livectl.errors import UnfinishedError

if TYPE_CHECKING:
    from livectl.ops.deployment import Deployment
    from livectl.ops.jobs.job_request import JobRequest
    from livectl.ops.jobs.sender import JobSender


@click.command()
@click.argument("task", required=False)
@click.argument("args", nargs=-1, metavar="[ARG]...")
@click.option("-k", "--kwargs", metavar="JSON", help='Keyword arguments: \'{"name": "Ada"}\'.')
@click.option("-Q", "--queue", metavar="NAME", help="To this queue, instead of the one it is routed to.")
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
      livectl -A proj call proj.tasks.add 2 3 --in 10m -Q slow
      livectl -A proj call --from orders.jsonl --window 50
    """
    from livectl.ops import deployment
    from livectl.ops.jobs import batch_file
    from livectl.ops.jobs.job_request import read_request

    app_deployment = deployment.find(context.app, context.settings, context.cwd)
    job_sender = _make_job_sender(context, app_deployment)
    if options["file"]:
        job_requests = batch_file.read_requests(context.cwd / options["file"], options["task"])
        return _send_many(context, app_deployment, job_sender, job_requests, options)
    job_request = read_request(options)
    if not options["force"]:
        job_sender.validate(job_request)
    return (
        _wait(context, app_deployment, job_sender, job_request, options)
        if options["wait"]
        else _send(context, job_sender, job_request, options)
    )


def _make_job_sender(context: CommandContext, deployment: Deployment) -> JobSender:
    """Where the app's tasks are known: livectl's own app is made of the settings in force."""
    from livectl.ops import apps
    from livectl.ops.jobs import sender

    if deployment.app is not None:
        return sender.JobSender(deployment, deployment.app, apps.load_tasks(deployment.app, context.cwd))
    from livectl.celeryapp import create_app

    app = create_app(context.settings)
    return sender.JobSender(deployment, app, apps.load_tasks(app, context.cwd))


def _send(context: CommandContext, job_sender: JobSender, job_request: JobRequest, options: dict[str, Any]) -> int:
    from livectl.render import sentence

    sent_job = job_sender.send(job_request, force=options["force"])
    context.say(f"sent {sent_job.task} to the queue {sent_job.queue}; its id:")
    context.show(sentence(sent_job.id, sent_job))
    return 0


def _wait(
    context: CommandContext,
    deployment: Deployment,
    job_sender: JobSender,
    job_request: JobRequest,
    options: dict[str, Any],
) -> int:
    from livectl.ops.jobs import views, wait

    wait.require_result_backend(deployment)
    sent_job = job_sender.send(job_request, keep_result=True, force=options["force"])
    context.say(f"sent {sent_job.id}")
    timeout = wait.FOREVER if options["timeout"] is None else options["timeout"]
    for current in wait.follow(deployment, sent_job.id, timeout):
        last = current
        if current.progress:
            _show_progress(context, *current.progress)
    context.show(views.job_details(last))
    return wait.exit_code(last)


def _send_many(
    context: CommandContext,
    deployment: Deployment,
    job_sender: JobSender,
    job_requests: list[JobRequest],
    options: dict[str, Any],
) -> int:
    from livectl.ops.jobs import batch_file, views, wait

    wait.require_result_backend(deployment)
    for job_request in job_requests if not options["force"] else ():
        job_sender.validate(job_request)
    until = wait.FOREVER if options["timeout"] is None else time.monotonic() + options["timeout"]
    batch = batch_file.JobBatch(job_sender, deployment, window=options["window"], deadline=until)
    finished = -1
    for summary in batch.run(job_requests):
        if (finished_now := summary.succeeded + summary.failed) != finished:
            _show_progress(context, finished_now, len(job_requests))
            finished = finished_now
    context.show(views.batch_summary(summary, len(job_requests)))
    return 1 if summary.failed else UnfinishedError.code if finished < len(job_requests) else 0


def _show_progress(context: CommandContext, current: float, total: float) -> None:
    """The bar, in its place where somebody watches; elsewhere a line each time."""
    from livectl.ops.jobs import views

    if context.quiet or not context.err.isatty():
        context.say(views.progress_bar(current, total))
        return
    context.err.write(f"\r{views.progress_bar(current, total)}" + ("\n" if current >= total else ""))
    context.err.flush()
