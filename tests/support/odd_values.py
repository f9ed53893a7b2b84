"""Values that nobody foresees: for words on the command line, for files, and for what servers answer."""

from __future__ import annotations

import json
from copy import deepcopy
from typing import TYPE_CHECKING, Any

import click
from hypothesis import strategies as st

from livectl import cli

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

# What makes sense in some place, so that not every command line ends at its first word.
SOUND_WORDS = [
    *("1", "5", "10s", "1h", "2027-01-31T09:00:00Z", "UTC", "csv", "python", '{"a": 1}'),
    *("demo/ada", "https://www.twitch.tv/ada", "livectl.ping", "celery", "ping", "me", "worker", "w@h"),
    *("follows.yaml", "schedules.yaml", "livectl.yaml", "jobs.jsonl", "settings.py"),
    "8b0d1d2e-52d4-4d4f-8f0c-5a1c9c1ed3a1",
]
ODD_WORDS = [
    *("", " ", "-", "--", ".", "*", "%", "%s", "{name}", "'", '"', "\\", "[", "{}", '{"a": NaN}', "[" * 3000),
    *("0", "-1", "1.5", "1e309", "nan", "-inf", "true", "null", "9" * 30, "9" * 5000, "x" * 5000),
    *("-5s", "9" * 20 + "d", "now", "2027-02-30", "0001-01-01T00:00:00+14:00", "9999-12-31T23:59:59-14:00"),
    *("a\nb", "\x1b[31m", "é", "名", "\udcff", "💥"),
    *("demo/", "/", "nosuch/x", "https://", "http://[::1", "redis://h:99999999999", "Europe", "../Europe"),
    *("env:NONE", "file:none", "missing/file.yaml", "folder", "/dev/null", "/dev/full", "/proc/self/mem"),
]
ODD_VALUES: list[Any] = [
    *(None, True, 0, -1, 3, 1.5, 10**30, 1e300, float("inf"), -0.0, [], {}, [[]], [1], [None], {"a": 1}, {"": ""}),
    *("", " ", "x", "-1", "5s", "1e9s", "99999999999d", "0 0 * * *", "0 0 31 2 *", "\ud83d", "a\nb", "[", "x" * 3000),
    *("env:", "env:\0", "file:", "file:/", "file:.", "redis://", "amqp://", "http://[", "demo/ada", "Europe/Nowhere"),
    *({"a": {"b": []}}, "2027-01-01", "2027-01-01T00:00:00Z", 255, 256),
]
ODD_TOKENS = [
    *("[", "{", "]", "}", ":", "- ", "\n", "  ", "&a ", "*a", "!!python/object:x ", "<<: ", "|", "> ", "'", '"', "#"),
    *("%", "@", "`", "null", "~", "0x10", "1e999", "9" * 30, "-5s", "\t", "\r", "\0", "\a", "\ufeff", "\u2028", "💥"),
    *("(", ")", "lambda: 0", "f'{x}'", "*args", "**{}", "None", "b'x'", "1j", "...", "1/0", "10**9", "[" * 500),
    *("(" * 250, "timedelta(days=10**10)", "crontab('x')", "crontab(hour=99)", "crontab(minute=None)", "every", "cron"),
]
ODD_BODIES = [
    *(b"", b"x", b"{}", b"null", b"[]", b"0", b"1", b"-1", b"nan", b"1e400", b"\xff\xfe", b'{"id": 3}', b"9" * 400),
    *(b"a\x06\x16b", b'["a"]', b'{"task": 3, "headers": [], "body": "x", "properties": {}}', b"live"),
    b'{"body": "W10=", "headers": {"id": "1", "task": "t", "eta": "x"}, "properties": {"delivery_info": null}}',
]
ODD_REPLIES = [
    *(b"$-1\r\n", b"*-1\r\n", b":1\r\n", b":-5\r\n", b":%b\r\n" % (b"9" * 30), b"+OK\r\n", b"+\xff\r\n", b"*0\r\n"),
    *(b"-ERR odd\r\n", b"-READONLY no\r\n", b"-OOM no\r\n", b"-NOPERM no\r\n", b"-WRONGTYPE key\r\n", b"-ERR a\nb\r\n"),
    *(b"\r\n", b"x\r\n", b"$abc\r\n", b"$99999999999\r\n", b":1x\r\n", b"$-5\r\n"),
]
CUT_SHORT = [b"$5\r\nab", b"*99999999\r\n", b"*2\r\n:1\r\n", b"+OK", b""]


