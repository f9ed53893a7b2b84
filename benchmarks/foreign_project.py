"""Runs the files of a project that somebody else wrote, in the current folder, and prints as JSON what they set.

python -m benchmarks.foreign_project true|false

What they import and is not here is stood in for, by something true or by something false.
"""

from __future__ import annotations

import ast
import builtins
import json
import os
import sys
from contextlib import suppress
from copy import deepcopy
from datetime import timedelta
from importlib.abc import Loader, MetaPathFinder
from importlib.machinery import ModuleSpec, PathFinder, SourceFileLoader
from pathlib import Path
from typing import TYPE_CHECKING, Any

from celery.schedules import crontab

from livectl.ops.migration import probe
from livectl.ops.schedules import other_schedulers
from livectl.ops.schedules.conversion import NotPortable, portable_keys

if TYPE_CHECKING:
    from collections.abc import Iterator
    from types import ModuleType

SCHEDULE_WORDS = ("CELERYBEAT_SCHEDULE", "BEAT_SCHEDULE", "beat_schedule")
NEW_ONLY = ("worker_concurrency", "broker_url", "result_expires", "task_always_eager", "beat_schedule", "task_routes")


def main() -> None:
    if sys.argv[1:] not in (["true"], ["false"]):
        print("Say whether what is not here is true: python -m benchmarks.foreign_project true|false")
        return
    json.dump(run_project(Path.cwd(), is_true=sys.argv[1] == "true"), sys.stdout)


def python_files(folder: Path) -> list[Path]:
    return sorted(path for path in folder.rglob("*.py") if path.read_bytes().strip())


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


if __name__ == "__main__":
    main()
