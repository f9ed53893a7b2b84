"""YAML read strictly: what is text stays text, what is a trap is refused at its place, and nothing takes long."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import example, given
from hypothesis import strategies as st

from livectl import yamlfile
from livectl.errors import FileError, SettingsError
from tests.support.waiting import HANG_SECONDS

CALLS = 5  # for each character
MEGABYTES = 200


@pytest.fixture(params=["the C parser", "the Python parser"])
def parser(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    if request.param == "the Python parser":
        monkeypatch.delattr(yaml, "CSafeLoader")


READ = [
    ("12:30:45", "12:30:45"),
    ("22:22", "22:22"),
    ("08:30", "08:30"),
    ("yes", "yes"),
    ("on", "on"),
    ("off", "off"),
    ("no", "no"),
    ("[fr, no, se]", ["fr", "no", "se"]),
    ("0123456", "0123456"),
    ("0x1F", "0x1F"),
    ("0o17", "0o17"),
    ("1_000", "1_000"),
    ("2026-13-45", "2026-13-45"),
    ("2026-11-21", "2026-11-21"),
    ("2026-11-21T10:00:00Z", "2026-11-21T10:00:00Z"),
    ("1e10", 1e10),
    ("1.5", 1.5),
    (".5", 0.5),
    ("1e999", "1e999"),
    (".inf", ".inf"),
    (".nan", ".nan"),
    (".", "."),
    ("0", 0),
    ("-3", -3),
    ("123456789012345678", 123456789012345678),
    ("1234567890123456789", "1234567890123456789"),
    ("9" * 5000, "9" * 5000),
    ("true", True),
    ("False", False),
    ("null", None),
    ("~", None),
    ("", None),
    ('"1"', "1"),
    ("'true'", "true"),
    ("=", "="),
    ("日本語 😀", "日本語 😀"),
    ("http://a.b:80/c#d", "http://a.b:80/c#d"),
]


@pytest.mark.usefixtures("parser")
@pytest.mark.parametrize(("written", "read"), READ, ids=lambda value: str(value)[:20])
def test_a_value_is_read_as_it_is_written(written: str, read: Any) -> None:
    value = yamlfile.loads(f"a: {written}\n", "f.yaml").value["a"]
    assert (value, type(value)) == (read, type(read))


@pytest.mark.usefixtures("parser")
@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("", None),
        ("# nothing yet\n", None),
        ("---\n", None),
        ("---\na: 1\n...\n", {"a": 1}),
        ("\ufeffa: 1\n", {"a": 1}),
        ("a: 1\r\nb: 2\r\n", {"a": 1, "b": 2}),
        ("on: [live]\nyes: 1\n", {"on": ["live"], "yes": 1}),
        ("? a\n: b\n", {"a": "b"}),
        ('"<<": text\n', {"<<": "text"}),
        ("a: |\n  %YAML is a word\n", {"a": "%YAML is a word\n"}),
    ],
)
def test_a_document_is_read(text: str, value: Any) -> None:
    assert yamlfile.loads(text.encode(), "f.yaml").value == value


TRAPS = [
    # text, position, message, hint
    ("a: 1\nb: 2\na: 3\n", "3:1", "`a` again: it is already in line 1", "keep one"),
    ("x:\n  a: 1\n  a: 1\n", "3:3", "`a` again: it is already in line 2", "keep one"),
    ("x: {a: 1, a: 1}\n", "1:11", "`a` again", "keep one"),
    ("1: c\n", "1:1", "`1` is read as a number", "quotes"),
    ("1.0: c\n", "1:1", "`1.0` is read as a number", "quotes"),
    ("true: c\n", "1:1", "`true` is read as true or false", "quotes"),
    ("~: c\n", "1:1", "`~` is read as nothing", "quotes"),
    ("[a, b]: c\n", "1:1", "a list", "quotes"),
    ("{a: b}: c\n", "1:1", "a mapping", "quotes"),
    ("a: !!python/object/apply:os.system [x]\n", "1:4", "tag tag:yaml.org,2002:python", "remove it"),
    ("a: !!python/name:os.system\n", "1:4", "tag", "remove it"),
    ("a: !foo x\n", "1:4", "tag !foo", "remove it"),
    ("a: ! x\n", "1:4", "tag !", "remove it"),
    ("cron: */5 * * * *\n", "1:7", "a value cannot begin with *", "put it in quotes"),
    ("cron: * * * * *\n", "1:7", "a value cannot begin with *", "put it in quotes"),
    ("cron: @daily\n", "1:7", "a value cannot begin with @", "put it in quotes"),
    ("a: %x\n", "1:4", "a value cannot begin with %", "put it in quotes"),
    ("a: `x`\n", "1:4", "a value cannot begin with `", "put it in quotes"),
    ("a: *x\n", "1:4", "alias *x", "quote it"),
    ("a: &x b\n", "1:4", "anchor &x", "quote"),
    ("a: &a [*a]\n", "1:4", "anchor &a", "quote"),
    ("a: &a [*a]\n", "1:8", "alias *a", "quote"),
    ("b: &b {x: 1}\na:\n  <<: *b\n", "3:3", "merge key", "write the keys out"),
    ("<<: {a: 1}\n", "1:1", "merge key", "write the keys out"),
    ("%YAML 1.1\n---\na: 1\n", "1:1", "directive %YAML", "remove"),
    ("%TAG ! tag:x,2000:\n---\na: 1\n", "1:1", "directive %TAG", "remove"),
    ("a: 1\n---\nb: 2\n", "2:1", "a second document", "split"),
    ("a: x\0y\n", "1:5", "unreadable character U+0000", "remove"),
    ("a: x\x07y\n", "1:5", "unreadable character U+0007", "remove"),
    ('a: "x\\0y"\n', "1:4", "unreadable character U+0000", "remove"),
    ("a: b\nc: \ud800\n", "2:4", "not UTF-8", "save the file as UTF-8"),
    ("\ta: 1\n", "1:1", "a tab", "use spaces"),
    ("a:\n\tb: 1\n", "2:1", "a tab", "use spaces"),
    ("a: b: c\n", "1:5", "a colon where no key can be", "quotes"),
    ("a: 1\n  b: 2\n", "2:4", "a colon where no key can be", "indent"),
    ("a:\n  b: 1\n c: 2\n", "3:2", "does not line up", "indent"),
    ("- a\nb: c\n", "2:1", "does not line up", "indent"),
    ("a: 'it's'\n", "1:8", "s cannot stand here", "quotes"),
    ("a: {b: 1}}\n", "1:10", "} cannot stand here", "quotes"),
    ("a: - b\n", "1:4", "- cannot stand here", "quotes"),
    ("a: 'x\nb: 1\n", "1:4", "' is opened here and never closed", "close it"),
    ("a: [1, 2\nb: 1\n", "2:2", "no comma or end after an entry of the [ in line 1", "close it"),
    ("a: {b: 1\n", "2:1", "no comma or end after an entry of the { in line 1", "close it"),
    ("a: " + "[" * 20 + "]" * 20 + "\n", "1:19", "nested deeper than 16", "closed"),
]


@pytest.mark.usefixtures("parser")
@pytest.mark.parametrize(
    ("text", "position", "message", "hint"), TRAPS, ids=[repr(row[0])[:40] + row[1] for row in TRAPS]
)
def test_a_trap_is_refused_at_its_place(text: str, position: str, message: str, hint: str) -> None:
    with pytest.raises(FileError) as refused:
        yamlfile.loads(text, "f.yaml")
    (mistake,) = [row for row in refused.value.mistakes if f"{row.line}:{row.column}" == position]
    assert str(mistake).startswith(f"f.yaml:{position}: ")
    assert message in mistake.text
    assert hint in mistake.hint
    assert refused.value.code == 3


@pytest.mark.usefixtures("parser")
@pytest.mark.parametrize("brackets", ["[" * 2000, "{a: " * 2000, "- " * 2000, "[" * 40_000], ids=len)
def test_brackets_beyond_what_the_parser_bears_are_too_deep(brackets: str) -> None:
    with pytest.raises(FileError, match=r"nested deeper than 16 levels \(is a bracket not closed\?\)$"):
        yamlfile.loads(brackets, "f.yaml")


def test_an_escape_that_yields_half_a_character_is_refused() -> None:
    with pytest.raises(FileError, match=r"f\.yaml:1:7: a backslash that escapes nothing"):
        yamlfile.loads('a: "\\ud800"\n', "f.yaml")


def test_an_escape_that_yields_half_a_character_is_refused_without_the_c_parser(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.delattr(yaml, "CSafeLoader")
    with pytest.raises(FileError, match=r"f\.yaml:1:4: unreadable character U\+D800"):
        yamlfile.loads('a: "\\ud800"\n', "f.yaml")


@pytest.mark.parametrize(
    ("content", "position"),
    [
        ("a: caf\xe9\n".encode("latin-1"), "1:7"),
        ("é: 1\nb: é\n".encode("latin-1"), "1:1"),
        ("a: 1\n".encode("utf-16"), "1:1"),
    ],
)
def test_what_is_not_utf_8_is_refused(content: bytes, position: str) -> None:
    with pytest.raises(FileError, match=rf"f\.yaml:{position}: not UTF-8 \(save the file as UTF-8\)"):
        yamlfile.loads(content, "f.yaml")


def test_all_mistakes_are_told_at_once_up_to_a_number() -> None:
    with pytest.raises(FileError) as refused:
        yamlfile.loads("a: 1\na: 2\nb: !t 3\nc: *d\ne: [f\n", "f.yaml")
    assert [mistake.line for mistake in refused.value.mistakes] == [2, 3, 4, 6]
    with pytest.raises(FileError, match="already in line 1") as refused:
        yamlfile.loads("a: 1\n" * 1000, "f.yaml")
    assert len(refused.value.mistakes) == yamlfile.MAX_MISTAKES


def nested_pairs(names: int) -> str:
    """Each name stands for ten of the one before it: a few hundred bytes that would be billions of values."""
    return "a0: &a0 [x]\n" + "".join(f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 10)}]\n" for n in range(1, names))


def merges(names: int) -> str:
    return "a0: &a0 {x: 1}\n" + "".join(
        f"a{n}: &a{n}\n  <<: [{', '.join([f'*a{n - 1}'] * 9)}]\n" for n in range(1, names)
    )


MILLION = yamlfile.MAX_BYTES
BOMBS = {
    "billion laughs": nested_pairs(10),
    "merge bomb": merges(10),
    "2,000 lists": "[" * 2_000,
    "50,000 lists": "[" * 50_000,
    "a million lists": "[" * MILLION,
    "a million mappings": "{" * MILLION,
    "nested entries": "- " * (MILLION // 2),
    "5 million entries": "- " * 5_000_000,
    "nested keys": "? " * (MILLION // 2),
    "indented keys": "".join(f"{' ' * depth}a:\n" for depth in range(1_400)),
    "many tags": "".join(f"%TAG !a{n}! x\n" for n in range(50_000)) + "---\na: 1\n",
    "many aliases": "[" + "*a," * (MILLION // 3 - 1) + "]",
    "many documents": "---\n" * (MILLION // 4),
    "many empty lists": "[" + "[]," * (MILLION // 3 - 1) + "]",
    "many keys": "{" + ",".join(f"k{n}" for n in range(130_000)) + "}",
    "many equal keys": "{" + "a," * (MILLION // 2 - 1) + "}",
    "many entries": "- a\n" * (MILLION // 4),
    "one long text": "a" * MILLION,
    "one long quoted text": '"' + "a\n" * (MILLION // 2 - 1) + '"',
    "one long number": "9" * MILLION,
    "one long float": "1." + "9" * (MILLION - 2),
    "10 MB of streamers": "follows:\n"
    + "- {url: https://www.douyu.com/9999, name: Someone, tags: [games]}\n" * 150_000,
    "10 MB of text": "a" * 10_000_000,
}
READ_IN_A_CHILD = """
import re, sys
from pathlib import Path
from livectl import yamlfile
from livectl.errors import FileError
from tests.support.effort import calls
text = sys.stdin.buffer.read()
def read():
    try:
        yamlfile.loads(text, "f.yaml")
    except FileError as error:
        assert len(str(error)) < 10_000
