"""Sends a whole follow list to the workers, and waits for the result."""

from __future__ import annotations

import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from livectl.completing import complete
from livectl.context import CommandContext, pass_command_context
from livectl.errors import EXIT_INTERRUPTED, PlatformError, UsageError, mistake_lines

if TYPE_CHECKING:
    from collections.abc import Sequence

    from livectl.live.check_request import CheckRequest, StreamerKey
    from livectl.live.views import StreamerView
    from livectl.models import Streamer
    from livectl.ops.deployment import Deployment
    from livectl.ops.jobs.job_request import JobRequest
    from livectl.remote_check import RemoteCheck


@click.command()
@click.argument("file", required=False, type=click.Path(dir_okay=False, path_type=Path))
@click.option("--in", "delay", metavar="DURATION", help="Not before 30s, 1m, 1m30s have passed.")
@click.option("--at", metavar="TIME", help="Not before this time: 2027-01-31T09:00:00Z.")
@click.option("--expires", metavar="DURATION", help="Not at all once this has passed.")
@click.option("--priority", type=click.IntRange(0, 255), help="On Redis 0 is taken first, 9 last.")
@click.option(
    "-Q", "--queue", metavar="NAME", shell_complete=complete("queues"), help="To this queue, instead of the usual one."
)
@click.option("--wait/--no-wait", default=True, help="Without waiting, print the id of the jobs and be done.")
@pass_command_context
def command(context: CommandContext, /, file: Path | None, *, wait: bool, **options: Any) -> int:
    """The list is that of the settings, or any that `livectl follow import` reads.
    Jobs carry up to some hundreds of streamers each; a platform that bears fewer
    requests is asked bit by bit, and that takes its time. Ctrl-C leaves the jobs
    to the workers, and says how to come back.

    \b
    Exit codes: 0 all could be asked, 5 somebody could not.

    \b
    Examples:
      livectl submit
      livectl submit friends.txt --in 10s
      livectl submit --no-wait --expires 5m
    """
    from livectl.ops import deployment

    request, listed = _read_request(context, file)
    own_deployment = deployment.own_deployment(context.settings)
    remote_check, group_id = _send(context, own_deployment, request, options)
    if not wait:
        return _show_sent(context, request, remote_check, group_id)
    try:
        if listed is None:
            return _wait_for_many(context, remote_check, group_id, request.total)
        return _wait(context, listed, remote_check, group_id, request.total)
    except KeyboardInterrupt:
        context.say(f"The jobs go on without you. To come back: livectl status --wait {group_id}")
        return EXIT_INTERRUPTED


def _read_request(context: CommandContext, file: Path | None) -> tuple[CheckRequest, Sequence[Streamer] | None]:
    """What to check, of the file or the settings, and in which order; None for a list that is too long to be held.

    Lines that name nobody are told, and left out.
    """
    from livectl.live import check_request
    from livectl.live.follows import follow_list, formats
    from livectl.live.follows.long_list import LongList

    path, name = (context.cwd / file, str(file)) if file else (context.settings.follows, context.settings.follows.name)
    lines = formats.import_lines(path, name) if file else follow_list.read_lines(path, name)
    listed: Sequence[Streamer] | None = None
    if follow_list.is_long(path):
        pages = LongList(path, name, context.say, lines).pages()
        request = check_request.build_long((page.streamers for page in pages), context.settings)
    else:
        follows = follow_list.merge_lines(lines, name)
        for line in mistake_lines(follows.refused):
            context.say(line)
        request, listed = check_request.build(follows.streamers, context.settings), follows.streamers
    if not request.total:
        raise UsageError("nobody is on the list", "Put somebody there: livectl follow add ADDRESS.")
    return request, listed


def _send(
    context: CommandContext, deployment: Deployment, request: CheckRequest, options: dict[str, Any]
) -> tuple[RemoteCheck, str]:
    """Sends the jobs, if workers can run them. Returns the check and the id of the group."""
    from livectl.celeryapp import create_app
    from livectl.ops.jobs.job_request import JobRequest, read_job_options
    from livectl.ops.jobs.publish_many import SendOptions
    from livectl.remote_check import TASK, RemoteCheck, job_args

    app, job_options = create_app(context.settings), read_job_options(options)
    remote_check = RemoteCheck(request, deployment, context.settings.platform_queues)
    for queue in {job_options["queue"]} if job_options["queue"] else remote_check.queues:
        job = JobRequest(task=TASK, args=job_args(request.batches[0]), **(job_options | {"queue": queue}))
        _validate(context, deployment, app, job)
    return remote_check, remote_check.send(app, SendOptions(**job_options, keep_result=True))


def _validate(context: CommandContext, deployment: Deployment, app: Any, job_request: JobRequest) -> None:
    """UsageError if the workers cannot run this job, without the hint to --force, which submit does not have."""
    from livectl.ops import apps
    from livectl.ops.jobs import sender

    try:
        sender.JobSender(deployment, app, apps.load_tasks(app, context.cwd)).validate(job_request)
    except UsageError as error:
        hint = error.hint.removesuffix(sender.FORCE_HINT).strip()
        raise UsageError(error.message, hint or "Start a worker: livectl up.") from error


def _show_sent(context: CommandContext, request: CheckRequest, remote_check: RemoteCheck, group_id: str) -> int:
    from livectl.render import sentence

    context.say(
        f"{request.total} streamers in {len(remote_check.jobs)} jobs; `livectl status` follows them by this id:"
    )
    context.show(sentence(group_id, {"id": group_id, "streamers": request.total, "jobs": len(remote_check.jobs)}))
    return 0


def _wait(
    context: CommandContext, listed: Sequence[Streamer], remote_check: RemoteCheck, group_id: str, total: int
) -> int:
    from livectl.live import check_request, views

    began = time.monotonic()
    streamer_views: dict[StreamerKey, StreamerView] = {}
    with context.working("asking through the workers") as advance:
        for batch_views in remote_check.wait_for_views(float("inf")):
            streamer_views |= batch_views
            advance(len(streamer_views), total)
    ordered_views = check_request.ordered_views(listed, streamer_views)
    summary = views.CheckSummary(ordered_views)
    context.show(summary.view(group_id, time.monotonic() - began, ordered_views))
    return PlatformError.code if summary.verdicts[None] else 0


def _wait_for_many(context: CommandContext, remote_check: RemoteCheck, group_id: str, total: int) -> int:
    """The same of a long list: who answered lies in a file meanwhile, and comes in no order."""
    import tempfile

    from livectl import render
    from livectl.live import views

    began, summary = time.monotonic(), views.CheckSummary()
    with tempfile.TemporaryFile("w+", prefix="livectl-", encoding="utf-8") as answered:
        with context.working("asking through the workers") as advance:
            for batch_views in remote_check.wait_for_views(float("inf")):
                summary.note(batch_views.values())
                if context.json and batch_views:
                    rows = render.as_json(render.View(list(batch_views.values()), str)).strip()[1:-1]
                    answered.write(f"{rows}\n")
                advance(summary.verdicts.total(), total)
        view = summary.view(group_id, time.monotonic() - began)
        if context.json:
            answered.seek(0)
            context.write(render.json_around(view, "streamers", (line.rstrip("\n") for line in answered)))
        else:
            context.show(view)
    return PlatformError.code if summary.verdicts[None] else 0
