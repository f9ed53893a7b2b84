"""The settings of one Python file: what holds them, where each is used, which calls pass them on, and to whom."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

from msgspec import Struct

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

    from livectl.ops.migration.source import SourceFile
Form = Literal["binding", "name", "attribute", "keyword", "key", "string", "import"]


class SettingsHolder(Struct, frozen=True):
    """A module (`name` is empty), or a class or a dict in it, whose names may be settings."""

    path: str
    name: str = ""

    def __str__(self) -> str:
        if not self.path:
            return self.name
        return f"{self.path}: {self.name}" if self.name else self.path


CONF = SettingsHolder("", "app.conf")
DJANGO = SettingsHolder("", "Django's settings")
FLASK = SettingsHolder("", "Flask's app.config")
FLASK_CELERY = SettingsHolder("", "Flask's app.config['CELERY']")


class SettingUse(Struct, frozen=True, kw_only=True):
    """One token that names a setting of a holder."""

    holder: SettingsHolder
    name: str
    start: int
    form: Form
    line: int
    value: str = ""  # source text of what is assigned
    line_span: tuple[int, int] | None = None  # offsets of whole lines that hold this one assignment and nothing else
    chains: bool = False  # an assignment that may take a second target: `a = b = value`
    outermost: bool = False  # the assignment is unconditional: not under an `if` or the like
    hidden: frozenset[str] = frozenset()  # names that the functions around it bind
    environ_at: int = -1  # where `environ_name=` goes, in a value of django-configurations


class SettingsCall(Struct, frozen=True, kw_only=True):
    """A call that passes settings to Celery (`source`, `update`) or to Flask, or names Django's settings."""

    holder: SettingsHolder
    kind: Literal["source", "update", "flask", "django", "djcelery"]
    path: str
    line: int
    namespace: str | None = None
    known: bool = True  # False: the namespace is not written out
    text: str = ""  # as written, for people
    method_at: int = -1  # offset of the method's name
    end: int = -1  # offset of the closing parenthesis


class Inheritance(Struct, frozen=True):
    """`to` has the settings of `origin` too: a star import, a base class, a name that is imported."""

    to: SettingsHolder
    origin: SettingsHolder


class FileScan(Struct, kw_only=True):
    """All that one file says of settings."""

    source: SourceFile
    uses: list[SettingUse] = []
    calls: list[SettingsCall] = []
    inheritances: list[Inheritance] = []
    bound: dict[SettingsHolder, dict[str, int]] = {}  # every name bound in a module or class, with its line
    shadows: dict[SettingsHolder, dict[str, int]] = {}  # imports, functions and classes in a holder, with their lines
    imports: list[SettingsHolder] = []  # whatever the file imports
    strings: list[tuple[str, int]] = []  # strings that look like settings but are not used as one, with their lines
    app_count: int = 0  # calls of Celery()
    app_names: list[str] = []  # names that the module gives to its apps: `celery = Celery()`
    module_app_count: int = 0  # calls of Celery() that run when the module is imported
    configurations: bool = False  # a class of django-configurations is in the file
    environment_classes: set[SettingsHolder] = set()  # classes whose fields are environment variables by name


class ModuleIndex:
    """Looks up `pkg.settings.Config` among the project's files, wherever the project's roots may be."""

    def __init__(self, paths: Iterable[Path]) -> None:
        self.by_last_part: dict[str, list[tuple[tuple[str, ...], Path]]] = {}
        for path in paths:
            parts = path.with_suffix("").parts
            parts = parts[:-1] if parts[-1] == "__init__" else parts
            if parts:
                self.by_last_part.setdefault(parts[-1], []).append((parts, path))

    def find_holder(self, name: str, near: Path) -> SettingsHolder | None:
        """The module, class or dict of this name; in the file nearest to `near` when several fit."""
        if name == "django.conf.settings":
            return DJANGO
        parts = tuple(part for part in name.split(".") if part)
        for cut in range(len(parts), 0, -1):
            path = self._nearest_file(parts[:cut], near)
            if path is not None:
                return SettingsHolder(str(path), ".".join(parts[cut:]))
        return None

    def _nearest_file(self, parts: tuple[str, ...], near: Path) -> Path | None:
        matches = [
            (_shared_length(path.parent.parts, near.parent.parts), -len(module_parts), path)
            for module_parts, path in self.by_last_part.get(parts[-1], ())
            if module_parts[-len(parts) :] == parts
        ]
        return max(matches)[2] if matches else None

    def absolute_name(self, name: str, level: int, near: Path) -> str:
        """The full name of a module that a file imports relatively, from the folders around the file."""
        if not level:
            return name
        folders = near.parent.parts
        package_parts = [part for part in folders[: len(folders) - level + 1] if part not in {"/", "."}]
        return ".".join([*package_parts, name] if name else package_parts)


def _shared_length(first: tuple[str, ...], second: tuple[str, ...]) -> int:
    count = 0
    for left, right in zip(first, second, strict=False):
        if left != right:
            break
        count += 1
    return count
