"""Prints the completion script of a shell, or puts it where the shell reads it."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

import click

from livectl.context import CommandContext, pass_command_context
from livectl.errors import UsageError

SHELLS = ("bash", "zsh", "fish")
MARK = "# livectl completion"  # ends the line that is added to a file of the user's
BASH_LOADERS = (  # of the package bash-completion, which reads the scripts of a user by itself
    "/usr/share/bash-completion/bash_completion",
    "/etc/bash_completion",
    "/usr/local/etc/profile.d/bash_completion.sh",
    "/opt/homebrew/etc/profile.d/bash_completion.sh",
)


@click.command()
@click.argument("shell", type=click.Choice(SHELLS), required=False)
@click.option("--install", is_flag=True, help="Put it where that shell reads it at start, for you alone.")
@pass_command_context
def command(context: CommandContext, /, shell: str | None, *, install: bool) -> None:
    """Commands and options are completed, and what files and store know: streamers, tags, platforms, schedules,
    targets, workers, queues, tasks, and the ids of recent jobs. SHELL is that of $SHELL if left out.

    \b
    Examples:
      livectl completion --install
      livectl completion fish --install
      livectl completion bash > livectl.bash
    """
    from livectl.render import View, sentence

    shell = shell or _own_shell(context)
    script = _script(shell)
    if not install:
        context.show(View({"shell": shell, "script": script}, lambda: script))
        return
    installed = install_script(_place(shell, context), script)
    context.show(sentence(installed.text, installed.data(shell)))


class Place(NamedTuple):
    """Where a shell looks for a script; and the line that makes it look, with the file that the line belongs into."""

    script: Path
    profile: Path | None = None
    line: str = ""


class Installed(NamedTuple):
    """What was done, and how to undo it."""

    place: Place
    changed: list[Path]

    @property
    def text(self) -> str:
        script, profile = self.place.script, self.place.profile
        done = [f"Wrote {script}"] if script in self.changed else [f"{script} is as it should be."]
        done += [f"Added a line to {profile}"] if profile in self.changed else []
        begins = ["It works in every shell that starts from now on."] if self.changed else []
        line = f", and the line of {profile} that ends with {MARK}" if profile else ""
        return "\n".join([*done, *begins, f"To undo it, remove {script}{line}."])

    def data(self, shell: str) -> dict[str, object]:
        profile = str(self.place.profile) if self.place.profile else None
        return {
            "shell": shell,
            "file": str(self.place.script),
            "profile": profile,
            "changed": [str(path) for path in self.changed],
        }


def install_script(place: Place, script: str) -> Installed:
    """Writes what is not there yet, and nothing twice."""
    changed = []
    if _read(place.script) != script:
        place.script.parent.mkdir(parents=True, exist_ok=True)
        place.script.write_text(script)
        changed.append(place.script)
    if place.profile and place.line not in (text := _read(place.profile)).splitlines():
        end = "" if not text or text.endswith("\n") else "\n"
        with place.profile.open("a") as profile:
            profile.write(f"{end}{place.line}\n")
        changed.append(place.profile)
    return Installed(place, changed)


def _read(path: Path) -> str:
    return path.read_text() if path.exists() else ""


def _own_shell(context: CommandContext) -> str:
    name = Path(context.environ.get("SHELL", "")).name
    if name not in SHELLS:
        raise UsageError(f"for which shell? There are {', '.join(SHELLS)}", "livectl completion bash --install")
    return name


def _script(shell: str) -> str:
    from click.shell_completion import get_completion_class

    completion = get_completion_class(shell)
    if completion is None:
        raise UsageError(f"no completion for {shell}")
    root = click.get_current_context().find_root().command
    return completion(root, {}, "livectl", "_LIVECTL_COMPLETE").source().strip("\n") + "\n"


def _place(shell: str, context: CommandContext) -> Place:
    environ = context.environ
    home = Path(environ.get("HOME") or Path.home())
    if shell == "fish":
        config = Path(environ.get("XDG_CONFIG_HOME") or home / ".config")
        return Place(config / "fish" / "completions" / "livectl.fish")
    if shell == "zsh":
        script = home / ".zfunc" / "_livectl"
        line = f"fpath+=({script.parent}); autoload -Uz compinit && compinit  {MARK}"
        return Place(script, Path(environ.get("ZDOTDIR") or home) / ".zshrc", line)
    data = Path(environ.get("XDG_DATA_HOME") or home / ".local" / "share")
    script = data / "bash-completion" / "completions" / "livectl"
    if any(Path(loader).exists() for loader in BASH_LOADERS):
        return Place(script)
    return Place(script, home / ".bashrc", f"source {script}  {MARK}")
