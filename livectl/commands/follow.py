"""Shows and changes the follow list; imports and exports other kinds of lists."""

from __future__ import annotations

import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from livectl.completing import complete
from livectl.context import CommandContext, pass_command_context
from livectl.errors import LivectlError, SecretUnsetError, ServerError, SettingsError, mistake_lines

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from livectl.live.follows.edit import FollowEdit, FollowFile
    from livectl.live.follows.follow_list import FollowLine, FollowList
    from livectl.live.follows.long_list import LongList
    from livectl.live.views import StreamerView
    from livectl.models import Streamer


@click.group()
def command() -> None:
    """It is kept in follows.yaml, or the file that the settings name. Edit it
    by hand as you like: these commands keep its comments and its order, and
    whatever runs notices a change by itself.

    \b
    Examples:
      livectl follow add https://www.twitch.tv/somebody
      livectl follow list
    """


@command.command()
@click.argument("addresses", nargs=-1, required=True, metavar="STREAMER...")
@click.option("--name", help="What you call them.")
@click.option("--tag", "tags", multiple=True, metavar="TAG", shell_complete=complete("tags"), help="May be repeated.")
@click.option(
    "--alert",
    "alerts",
    multiple=True,
    metavar="TARGET",
    shell_complete=complete("targets"),
    help="Tell only this target; may be repeated.",
)
@click.option("--weight", type=float, help="4 is asked twice as often as 1.")
@click.option("--ask/--no-ask", default=True, help="Whether to ask the platforms about them at once.")
@pass_command_context
def add(context: CommandContext, /, addresses: tuple[str, ...], *, ask: bool, **options: Any) -> int:
    """Follow streamers: platform/id, or an address as the browser shows it.

    Their platforms are asked at once, and what they say of each is shown; one that
    cannot be asked now is asked by itself. Somebody followed already stays as they are.

    \b
    Exit codes: 0 all are followed, 1 a platform knows nobody of that name,
    2 an address is no streamer's; the others are followed all the same.

    \b
    Examples:
      livectl follow add demo/ada https://live.bilibili.com/6
      livectl follow add --no-ask --tag games --weight 5 douyu/9999
    """
    from livectl.live import views
    from livectl.live.follows import follow_list
    from livectl.models import State

    fields = {key: list(value) if isinstance(value, tuple) else value for key, value in options.items() if value}
    chosen = {key: follow_list.FIELD_READERS[key](value) for key, value in fields.items()}
    streamers, refused = _read_addresses(context, addresses, chosen)
    edit = _open_follow_file(context).add(streamers)
    _note(context, "follow", edit)
    seen = _ask_about(context, streamers) if ask else {}
    context.show(views.follow_view(edit, seen, time.time()))
    for error in refused:
        context.report_error(error) if not context.json else context.say(error.message)
    if refused:
        return refused[0].code
    return 1 if any(view.state is State.NOT_FOUND for view in seen.values()) else 0


def _read_addresses(
    context: CommandContext, addresses: Sequence[str], fields: dict[str, Any]
) -> tuple[list[Streamer], list[LivectlError]]:
    """The streamers at these addresses, and an error for each that is no streamer's. Raises the only one."""
    from livectl.live.follows import follow_list

    streamers, refused = [], []
    for address in addresses:
        try:
            streamer = follow_list.parse_argument(address, context.settings.follows)
            streamers.append(follow_list.parse_streamer(address, fields) if fields else streamer)
        except LivectlError as error:
            if len(addresses) == 1:
                raise
            error.message = f"{address}: {error.message}"
            refused.append(error)
    return streamers, refused


def _ask_about(context: CommandContext, streamers: Sequence[Streamer]) -> dict[tuple[str, str], StreamerView]:
    """What the platforms say of them now, recorded where the store can be reached; nothing where there is no answer."""
    from livectl.live import check_request

    if not streamers:
        return {}
    store = context.open_own_store(silent=True)
    with context.working(f"asking about {len(streamers)}") as advance:
        request = check_request.build(streamers, context.settings)
        return check_request.answer_here(request, context.settings, store, context.home, advance)


@command.command()
@click.argument("addresses", nargs=-1, required=True, metavar="STREAMER...", shell_complete=complete("streamers"))
@pass_command_context
def remove(context: CommandContext, addresses: tuple[str, ...]) -> int:
    """Follow streamers no longer. What is known of them stays for 400 days.
    A line that leads to nobody goes by the name under which it is shown.

    Exit code 1 if one of them was not followed.

    \b
    Examples:
      livectl follow remove demo/ada
      livectl follow remove twitch/nasa douyu/9999
    """
    from livectl.live import views
    from livectl.live.follows import follow_list

    edit = _open_follow_file(context).remove(
        follow_list.parse_listed(address, context.settings.follows) for address in addresses
    )
    _note(context, "unfollow", edit)
    context.show(views.edit_view(edit, "No longer following", "Not followed:"))
    return 1 if edit.unchanged else 0


@command.command("list")
@pass_command_context
def list_streamers(context: CommandContext) -> int:
    """Show everyone followed, in the order of the file, and how they were last
    seen.

    Lines that name nobody come last. They are told on stderr, and make exit
    code 3. A list of more than a megabyte is shown as it is read: its lines
    come as they stand, also where several are for one streamer.

    \b
    Examples:
      livectl follow list
      livectl follow list --wide
    """
    from livectl.live import views

    if (long := _find_long(context)) is not None:
        context.show_pages(views.list_pages(long.pages(), _StateReader(context).read))
        return SettingsError.code if long.refused else 0
    follows = _load_follows(context)
    context.show(views.list_view(follows, _StateReader(context).read(follows.streamers)))
    return SettingsError.code if follows.refused else 0


