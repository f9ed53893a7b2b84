"""Cases that a replacement of text gets wrong, each compared byte for byte."""

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
    messages: list[str]
    arguments: list[str]
    code: int


def parse_case(text: str) -> Case:
    title, _, body = text.partition("\n")
    before: dict[str, str] = {}
    after: dict[str, str] = {}
    messages: list[str] = []
    arguments: list[str] = []
    code = 0
    lines: list[str] = []
    for line in body.splitlines(keepends=True):
        expectation = re.match(r"(says|with|exit): (.*)", line)
        if line.startswith(("--- ", "+++ ")):
            lines = []
            (before if line[0] == "-" else after)[line[4:].strip()] = ""
            into, name = (before if line[0] == "-" else after), line[4:].strip()
        elif expectation:
            kind, value = expectation.groups()
            messages += [value] if kind == "says" else []
            arguments += value.split() if kind == "with" else []
            code = int(value) if kind == "exit" else code
        elif line.strip() or lines:
            lines.append(line)
            into[name] = "".join(lines)
    return Case(title, _trim(before), {**_trim(before), **_trim(after)}, messages, arguments, code)


def _trim(files: dict[str, str]) -> dict[str, str]:
    return {name: text.rstrip("\n") + "\n" if text.strip() else "" for name, text in files.items()}


CASES = [parse_case(text) for text in TABLE.read_text().split("\n=== ")[1:]]


SPLIT_IN_57 = "one setting that became two"


def run_migrate(folder: Path, *arguments: str) -> tuple[int, str]:
    out = io.StringIO()
    code = main(["migrate", *arguments], CommandContext({"PATH": os.environ["PATH"]}, folder, out, out))
    return code, " ".join(out.getvalue().split())


def read_files(folder: Path) -> dict[str, str]:
    files = [path for path in folder.rglob("*") if path.is_file() and path.suffix != ".bak"]
    return {str(path.relative_to(folder)): path.read_bytes().decode() for path in files}


@pytest.mark.parametrize("case", CASES, ids=[case.title for case in CASES])
@pytest.mark.parametrize("newline", ["\n", "\r\n"], ids=["lf", "crlf"])
def test_a_case_becomes_what_it_must_and_nothing_else_changes(case: Case, newline: str, tmp_path: Path) -> None:
    if SPLIT_IN_57 in case.title and not set(*SPLIT_KEYS.values()) <= KEYS:
        pytest.skip("this Celery has one setting still")
    for name, text in case.before.items():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_bytes(text.replace("\n", newline).encode())

    code, output = run_migrate(tmp_path, ".", *case.arguments)
    assert code == case.code, output
    assert read_files(tmp_path) == {name: text.replace("\n", newline) for name, text in case.before.items()}
    for message in case.messages:
        assert message in output

    assert run_migrate(tmp_path, ".", "--write", *case.arguments)[0] == case.code
    assert read_files(tmp_path) == {name: text.replace("\n", newline) for name, text in case.after.items()}

    code, output = run_migrate(tmp_path, ".", *case.arguments)
    assert code == case.code
    assert "Nothing" in output
    assert "change" not in output.replace("was changed", "")


def test_every_number_of_the_table_is_used_once() -> None:
    numbers = [case.title.split()[0] for case in CASES]
    assert len(numbers) == len(set(numbers))


def test_the_documentation_counts_every_case() -> None:
    page = (Path(__file__).parents[2] / "docs" / "migrate.md").read_text()
    assert f"| of {len(CASES)} inputs |" in page
    assert re.search(rf"^\| right \|.*\| {len(CASES)} \|$", page, re.MULTILINE)
