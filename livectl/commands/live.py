"""Shows who is live."""

from __future__ import annotations

import time
from itertools import chain
from typing import TYPE_CHECKING, NamedTuple, NoReturn

import click

from livectl.completing import complete
from livectl.context import CommandContext, pass_command_context

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from livectl.live.store_reader import Everybody, Selection
    from livectl.live.views import StreamerView
    from livectl.render import View
    from livectl.terminal import FullScreen
REFRESH_INTERVAL_S = 1.0  # reading the store costs a millisecond
MAX_ROWS = 20_000  # of a table: of more, JSON has all
SORTS = ("newest", "viewers", "name", "platform")
SORT_KEY = "s"


@click.command()
@click.option("--all", "everybody", is_flag=True, help="The others too, and what could not be asked.")
@click.option(
    "--tag",
    "tags",
    multiple=True,
    metavar="TAG",
    shell_complete=complete("tags"),
    help="Only those with this tag; may be repeated.",
)
@click.option(
    "--platform",
    "platforms",
    multiple=True,
    metavar="NAME",
    shell_complete=complete("platforms"),
    help="Only those there; may be repeated.",
)
@click.option("--sort", type=click.Choice(SORTS), default="newest", show_default=True, help="Who comes first.")
@click.option("-n", "--limit", type=click.IntRange(min=1), help="So many at most.")
@click.option("--watch", is_flag=True, help="Show it again whenever it changes, until q or Ctrl-C.")
@pass_command_context
def command(
    context: CommandContext,
    *,
    everybody: bool,
    tags: tuple[str, ...],
    platforms: tuple[str, ...],
    sort: str,
    limit: int | None,
    watch: bool,
) -> int:
    """It only reads what workers found out: no platform is asked, and the answer
    is there in milliseconds. With --all everybody is shown as they were last
    seen, how long ago that was, and what has been in the way since.

    \b
    Exit codes: 0 somebody is live, 1 nobody is.

    \b
    Examples:
      livectl live
      livectl live --tag games --sort viewers --limit 10
      livectl live --all --watch
    """
    from livectl.live.store_reader import Selection

    context.say_unset_secrets("alerts", "platforms", "network")
    selection = Selection(tags, platforms, sort)
    read = _reader(context, everybody=everybody, limit=limit)
    if watch:
        return _watch(context, read, selection)
    if (
        context.json
        and limit is None
        and (found := _show_in_pages(context, selection, everybody=everybody)) is not None
    ):
        return found
    table = read(selection)
    context.show(table.view)
    return 0 if any(streamer.live for streamer in table.streamers) else 1


def _show_in_pages(context: CommandContext, selection: Selection, *, everybody: bool) -> int | None:
    """Shows all of many as they are read. None where they are few, or there is nobody to show."""
    from livectl.live import store_reader
    from livectl.render import View

    if not store_reader.are_many(context.own_store):
        return None
    pages = store_reader.list_in_pages(context.own_store, context.settings.follows, selection, live_only=not everybody)
    first = next(pages, None)
    if first is None:
        return None
    is_any_live = False

    def shown() -> Iterator[View]:
        nonlocal is_any_live
        for page in chain([first], pages):
            is_any_live = is_any_live or any(streamer.live for streamer in page)
            yield View(page, str)

    context.show_pages(shown())
    return 0 if is_any_live else 1


class StreamerTable(NamedTuple):
    """Streamers, and how they are shown."""

    streamers: list[StreamerView]
    view: View


def _reader(context: CommandContext, *, everybody: bool, limit: int | None) -> Callable[[Selection], StreamerTable]:
    """Reads who is live, or everybody; says once what is wrong with the file of the follow list."""
    from livectl.live import store_reader, views
    from livectl.render import with_lines

    address, follows = context.own_store, context.settings.follows
    shown_problems = {""}
    most = limit or (None if context.json else MAX_ROWS)

    def read_everybody(selection: Selection) -> tuple[Everybody, str]:
        name = context.display_path(follows)
        found = store_reader.list_everybody(
            address, follows, selection, name, most if everybody else 1, counted=not everybody
        )
        streamers, problem = found.streamers, found.list_problem
        if problem not in shown_problems:
            shown_problems.add(problem)
            context.say(f"{problem}\n  The list stays as it was.")
        if everybody or (problem and not streamers):
            return found, views.nobody_followed_text(selection.is_all, problem)
        return found, views.nobody_live_text(found.unknown, len(streamers) + found.left_out)

    def read(selection: Selection) -> StreamerTable:
        nobody = store_reader.Everybody([])
        live = nobody if everybody else store_reader.list_live(address, selection, most)
        followed, empty = (nobody, "") if live.streamers else read_everybody(selection)
        found, show = (followed, views.everyone_view) if everybody else (live, views.live_view)
        view, more = show(found.streamers, time.time(), empty), found.left_out
        return StreamerTable(found.streamers, with_lines(view, [f"and {more} more"] if more else []))

    return read


def _watch(context: CommandContext, read: Callable[[Selection], StreamerTable], selection: Selection) -> int:
    screen = context.open_screen()
    if screen is None:
        print_changes(lambda: read(selection), context.show)
    _draw(screen, read, selection)
    return 0


def _draw(screen: FullScreen, read: Callable[[Selection], StreamerTable], selection: Selection) -> None:
    from livectl import terminal

    def change_order(key: str) -> str:
        nonlocal selection
        if key == SORT_KEY:
            selection = selection._replace(sort=SORTS[(SORTS.index(selection.sort) + 1) % len(SORTS)])
        return f"{SORT_KEY} sort: {selection.sort}"

    terminal.draw_until_quit(
        lambda: terminal.Watched(read(selection).view), screen, interval_s=REFRESH_INTERVAL_S, on_key=change_order
    )


def print_changes(read: Callable[[], StreamerTable], show: Callable[[View], None]) -> NoReturn:
    """Shows the table whenever it has changed, until it is interrupted."""
    last_keys: list[Sequence[object]] | None = None
    while True:
        table = read()
        change_keys = [_change_key(streamer) for streamer in table.streamers]
        if change_keys != last_keys:
            show(table.view)
            last_keys = change_keys
        time.sleep(REFRESH_INTERVAL_S)


def _change_key(streamer: StreamerView) -> Sequence[object]:
    """The fields whose change is worth showing: not the time of the last check, nor each viewer."""
    return (
        streamer.platform,
        streamer.id,
        streamer.state,
        streamer.title,
        streamer.category,
        streamer.session,
        streamer.problem,
    )
