"""Entries of schedules.yaml are added, changed and removed; comments, order and layout of all else stay."""

from __future__ import annotations

from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import pytest

from livectl.errors import FileError, LivectlError, SettingsError, UsageError
from livectl.ops.schedules import schedule_file
from livectl.ops.schedules.file_edit import EditableSchedule

if TYPE_CHECKING:
    from pathlib import Path

LINES = """\
# ours
timezone: Europe/Paris  # of all

schedules:
  # twice a day
  sweep:  {task: t.sweep, every: 5s}  # fast
  digest: {task: t.digest, cron: "0 9 * * *", options: {queue: slow}}

# the end
"""
BLOCKS = """\
schedules:

    sweep:
        task: t.sweep   # the task
        every: 5s
        args:  # two
            - 1
            # the second
            - 2

    digest:
        task: t.digest
        description: |
            long
            words
        # why so early
        cron: "0 9 * * *"
        options:
            queue: slow
            priority: 5
# the end
"""
NEW = {"task": "t.new", "every": "10m"}


def added(name: str = "new", **words: Any) -> tuple[str, str, Any]:
    return "add", name, {**NEW, **words}


def changed(name: str, **changes: Any) -> tuple[str, str, Any]:
    return "set", name, [(tuple(key.split("__")), value) for key, value in changes.items()]


def removed(*names: str) -> tuple[str, str, Any]:
    return "remove", "", names


def edit(path: Path, change: tuple[str, str, Any], **options: Any) -> str:
    kind, name, value = change
    editable = EditableSchedule(path, path.name, **options)
    if kind == "remove":
        return editable.remove(value).diff
    return (editable.add(name, value) if kind == "add" else editable.set(name, value)).diff


SWEEP = "  sweep:  {task: t.sweep, every: 5s}  # fast\n"
DIGEST = '  digest: {task: t.digest, cron: "0 9 * * *", options: {queue: slow}}\n'

HEAD = "# What is sent when. `livectl docs schedules` has every key.\n\n"
FIRST = "schedules:\n  new:\n    task: t.new\n    every: 10m\n"
CRON = 'cron: "0 9 * * *", options: {queue: slow}'
ARGS = "args:  # two\n            - 1\n            # the second\n            - 2\n"
OPTIONS = "        options:\n            queue: slow\n            priority: 5\n"
BRACES = "schedules:\n  a: {\n    task: t,  # t\n    every: 1s,  # s\n  }\n"

# The text, the change, and what becomes of which part of it.
CASES: dict[str, tuple[str, tuple[str, str, Any], tuple[str, str]]] = {
    "in a line under the others": (LINES, added(), (DIGEST, f"{DIGEST}  new:    {{task: t.new, every: 10m}}\n")),
    "in a block, with the blank line between": (
        BLOCKS,
        added(args=[1, "a b"]),
        ("# the end", '\n    new:\n        task: t.new\n        every: 10m\n        args: [1, "a b"]\n# the end'),
    ),
    "a value in a line": (LINES, changed("sweep", every="10s"), ("every: 5s", "every: 10s")),
    "a new key in a line": (LINES, changed("sweep", jitter="1s"), ("every: 5s", "every: 5s, jitter: 1s")),
    "another timing": (LINES, changed("digest", every="1h"), (CRON, "options: {queue: slow}, every: 1h")),
    "an option": (LINES, changed("digest", options__queue="fast"), ("queue: slow", "queue: fast")),
    "a new option": (LINES, changed("sweep", options__queue="q"), ("every: 5s", "every: 5s, options: {queue: q}")),
    "the last option": (LINES, changed("digest", options__queue=None), (", options: {queue: slow}", "")),
    "a key for another": (LINES, changed("digest", options=None, args=[1]), ("options: {queue: slow}", "args: [1]")),
    "removed": (LINES, removed("sweep"), (SWEEP, "")),
    "all removed": (LINES, removed("digest", "sweep"), (SWEEP + DIGEST, "")),
    "a value of a block": (BLOCKS, changed("sweep", every="1m"), ("every: 5s", "every: 1m")),
    "a list in a block": (BLOCKS, changed("sweep", args=[3]), (ARGS, "args: [3]  # two\n")),
    "many lines": (
        BLOCKS,
        changed("digest", description="short"),
        ("|\n            long\n            words", "short"),
    ),
    "the end of a block": (
        BLOCKS,
        changed("sweep", overlap="skip"),
        ("            - 2\n", "            - 2\n        overlap: skip\n"),
    ),
    "an option in a block": (
        BLOCKS,
        changed("digest", options__expires="30s"),
        ("priority: 5\n", "priority: 5\n            expires: 30s\n"),
    ),
    "without an option": (BLOCKS, changed("digest", options__queue=None), ("            queue: slow\n", "")),
    "without options": (BLOCKS, changed("digest", options=None), (OPTIONS, "")),
    "a block removed": (BLOCKS, removed("digest"), (BLOCKS[BLOCKS.index("    digest:") : -len("# the end\n")], "")),
    "the first in nothing": ("", added(), ("", HEAD + FIRST)),
    "the first behind a comment": ("# mine", added(), ("# mine", f"# mine\n\n{FIRST}")),
    "the first behind a zone": ("timezone: UTC", added(), ("UTC", f"UTC\n{FIRST}")),
    "the first in braces": (
        "schedules: {}  # none\ntimezone: UTC\n",
        added(),
        ("schedules: {}  # none\n", FIRST.replace(":", ":  # none", 1)),
    ),
    "the first under a key": (
        "schedules:  # none\n# end",
        added(),
        (":  # none\n", FIRST.replace(":", ":  # none", 1)[9:]),
    ),
    "all in a line": (
        "schedules: {a: {task: t, every: 1s}}",
        added(),
        ("1s}", "1s}, new: {task: t.new, every: 10m}"),
    ),
    "without a line end": (
        "schedules:\n  a: {task: t, every: 1s}",
        added("b c"),
        ("1s}", '1s}\n  "b c": {task: t.new, every: 10m}\n'),
    ),
    "over lines in braces": (BRACES, changed("a", every="2s", jitter="1s"), ("1s,", "2s, jitter: 1s,")),
    "a line less in braces": (
        BRACES,
        changed("a", cron="@daily"),
        ("t,  # t\n    every: 1s,", 't, cron: "@daily",  # t\n    '),
    ),
}


