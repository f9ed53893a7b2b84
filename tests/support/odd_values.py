"""Values that nobody foresees: for words on the command line, for files and for what servers answer."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click
from hypothesis import strategies as st

from livectl import cli

if TYPE_CHECKING:
    from collections.abc import Iterator

# What makes sense in some place, so that not every command line ends at its first word.
SOUND_WORDS = (
    "1",
    "5",
    "10s",
    "1h",
    "2027-01-31T09:00:00Z",
    "demo/ada",
    "https://www.twitch.tv/ada",
    "livectl.ping",
    "celery",
    "ping",
    "me",
    "worker",
    "8b0d1d2e-52d4-4d4f-8f0c-5a1c9c1ed3a1",
    "follows.yaml",
    "schedules.yaml",
    "livectl.yaml",
    "jobs.jsonl",
    "settings.py",
    "csv",
    "python",
    "UTC",
    '{"a": 1}',
)
ODD_WORDS = (
    "",
    " ",
    "-",
    "--",
    ".",
    "0",
    "-1",
    "1",
    "1.5",
    "1e309",
    "nan",
    "-inf",
    "9" * 30,
    "9" * 5000,
    "1h",
    "-5s",
    "9" * 20 + "d",
    "now",
    "2027-01-31T09:00:00Z",
    "0001-01-01T00:00:00+14:00",
    "9999-12-31T23:59:59-14:00",
    "2027-02-30",
    "true",
    "null",
    "{}",
    "[",
    "[" * 3000,
    '{"a": 1}',
    '{"a": NaN}',
    "'",
    '"',
    "\\",
    "%s",
    "%",
    "{name}",
    "*",
    "a\nb",
    "\x1b[31m",
    "é",
    "名",
    "\udcff",
    "💥",
    "x" * 5000,
    "demo/ada",
    "demo/",
    "/",
    "nosuch/x",
    "https://",
    "http://[::1",
    "https://www.twitch.tv/ada",
    "https://live.bilibili.com/6",
    "redis://h:99999999999",
    "Europe/Paris",
    "Europe",
    "../Europe",
    "livectl.ping",
    "livectl.check",
    "celery",
    "ping",
    "8b0d1d2e-52d4-4d4f-8f0c-5a1c9c1ed3a1",
    "env:NONE",
    "file:none",
    "missing/file.yaml",
    "follows.yaml",
    "schedules.yaml",
    "folder",
    "/dev/null",
    "/dev/full",
    "/proc/self/mem",
)


def commands(group: click.Group | None = None, path: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], click.Command]]:
    """Every command and subcommand, with its words."""
    group = group or cli.root
    context = click.Context(group)
    for name in group.list_commands(context):
        command = group.get_command(context, name)
        assert command is not None
        yield (*path, name), command
        if isinstance(command, click.Group):
            yield from commands(command, (*path, name))


def option_words(option: click.Option) -> st.SearchStrategy[list[str]]:
    """The option, and a value if it takes one: of its choices, or odd."""
    name = st.sampled_from([*option.opts, *option.secondary_opts])
    if option.is_flag or option.count:
        return name.map(lambda word: [word])
    choices = st.sampled_from(option.type.choices) if isinstance(option.type, click.Choice) else st.nothing()
    return st.tuples(name, choices | odd_words()).map(list)


def odd_words() -> st.SearchStrategy[str]:
    text = st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]), max_size=20)
    sound = st.sampled_from(SOUND_WORDS)
    return sound | sound | st.sampled_from(ODD_WORDS) | text


def command_lines() -> st.SearchStrategy[list[str]]:
    """Command lines with options that there are, and values that nobody foresees."""
    return st.sampled_from(list(commands())).flatmap(lambda row: _words_of(*row))


def _words_of(path: tuple[str, ...], command: click.Command) -> st.SearchStrategy[list[str]]:
    options = [option_words(option) for option in command.params if isinstance(option, click.Option)]
    arguments = sum(isinstance(parameter, click.Argument) for parameter in command.params)
    values = st.lists(odd_words(), max_size=arguments).map(lambda words: [words])
    chosen = st.lists(st.one_of(options), max_size=3) if options else st.just([])
    return st.tuples(chosen, values).map(lambda parts: [*path, *(word for part in (*parts[0], *parts[1]) for word in part)])


def odd_replies() -> st.SearchStrategy[bytes]:
    """What a Redis might send, or something that only takes itself for one."""
    bulk = st.sampled_from([b"", b"x", b"{}", b"null", b"[]", b"1", b"-1", b"\xff\xfe", b'{"id": 3}', b"a\x06\x16b", b"9" * 400])
    scalar = st.one_of(
        bulk.map(lambda body: b"$%d\r\n%b\r\n" % (len(body), body)),
        st.sampled_from([b"$-1\r\n", b"*-1\r\n", b":1\r\n", b":-5\r\n", b":" + b"9" * 30 + b"\r\n", b"+OK\r\n", b"+PONG\r\n"]),
        st.sampled_from([b"-ERR odd\r\n", b"-READONLY no\r\n", b"-LOADING wait\r\n", b"-NOPERM no\r\n", b"-WRONGTYPE key\r\n"]),
        st.sampled_from([b"", b"\r\n", b"x\r\n", b"$5\r\nab", b"$abc\r\n", b"$99999999999\r\n", b"*99999999\r\n", b"-ERR a\nb\r\n"]),
    )
    return st.recursive(scalar, lambda inner: st.lists(inner, max_size=5).map(lambda items: b"*%d\r\n%b" % (len(items), b"".join(items))))


def odd_values() -> st.SearchStrategy[Any]:
    """What a value in a file may be instead of what it should."""
    numbers = st.integers(-5, 100) | st.sampled_from([10**30, 1e300, -0.5, float("inf")])
    scalars = st.none() | st.booleans() | numbers | st.sampled_from([word for word in ODD_WORDS if len(word) < 100])
    return st.recursive(
        scalars, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(ODD_WORDS[:40]), inner, max_size=3), max_leaves=5
    )
