"""Asks platforms about streamers now, through the workers or from here."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

import click

from livectl.completing import complete
from livectl.context import CommandContext, pass_command_context
from livectl.errors import (
    PlatformError,
    ServerAwayError,
    ServerError,
    SettingsError,
    UnfinishedError,
    UsageError,
)

if TYPE_CHECKING:
    from livectl.live.check_request import CheckRequest, StreamerKey
    from livectl.live.views import StreamerView
    from livectl.remote_check import RemoteCheck

NO_WORKER = "no worker runs"
MAX_WAIT_S = 90.0  # a job has 60 s, and may have waited for its turn


@click.command()
@click.argument("streamers", nargs=-1, required=True, metavar="STREAMER...", shell_complete=complete("streamers"))
@click.option("--local", is_flag=True, help="Ask from here, not through the workers.")
@click.option("--wait/--no-wait", default=True, help="Without waiting, print the task id and be done.")
@pass_command_context
def command(context: CommandContext, *, streamers: tuple[str, ...], local: bool, wait: bool) -> int:
    """STREAMER is platform/id, or an address as the browser shows it. The workers
    ask; if none runs, or with --local, this process does. What is said of
    somebody followed is recorded as if it had been their turn.

    \b
    Exit codes: 0 live (of several: one of them), 1 not live,
    5 somebody could not be asked.

    \b
    Examples:
      livectl check demo/ada
      livectl check --local https://www.twitch.tv/somebody
      livectl check demo/ada demo/grace --json
    """
    from livectl.live import check_request, views
    from livectl.live.follows import follow_list

    requested = [follow_list.parse_argument(streamer, context.settings.follows) for streamer in streamers]
    request = check_request.build(requested, context.settings)
    remote_check = None if local else _find_workers(context, request, must_answer=not wait)
    if not wait:
        if remote_check is None:
            raise UsageError("--no-wait needs a worker to send the question to", "Start one: livectl up.")
        return _show_sent(context, remote_check)
    views_by_key = (
        _check_through_workers(context, request, remote_check) if remote_check else _check_here(context, request)
    )
    streamer_views = check_request.ordered_views(requested, views_by_key)
    context.show(views.check_view(streamer_views, time.time()))
    return _exit_code(streamer_views)


def _exit_code(streamer_views: list[StreamerView]) -> int:
    if any(streamer.live is None for streamer in streamer_views):
        return PlatformError.code
    return 0 if any(streamer.live for streamer in streamer_views) else 1


def _find_workers(context: CommandContext, request: CheckRequest, *, must_answer: bool) -> RemoteCheck | None:
    """The check by workers; None, and the reason on stderr, when none answers that would take its jobs.

    A broker that refuses is an error, as one that is away is where it `must_answer`: somebody has to mend it.
    """
    from livectl.ops import deployment
    from livectl.remote_check import RemoteCheck

    try:
        own_deployment = deployment.own_deployment(context.settings)
        remote_check = RemoteCheck(request, own_deployment, context.settings.platform_queues)
        unread = remote_check.unread_queues()
        if not unread:
            return remote_check
        reason = f"no worker reads the queue {', '.join(filter(None, unread))}" if None not in unread else NO_WORKER
    except ServerAwayError as error:
        if must_answer:
            raise
        reason = error.message
    except ServerError as error:
        raise ServerError(error.message, f"{error.hint} --local asks from here.") from error
    except SettingsError as error:  # no store to keep results in
        reason = error.message
    context.say(f"{reason}: asking from here")
    return None


def _show_sent(context: CommandContext, remote_check: RemoteCheck) -> int:
    from livectl.render import sentence

    job_id = _send(context, remote_check)
    context.show(sentence(job_id, {"id": job_id}))
    return 0


def _check_through_workers(
    context: CommandContext, request: CheckRequest, remote_check: RemoteCheck
) -> dict[StreamerKey, StreamerView]:
    job_id = _send(context, remote_check)
    context.say("asking through the workers")
    streamer_views: dict[StreamerKey, StreamerView] = {}
    with context.working("asking through the workers") as advance:
        for batch_views in remote_check.wait_for_views(time.monotonic() + MAX_WAIT_S):
            streamer_views |= batch_views
            advance(len(streamer_views), request.total)
    if remote_check.jobs:
        raise UnfinishedError(f"no answer within {MAX_WAIT_S:.0f} s", f"It may still come: livectl status {job_id}")
    return streamer_views


def _send(context: CommandContext, remote_check: RemoteCheck) -> str:
    from livectl.celeryapp import create_app
    from livectl.ops.jobs.publish_many import SendOptions

    return remote_check.send(create_app(context.settings), SendOptions(keep_result=True))


def _check_here(context: CommandContext, request: CheckRequest) -> dict[StreamerKey, StreamerView]:
    from livectl.live import check_request

    store = context.open_own_store()
    with context.working("asking") as advance:
        return check_request.answer_here(request, context.settings, store, context.home, advance)
