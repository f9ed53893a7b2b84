"""Shows who changed what by the page or the terminal."""

from __future__ import annotations

import time

import click

from livectl.context import CommandContext, pass_command_context


@click.command()
@click.option("--since", metavar="DURATION", help="Only of the last 10m, 12h, 7d.")
@click.option("-n", "--limit", type=click.IntRange(1, 10_000), default=50, show_default=True, help="So many at most.")
@pass_command_context
def command(context: CommandContext, /, since: str | None, limit: int) -> None:
    """The changes of the last 90 days, the newest first: who made them (the name of the token, the address), of what,
    and how they went.

    \b
    Examples:
      livectl audit
      livectl audit --since 1d --json
    """
    from livectl import audit
    from livectl.ops.jobs.job_request import parse_duration_option

    store = context.deployment.store if context.app else None
    begin = time.time() - parse_duration_option("--since", since).total_seconds() if since else 0.0
    entries = audit.read(store or context.own_store, limit + 1, begin)
    more = f"and older ones: -n {10 * limit} shows more" if len(entries) > limit else ""
    context.show(audit.changes_view(entries[:limit], context.settings.timezone, more))
