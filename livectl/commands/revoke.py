"""Takes jobs out of their queues and away from workers."""

from __future__ import annotations

import click

from livectl.completing import complete
from livectl.context import CommandContext, pass_command_context


@click.command()
@click.argument("ids", nargs=-1, required=True, metavar="TASK-ID...", shell_complete=complete("jobs"))
@click.option("--terminate", is_flag=True, help="Kill it if it runs.")
@pass_command_context
def command(context: CommandContext, /, ids: tuple[str, ...], *, terminate: bool) -> int:
    """It is taken out of its queue, and the workers are told to drop it, which they forget when they restart.
    Says what was done with each; exit 1 when with one nothing could be.

    \b
    Examples:
      livectl revoke 8b0d1d2e-52d4-4d4f-8f0c-5a1c9c1ed3a1
      livectl -A proj revoke --terminate 8b0d1d2e-52d4-4d4f-8f0c-5a1c9c1ed3a1
    """
    from livectl.ops.jobs import sender, views, wait

    job_ids = [wait.check_job_id(job_id) for job_id in ids]
    with context.working("looking into queues and workers"):
        outcomes = sender.revoke(context.deployment, job_ids, terminate=terminate)
    for outcome in outcomes:
        context.note_change("revoke", outcome.id, "nothing" if outcome.done == "nothing" else "done")
    context.show(views.revoked_list(outcomes))
    return 1 if any(outcome.done == "nothing" for outcome in outcomes) else 0
