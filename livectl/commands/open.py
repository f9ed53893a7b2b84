"""Opens the page of a stream in the browser."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from livectl.completing import complete
from livectl.context import CommandContext, pass_command_context
from livectl.errors import LivectlError

if TYPE_CHECKING:
    from livectl.models import Streamer

WEB_SCHEMES = ("http://", "https://")


@click.command()
@click.argument("streamer", shell_complete=complete("streamers"))
@click.option("--print", "only_print", is_flag=True, help="Print the address, and open nothing.")
@pass_command_context
def command(context: CommandContext, *, streamer: str, only_print: bool) -> int:
    """STREAMER is platform/id, or an address as the browser shows it. Where there
    is no browser, as on a server, its address is printed.

    \b
    Examples:
      livectl open demo/ada
      livectl open --print twitch/nasa
    """
    import webbrowser

    from livectl.live.follows import follow_list
    from livectl.render import View

    found = follow_list.parse_argument(streamer, context.settings.follows)
    url = _stream_url(context, found)
    if not url.startswith(WEB_SCHEMES):
        raise LivectlError(f"{found.platform}/{found.id} has no page that a browser opens", "Ask its platform's site.")
    opened = not only_print and webbrowser.open(url)
    if not opened and not only_print:
        context.say("There is no browser here; this is the address:")
    data = {"platform": found.platform, "id": found.id, "url": url, "opened": opened}
    context.show(View(data, lambda: f"Opened {url}" if opened else url))
    return 0


def _stream_url(context: CommandContext, streamer: Streamer) -> str:
    """The page of the stream as it was last read; else the streamer's own."""
    from livectl.live import store_reader

    try:
        seen = store_reader.read_states(context.own_store, [streamer])[streamer.key]
    except LivectlError:
        return streamer.url
    return seen.url or streamer.url