effort = calls(read)
# Not getrusage: its peak begins with what the forking parent had.
peak = re.search(r"VmHWM:\\s+(\\d+)", Path("/proc/self/status").read_text())
print(effort, int(peak[1]) / 1024)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="the peak is read from /proc")
@pytest.mark.parametrize("bomb", BOMBS)
def test_a_bomb_takes_little_effort_and_memory(bomb: str) -> None:
    child = subprocess.run(
        [sys.executable, "-c", READ_IN_A_CHILD],
        input=BOMBS[bomb].encode(),
        capture_output=True,
        timeout=HANG_SECONDS,
        cwd=Path(__file__).parents[2],
        check=False,
    )
    assert child.returncode == 0, child.stderr.decode()
    effort, megabytes = map(float, child.stdout.split())
    assert effort < CALLS * max(len(BOMBS[bomb]), 1_000)
    assert megabytes < MEGABYTES


TEXT = st.text(st.characters(codec="utf-8", max_codepoint=0xFFFF, exclude_characters="\0"))
KEY = st.text(st.characters(codec="utf-8", max_codepoint=0xFFFF, exclude_characters="\0"), max_size=100)  # YAML: 1,024
JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-(10**17), 10**17) | st.floats(-1e17, 1e17) | TEXT,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(KEY, inner, max_size=4),
    max_leaves=12,
)


