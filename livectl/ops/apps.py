"""Imports the Celery app that -A names, as Celery itself finds it."""

from __future__ import annotations

import importlib
import os
import re
import sys
import traceback
from importlib.util import find_spec
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any, TypeVar

from livectl.errors import LivectlError, SettingsError
from livectl.redaction import redact_text
from livectl.suggestions import did_you_mean
from livectl.units import parse_timezone

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from celery import Celery

T = TypeVar("T")

APP_SPELLINGS_HINT = "-A takes proj, proj.celery or pkg.mod:app."
USUAL_APP_NAMES = ("app", "celery")
MIXED_NAMES_TEXT = "Celery cannot mix old and new names of settings"
MIXED_NAMES_ERROR = "Cannot mix"  # begins Celery's message about old and new names of settings in one app
WEB_FRAMEWORK_APPS = ("Flask", "FastAPI", "Quart", "Starlette")


def load(name: str, cwd: Path, *, read_settings: bool = True) -> Celery:
    """The app of this name: `module:app`, `package.app`, or whatever app a module has. Puts the folder on the path.

    Celery reads settings late; unless told otherwise they are read here, so that each command says the same of them.
    """
    if str(cwd) not in sys.path:
        sys.path.insert(0, str(cwd))
    if name.endswith(".py") or "/" in name:
        dotted = ".".join(part for part in name.removesuffix(".py").split("/") if part.strip("."))
        raise SettingsError(
            f"-A {name} is a path, and no module", f"Say -A {dotted}." if dotted else APP_SPELLINGS_HINT
        )
    path, colon, attribute = name.partition(":")
    module = _import_module(path, cwd)
    if module is None and not colon and "." in path:
        parent, _, attribute = path.rpartition(".")
        module = _import_module(parent, cwd)
        module = module if hasattr(module, attribute) else None
    if module is None:
        raise _module_missing_error(path, cwd)
    target = _run_user_code(lambda: _resolve_attribute(module, attribute) if attribute else module, cwd)
    app = _run_user_code(lambda: _find_app_in_module(target, cwd), cwd) if isinstance(target, ModuleType) else target
    if not _is_app(app):
        if type(app).__name__ in WEB_FRAMEWORK_APPS:
            raise _web_app_error(name, app, module)
        problem = "has no Celery app" if app is None else f"is of type {type(app).__name__}, and no Celery app"
        raise SettingsError(f"-A {name} {problem}", APP_SPELLINGS_HINT)
    if "django" in sys.modules and "DJANGO_SETTINGS_MODULE" in os.environ:
        _run_user_code(_set_up_django, cwd)
    if read_settings:
        _check_settings(app, module, cwd)
    return app


def find_zone(app: Celery) -> str | None:
    """The time zone that the app reckons in; None for that of its machine. Raises for a name that no zone has."""
    zone = app.conf.timezone
    if not zone:
        return "UTC" if app.conf.enable_utc else None
    if not isinstance(zone, str):
        return getattr(zone, "key", None)
    try:
        return parse_timezone(zone)
    except SettingsError as error:
        raise SettingsError(f"timezone of the app: {error.message}", error.hint) from error


def drop_false_deprecations(app: Celery) -> None:
    """Keeps Celery from calling names old that are right behind the app's namespace, and from advising to rename them.

    57 names are spelt alike in the old style and behind `CELERY`; Celery's warning does not look at the namespace.
    """
    from celery.app.defaults import SETTING_KEYS

    prefix, deprecated = f"{app.namespace or ''}_", app.conf.deprecated_settings or ()
    if app.namespace and deprecated:
        app.conf.deprecated_settings = {
            name
            for name in deprecated
            if not name.startswith(prefix) or name.removeprefix(prefix).lower() not in SETTING_KEYS
        }


def read_beat_schedule(app: Celery) -> dict[str, Any]:
    """The app's own schedule, its entries by name, as the app's code made it."""
    beat_schedule = app.conf.beat_schedule or {}
    if not isinstance(beat_schedule, dict):
        raise SettingsError(
            f"beat_schedule of the app is of type {type(beat_schedule).__name__}, and no dict",
            'Write {"name": {"task": …, "schedule": …}}.',
        )
    return {str(name): entry for name, entry in beat_schedule.items()}


def check(name: str, cwd: Path) -> Celery:
    """The app with all its tasks loaded, or the one sentence that says why it cannot be."""
    app = load(name, cwd)
    load_tasks(app, cwd)
    return app


def _check_settings(app: Celery, module: ModuleType, cwd: Path) -> None:
    """Reads the app's settings, which Celery does late: what it cannot read is told with the file to mend."""
    from celery.exceptions import ImproperlyConfigured

    try:
        _run_user_code(lambda: app.conf.broker_url, cwd)
    except SettingsError as error:
        cause = error.__cause__
        if not isinstance(cause, ImproperlyConfigured) or MIXED_NAMES_ERROR not in str(cause):
            raise
        renames = [line.split("->") for line in str(cause).splitlines() if "->" in line]
        place, file = _find_setting(renames[0][0].strip(), app, module, cwd)
        names = ", ".join(f"{old.strip()} is {new.strip()}" for old, new in renames)
        message = f"{place}: {MIXED_NAMES_TEXT}: {names}"
        raise SettingsError(message, f"livectl migrate {file}") from error