@pytest.mark.parametrize("case", CASES)
def test_a_change_touches_its_place_alone(tmp_path: Path, case: str) -> None:
    before, change, (old, new) = CASES[case]
    after = before.replace(old, new)
    path = tmp_path / "schedules.yaml"
    if before:
        path.write_bytes(before.encode())
    rehearsed = edit(path, change, rehearses=True)
    assert (path.read_text() if path.exists() else "") == before
    assert rehearsed.startswith("--- schedules.yaml\n+++ schedules.yaml\n@@")
    assert edit(path, change) == rehearsed
    assert path.read_text() == after
    schedule_file.load(path)


def test_line_ends_mode_and_link_stay(tmp_path: Path) -> None:
    real, path = tmp_path / "real.yaml", tmp_path / "schedules.yaml"
    real.write_bytes(LINES.replace("\n", "\r\n").encode())
    real.chmod(0o640)
    path.symlink_to(real)
    edit(path, changed("sweep", every="10s"))
    edit(path, added())
    assert real.read_bytes().count(b"\n") == real.read_bytes().count(b"\r\n") == LINES.count("\n") + 1
    assert (real.stat().st_mode & 0o777, path.is_symlink()) == (0o640, True)
    assert sorted(each.name for each in tmp_path.iterdir()) == ["real.yaml", "schedules.yaml"]


@pytest.mark.parametrize(
    ("text", "change", "error", "message"),
    [
        (LINES, added("sweep"), SettingsError, "schedules.yaml has an entry sweep already"),
        (LINES, changed("sweeep", every="1s"), UsageError, "schedules.yaml has no entry called sweeep"),
        (LINES, changed("sweep", every="1s", cron="* * * * *"), UsageError, "every and cron are two times"),
        (LINES, removed("sweep", "no"), UsageError, "schedules.yaml has no entry called no"),
        (LINES, added(every="0s"), FileError, 'schedules.yaml:8:32: new: every: "0s" must be more than zero'),
        (LINES, added(options={"queu": "x"}), FileError, 'new: options: unknown option "queu" (did you mean queue?)'),
        (LINES, changed("sweep", timezon="UTC"), FileError, 'schedules.yaml:6:38: sweep: unknown key "timezon"'),
        (LINES, added(task="t.newer"), FileError, 'the app has no task "t.newer" (did you mean t.new?)'),
        (LINES.replace("5s", "0s"), added(), FileError, 'schedules.yaml:6:34: sweep: every: "0s" must be more'),
        ("- a\n", added(), FileError, "is no schedule file"),
        ("schedules: [a]\n", removed("a"), FileError, "is no mapping of names to entries"),
        ("a: &x 1\n", added(), FileError, "anchor &x"),
    ],
)  # fmt: skip
def test_what_cannot_be_is_refused_and_nothing_is_written(
    tmp_path: Path, text: str, change: tuple[str, str, Any], error: type[LivectlError], message: str
) -> None:
    path = tmp_path / "schedules.yaml"
    path.write_text(text)
    tasks = dict.fromkeys(("t", "t.new", "t.sweep", "t.digest"), SimpleNamespace(run=lambda: None))
    with pytest.raises(error) as caught:
        edit(path, change, tasks=tasks)
    assert message in caught.value.message
    assert path.read_text() == text


EXPLICIT = "schedules:\n  a:\n    ? task\n    : t\n    ? every\n    : 1s\n"


@pytest.mark.parametrize(
    ("text", "change"),
    [
        ("schedules:\n  ? a\n  : {task: t, every: 1s}\n", changed("a", every="2s", args=[1])),
        (EXPLICIT, removed("a")),
        (EXPLICIT, changed("a", every="2s")),
        (EXPLICIT, changed("a", args=[1])),
        ("schedules: {a: {task: t, every: 1s}, }\n...\n", added()),
        ("{schedules: {\na: {task: t, every: 1s}, }}", removed("a")),
        ("timezone: UTC\n...\n", added()),
    ],
)
def test_odd_spellings_are_changed_rightly_or_left_to_people(
    tmp_path: Path, text: str, change: tuple[str, str, Any]
) -> None:
    path = tmp_path / "schedules.yaml"
    path.write_text(text)
    try:
        edit(path, change)
    except SettingsError as error:
        said = error.message
    else:
        said = ""
        schedule_file.load(path)
    assert not said or (
        said == "schedules.yaml is written in a way that only people change" and path.read_text() == text
    )


def test_a_folder_that_cannot_be_written_is_said(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(SettingsError, match=r"schedules\.yaml cannot be changed: file exists|not a directory"):
        edit(tmp_path / "file" / "schedules.yaml", added())