@given(JSON)
@example({"a": ["\x7f", "\u2028", "\ufffe", "\ufeff"]})
def test_what_json_writes_is_read_as_it_was(value: Any) -> None:
    assert yamlfile.loads(json.dumps(value), "f.yaml").value == value


@given(
    st.text(st.sampled_from("ab:-[]{},&*!|>'\"%@`#?~<\\ \n\t0.1\ufeff\x85é😀"), max_size=40) | st.binary(max_size=40)
)
def test_any_text_is_a_document_or_a_list_of_mistakes(content: str | bytes) -> None:
    try:
        yamlfile.loads(content, "f.yaml")
    except FileError as error:
        assert all(mistake.line > 0 and mistake.column > 0 and mistake.text for mistake in error.mistakes)  # noqa: PT017


PLACES = """\
# 😀 é
schedules:
  add: {task: t, every: 5s, args: [1, {x: 2}]}
  "sub": 😀
"""


@pytest.mark.usefixtures("parser")
@pytest.mark.parametrize(
    ("key_path", "key", "position"),
    [
        ((), False, (2, 1)),
        (("schedules",), True, (2, 1)),
        (("schedules",), False, (3, 3)),
        (("schedules", "add", "every"), True, (3, 18)),
        (("schedules", "add", "every"), False, (3, 25)),
        (("schedules", "add", "args", 1), False, (3, 39)),
        (("schedules", "add", "args", 1, "x"), True, (3, 40)),
        (("schedules", "sub"), False, (4, 10)),
        (("schedules", "add", "missing"), False, (3, 8)),
        (("schedules", "add", "args", 7), True, (3, 35)),
        (("schedules", "sub", "deeper", 1), False, (4, 10)),
    ],
)
def test_each_key_and_value_has_a_place(key_path: tuple[str | int, ...], key: bool, position: tuple[int, int]) -> None:
    document = yamlfile.loads(PLACES, "f.yaml")
    assert document.position(key_path, key=key) == position
    assert document.mistake(key_path, "wrong", "right", key=key) == ("f.yaml", *position, "wrong", "right", False)


def test_a_file_is_called_by_the_name_it_is_given(tmp_path: Path) -> None:
    file = tmp_path / "a.yaml"
    file.write_text("a: !x 1\n")
    with pytest.raises(FileError, match=r"^short\.yaml:1:4"):
        yamlfile.load(file, "short.yaml")
    with pytest.raises(FileError, match=rf"^{file}:1:4"):
        yamlfile.load(file)


@pytest.mark.parametrize("name", ["none.yaml", ""])
def test_a_file_that_cannot_be_read_is_named(tmp_path: Path, name: str) -> None:
    with pytest.raises(SettingsError, match=r"no such file or directory|is a directory"):
        yamlfile.load(tmp_path / name)


def test_ten_megabytes_are_refused_before_they_are_read(tmp_path: Path) -> None:
    file = tmp_path / "large.yaml"
    with file.open("wb") as large:
        large.truncate(10_000_000_000)
    with pytest.raises(FileError, match="larger than 1,000,000 bytes"):
        yamlfile.load(file)
