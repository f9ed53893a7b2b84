"""Shows where a job is, once or until it has ended."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

import click

from livectl.completing import complete
from livectl.context import CommandContext, pass_command_context

if TYPE_CHECKING:
    from livectl.terminal import FullScreen


@click.command()
@click.argument("job", metavar="TASK-ID", shell_complete=complete("jobs"))
@click.option("--full", is_flag=True, help="The whole traceback, not the one line.")
@click.option("--watch", is_flag=True, help="Show it again whenever it changes, until it has ended.")
@click.option("--wait", is_flag=True, help="Answer once it has ended.")
@click.option("--timeout", type=click.FloatRange(min=0), metavar="SECONDS", help="Wait or watch no longer than this.")
@pass_command_context
def command(context: CommandContext, *, job: str, full: bool, watch: bool, wait: bool, timeout: float | None) -> int:
    """One word: succeeded, failed, running, received, eta, queued, redelivery, retrying, revoked or unknown,
    and all that is known besides. It looks in the result backend, in the queues and asks the workers,
    within three seconds. The id of a saved group will do.

    \b
    Exit codes: 0 succeeded, 1 failed, revoked or unknown, 6 not finished yet.

    \b
    Examples:
      livectl status 8b0d1d2e-52d4-4d4f-8f0c-5a1c9c1ed3a1
      livectl -A proj status --wait --timeout 60 $ID && echo done
    """
    from livectl.ops.jobs import views
    from livectl.ops.jobs import wait as jobs_wait

    job_id = jobs_wait.check_job_id(job)
    seconds = 0.0 if not (watch or wait) else jobs_wait.FOREVER if timeout is None else timeout
    if watch and (screen := context.open_screen()):
        _draw(context, screen, job_id, full=full, seconds=seconds)
        watch, seconds = False, 0.0
    with context.working(f"waiting for {job_id}" if wait else f"looking for {job_id}") as advance:
        for current in jobs_wait.follow(context.deployment, job_id, seconds):
            last = current
            if current.progress:
                advance(*current.progress)
            if watch:
                context.show(views.job_details(current, full=full))
    if not watch:
        context.show(views.job_details(last, full=full))
    return jobs_wait.exit_code(last)


def _draw(context: CommandContext, screen: FullScreen, job_id: str, *, full: bool, seconds: float) -> None:
    """Redraws it until it has ended, the time is over or q is pressed."""
    from livectl import terminal
    from livectl.ops.jobs import views
    from livectl.ops.jobs import wait as jobs_wait

    deadline = time.monotonic() + seconds
    lookups = jobs_wait.look_up_repeatedly(context.deployment, job_id)

    def read() -> terminal.Watched:
        status, has_ended = next(lookups)
        is_over = has_ended or time.monotonic() > deadline
        return terminal.Watched(views.job_details(status, full=full), has_ended=is_over)

    terminal.draw_until_quit(read, screen, interval_s=jobs_wait.MAX_POLL_PAUSE_S)
