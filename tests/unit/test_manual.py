"""The manual page has every command with its options, and groff reads it without a complaint."""

from __future__ import annotations

import re
import shutil
import subprocess

import click
import pytest

from livectl import cli, manual


def test_each_command_and_option_is_in_it() -> None:
    page = manual.render_manual().replace(r"\-", "-")
    root = click.Context(cli.root, info_name="livectl")
    for name in cli.COMMANDS:
        command = cli.root.get_command(root, name)
        assert command is not None
        for each in (command, *(command.commands.values() if isinstance(command, click.Group) else ())):
            words = name if each is command else f"{name} {each.name}"
            section = page.partition(f"\n.SS livectl {words}\n")[2].partition("\n.S")[0]
            assert "Examples:" in section, words
            for option in each.params:
                shown = (
                    isinstance(option, click.Option) and not option.hidden and not isinstance(option, cli.GlobalOption)
                )
                assert not shown or max(option.opts, key=len) in section, (words, option.opts)
    assert ".SH GLOBAL OPTIONS\n.TP\n\\fB-A, --app APP" in page


def test_no_line_of_a_help_is_taken_for_a_request() -> None:
    requests = {line.split(" ")[0] for line in manual.render_manual().splitlines() if line.startswith((".", "'"))}
    assert requests <= {".TH", ".SH", ".SS", ".PP", ".TP", ".B", ".nf", ".fi", ".nh", ".ad"}


@pytest.mark.skipif(not shutil.which("groff"), reason="no groff")
def test_groff_has_nothing_to_say_of_it() -> None:
    argv = ["groff", "-man", "-Tutf8", "-ww", "-Kutf8", "-rLL=80n"]
    ran = subprocess.run(argv, input=manual.render_manual(), capture_output=True, text=True, check=True)
    assert ran.stderr == ""
    plain = re.sub(r"\x1b\[[0-9;]*m|.\x08", "", ran.stdout).replace("\N{MINUS SIGN}", "-")
    assert "livectl -A proj schedules resume digest" in plain
    assert max(map(len, plain.splitlines())) <= 82