def _find_setting(setting: str, app: Celery, module: ModuleType, cwd: Path) -> tuple[str, str]:
    """Where a setting stands, with its line if it is written out there; and the file."""
    source = app._config_source
    named = sys.modules.get(source.partition(":")[0]) if isinstance(source, str) else source
    files = [
        file for each in (named, sys.modules.get(app.main or ""), module) if (file := getattr(each, "__file__", None))
    ]
    for file in files:
        for number, line in enumerate(Path(file).read_text(errors="replace").splitlines(), start=1):
            if re.search(rf"\b{re.escape(setting)}\b", line):
                return f"{_relative_path(file, cwd)}:{number}", _relative_path(file, cwd)
    file = _relative_path(files[0], cwd) if files else "."
    return file, file


def _web_app_error(name: str, value: Any, module: ModuleType) -> SettingsError:
    """Says that this is the web framework's app, and which name the Celery app has."""
    celery_app_name = next((key for key, item in vars(module).items() if _is_app(item)), None)
    hint = f"The Celery app there is -A {module.__name__}:{celery_app_name}." if celery_app_name else APP_SPELLINGS_HINT
    return SettingsError(f"-A {name} is a {type(value).__name__} object, and no Celery app", hint)


def app_of_modules(*modules: str) -> Celery:
    """An app that has the tasks of these modules and nothing else: enough to read their names and signatures."""
    from celery import Celery

    return Celery(include=list(modules), set_as_current=False)


def load_tasks(app: Celery, cwd: Path) -> Mapping[str, Any]:
    """Every task of the app, by name, including the tasks of modules that its settings name."""
    _run_user_code(app.loader.import_default_modules, cwd)
    tasks_by_name: Mapping[str, Any] = _run_user_code(lambda: app.tasks, cwd)
    return tasks_by_name


def _set_up_django() -> None:
    """Reading results from Django's database needs this too; Celery does it in workers only."""
    import django

    django.setup()


def _import_module(path: str, cwd: Path) -> ModuleType | None:
    """The module, or None when there is none of that name. A fault inside the module is raised as such."""
    try:
        return _run_user_code(lambda: importlib.import_module(path), cwd)
    except SettingsError as error:
        missing = error.__cause__
        if isinstance(missing, ModuleNotFoundError) and missing.name and f"{path}.".startswith(f"{missing.name}."):
            return None
        raise


def _find_app_in_module(module: ModuleType, cwd: Path) -> Any:
    """The app of a module: under a usual name, in its celery submodule, or whatever app it has."""
    for name in USUAL_APP_NAMES:
        if _is_app(app := getattr(module, name, None)):
            return app
    if hasattr(module, "__path__") and find_spec(f"{module.__name__}.celery"):
        inner = _import_module(f"{module.__name__}.celery", cwd)
        if inner and (app := _find_app_in_module(inner, cwd)):
            return app
    return next((value for value in vars(module).values() if _is_app(value)), None)


def _resolve_attribute(module: ModuleType, dotted: str) -> Any:
    value: Any = module
    for name in dotted.split("."):
        if not hasattr(value, name):
            raise SettingsError(
                f"{module.__name__} has no {dotted}", did_you_mean(name, vars(module)) or APP_SPELLINGS_HINT
            )
        value = getattr(value, name)
    return value


def _is_app(value: Any) -> bool:
    from celery import Celery

    return isinstance(value, Celery)


def _run_user_code(function: Callable[[], T], cwd: Path) -> T:
    """Runs code of the user's. Whatever it raises, sys.exit included, becomes one line with its place."""
    try:
        return function()
    except LivectlError:
        raise
    except (Exception, SystemExit) as error:
        raise SettingsError(
            _describe_error(error, cwd), "The app's own code stopped there; -v shows the way."
        ) from error


def _describe_error(error: BaseException, cwd: Path) -> str:
    """The line of the user's folder where the error came from, and the first line of its message."""
    message = redact_text(f"{type(error).__name__}: {error}".splitlines()[0].removesuffix(": "))
    if isinstance(error, SyntaxError) and error.filename:
        return f"{_relative_path(error.filename, cwd)}:{error.lineno}: {type(error).__name__}: {error.msg}"
    frames = [frame for frame in traceback.extract_tb(error.__traceback__) if _is_user_file(Path(frame.filename), cwd)]
    return f"{_relative_path(frames[-1].filename, cwd)}:{frames[-1].lineno}: {message}" if frames else message


def _is_user_file(file: Path, cwd: Path) -> bool:
    return file.is_relative_to(cwd) and "site-packages" not in file.parts and file.parent != Path(__file__).parent


def _relative_path(file: str, cwd: Path) -> str:
    return str(Path(file).relative_to(cwd)) if Path(file).is_relative_to(cwd) else file


def _module_missing_error(path: str, cwd: Path) -> SettingsError:
    """Names the module and the folder, and suggests the nearest module there."""
    *parents, _ = path.split(".")
    folder = cwd.joinpath(*parents)
    modules = [".".join([*parents, name]) for name in _list_module_names(folder if folder.is_dir() else cwd)]
    hint = did_you_mean(path, modules) or "Run it in the folder where the app's package is."
    return SettingsError(f"no module {path} in {cwd}, nor among the installed ones", hint)


def _list_module_names(folder: Path) -> list[str]:
    """The names that can be imported from a folder."""
    files = [file.stem for file in folder.glob("*.py") if file.stem != "__init__"]
    return files + [package.parent.name for package in folder.glob("*/__init__.py")]
