"""The command line: arguments in, exit code and text out."""

from __future__ import annotations

import io
import json
from pathlib import Path
from typing import TYPE_CHECKING

import click
import pytest

from livectl import __version__, cli
from livectl.context import CommandContext
from livectl.errors import FileError, LivectlError, Mistake, PlatformError, ServerError, SettingsError, UnfinishedError

if TYPE_CHECKING:
    from collections.abc import Callable


def run(*argv: str, **environ: str) -> tuple[int, str, str]:
    out, err = io.StringIO(), io.StringIO()
    code = cli.main(argv, CommandContext(environ, Path.cwd(), out, err))
    return code, out.getvalue(), err.getvalue()


@pytest.fixture
def failing(monkeypatch: pytest.MonkeyPatch) -> Callable[[BaseException], None]:
    """Makes `livectl completion` fail with a given error."""

    def arrange(error: BaseException) -> None:
        def fail() -> None:
            raise error

        monkeypatch.setitem(cli.root.commands, "completion", click.Command("completion", callback=fail))

    return arrange


@pytest.mark.parametrize(
    ("argv", "message"),
    [
        (["wokrer"], "Did you mean one of: 'worker', 'workers'?"),
        (["schedules", "nxet"], "Did you mean 'next'?"),
        (["worker", "--concurency", "3"], "--concurrency"),
        (["completion", "tcsh"], "'tcsh' is not one of 'bash', 'zsh', 'fish'"),
        (["worker", "-c", "many"], "'many' is not a valid integer"),
        (["--bogus"], "No such option '--bogus'"),
    ],
)
def test_a_mistake_on_the_command_line_ends_with_2_and_a_suggestion(argv: list[str], message: str) -> None:
    code, out, err = run(*argv)
    assert (code, out) == (2, "")
    assert message in err
    assert "--help" in err


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (LivectlError("failed"), 1),
        (SettingsError("wrong"), 3),
        (FileError([Mistake("a.yaml", 3, 1, "unknown key 'queu'", "did you mean 'queue'?")]), 3),
        (ServerError("gone"), 4),
        (PlatformError("blocked"), 5),
        (UnfinishedError("waiting"), 6),
        (KeyboardInterrupt(), 130),
        (RuntimeError("a bug"), 1),
    ],
    ids=repr,
)
def test_an_error_becomes_its_exit_code_and_no_traceback(
    failing: Callable[[BaseException], None], error: BaseException, code: int
) -> None:
    failing(error)
    ended, out, err = run("completion")
    assert ended == code
    assert out == ""
    assert "Traceback" not in err


def test_verbose_adds_the_traceback(failing: Callable[[BaseException], None]) -> None:
    failing(RuntimeError("a bug"))
    assert "Traceback" in run("-v", "completion")[2]


def test_an_error_is_json_for_programs(failing: Callable[[BaseException], None]) -> None:
    failing(ServerError("gone", "Start it."))
    code, out, err = run("--json", "completion")
    assert json.loads(out) == {"error": {"code": 4, "message": "gone", "hint": "Start it."}}
    assert (code, err) == (4, "")


def test_a_usage_error_is_json_too() -> None:
    code, out, _ = run("completion", "--bogus", "--json")
    assert code == 2
    assert json.loads(out)["error"]["code"] == 2


@pytest.mark.parametrize(
    "argv", [["--json", "schedules", "list"], ["schedules", "--json", "list"], ["schedules", "list", "--json"]]
)
def test_global_options_stand_anywhere(argv: list[str], tmp_path: Path) -> None:
    out = io.StringIO()
    (tmp_path / "schedules.yaml").write_text("schedules: {ping: {task: livectl.ping, every: 5s}}\n")
    assert cli.main(argv, CommandContext({"LIVECTL_HOME": str(tmp_path)}, tmp_path, out, io.StringIO())) == 0
    assert json.loads(out.getvalue())[0]["name"] == "ping"


def test_the_version_is_printed(capsys: pytest.CaptureFixture[str]) -> None:
    run("--version")
    assert capsys.readouterr().out == f"livectl {__version__}\n"


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_completion_is_a_script_for_that_shell(shell: str) -> None:
    code, out, _ = run("completion", shell)
    assert code == 0
    assert "_LIVECTL_COMPLETE" in out
