"""How `livectl migrate` and `livectl schedules import` do on settings that other people wrote.

python -m benchmarks.public_settings FOLDER       # each folder in it is a project; a file is a project of its own

The files are RUN, twice a project, to know what they really set: read them before. What they import and is not here is
stood in for, once by something true and once by something false, so that what depends on it shows. Neither the
files nor anything of them belongs into this repository.

right      settings: Celery's effective settings are as before and no old name is left; schedule: every entry as it runs
refused    something was left as it is, and said with its reason; the rest is right
wrong      anything else: another effect, something left without a word, an entry that does not always run like that
unknown    running the files does not show their effect
"""

from __future__ import annotations

import ast
import io
import json
import os
import shutil
import subprocess
import sys
import tempfile
from collections import Counter
from contextlib import suppress
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from benchmarks.foreign_project import SCHEDULE_WORDS, python_files
from livectl.cli import main as livectl
from livectl.context import CommandContext
from livectl.errors import LivectlError
from livectl.ops.schedules import import_python, importing
from livectl.ops.schedules.conversion import WHOLE_SCHEDULE

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

REFUSED = 3  # the exit code of a file that cannot be decided
RUN_SECONDS = 60  # a project's files take seconds at most, unless they wait for a server
TASKS = ("migration", "schedule")
OUTCOMES = ("right", "refused", "wrong", "unknown")


class Outcome(NamedTuple):
    """What became of one file."""

    kind: str
    why: str = ""


def main() -> None:
    if len(sys.argv) < 2:
        print("Name a folder of settings files: python -m benchmarks.public_settings FOLDER")
        return
    totals = {task: Counter[str]() for task in TASKS}
    for project in sorted(Path(sys.argv[1]).iterdir()):
        for task, judge in (("migration", judge_migration), ("schedule", judge_schedules)):
            for name, outcome in judge(project):
                totals[task][outcome.kind] += 1
                print(f"{task:<10} {outcome.kind:<8} {name:<42} {outcome.why[:120]}")
    for task, counts in totals.items():
        print(f"{task}: {', '.join(f'{counts[kind]} {kind}' for kind in OUTCOMES)}, of {counts.total()}")


def copy_project(project: Path, into: Path) -> Path:
    folder = into / "project"
    if project.is_dir():
        shutil.copytree(project, folder)
    else:
        folder.mkdir()
        shutil.copy(project, folder)
    return folder.resolve()


# Migration


def judge_migration(project: Path) -> Iterator[tuple[str, Outcome]]:
    """One outcome for a project that has old names; none for one that has not."""
    from celery.app.defaults import _OLD_SETTING_KEYS, _TO_NEW_KEY

    with tempfile.TemporaryDirectory() as folder:
        copy = copy_project(project, Path(folder))
        old_names = set(_OLD_SETTING_KEYS) - {f"CELERY_{key.upper()}" for key in _TO_NEW_KEY.values()}
        if is_read_by_none(copy) or not any(bound_names(path) & old_names for path in python_files(copy)):
            return
        before, files = run_original(project), contents(copy)
        out = io.StringIO()
        context = CommandContext({"PATH": os.environ["PATH"]}, copy, out, out)
        code = livectl(["migrate", ".", "--write", "--no-backup"], context)
        left = {str(path.relative_to(copy)): bound_names(path) & old_names for path in python_files(copy)}
        after = before if contents(copy) == files else run_both(copy)
        yield project.name, compare_settings(before, after, left, code, out.getvalue())


def contents(folder: Path) -> list[bytes]:
    return [path.read_bytes() for path in python_files(folder)]


def compare_settings(before: Any, after: Any, left: dict[str, set[str]], code: int, said: str) -> Outcome:
    if code not in {0, REFUSED}:
        return Outcome("wrong", f"exit code {code}: {said.strip().splitlines()[-1:]}")
    for ran_before, ran_after in zip(before, after, strict=True):
        for subject, settings in ran_before["settings"].items():
            if (now := ran_after["settings"].get(subject)) != settings:
                names = [key for key in settings if now is None or now.get(key) != settings[key]]
                return Outcome("wrong", f"{subject}: {', '.join(names[:5])}")
    is_refused = code == REFUSED
    unsaid = [
        name for file, names in left.items() for name in names if name not in said and not (is_refused and file in said)
    ]
    if unsaid:
        return Outcome("wrong", f"left without a word: {', '.join(sorted(unsaid))}")
    if any(left.values()):
        return Outcome("refused", " ".join(said.partition("left as it is:")[2].split()) or " ".join(said.split()))
    return Outcome("right" if any(ran["settings"] for ran in before) else "unknown")


