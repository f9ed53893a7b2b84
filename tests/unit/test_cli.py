"""The command line: arguments in, exit code and text out."""

from __future__ import annotations

import io
import json
import os
import re
import shlex
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING

import amqp.exceptions
import click
import kombu.exceptions
import pytest
import redis.exceptions

from livectl import __version__, cli
from livectl.__main__ import drop_unread
from livectl.commands import call, overview
from livectl.context import CommandContext
from livectl.errors import FileError, LivectlError, Mistake, PlatformError, ServerError, SettingsError, UnfinishedError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator


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


def test_without_a_command_it_says_how_to_begin(tmp_path: Path) -> None:
    out, err = io.StringIO(), io.StringIO()
    context = CommandContext({"HOME": str(tmp_path)}, tmp_path, out, err)
    assert (cli.main([], context), err.getvalue()) == (0, "")
    assert out.getvalue() == overview.BEGIN + "\n"
    assert len(out.getvalue().splitlines()) == 8
    assert max(map(len, out.getvalue().splitlines())) < 80


@pytest.mark.parametrize(
    ("settings", "argv", "lines"),
    [
        ("", [], ["livectl is set up here, and does not run.", "follows   1 streamer of follows.yaml: demo/ada"]),
        ("", ["-A", "proj"], ["Nothing of proj runs here.", "start     livectl -A proj up, or"]),
        ("broker: redis://127.0.0.1:1\n", [], ["problems  no server answers at redis://127.0.0.1:1/0"]),
        ("brokr: redis://h\n", [], ["problems  livectl.yaml:1:1:"]),
    ],
)
def test_without_a_command_it_says_what_is_going_on(
    tmp_path: Path, settings: str, argv: list[str], lines: list[str]
) -> None:
    (tmp_path / "livectl.yaml").write_text(settings)
    (tmp_path / "follows.yaml").write_text("follows: [demo/ada]\n")
    out, err = io.StringIO(), io.StringIO()
    code = cli.main(argv, CommandContext({"HOME": str(tmp_path)}, tmp_path, out, err))
    assert (code, err.getvalue()) == (0, "")
    for line in lines:
        assert line in out.getvalue()
    assert len(out.getvalue().splitlines()) <= 8
    out.truncate(0)
    out.seek(0)
    cli.main([*argv, "--json"], CommandContext({"HOME": str(tmp_path)}, tmp_path, out, err))
    answered = json.loads(out.getvalue())
    assert (answered["set_up"], answered["running"], answered["page"]) == (True, [], None)


