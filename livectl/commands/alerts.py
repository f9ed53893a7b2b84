"""Shows the targets of alerts, and sends them samples."""

from __future__ import annotations

import time

import click

from livectl.invocation import Invocation, pass_invocation


@click.group()
def command() -> None:
    """A target is written under `alerts:` in livectl.yaml: an Apprise address, a webhook or a command. A worker tells
    it what it has not been told; see docs/alerts.md.

    \b
    Examples:
      livectl alerts test phone
      livectl alerts list
    """


@command.command()
@click.argument("target", required=False)
@pass_invocation
def test(call: Invocation, /, target: str | None) -> int:
    """Send a sample to one target or all, and show what each answers. Exit 1 when one did not take it.

    \b
    Example:
      livectl alerts test phone
    """
    from livectl.live.alerts import view as alert_view

    names = alert_view.chosen(call.settings, target)
    outcomes = alert_view.try_out(names, call.settings, time.time())
    call.show(alert_view.tried(outcomes))
    return 0 if all(one.sent for one in outcomes.values()) else 1


@command.command("list")
@pass_invocation
def list_targets(call: Invocation) -> None:
    """List the targets: when each was last told, what waits for it, what it refused.

    \b
    Example:
      livectl alerts list
    """
    from livectl import connect
    from livectl.live.alerts import backlog, targets
    from livectl.live.alerts import view as alert_view
    from livectl.ops import broker

    targets.check(call.settings)
    client = connect.open_store(broker.addresses(call.settings).store)
    now = time.time()
    stands, waiting = backlog.look(call.settings, client, now)
    call.show(alert_view.everyone(call.settings, stands, waiting, now))
