"""The cases that text replacement gets wrong, each byte for byte."""

from __future__ import annotations

import io
import os
import re
from pathlib import Path
from typing import NamedTuple

import pytest

from livectl.cli import main
from livectl.context import CommandContext
from livectl.ops.migration.names import KEYS, SPLIT_KEYS

TABLE = Path(__file__).parents[1] / "data" / "migration" / "cases.txt"


class Case(NamedTuple):
    title: str
    before: dict[str, str]
    after: dict[str, str]
    says: list[str]
    words: list[str]
    code: int


def case(text: str) -> Case:
    title, _, body = text.partition("\n")
    before: dict[str, str] = {}
    after: dict[str, str] = {}
    says: list[str] = []
    words: list[str] = []
    code = 0
    lines: list[str] = []
    for line in body.splitlines(keepends=True):
        said = re.match(r"(says|with|exit): (.*)", line)
        if line.startswith(("--- ", "+++ ")):
            lines = []
            (before if line[0] == "-" else after)[line[4:].strip()] = ""
            into, name = (before if line[0] == "-" else after), line[4:].strip()
        elif said:
            kind, value = said.groups()
            says += [value] if kind == "says" else []
            words += value.split() if kind == "with" else []
            code = int(value) if kind == "exit" else code
        elif line.strip() or lines:
            lines.append(line)
            into[name] = "".join(lines)
    return Case(title, _trimmed(before), {**_trimmed(before), **_trimmed(after)}, says, words, code)


def _trimmed(files: dict[str, str]) -> dict[str, str]:
    return {name: text.rstrip("\n") + "\n" if text.strip() else "" for name, text in files.items()}


CASES = [case(text) for text in TABLE.read_text().split("\n=== ")[1:]]


SPLIT_IN_57 = "one setting that became two"


def livectl(folder: Path, *words: str) -> tuple[int, str]:
    out = io.StringIO()
    code = main(["migrate", *words], CommandContext({"PATH": os.environ["PATH"]}, folder, out, out))
    return code, " ".join(out.getvalue().split())


def contents(folder: Path) -> dict[str, str]:
    files = [path for path in folder.rglob("*") if path.is_file() and path.suffix != ".bak"]
    return {str(path.relative_to(folder)): path.read_bytes().decode() for path in files}


@pytest.mark.parametrize("one", CASES, ids=[one.title for one in CASES])
@pytest.mark.parametrize("newline", ["\n", "\r\n"], ids=["lf", "crlf"])
def test_a_case_becomes_what_it_must_and_nothing_else_changes(one: Case, newline: str, tmp_path: Path) -> None:
    if SPLIT_IN_57 in one.title and not set(*SPLIT_KEYS.values()) <= KEYS:
        pytest.skip("this Celery has one setting still")
    for name, text in one.before.items():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_bytes(text.replace("\n", newline).encode())

    code, shown = livectl(tmp_path, ".", *one.words)
    assert code == one.code, shown
    assert contents(tmp_path) == {name: text.replace("\n", newline) for name, text in one.before.items()}
    for said in one.says:
        assert said in shown

    assert livectl(tmp_path, ".", "--write", *one.words)[0] == one.code
    assert contents(tmp_path) == {name: text.replace("\n", newline) for name, text in one.after.items()}

    code, shown = livectl(tmp_path, ".", *one.words)
    assert code == one.code
    assert "Nothing" in shown
    assert "change" not in shown.replace("was changed", "")


def test_every_number_of_the_table_is_used_once() -> None:
    numbers = [one.title.split()[0] for one in CASES]
    assert len(numbers) == len(set(numbers))


def test_the_documentation_shows_every_case() -> None:
    page = (Path(__file__).parents[2] / "docs" / "migrate.md").read_text()
    for one in CASES:
        assert re.search(rf"^\| {re.escape(one.title)} \|.* right \|$", page, re.MULTILINE)
