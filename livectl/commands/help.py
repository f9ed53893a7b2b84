"""Shows the help of livectl, or of a command."""

from __future__ import annotations

import click

from livectl.completing import complete_command


@click.command()
@click.argument("words", nargs=-1, metavar="[COMMAND]...", shell_complete=complete_command)
@click.pass_context
def command(ctx: click.Context, words: tuple[str, ...]) -> None:
    """The same as --help behind that command.

    \b
    Examples:
      livectl help
      livectl help follow add
    """
    found = ctx.find_root()
    for word in words:
        group = found.command
        subcommand = group.get_command(found, word) if isinstance(group, click.Group) else None
        if subcommand is None:
            known = group.list_commands(found) if isinstance(group, click.Group) else ()
            raise click.exceptions.NoSuchCommand(word, possibilities=known, ctx=found)
        found = click.Context(subcommand, parent=found, info_name=word)
    click.echo(found.get_help())
