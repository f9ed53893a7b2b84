"""Lists recent jobs."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import click

from livectl.completing import complete
from livectl.context import CommandContext, pass_command_context

STATES = ("succeeded", "failed", "running", "received", "retrying", "revoked")


@click.command()
@click.option("--state", type=click.Choice(STATES), help="Only these.")
@click.option("--task", metavar="NAME", shell_complete=complete("tasks"), help="Only of this task.")
@click.option("--worker", metavar="NODE", shell_complete=complete("nodes"), help="Only of this worker.")
@click.option("--since", metavar="DURATION", help="Only what ended within 10m, 1h30m, 2d.")
@click.option("-n", "--limit", type=click.IntRange(min=1), default=50, show_default=True, help="So many at most.")
@pass_command_context
def command(context: CommandContext, /, **options: Any) -> None:
    """The jobs that the result backend and livectl's job log know, the newest first.

    Of backends, Redis, SQLAlchemy and Django's database can be listed. Task and worker of a job are known if the app
    sets result_extended, or if `livectl worker` ran it.

    \b
    Examples:
      livectl results --task livectl.ping --limit 10
      livectl -A proj results --state failed --since 1h
    """
    from livectl.ops.jobs import results, views
    from livectl.ops.jobs.job_request import parse_duration_option

    since = datetime.now(UTC) - parse_duration_option("--since", options["since"]) if options["since"] else None
    limit = options["limit"]
    wanted = results.ResultFilter(**{**options, "since": since, "limit": limit + 1})
    with context.working("reading the results"):
        jobs = results.list_recent(context.deployment, wanted)
    more = f"and older ones: -n {10 * limit} shows more" if len(jobs) > limit else ""
    if context.json and jobs.nameless:
        context.say(views.nameless_text(jobs.nameless))
    context.show(views.job_table(jobs[:limit], more=more, nameless=jobs.nameless))
