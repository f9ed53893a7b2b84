"""Lists the platforms that can be followed; says which one an address belongs to."""

from __future__ import annotations

import click

from livectl.context import CommandContext, pass_command_context


@click.command()
@click.argument("address", required=False)
@pass_command_context
def command(context: CommandContext, *, address: str | None) -> int:
    """How each is asked: how many streamers at once, how often, with which keys,
    and whether you have set one; and which of them tell of go-lives by themselves
    (`push:` in the settings). With an ADDRESS, which platform it belongs to, and the id there.

    \b
    Examples:
      livectl platforms
      livectl platforms https://www.twitch.tv/somebody
      livectl platforms --json
    """
    from livectl.live import views
    from livectl.live.follows import follow_list

    if address:
        context.show(views.address_view(follow_list.parse_streamer(address)))
    else:
        context.show(views.platforms_view(context.settings))
    return 0
