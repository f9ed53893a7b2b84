"""Lists the targets of alerts, and sends them samples."""

from __future__ import annotations

import time

import click

from livectl.completing import complete
from livectl.context import CommandContext, pass_command_context


@click.group()
def command() -> None:
    """A target is written under `alerts:` in livectl.yaml: an Apprise address, a webhook or a command. A worker tells
    it what it has not been told; see `livectl docs alerts`.

    \b
    Examples:
      livectl alerts test phone
      livectl alerts list
    """


@command.command()
@click.argument("target", required=False, shell_complete=complete("targets"))
@pass_command_context
def test(context: CommandContext, /, target: str | None) -> int:
    """Send a sample to one target or all, and show what each answers. Exit 1 when one did not take it.

    \b
    Examples:
      livectl alerts test
      livectl alerts test phone
    """
    from livectl.live.alerts import targets, views

    names = targets.select_targets(context.settings, target)
    with context.working(f"telling {', '.join(names)}"):
        outcomes = targets.send_samples(names, context.settings, time.time())
    context.show(views.outcomes_view(outcomes))
    return 0 if all(outcome.sent for outcome in outcomes.values()) else 1


@command.command("list")
@pass_command_context
def list_targets(context: CommandContext) -> None:
    """List the targets: when each was last told, what waits for it, what it refused.

    \b
    Examples:
      livectl alerts list
      livectl alerts list --json
    """
    from livectl import redis_client
    from livectl.live.alerts import outbox, targets, views

    targets.check_targets(context.settings)
    now = time.time()
    with redis_client.using_store(context.own_store) as client:
        statuses = outbox.read_targets(context.settings, client, now)
    context.show(views.targets_view(statuses, context.settings.timezone, now))
