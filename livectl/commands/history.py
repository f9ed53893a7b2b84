"""Shows what became of a streamer."""

from __future__ import annotations

import time

import click

from livectl.invocation import Invocation, pass_invocation


@click.command()
@click.argument("streamer")
@click.option("--tz", "zone", metavar="ZONE", help="Show times in this zone, not in that of the settings.")
@pass_invocation
def command(call: Invocation, *, streamer: str, zone: str | None) -> int:
    """Their sessions of 400 days, the newest first, the last ones with titles; and
    a map of the hours of the week in which they were live in the last twelve
    weeks, the darker the more often. Exit code 1 when none was noted.

    \b
    Examples:
      livectl history demo/ada
      livectl history https://www.twitch.tv/somebody --tz Europe/Paris
    """
    from livectl.live.follows import entries
    from livectl.live.views import chronicle, glance
    from livectl.ops import broker
    from livectl.quantity import parse_timezone

    found = glance.past(broker.addresses(call.settings).store, entries.streamer(streamer))
    call.show(chronicle.view(found, parse_timezone(zone) if zone else call.settings.timezone, time.time()))
    return 0 if found.sessions else 1
