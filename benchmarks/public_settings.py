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
import builtins
import io
import json
import os
import shutil
import subprocess
import sys
import tempfile
from collections import Counter
from contextlib import suppress
from copy import deepcopy
from datetime import timedelta
from functools import cache
from importlib.abc import Loader, MetaPathFinder
from importlib.machinery import ModuleSpec, PathFinder, SourceFileLoader
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from celery.schedules import crontab

from livectl.cli import main as livectl
from livectl.context import CommandContext
from livectl.errors import LivectlError
from livectl.ops.migration import probe
from livectl.ops.schedules import import_python, importing, other_schedulers
from livectl.ops.schedules.conversion import WHOLE_SCHEDULE, NotPortable, portable_keys

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from types import ModuleType

REFUSED = 3  # the exit code of a file that cannot be decided
RUN_SECONDS = 60  # a project's files take seconds at most, unless they wait for a server
SCHEDULE_WORDS = ("CELERYBEAT_SCHEDULE", "BEAT_SCHEDULE", "beat_schedule")
TASKS = ("migration", "schedule")
OUTCOMES = ("right", "refused", "wrong", "unknown")


class Outcome(NamedTuple):
    """What became of one file."""

    kind: str
    why: str = ""


def main() -> None:
    if sys.argv[1:2] == ["--run"]:
        json.dump(run_project(Path.cwd(), is_true=sys.argv[2] == "true"), sys.stdout)
        return
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


def python_files(folder: Path) -> list[Path]:
    return sorted(path for path in folder.rglob("*.py") if path.read_bytes().strip())


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
        argv = [sys.executable, "-B", "-W", "ignore", "-m", "benchmarks.public_settings", "--run", truth]
        try:
            ran = subprocess.run(argv, cwd=folder, env=environ, capture_output=True, timeout=RUN_SECONDS, check=False)
            results.append(json.loads(ran.stdout.splitlines()[-1]))
        except (subprocess.TimeoutExpired, ValueError, IndexError):
            results.append({"settings": {}, "schedules": {}})
    return results


class StandIn(int):
    """Stands in for whatever a file imports or asks for and is not here: it can be called, asked, indexed and added."""

    value = 0

    def __new__(cls, *_args: Any, **_kwargs: Any) -> StandIn:
        return super().__new__(cls, cls.value)

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)
        return schedule_of(name) if name in SCHEDULE_WORDS else StandIn()

    def __call__(self, *args: Any, **_kwargs: Any) -> Any:
        is_decorator = len(args) == 1 and callable(args[0]) and not isinstance(args[0], StandIn)
        return args[0] if is_decorator else StandIn()

    def __getitem__(self, key: Any) -> Any:
        return schedule_of(key) if key in SCHEDULE_WORDS else StandIn()

    def __setitem__(self, key: Any, value: Any) -> None:
        if key in SCHEDULE_WORDS and isinstance(value, dict):
            schedule_of(key).update(value)

    def __iter__(self) -> Iterator[Any]:
        return iter(())

    def __contains__(self, _item: Any) -> bool:
        return bool(self)

    def __add__(self, other: Any) -> Any:
        return other

    def __radd__(self, other: Any) -> Any:
        return other

    def __mro_entries__(self, _bases: Any) -> tuple[type, ...]:
        return ()

    def __fspath__(self) -> str:
        return "stand-in"

    def __repr__(self) -> str:
        return "<stand-in>"


class ForeignEntry(dict[str, Any]):
    """A schedule or an entry that another module sets: its items are there when they are asked for."""

    def __missing__(self, key: str) -> Any:
        return self.setdefault(key, ForeignEntry())


FOREIGN_SCHEDULES: dict[str, ForeignEntry] = {}
OWN_SCHEDULES: dict[str, list[Any]] = {}  # of each module, as they were when it had run


def schedule_of(name: str) -> ForeignEntry:
    return FOREIGN_SCHEDULES.setdefault(name, ForeignEntry())


