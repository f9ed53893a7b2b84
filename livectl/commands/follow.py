"""The follow list: shows and changes it, takes and gives other kinds of lists."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from livectl.invocation import Invocation, pass_invocation

if TYPE_CHECKING:
    from livectl.live.follows.edit import FollowFile
    from livectl.live.follows.followlist import FollowList

FAILED = 1
MISTAKEN = 3


@click.group()
def command() -> None:
    """It is kept in follows.yaml, or the file that the settings name. Edit it
    by hand as you like: these commands keep its comments and its order, and
    whatever runs notices a change by itself.

    \b
    Example:
      livectl follow add https://www.twitch.tv/somebody
      livectl follow list
    """


@command.command()
@click.argument("addresses", nargs=-1, required=True, metavar="STREAMER...")
@click.option("--name", help="What you call them.")
@click.option("--tag", "tags", multiple=True, metavar="TAG", help="May be repeated.")
@click.option("--alert", "alerts", multiple=True, metavar="TARGET", help="Tell only this target; may be repeated.")
@click.option("--weight", type=float, help="4 is asked twice as often as 1.")
@pass_invocation
def add(call: Invocation, /, addresses: tuple[str, ...], **words: Any) -> None:
    """Follow streamers: platform/id, or an address as the browser shows it.

    Somebody followed already stays as they are.

    \b
    Example:
      livectl follow add demo/ada https://live.bilibili.com/6
      livectl follow add --tag games --weight 5 douyu/9999
    """
    from livectl.live.follows import entries
    from livectl.live.follows import view as follow_view

    more = {key: list(said) if isinstance(said, tuple) else said for key, said in words.items() if said}
    streamers = [entries.read({"url": address, **more}) for address in addresses]
    call.show(follow_view.edited(_file(call).add(streamers), "Following", "Followed already:"))


@command.command()
@click.argument("addresses", nargs=-1, required=True, metavar="STREAMER...")
@pass_invocation
def remove(call: Invocation, addresses: tuple[str, ...]) -> int:
    """Follow streamers no longer. What is known of them stays for 400 days.

    Exit code 1 if one of them was not followed.

    \b
    Example:
      livectl follow remove demo/ada
    """
    from livectl.live.follows import entries
    from livectl.live.follows import view as follow_view

    edit = _file(call).remove(entries.streamer(address) for address in addresses)
    call.show(follow_view.edited(edit, "No longer following", "Not followed:"))
    return FAILED if edit.unchanged else 0


@command.command("list")
@pass_invocation
def list_(call: Invocation) -> int:
    """Show everyone followed, in the order of the file.

    Lines that name nobody are told on stderr, and make exit code 3.

    \b
    Example:
      livectl follow list
      livectl follow list --json
    """
    from livectl.live.follows import view as follow_view

    found = _load(call)
    call.show(follow_view.everyone(found.streamers))
    return MISTAKEN if found.refused else 0


@command.command("import")
@click.argument("file", type=click.Path(dir_okay=False, path_type=Path))
@click.option("--platform", metavar="NAME", help="Each line is the name of somebody there: twitch, bilibili …")
@pass_invocation
def import_(call: Invocation, file: Path, platform: str | None) -> int:
    """Follow everyone on another list.

    It may be one of ours (YAML, text, CSV), DouyinLiveRecorder's
    URL_config.ini, the subscriptions.csv of YouTube's Takeout, or names of one
    platform, one a line. Lines that name nobody are told on stderr and make
    exit code 1; the others are followed.

    \b
    Example:
      livectl follow import subscriptions.csv
      livectl follow import --platform twitch names.txt
    """
    from livectl.live.follows import imports as follow_import
    from livectl.live.follows import view as follow_view

    found = follow_import.load(call.cwd / file, str(file), platform)
    _tell(call, found)
    call.show(follow_view.imported(_file(call).add(found.streamers), len(found.refused)))
    return FAILED if found.refused else 0


@command.command()
@click.option("--format", "kind", type=click.Choice(["yaml", "text", "csv", "opml"]), default="yaml", show_default=True)
@pass_invocation
def export(call: Invocation, kind: str) -> None:
    """Print the follow list: for another livectl, for a table, or (OPML) the
    feeds of the YouTube channels on it for a feed reader.

    \b
    Example:
      livectl follow export --format csv > follows.csv
      livectl follow export --format opml > feeds.opml
    """
    from livectl.live.follows import view as follow_view

    call.show(follow_view.exported(_load(call).streamers, kind))


def _file(call: Invocation) -> FollowFile:
    from livectl.live.follows.edit import FollowFile

    return FollowFile(call.settings.follows, _name(call))


def _load(call: Invocation) -> FollowList:
    from livectl.live.follows import followlist

    found = followlist.load(call.settings.follows, _name(call))
    _tell(call, found)
    return found


def _tell(call: Invocation, found: FollowList) -> None:
    for mistake in sorted((*found.refused, *found.merged)):
        call.say(str(mistake))


def _name(call: Invocation) -> str:
    path = call.settings.follows
    return str(path.relative_to(call.cwd)) if path.is_relative_to(call.cwd) else str(path)
