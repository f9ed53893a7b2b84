"""Writes into the documents what the code knows better: commands, settings, exit codes. `python -m livectl.reference`.

A page says where, and what lies between is replaced:

    <!-- from the code: commands -->
    <!-- end -->

In other languages the sentences are those of docs/LANGUAGE/reference.json, by the English ones; what it lacks stays
English, and is added to it with an empty translation. With --check nothing is written, and exit code 1 says that
something would be.
"""

from __future__ import annotations

import inspect
import json
import re
import sys
from inspect import cleandoc
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, get_args, get_origin

import click
import msgspec

from livectl import documents, settings, units
from livectl.address import Address, Exit
from livectl.cli import COMMAND_GROUPS, root
from livectl.manual import ENVIRONMENT, EXIT_CODES, UNBROKEN, option_records
from livectl.secret import Secret
from livectl.setting_types import CeleryValue, Endpoint, Port, RedisAddress, StoreAddress
from livectl.task_settings import PlaceText

if TYPE_CHECKING:
    from collections.abc import Iterator

PLACE = re.compile(r"(<!-- from the code: ([\w -]+) -->\n).*?(<!-- end -->)", re.DOTALL)
FIELD = re.compile(r"^    (\w+): .*?(?:  # (.*))?$")
KINDS: dict[Any, str] = {
    Address: "address",
    RedisAddress: "address of a Redis or Valkey",
    StoreAddress: "address of a Redis or Valkey, or a list of them",
    Secret: "secret",
    units.Duration: "duration",
    units.Rate: "rate",
    units.Times: "3x",
    units.ByteSize: "size",
    units.TimeOfDay: "time of day",
    units.Timezone: "name of a zone",
    units.Window: "two times of day",
    PlaceText: "args.0, kwargs.name or task",
    Port: "number",
    Endpoint: "address",
    Exit: "address or proxy",
    CeleryValue: "anything",
    Path: "path",
    bool: "true or false",
    int: "number",
    str: "text",
}


class Words:
    """The sentences of a language by the English ones."""

    def __init__(self, language: str) -> None:
        self._path = documents.folder() / language / "reference.json" if language != documents.ENGLISH else None
        self._known = json.loads(self._path.read_text(encoding="utf-8")) if self._path and self._path.exists() else {}
        self._used: dict[str, str] = {}

    def __call__(self, english: str) -> str:
        if english:
            self._used[english] = self._known.get(english, "")
        return self._used.get(english) or english

    def files(self) -> dict[Path, str]:
        """What the file of sentences has to hold: those that were asked for, and no others."""
        if self._path is None:
            return {}
        return {self._path: json.dumps(self._used, ensure_ascii=False, indent=1, sort_keys=True) + "\n"}


def renewed_files() -> dict[Path, str]:
    """Each document that the code writes into, and each file of sentences: what it should hold."""
    files: dict[Path, str] = {}
    for language in documents.LANGUAGES:
        words = Words(language)
        folder = documents.folder() if language == documents.ENGLISH else documents.folder() / language
        for path in sorted(folder.glob("*.md")):
            text = path.read_text(encoding="utf-8")
            if renewed := renew(text, words):
                files[path] = renewed
        files |= words.files()
    return files


def renew(text: str, words: Words) -> str:
    """The page with what the code says in its places; empty where it has none."""
    makers = {"commands": _commands, "environment": _environment, "exit-codes": _exit_codes}

    def fill(place: re.Match[str]) -> str:
        kind, _, name = place[2].partition(" ")
        made = _settings(getattr(settings, name), words) if kind == "settings" else makers[kind](words)
        lines = "\n".join(made)
        return f"{place[1]}\n{lines}\n\n{place[3]}"

    renewed, count = PLACE.subn(fill, text)
    return renewed if count else ""


def _commands(words: Words) -> Iterator[str]:
    context = click.Context(root, info_name="livectl")
    yield from _option_table(root, context, words)
    for title, names in COMMAND_GROUPS.items():
        yield from ("", f"## {words(title)}")
        for name in names:
            if command := root.get_command(context, name):
                yield from _command(command, click.Context(command, parent=context, info_name=name), words)


def _command(command: click.Command, context: click.Context, words: Words, level: int = 3) -> Iterator[str]:
    usage = " ".join([context.command_path, *command.collect_usage_pieces(context)])
    yield from ("", f"{'#' * level} {context.command_path}", "", f"    {usage}")
    for paragraph in re.split(r"\n\n|\n(?=\x08\n)", cleandoc(command.help or "")):
        yield ""
        yield from _paragraph(paragraph, words)
    if table := list(_option_table(command, context, words)):
        yield from ("", *table)
    if isinstance(command, click.Group):
        for name, below in command.commands.items():
            yield from _command(below, click.Context(below, parent=context, info_name=name), words, level + 1)


