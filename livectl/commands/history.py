"""Shows the sessions of a streamer, and when they usually stream."""

from __future__ import annotations

import time

import click

from livectl.completing import complete
from livectl.context import CommandContext, pass_command_context


@click.command()
@click.argument("streamer", shell_complete=complete("streamers"))
@click.option(
    "--tz",
    "zone",
    metavar="ZONE",
    shell_complete=complete("zones"),
    help="Show times in this zone, not in that of the settings.",
)
@pass_command_context
def command(context: CommandContext, *, streamer: str, zone: str | None) -> int:
    """Their sessions of 400 days, the newest first, the last ones with titles; and
    a map of the hours of the week in which they were live in the last twelve
    weeks, the darker the more often. Exit code 1 when none was noted.

    \b
    Examples:
      livectl history demo/ada
      livectl history https://www.twitch.tv/somebody --tz Europe/Paris
    """
    from livectl.live import history, store_reader
    from livectl.live.follows import follow_list
    from livectl.units import parse_timezone

    wanted = follow_list.parse_argument(streamer, context.settings.follows)
    streamer_history = store_reader.read_history(context.own_store, wanted)
    zone = parse_timezone(zone or context.settings.timezone)
    context.show(history.history_view(streamer_history, zone, time.time()))
    return 0 if streamer_history.sessions else 1