def commands(group: click.Group = cli.root, path: tuple[str, ...] = ()) -> Iterator[tuple[list[str], click.Command]]:
    """Every command and subcommand, with its words."""
    context = click.Context(group)
    for name in group.list_commands(context):
        command = group.get_command(context, name)
        assert command is not None
        yield [*path, name], command
        if isinstance(command, click.Group):
            yield from commands(command, (*path, name))


def odd_words() -> st.SearchStrategy[str]:
    text = st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]), max_size=20)
    sound = st.sampled_from(SOUND_WORDS)
    return sound | sound | st.sampled_from(ODD_WORDS) | text


def command_lines() -> st.SearchStrategy[list[str]]:
    """Command lines of options that there are, and values that nobody foresees."""
    return st.sampled_from(list(commands())).flatmap(lambda row: _command_line(*row))


@st.composite
def _command_line(draw: Callable[[Any], Any], path: list[str], command: click.Command) -> list[str]:
    options = [parameter for parameter in command.params if isinstance(parameter, click.Option)]
    words = list(path)
    for option in draw(st.lists(st.sampled_from(options), max_size=3)) if options else ():
        words.append(draw(st.sampled_from([*option.opts, *option.secondary_opts])))
        if not option.is_flag:
            choices = list(option.type.choices) if isinstance(option.type, click.Choice) else []
            words.append(draw(st.sampled_from(choices) | odd_words() if choices else odd_words()))
    arguments = sum(isinstance(parameter, click.Argument) for parameter in command.params)
    return words + list(draw(st.lists(odd_words(), max_size=arguments)))


@st.composite
def odd_documents(draw: Callable[[Any], Any], document: Any) -> str:
    """JSON, which is YAML too, of the document with some of its values replaced."""
    changed = deepcopy(document)
    for _ in range(draw(st.integers(1, 3))):
        path = draw(st.sampled_from(list(_paths(changed))))
        value = deepcopy(draw(st.sampled_from(ODD_VALUES)))
        if not path:
            return json.dumps(value)
        holder = changed
        for step in path[:-1]:
            holder = holder[step]
        if isinstance(holder, dict) and draw(st.booleans()):
            value, key = holder.pop(path[-1]), str(value)
            holder[key] = value
        else:
            holder[path[-1]] = value
    return json.dumps(changed, ensure_ascii=draw(st.booleans()))


def _paths(value: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    yield path
    steps = value if isinstance(value, dict) else range(len(value)) if isinstance(value, list) else ()
    for step in steps:
        yield from _paths(value[step], (*path, step))


@st.composite
def odd_texts(draw: Callable[[Any], Any], text: str) -> str:
    """The text with odd things put in, some of them in the place of others."""
    for _ in range(draw(st.integers(1, 4))):
        start = draw(st.integers(0, len(text)))
        end = start + draw(st.sampled_from([0, 0, 1, 3, 20]))
        text = text[:start] + draw(st.sampled_from(ODD_TOKENS)) + text[end:]
    return text


def odd_replies() -> st.SearchStrategy[bytes]:
    """What a Redis might send, or something that only takes itself for one."""
    bulk = st.sampled_from(ODD_BODIES).map(lambda body: b"$%d\r\n%b\r\n" % (len(body), body))
    lists = st.lists(bulk | st.sampled_from(ODD_REPLIES), max_size=5)
    nested = lists | st.lists(lists.map(_array), max_size=3)
    return bulk | st.sampled_from(ODD_REPLIES) | nested.map(_array) | st.sampled_from(CUT_SHORT)


def _array(items: list[bytes]) -> bytes:
    return b"*%d\r\n%b" % (len(items), b"".join(items))
