"""Lists the runs of schedules: when they were due, when they began, how they ended."""

from __future__ import annotations

import click

from livectl.completing import complete
from livectl.context import CommandContext, pass_command_context


@click.command()
@click.argument("name", required=False, shell_complete=complete("schedules"))
@click.option("-n", "--limit", type=click.IntRange(1, 10_000), default=20, show_default=True, help="So many at most.")
@click.option("--failed", is_flag=True, help="Only those that failed, were set aside, or were missed.")
@click.option(
    "--tz",
    "zone",
    metavar="ZONE",
    shell_complete=complete("zones"),
    help="Show times in this zone, not in that of the settings or the app.",
)
@pass_command_context
def command(context: CommandContext, *, name: str | None, limit: int, failed: bool, zone: str | None) -> None:
    """The last runs of a schedule, or of all, the newest first.

    Workers that livectl starts note when a run began and how it ended; beat notes
    what it sent and what it missed. Kept for a week, unless `history:` says otherwise.

    \b
    Examples:
      livectl runs nightly
      livectl -A proj runs --failed --json
    """
    from livectl import redis_client
    from livectl import schedule_reading as reading
    from livectl.ops.beat import check_ins
    from livectl.ops.jobs import outcomes
    from livectl.ops.jobs.history import JobHistory

    with redis_client.connect(reading.store_address(context), trial_write=False) as connection:
        history = JobHistory.over(connection)
        runs = history.runs(name or "", limit, failed=failed)
        if not runs and name in context.settings.watch.checks:  # what runs elsewhere and checks in
            runs = history.runs(check_ins.PREFIX + name, limit, failed=failed)
    context.show(outcomes.run_table(runs, reading.shown_zone(context, zone), name or ""))
