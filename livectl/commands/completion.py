"""Prints the completion script of a shell."""

from __future__ import annotations

import click

from livectl.context import CommandContext, pass_command_context


@click.command()
@click.argument("shell", type=click.Choice(["bash", "zsh", "fish"]))
@pass_command_context
def command(context: CommandContext, shell: str) -> None:
    """Put it where your shell reads it at start.

    \b
    Example:
      livectl completion bash >> ~/.bashrc
      livectl completion fish > ~/.config/fish/completions/livectl.fish
    """
    from click.shell_completion import get_completion_class

    completion = get_completion_class(shell)
    if completion is None:
        raise click.UsageError(f"no completion for {shell}")
    root = click.get_current_context().find_root().command
    context.out.write(completion(root, {}, "livectl", "_LIVECTL_COMPLETE").source() + "\n")
