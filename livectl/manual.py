"""Writes the manual page, livectl(1), from the help of each command: `python -m livectl.manual`.

The wheel has it in share/man/man1, where `man livectl` finds it beside the program; `make man` shows it.
"""

from __future__ import annotations

import re
import sys
from inspect import cleandoc
from typing import TYPE_CHECKING

import click

from livectl import __version__
from livectl.cli import COMMAND_GROUPS, root

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

UNBROKEN = "\x08"  # Click's sign of a paragraph whose lines stay as they are
ENVIRONMENT = {
    "LIVECTL_CONFIG": "The settings file, instead of ./livectl.yaml.",
    "LIVECTL_APP": "The Celery app to work on, as with -A.",
    "LIVECTL_BROKER": "Instead of `broker` in the settings.",
    "LIVECTL_STORE": "Instead of `store` in the settings.",
    "LIVECTL_RESULTS": "Instead of `results` in the settings.",
    "LIVECTL_TOKEN": "Instead of `web.token` in the settings.",
    "LIVECTL_HOME": "The folder for logs, data and what runs, instead of ~/.local/state/livectl.",
    "COLUMNS": "The width of tables and notes, instead of that of the terminal.",
    "NO_COLOR, FORCE_COLOR": "Write no colours, or write them to a pipe as well.",
}
FILES = {
    "livectl.yaml": "The settings.",
    "schedules.yaml": "What is sent when.",
    "follows.yaml": "The streamers that you follow.",
}
EXIT_CODES = {  # what each means, and what to do
    "0": ("Yes, or done.", ""),
    "1": ("No: not live, failed, findings; or livectl failed by itself.", "Read the answer; -v shows where."),
    "2": ("The words of the command line are off.", "livectl COMMAND --help"),
    "3": ("Settings or a file.", "Mend what stands at file:line:column."),
    "4": ("Broker or store.", "Start it, mend its address or login, or make room there: the line says which."),
    "5": ("A platform could not be asked.", "Ask again later."),
    "6": ("Not finished yet.", "Wait, or ask with --wait."),
    "130": ("Interrupted by Ctrl-C.", ""),
}


def render_manual() -> str:
    """The page, for groff with the macros of man."""
    context = click.Context(root, info_name="livectl")
    summary, _, _ = (root.help or "").partition("\n\n")
    lines = [
        f'.TH LIVECTL 1 "" "livectl {__version__}" "livectl"',
        ".nh\n.ad l",  # no word is broken, no line filled with blanks
        ".SH NAME",
        f"livectl \\- {_text(_unwrapped(summary)).rstrip('.')}",
        ".SH SYNOPSIS",
        r".B livectl",
        r"[\fIglobal options\fR] \fIcommand\fR [\fIarguments\fR]",
        ".SH GLOBAL OPTIONS",
        *_definitions(option_records(root, context)),
    ]
    for title, names in COMMAND_GROUPS.items():
        lines.append(f".SH {title.upper()}")
        for name in names:
            if command := root.get_command(context, name):
                lines += _command_lines(command, click.Context(command, parent=context, info_name=name))
    exit_codes = {code: meaning for code, (meaning, _) in EXIT_CODES.items()}
    for title, entries in (("EXIT STATUS", exit_codes), ("ENVIRONMENT", ENVIRONMENT), ("FILES", FILES)):
        lines += [f".SH {title}", *_definitions(entries.items())]
    return "\n".join(lines) + "\n"


def _command_lines(command: click.Command, context: click.Context) -> Iterator[str]:
    """A section for a command, and one for each of its subcommands."""
    usage = " ".join([context.command_path, *command.collect_usage_pieces(context)])
    yield f".SS {_text(context.command_path)}"
    yield rf"\fB{_text(usage)}\fR"
    for paragraph in re.split(r"\n\n|\n(?=\x08\n)", cleandoc(command.help or "")):
        yield from _paragraph_lines(paragraph)
    yield from _definitions(option_records(command, context))
    if isinstance(command, click.Group):
        for name, below in command.commands.items():
            yield from _command_lines(below, click.Context(below, parent=context, info_name=name))


def _paragraph_lines(paragraph: str) -> list[str]:
    if not paragraph.startswith(UNBROKEN):
        return [".PP", _text(_unwrapped(paragraph))]
    return [".PP", ".nf", *(_text(line) for line in paragraph.removeprefix(UNBROKEN).strip("\n").split("\n")), ".fi"]


def option_records(command: click.Command, context: click.Context) -> list[tuple[str, str]]:
    """Each option that the help of a command shows, and what it says of it."""
    options = [parameter for parameter in command.get_params(context) if isinstance(parameter, click.Option)]
    return [record for option in options if (record := option.get_help_record(context))]


def _definitions(records: Iterable[tuple[str, str]]) -> Iterator[str]:
    for term, meaning in records:
        yield from (".TP", rf"\fB{_text(term)}\fR", _text(_unwrapped(meaning)))


def _unwrapped(text: str) -> str:
    return " ".join(text.split())


def _text(text: str) -> str:
    """Text as groff reads it: what is typed keeps its hyphens, backquotes and quotes, and no line is a request."""
    for sign, escaped in (("\\", r"\e"), ("-", r"\-"), ("`", r"\(ga"), ("'", r"\(aq"), ("^", r"\(ha"), ("~", r"\(ti")):
        text = text.replace(sign, escaped)
    return f"\\&{text}" if text.startswith((".", "\\(aq")) else text


if __name__ == "__main__":
    sys.stdout.write(render_manual())