class _StateReader:
    """Reads what the store knows; where it does not answer that is said, once, and nothing is known any more."""

    def __init__(self, context: CommandContext) -> None:
        self._context = context
        self._is_away = False

    def read(self, streamers: Sequence[Streamer]) -> dict[tuple[str, str], StreamerView]:
        from livectl.live import store_reader

        if self._is_away:
            return {}
        try:
            return store_reader.read_states(self._context.own_store, streamers)
        except (ServerError, SecretUnsetError) as error:
            self._is_away = True
            self._context.say(f"States are not shown: {error.message.rstrip('.')}.")
            return {}


@command.command("import")
@click.argument("file", type=click.Path(dir_okay=False, path_type=Path))
@click.option(
    "--platform",
    metavar="NAME",
    shell_complete=complete("platforms"),
    help="Each line is the name of somebody there: twitch, bilibili …",
)
@pass_command_context
def import_list(context: CommandContext, file: Path, platform: str | None) -> int:
    """Follow everyone on another list.

    It may be one of ours (YAML, text, CSV), DouyinLiveRecorder's
    URL_config.ini, the subscriptions.csv of YouTube's Takeout, or names of one
    platform, one a line. Lines that name nobody are told on stderr and make
    exit code 1; the others are followed.

    \b
    Examples:
      livectl follow import subscriptions.csv
      livectl follow import --platform twitch names.txt
    """
    from livectl.live import views
    from livectl.live.follows import follow_list, formats

    if follow_list.is_long(context.cwd / file):
        return _import_many(context, file, platform)
    follows = formats.import_file(context.cwd / file, str(file), platform)
    _show_mistakes(context, follows)
    edit = _open_follow_file(context).add(follows.streamers)
    _note(context, "follow", edit)
    context.show(views.import_view(len(edit.changed), len(edit.unchanged), len(follows.refused), edit.changed))
    return 1 if follows.refused else 0


def _import_many(context: CommandContext, file: Path, platform: str | None) -> int:
    """The same of a list that is too long to be held: it is read several times, and its mistakes are told the first."""
    from livectl import render
    from livectl.live import views
    from livectl.live.follows import formats
    from livectl.live.follows.long_list import LongList
    from livectl.live.store_follows import chunks
    from livectl.models import Streamer

    def lines() -> Iterator[FollowLine]:
        return formats.import_lines(context.cwd / file, str(file), platform)

    long = LongList(context.cwd / file, str(file), context.say, lines())
    telling = iter([long.pages()])

    def read() -> Iterable[Streamer]:
        if pages := next(telling, None):
            return (streamer for page in pages for streamer in page.streamers)
        return (line.streamer for line in lines() if isinstance(line.streamer, Streamer))

    new = _open_follow_file(context).add_many(read)
    if new.added:
        context.note_change("follow", f"{new.added} of {file}")
    view = views.import_view(new.added, new.known, long.refused)
    if context.json:
        pages = (render.View(views.streamers_json(some), str) for some in chunks(new.among(read())))
        context.write(render.json_around(view, "added", (render.as_json(page).strip()[1:-1] for page in pages)))
    else:
        context.show(view)
    return 1 if long.refused else 0


@command.command("export")
@click.option(
    "--format",
    "kind",
    type=click.Choice(["yaml", "text", "csv", "opml"]),
    default="yaml",
    show_default=True,
    help="What to print.",
)
@pass_command_context
def export_list(context: CommandContext, kind: str) -> None:
    """Print the follow list: for another livectl, for a table, or (OPML) the
    feeds of the YouTube channels on it for a feed reader.

    \b
    Examples:
      livectl follow export --format csv > follows.csv
      livectl follow export --format opml > feeds.opml
    """
    from livectl.live import views
    from livectl.live.follows import formats
    from livectl.render import View

    long = _find_long(context)
    pages = (page.streamers for page in (long.pages() if long else [_load_follows(context)]))
    if context.json:
        context.show_pages(View(views.streamers_json(streamers), str) for streamers in pages)
    else:
        context.write(formats.export(pages, kind))


def _note(context: CommandContext, change: str, edit: FollowEdit) -> None:
    """In the audit log: who is followed now, or no longer."""
    if edit.changed:
        context.note_change(change, " ".join(f"{streamer.platform}/{streamer.id}" for streamer in edit.changed))


def _open_follow_file(context: CommandContext) -> FollowFile:
    from livectl.live.follows.edit import FollowFile

    return FollowFile(context.settings.follows, context.display_path(context.settings.follows))


def _find_long(context: CommandContext) -> LongList | None:
    """The list, if it is too long to be held."""
    from livectl.live.follows import follow_list
    from livectl.live.follows.long_list import LongList

    path = context.settings.follows
    return LongList(path, context.display_path(path), context.say) if follow_list.is_long(path) else None


def _load_follows(context: CommandContext) -> FollowList:
    from livectl.live.follows import follow_list

    follows = follow_list.load(context.settings.follows, context.display_path(context.settings.follows))
    _show_mistakes(context, follows)
    return follows


def _show_mistakes(context: CommandContext, follows: FollowList) -> None:
    for line in mistake_lines(sorted((*follows.refused, *follows.merged))):
        context.say(line)