def _paragraph(paragraph: str, words: Words) -> Iterator[str]:
    lines = paragraph.removeprefix(UNBROKEN).strip("\n").split("\n")
    first, *others = lines
    if not paragraph.startswith(UNBROKEN):
        yield _escaped(words(" ".join(paragraph.split())))
    elif others and first.endswith(":") and all(line.startswith("  ") for line in others):
        yield from (words(first), "", *(f"    {line.strip()}" for line in others))
    elif any(re.search(r"\S {2,}\S", line) for line in lines):  # a table of the help's own
        yield from (f"    {line}" for line in lines)
    else:
        yield _escaped(words(" ".join(" ".join(lines).split())))


def _option_table(command: click.Command, context: click.Context, words: Words) -> Iterator[str]:
    records = option_records(command, context)
    if records:
        yield from (f"| {words('option')} | {words('does')} |", "| --- | --- |")
    for term, meaning in records:
        yield f"| `{term.replace('|', chr(92) + '|')}` | {_cell(words(' '.join(meaning.split())))} |"


def _environment(words: Words) -> Iterator[str]:
    yield from (f"| {words('variable')} | {words('does')} |", "| --- | --- |")
    for names, meaning in ENVIRONMENT.items():
        yield f"| {', '.join(f'`{name}`' for name in names.split(', '))} | {_cell(words(meaning))} |"


def _exit_codes(words: Words) -> Iterator[str]:
    yield from (f"| {words('code')} | {words('means')} | {words('what to do')} |", "| --- | --- | --- |")
    for code, (meaning, cure) in EXIT_CODES.items():
        yield f"| {code} | {_cell(words(meaning))} | {_cell(words(cure))} |"


def _settings(struct: type[msgspec.Struct], words: Words) -> Iterator[str]:
    """A table of the settings of a section: what each does, what it takes, and what counts where it is left out."""
    meanings = setting_meanings(struct)
    headings = ("key", "does", "takes", "left out")
    yield from (f"| {' | '.join(map(words, headings))} |", "| --- | --- | --- | --- |")
    for field in msgspec.structs.fields(struct):
        takes = describe_kind(field.type, words)
        yield f"| `{field.name}` | {_cell(words(meanings[field.name]))} | {takes} | {_default(field)} |"


def setting_meanings(struct: type[msgspec.Struct]) -> dict[str, str]:
    """Setting -> the comment beside it in the code, or right above it."""
    meanings, above = {}, ""
    for line in inspect.getsource(struct).splitlines():
        if match := FIELD.match(line):
            meanings[match[1]] = match[2] or above
        above = line.strip().removeprefix("# ") if line.strip().startswith("# ") else ""
    return meanings


def describe_kind(kind: Any, words: Words) -> str:
    """What a setting takes, in words; a choice by its values."""
    if kind in KINDS:
        return words(KINDS[kind])
    parts = [part for part in get_args(kind) if part is not type(None) and part is not Ellipsis]
    if get_origin(kind) is Literal:
        return ", ".join(f"`{part}`" for part in parts)
    if get_origin(kind) is tuple:
        choices = "" if parts[0] is str else f": {describe_kind(parts[0], words)}"
        return f"{words('list')}{choices}"
    if get_origin(kind) is dict:
        return words("several, by name")
    if isinstance(kind, type) and issubclass(kind, msgspec.Struct):
        return words("section")
    return describe_kind(parts[0], words)  # what may be left out


def _default(field: msgspec.structs.FieldInfo) -> str:
    value = field.default
    if value is None or value in ((), msgspec.NODEFAULT, "") or isinstance(value, msgspec.Struct):
        return ""
    if isinstance(value, bool):
        return f"`{str(value).lower()}`"
    if field.type == units.Duration:
        return f"`{units.format_yaml_duration(value)}`"
    return f"`[{', '.join(value)}]`" if isinstance(value, tuple) else f"`{value}`"


def _escaped(text: str) -> str:
    """Text as Markdown shows it: no sign in it begins anything, but the backquotes around code."""
    parts = text.split("`")
    return "`".join(part if number % 2 else re.sub(r"([*_<\[])", r"\\\1", part) for number, part in enumerate(parts))


def _cell(text: str) -> str:
    return _escaped(text).replace("|", "\\|")


def main(argv: list[str]) -> int:
    changed = {
        path: text
        for path, text in renewed_files().items()
        if not path.exists() or path.read_text(encoding="utf-8") != text
    }
    for path, text in changed.items():
        print(path.relative_to(documents.folder().parent))
        if "--check" not in argv:
            path.write_text(text, encoding="utf-8")
    return 1 if changed and "--check" in argv else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