class OpenBuiltins(dict[str, Any]):
    """The built-in names, and a stand-in for each name that nothing sets: a `*` may have brought it."""

    def __missing__(self, name: str) -> Any:
        if name.startswith("__"):
            raise KeyError(name)
        if name in SCHEDULE_WORDS:
            return schedule_of(name)
        known = {"crontab": crontab, "timedelta": timedelta}
        return known.get(name) or StandIn()


class ProjectLoader(SourceFileLoader):
    def exec_module(self, module: ModuleType) -> None:
        module.__dict__["__builtins__"] = OpenBuiltins(vars(builtins))
        super().exec_module(module)
        for holder in (vars(module), *(vars(value) for value in classes_of(module))):
            found = {name: value for name, value in holder.items() if name.endswith(SCHEDULE_WORDS)}
            OWN_SCHEDULES.setdefault(module.__name__, []).extend(deepcopy(list(found.values())))


class ProjectFinder(MetaPathFinder):
    """Finds the project's own modules, so that they are run with stand-ins for the names that they lack."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def find_spec(self, name: str, path: Any = None, _target: Any = None) -> ModuleSpec | None:
        spec = PathFinder.find_spec(name, path)
        if spec and spec.origin and spec.origin.endswith(".py") and Path(spec.origin).is_relative_to(self.folder):
            spec.loader = ProjectLoader(name, spec.origin)
            return spec
        return None


class StandInFinder(MetaPathFinder, Loader):
    """Finds every module that the project imports and nothing else finds."""

    def __init__(self, folder: Path) -> None:
        self.folder = str(folder)

    def find_spec(self, name: str, path: Any = None, _target: Any = None) -> ModuleSpec | None:
        frame = sys._getframe(1)
        while frame.f_back and "importlib" in frame.f_code.co_filename:
            frame = frame.f_back
        is_asked_for = frame.f_code.co_filename.startswith(self.folder)
        is_below_another = (
            path is not None and getattr(sys.modules.get(name.rpartition(".")[0]), "__loader__", 0) is self
        )
        return ModuleSpec(name, self, is_package=True) if is_asked_for or is_below_another else None

    def exec_module(self, module: ModuleType) -> None:
        module.__dict__["__getattr__"] = lambda name: getattr(StandIn(), name)
        module.__dict__["__all__"] = []


def run_project(folder: Path, *, is_true: bool) -> dict[str, Any]:
    """The effective settings of each app or settings module, and the schedule that each file sets."""
    import celery

    StandIn.value = 7 if is_true else 0
    out, sys.stdout = sys.stdout, sys.stderr  # whatever the project prints stays out of the reply
    sys.path[:0] = [str(folder), str(folder.parent)]
    open_environment(type(os.environ), folder)
    sys.meta_path.insert(0, ProjectFinder(folder))
    sys.meta_path.append(StandInFinder(folder))
    apps: list[Any] = []
    note_apps(celery.Celery, apps)
    result: dict[str, Any] = {"settings": {}, "schedules": {}}
    for path in python_files(folder):
        FOREIGN_SCHEDULES.clear()
        known, earlier = len(apps), {key for entries in app_schedules(apps) for key in entries}
        name = str(path.relative_to(folder))
        try:
            module = run_file(path, folder)
        except BaseException as error:  # somebody else's code: it may even end the process
            print(f"{name}: {type(error).__name__}: {error}", file=sys.stderr)
            continue
        found = [*OWN_SCHEDULES.get(module.__name__, []), *FOREIGN_SCHEDULES.values()]
        found += [{key: entries[key] for key in entries.keys() - earlier} for entries in app_schedules(apps)]
        result["schedules"][name] = merge_schedules(found)
        for number, app in enumerate(apps[known:]):
            with suppress(Exception):
                result["settings"][f"{name}: app {number}"] = probe.effective_settings(app, [])
        made = len(apps)
        result["settings"].update(module_settings(module, name))
        del apps[made:]
    sys.stdout = out
    return result


def open_environment(kind: Any, folder: Path) -> None:
    """Gives the project a value for each variable without which its files would not run."""
    original = kind.__getitem__

    def read(self: Any, name: str) -> str:
        try:
            return str(original(self, name))
        except KeyError:
            if sys._getframe(1).f_code.co_filename.startswith(str(folder)):
                return str(StandIn.value)
            raise

    kind.__getitem__ = read


def note_apps(kind: Any, apps: list[Any]) -> None:
    """Lets every app that is made be noted."""
    original = kind.__init__

    def make(self: Any, *args: Any, **kwargs: Any) -> None:
        original(self, *args, **kwargs)
        apps.append(self)

    kind.__init__ = make


def run_file(path: Path, folder: Path) -> Any:
    """Imports a file; calls its functions that have a schedule in them, with stand-ins."""
    import importlib

    tree = ast.parse(path.read_bytes())
    parts = path.relative_to(folder).with_suffix("").parts
    if len(parts) == 1 and any(isinstance(node, ast.ImportFrom) and node.level for node in ast.walk(tree)):
        parts = (folder.name, *parts)  # a file of a package whose other files are not here
    module = importlib.import_module(".".join(parts[:-1] if parts[-1] == "__init__" else parts))
    for node in tree.body:
        text = ast.dump(node)
        if isinstance(node, ast.FunctionDef) and any(word in text for word in SCHEDULE_WORDS):
            with suppress(Exception):
                getattr(module, node.name)(*[StandIn() for _ in node.args.args])
    return module


def classes_of(module: Any) -> list[type]:
    """The classes that a module makes itself."""
    return [value for value in vars(module).values() if isinstance(value, type) and value.__module__ == module.__name__]


def app_schedules(apps: list[Any]) -> list[dict[str, Any]]:
    found = []
    for app in apps:
        with suppress(Exception):
            found.append(dict(app.conf.beat_schedule))
    return found


def merge_schedules(found: list[Any]) -> dict[str, Any]:
    """The entries of all schedules of a file; None for one that is not the same in all of them."""
    merged: dict[str, Any] = {}
    for name, entry in ((str(name), entry) for each in found if isinstance(each, dict) for name, entry in each.items()):
        keys = plain_keys(entry)
        merged[name] = keys if merged.get(name, keys) == keys else None
    return merged


def plain_keys(entry: Any) -> Any:
    """What schedules.yaml would have to say of an entry; None where it has no words for that."""
    try:
        keys = portable_keys(other_schedulers.entry_values(entry))
        return None if "stand-in" in repr(keys) else json.loads(json.dumps(keys))
    except (NotPortable, TypeError, ValueError, AttributeError):
        return None


def module_settings(module: Any, name: str) -> Iterator[tuple[str, Any]]:
    """A module or class with settings, as Celery would read it; Django and Flask show upper-case names alone."""
    import celery
    from celery.app.defaults import _OLD_SETTING_KEYS, SETTING_KEYS

    for holder in (module, *classes_of(module)):
        names = [key for key in vars(holder) if not key.startswith("_")]
        if not any("CELERY" in key or "BROKER" in key or key in SETTING_KEYS for key in names):
            continue
        others = {key for key in names if key.isupper() and "CELERY" not in key} - set(_OLD_SETTING_KEYS)
        is_web = bool(others) and "celery" not in name  # a celeryconfig may have constants of its own
        values = {key: getattr(holder, key) for key in names if key.isupper() or not is_web}
        app = celery.Celery(set_as_current=False)
        has_namespace = is_web and any(f"CELERY_{key.upper()}" in values for key in NEW_ONLY)
        app.config_from_object(values, namespace="CELERY" if has_namespace else None)
        with suppress(Exception):
            yield f"{name}: {getattr(holder, '__qualname__', 'module')}", probe.effective_settings(app, [])


NEW_ONLY = ("worker_concurrency", "broker_url", "result_expires", "task_always_eager", "beat_schedule", "task_routes")

if __name__ == "__main__":
    main()