def bound_names(path: Path) -> set[str]:
    """The names that a file sets where Celery may look: names, attributes, and what a configuration is updated with."""
    names = set()
    with suppress(SyntaxError):
        for node in ast.walk(ast.parse(path.read_bytes())):
            if isinstance(node, ast.Name | ast.Attribute) and not isinstance(node.ctx, ast.Load):
                names.add(node.id if isinstance(node, ast.Name) else node.attr)
            elif isinstance(node, ast.Call) and ast.unparse(node.func).endswith("conf.update"):
                names |= {keyword.arg or "" for keyword in node.keywords}
    return names


def is_read_by_none(folder: Path) -> bool:
    """Whether there is an app that is handed no settings: the names around it are the project's own."""
    text = "\n".join(path.read_text(errors="replace") for path in python_files(folder))
    return "Celery(" in text and not any(word in text for word in ("config_from_object", "conf.update(", "django"))


# Schedules


def judge_schedules(project: Path) -> Iterator[tuple[str, Outcome]]:
    with tempfile.TemporaryDirectory() as folder:
        copy = copy_project(project, Path(folder))
        for path in python_files(copy):
            if not any(word in path.read_text(errors="replace") for word in SCHEDULE_WORDS):
                continue
            name = str(path.relative_to(copy))
            ran = [result["schedules"].get(name) for result in run_original(project)]
            yield f"{project.name}/{name}", judge_file(path, ran)


def judge_file(path: Path, ran: Sequence[dict[str, Any] | None]) -> Outcome:
    """Compares what is read off a file with what running it shows in both ways."""
    try:
        imported = import_python.read(path, path.name)
    except LivectlError as error:
        return Outcome("refused", error.message.splitlines()[0]) if not any(ran) else Outcome("wrong", error.message)
    read = {
        entry.name: entry.keys for entry in imported.entries if not importing.find_problem(imported.timezone, entry)
    }
    left = {note.name for note in imported.left} | ({entry.name for entry in imported.entries} - read.keys())
    if any(entries is None for entries in ran) and read:
        return Outcome("unknown", f"{len(read)} read, {len(left)} left out")
    first, second = (entries or {} for entries in ran)
    for name, keys in read.items():
        if not first.get(name) == second.get(name) == json.loads(json.dumps(keys)):
            return Outcome("wrong", f"{name}: {keys} is read, {first.get(name)} or {second.get(name)} runs")
    is_computed = WHOLE_SCHEDULE in left or any("%" in name or "+" in name or "(" in name for name in left)
    silent = sorted(name for name in first.keys() | second.keys() if name not in left and name not in read)
    if silent and not is_computed:
        return Outcome("wrong", f"left out without a word: {', '.join(silent)}")
    if left:
        return Outcome(
            "refused", f"{len(read)} read; {imported.left[0].name}: {imported.left[0].why}" if imported.left else ""
        )
    return Outcome("right", f"{len(read)} entries")


# Running a project


@cache
def run_original(project: Path) -> list[Any]:
    with tempfile.TemporaryDirectory() as folder:
        return run_both(copy_project(project, Path(folder)))


def run_both(folder: Path) -> list[Any]:
    """What the project sets when everything that is not here is true, and when it is false."""
    results = []
    for truth in ("true", "false"):
        environ = {"PATH": os.environ["PATH"], "PYTHONPATH": str(Path(__file__).parents[1]), "PYTHONHASHSEED": "0"}
        argv = [sys.executable, "-B", "-W", "ignore", "-m", "benchmarks.foreign_project", truth]
        try:
            ran = subprocess.run(argv, cwd=folder, env=environ, capture_output=True, timeout=RUN_SECONDS, check=False)
            results.append(json.loads(ran.stdout.splitlines()[-1]))
        except (subprocess.TimeoutExpired, ValueError, IndexError):
            results.append({"settings": {}, "schedules": {}})
    return results


if __name__ == "__main__":
    main()
