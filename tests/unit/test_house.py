"""What must hold of the whole house, whatever is built in it."""

from __future__ import annotations

import importlib
import pkgutil
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import click
import pytest

import livectl
from livectl import cli
from tests.support.fresh_python import FreshPython

if TYPE_CHECKING:
    from collections.abc import Iterator

ROOT = Path(__file__).parents[2]
MODULES = sorted(module.name for module in pkgutil.walk_packages(livectl.__path__, "livectl."))
DOCUMENTS = [path.read_text() for path in (ROOT / "README.md", *(ROOT / "docs").glob("*.md"))]
OPTIONAL = "livectl.live.platforms.streamlink"
HEAVY = ("celery", "kombu", "redis", "rich", "wcwidth", "yaml", "msgspec", "asyncio")


def commands() -> Iterator[tuple[str, click.Command]]:
    """Every command with the words that lead to it."""
    ctx = click.Context(cli.root)
    for name in cli.COMMANDS:
        command = cli.root.get_command(ctx, name)
        assert command is not None
        members = command.commands if isinstance(command, click.Group) else {}
        yield from (
            [(name, command)] if not members else [(f"{name} {sub}", subcommand) for sub, subcommand in members.items()]
        )


COMMANDS = dict(commands())


@pytest.fixture(scope="module")
def with_packages() -> Iterator[FreshPython]:
    """All that is not ours is there already: what is of interest is whether our modules find each other."""
    names = [name for name in MODULES if name != OPTIONAL]
    there = "(name for name in sys.modules if not name.startswith('livectl'))"
    every = f"import sys, {', '.join(names)}\nprint(*{there})"
    with FreshPython(folder=ROOT) as python:
        ran = python.run(every)
    assert (ran.code, ran.err) == (0, "")
    with FreshPython(*ran.out.split(), folder=ROOT) as python:
        yield python


@pytest.fixture(scope="module")
def with_click() -> Iterator[FreshPython]:
    """What each help begins with, and no more."""
    with FreshPython("click", folder=ROOT) as python:
        yield python


@pytest.mark.parametrize("module", MODULES)
def test_every_module_imports_alone_and_quietly(module: str, with_packages: FreshPython) -> None:
    if module == OPTIONAL:
        pytest.importorskip("streamlink")
    assert with_packages.run(f"import {module}") == (0, "", "")


@pytest.mark.parametrize("words", [[], *[name.split() for name in COMMANDS]], ids=" ".join)
def test_help_imports_nothing_heavy(words: list[str], with_click: FreshPython) -> None:
    code = (
        "import sys\n"
        "from livectl.cli import main\n"
        f"code = main({[*words, '--help']!r})\n"
        f"print('HEAVY', sorted(set({HEAVY!r}) & set(sys.modules)))\n"
        "sys.exit(code)"
    )
    ran = with_click.run(code)
    assert ran.code == 0, ran.err
    assert ran.out.endswith("HEAVY []\n")
    assert "Usage: livectl" in ran.out


@pytest.mark.parametrize(("name", "command"), COMMANDS.items(), ids=COMMANDS)
def test_every_command_shows_an_example_and_fits_the_terminal(name: str, command: click.Command) -> None:
    page = command.get_help(click.Context(command, info_name=f"livectl {name}", terminal_width=80))
    assert "Example" in page, "its help has no example"
    assert max(map(len, page.splitlines())) <= 80


@pytest.mark.parametrize("name", cli.COMMANDS)
def test_every_command_has_its_place_in_a_document(name: str) -> None:
    assert any(f"livectl {name}" in document for document in DOCUMENTS)


def test_every_exit_code_is_in_the_docs() -> None:
    from livectl import errors

    table = (ROOT / "docs" / "exit-codes.md").read_text()
    raised = {kind.code for kind in vars(errors).values() if isinstance(kind, type) and hasattr(kind, "code")}
    for code in {*raised, errors.EXIT_DONE, errors.EXIT_INTERRUPTED}:
        assert f"| {code} |" in table


def test_imports_point_down() -> None:
    lint = [sys.executable, "-c", "from importlinter.cli import lint_imports_command; lint_imports_command()"]
    ran = subprocess.run(lint, capture_output=True, text=True, check=False, cwd=ROOT, env={"PYTHONPATH": str(ROOT)})
    assert ran.returncode == 0, ran.stdout


def test_no_module_is_named_for_nothing() -> None:
    nothing = {"utils", "util", "helpers", "common", "misc", "core", "manager"}
    assert not [name for name in MODULES if name.rsplit(".", 1)[-1] in nothing]


def test_modules_are_importable_by_the_names_in_the_command_table() -> None:
    for module, summary in cli.COMMANDS.values():
        assert isinstance(importlib.import_module(f"livectl.commands.{module}").command, click.Command)
        assert summary.endswith(".")