@pytest.mark.parametrize(
    ("argv", "words"),
    [
        (["help"], "Global options, before or after the command:"),
        (["help", "follow"], "Usage: livectl follow [OPTIONS] COMMAND"),
        (["help", "follow", "add"], "Usage: livectl follow add [OPTIONS] STREAMER..."),
    ],
)
def test_help_is_a_command_too(argv: list[str], words: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(*argv)[0] == 0
    assert words in capsys.readouterr().out


@pytest.mark.parametrize(
    ("argv", "message"),
    [
        (["help", "wokrer"], "Did you mean one of: 'worker', 'workers'?"),
        (["help", "follow", "ad"], "Did you mean 'add'?"),
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


def _commands(command: click.Command, words: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], click.Command]]:
    yield words, command
    if isinstance(command, click.Group):
        context = click.Context(command)
        for name in command.list_commands(context):
            if below := command.get_command(context, name):
                yield from _commands(below, (*words, name))


def test_each_help_fits_into_80_columns_and_each_command_is_in_the_documents() -> None:
    root = Path(__file__).parents[2]
    documents = "\n".join(path.read_text() for path in (root / "README.md", *sorted((root / "docs").glob("*.md"))))
    for words, command in _commands(cli.root):
        text = command.get_help(click.Context(command, info_name=" ".join(("livectl", *words)), terminal_width=78))
        assert [line for line in text.splitlines() if len(line) > 80] == [], words
        assert all(re.search(rf"`[^`]*\b{word}\b|^    \$ .*\b{word}\b", documents, re.MULTILINE) for word in words), (
            words
        )


def test_the_top_help_has_each_command_once_in_its_group_and_the_global_options(
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert run("--help")[0] == 0
    page = capsys.readouterr().out
    titles = [line.rstrip(":") for line in page.splitlines() if line.endswith(":") and not line.startswith(" ")]
    assert titles[:6] == ["Start", "Streamers", "Jobs", "Workers and queues", "Schedules", "Care"]
    assert titles[6].startswith("Global options")
    assert sorted(re.findall(r"^  ([a-z]+)  ", page, re.MULTILINE)) == sorted(cli.COMMANDS)


def test_the_help_of_a_command_has_its_own_options_each_with_a_sentence_and_cuts_nothing() -> None:
    for words, command in _commands(cli.root):
        if words:
            page = command.get_help(click.Context(command, info_name=" ".join(words), terminal_width=78))
            assert [line for line in page.splitlines()[1:] if line.endswith("...")] == [], words
            assert "--app" not in page, words
            assert page.endswith("livectl --help"), words
            options = [option for option in command.params if isinstance(option, click.Option) and not option.hidden]
            assert [option.opts for option in options if not option.help] == [], words


def test_an_option_is_spelt_and_takes_the_same_everywhere() -> None:
    spellings: dict[str, set[object]] = {}
    for words, command in _commands(cli.root):
        for option in command.params:
            if isinstance(option, click.Option) and words:
                short = [name for name in option.opts if len(name) == 2]
                long = [name for name in option.opts if len(name) > 2]
                assert len(long) == 1, (words, option.opts)
                spellings.setdefault(long[0], set()).add((*short, option.is_flag, option.metavar))
    assert {name: kinds for name, kinds in spellings.items() if len(kinds) > 1 and name != "--name"} == {}


@pytest.mark.parametrize("argv", [["beat", "--schedule", "x"], ["worker", "-B", "--schedule=x"], ["beat", "-s", "x"]])
def test_the_name_that_an_option_had_is_still_taken(argv: list[str], tmp_path: Path) -> None:
    code, out, _ = run(*argv, "--dry-run", LIVECTL_HOME=str(tmp_path))
    assert (code, " -s x" in out) == (0, True)


@pytest.mark.parametrize(
    ("argv", "hint"),
    [
        (["call", "t", "--countdown", "5"], "Did you mean --in?"),  # what Celery calls it
        (["call", "t", "--eta=x"], "Did you mean --at?"),
        (["call", "t", "--args", "[1]"], "Arguments stand behind the task's name"),
        (["call", "t", "-1", "--priorty", "5"], "Did you mean --priority?"),
        (["live", "--wat"], "Did you mean --watch?"),
        (["worker", "--statedb", "x"], "Options of Celery's own stand behind --: `livectl worker -- --statedb`."),
        (["worker", "proj"], "-A is missing: livectl -A proj worker"),
        (["beat", "proj"], "-A is missing: livectl -A proj beat"),
        (["up", "proj"], "-A is missing: livectl -A proj up"),
        (["call", "t", "--sign", "x"], ""),  # nothing is near
        (["call", "t", "-1", "-x"], ""),
        (["call", "t", "--window-size", "x"], ""),
        (["live", "--columns"], ""),
    ],
)
def test_an_option_is_suggested_when_it_is_near_and_not_else(argv: list[str], hint: str, tmp_path: Path) -> None:
    code, _, err = run(*argv, LIVECTL_HOME=str(tmp_path))
    assert code == 2
    assert hint in err
    assert ("Did you mean" in err) == hint.startswith("Did you mean")


@pytest.mark.parametrize("argv", [["worker", "-l", "trace"], ["beat", "-l", "trace"], ["up", "-l", "trace"]])
@pytest.mark.parametrize("mode", [[], ["--detach"]])
def test_a_log_level_that_does_not_exist_is_refused_in_every_mode(argv: list[str], mode: list[str]) -> None:
    dry_run = [] if argv[0] == "up" or mode else ["--dry-run"]
    code, out, err = run(*argv, *mode, *dry_run)
    assert (code, out) == (2, "")
    assert "'trace' is not one of 'debug', 'info'" in err


@pytest.mark.parametrize(
    ("words", "args"),
    [
        (["tasks.add", "-1", "2"], ("-1", "2")),
        (["tasks.add", "-1", "-2.5e3", "--queue", "x", "-.5"], ("-1", "-2.5e3", "-.5")),
        (["tasks.add", "--", "-x", "-1"], ("-x", "-1")),
        (["tasks.add", "-"], ("-",)),
    ],
)
def test_negative_numbers_are_arguments(words: list[str], args: tuple[str, ...]) -> None:
    with call.command.make_context(
        "call", list(words), obj=CommandContext({}, Path.cwd(), io.StringIO(), io.StringIO())
    ) as parsed:
        assert (parsed.params["task"], parsed.params["args"]) == ("tasks.add", args)


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
        (redis.exceptions.ConnectionError("gone"), 4),
        (redis.exceptions.ReadOnlyError("READONLY a replica"), 4),
        (kombu.exceptions.OperationalError("gone"), 4),
        (amqp.exceptions.AccessRefused("no"), 4),
        (ConnectionResetError("gone"), 4),
        (PermissionError(13, "Permission denied", "some/file"), 3),
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


def test_what_nobody_reads_any_more_is_no_error_at_the_end() -> None:
    reader, writer = os.pipe()
    os.close(reader)
    stream = os.fdopen(writer, "w")
    stream.write("a line")
    drop_unread(stream)
    stream.close()  # writes the rest, as the interpreter does at its end


def test_what_was_not_written_for_another_reason_is_one() -> None:
    stream = os.fdopen(os.open("/dev/full", os.O_WRONLY), "w")
    stream.write("a line")
    drop_unread(stream)
    with pytest.raises(OSError, match="space"):
        stream.close()


def test_the_version_is_printed(capsys: pytest.CaptureFixture[str]) -> None:
    run("--version")
    assert capsys.readouterr().out == f"livectl {__version__}\n"


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_completion_is_a_script_for_that_shell(shell: str) -> None:
    code, out, _ = run("completion", shell)
    assert code == 0
    assert "_LIVECTL_COMPLETE" in out


def _examples() -> Iterator[tuple[str, list[str]]]:
    """The command whose help has it, and its words; what is a note beside it or a pipe is left off."""
    for words, command in _commands(cli.root):
        text = re.split(r"\n\n|\n\x08", (command.help or "").partition("Examples:\n")[2])[0]
        for line in text.splitlines():
            _, is_call, call = line.partition("livectl ")  # behind what is set in the environment
            if is_call:
                yield " ".join(words), shlex.split(re.split(r" {2,}| > | && ", call)[0])


def test_each_command_has_two_or_three_examples_of_itself() -> None:
    counts = Counter(name for name, _ in _examples())
    named = {" ".join(words) for words, _ in _commands(cli.root) if words}
    assert {name: counts[name] for name in named if counts[name] not in {2, 3}} == {}
    assert [
        (name, words) for name, words in _examples() if not set(name.split()) <= set(words) and "." not in words
    ] == []


@pytest.mark.parametrize("words", [words for _, words in _examples()], ids=" ".join)
def test_each_example_is_parsed(words: list[str], tmp_path: Path) -> None:
    """Its command takes these words; whether it can do its work is another matter."""
    context = CommandContext({"LIVECTL_HOME": str(tmp_path)}, tmp_path, io.StringIO(), io.StringIO())
    command: click.Command = cli.root
    parsed = command.make_context("livectl", list(words), obj=context)
    while isinstance(command, click.Group) and (rest := [*parsed._protected_args, *parsed.args]):
        _, below, rest = command.resolve_command(parsed, rest)
        assert below is not None
        command, parsed = below, below.make_context(below.name, rest, parent=parsed)
    assert not isinstance(command, click.Group) or command.invoke_without_command or command is cli.root


STAYING = {"up", "worker", "beat", "web", "flower", "shell", "events"}  # they do not end by themselves
RUNNABLE = [
    words
    for _, words in _examples()
    if not {"-A", "--watch", "--local", "--install", "--prove", "--write", "/srv/streams", *STAYING} & set(words)
    and (words[:2] != ["follow", "add"] or "://" not in " ".join(words))
    and (words[0] != "open" or "--print" in words)
]


@pytest.mark.parametrize("words", RUNNABLE, ids=" ".join)
def test_each_example_runs_without_a_server_or_says_what_is_missing(words: list[str], tmp_path: Path) -> None:
    (tmp_path / "livectl.yaml").write_text("alerts: {phone: {command: [echo]}}\n")
    (tmp_path / "follows.yaml").write_text("follows: [demo/ada]\n")
    (tmp_path / "schedules.yaml").write_text("schedules: {digest: {task: livectl.digest, cron: 0 9 * * *}}\n")
    (tmp_path / "proj").mkdir()
    (tmp_path / "proj" / "settings.py").write_text("CELERYBEAT_SCHEDULE = {'a': {'task': 't', 'schedule': 60}}\n")
    out, err = io.StringIO(), io.StringIO()
    environ = {"HOME": str(tmp_path), "LIVECTL_HOME": str(tmp_path / "home"), "SHELL": "/bin/bash"}
    code = cli.main(words, CommandContext(environ, tmp_path, out, err))
    assert "stumbled" not in err.getvalue()
    assert code != 2 or words[0] == "health", err.getvalue()
    assert code in {0, 1} or err.getvalue() or out.getvalue()
