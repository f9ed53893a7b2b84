"""Finds the files of a project and scans each for settings."""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import TYPE_CHECKING

from msgspec import Struct

from livectl.errors import FileError, Mistake
from livectl.ops.migration.file_scan import ModuleIndex
from livectl.ops.migration.find_settings import scan_file
from livectl.ops.migration.names import OLD_NAMES, is_generic
from livectl.ops.migration.source import SourceFile

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from livectl.ops.migration.file_scan import FileScan


SKIPPED_FOLDERS = {".git", ".hg", ".svn", ".venv", "venv", "env", "node_modules", "__pycache__", "site-packages",
           ".tox", ".nox", ".eggs", ".mypy_cache", ".pytest_cache", ".ruff_cache", "build", "dist"}  # fmt: skip
ROOT_MARKERS = (".git", ".hg", "pyproject.toml", "setup.py", "setup.cfg", "manage.py", "requirements.txt", "Pipfile")
MAX_CONTEXT_FILES = 5000  # Python files around the ones given; a folder with more is no single project
MAX_TEXT_BYTES = 500_000  # of a file that is not Python; larger ones are data
TEXT_SUFFIXES = {".cfg", ".conf", ".env", ".ini", ".json", ".md", ".rst", ".service", ".sh", ".toml", ".txt", ".yaml",
                 ".yml", ""}  # fmt: skip

# A file without any of these neither sets, uses nor passes on settings: it is not even parsed.
RELEVANT_TEXT = re.compile(
    rb"CELERY|BROKER|celery_[a-z]|result_backend|task_serializer|accept_content|RESULT_BACKEND|TASK_"
    rb"|config_from_object|from_object|from_pyfile|DJANGO_SETTINGS_MODULE|conf\.update|Celery\(|import \*"
    rb"|ENABLE_UTC|acks_on_failure_or_timeout"
)
OLD_NAME_WORD = re.compile(
    r"(?<![\w.-])("
    + "|".join(sorted(filter(lambda name: not is_generic(name), OLD_NAMES), key=len, reverse=True))
    + r")(?![\w-])"
)


class Project(Struct, frozen=True, kw_only=True):
    """The files under some paths and around them; their paths are absolute."""

    given: list[Path]  # Python files under the paths
    context: list[Path]  # Python files of the project around them
    texts: list[Path]  # files under the paths that are not Python, and may name settings
    refused: list[Mistake]


def find_project(paths: list[Path]) -> Project:
    """The Python files under the paths, and those of the project around them, which are read but not changed."""
    files = [file for path in paths for file in (_walk(path) if path.is_dir() else [path])]
    given = _unique(file for file in files if file.suffix == ".py")
    roots = {find_project_root(path if path.is_dir() else path.parent) for path in paths}
    around = _unique(file for root in sorted(roots) for file in _walk(root) if file.suffix == ".py")
    if len(around) > MAX_CONTEXT_FILES:
        around = []
    context = set(around).difference(given)
    return Project(
        given=given,
        context=[file for file in around if file in context],
        texts=[file for path in paths if path.is_dir() for file in _walk(path) if _is_text(file)],
        refused=[_not_python_mistake(path) for path in paths if not path.is_dir() and path.suffix != ".py"],
    )


def scan_files(project: Project, *, explicit: set[Path]) -> tuple[list[FileScan], list[Mistake]]:
    """The scan of each file that says something of settings, and why the others given cannot be read.

    Files in `explicit` are scanned whatever they hold.
    """
    return _ProjectScanner(project).scan(explicit)


class _ProjectScanner:
    def __init__(self, project: Project) -> None:
        self.project = project
        self.modules = ModuleIndex([*project.given, *project.context])
        self.scans: dict[Path, FileScan | None] = {}
        self.refused: list[Mistake] = []

    def scan(self, explicit: set[Path]) -> tuple[list[FileScan], list[Mistake]]:
        for path in [*self.project.given, *self.project.context]:
            data = self._read_data(path)
            if data is not None and (path in explicit or RELEVANT_TEXT.search(data)):
                self.scans[path] = self._scan_data(path, data)
        while pending := _holder_paths(self.scans.values()) - self.scans.keys():
            # files without old names whose settings are used, passed on or inherited elsewhere
            for path in sorted(pending):
                data = self._read_data(path)
                self.scans[path] = self._scan_data(path, data) if data is not None else None
        return [scan for scan in self.scans.values() if scan is not None], self.refused

    def _read_data(self, path: Path) -> bytes | None:
        try:
            return path.read_bytes()
        except OSError as error:
            self._refuse(path, [Mistake(str(path), 1, 1, f"cannot be read: {error.strerror}")])
            return None

    def _scan_data(self, path: Path, data: bytes) -> FileScan | None:
        try:
            return scan_file(SourceFile(path, data), self.modules)
        except FileError as error:
            self._refuse(path, error.mistakes)
        except RecursionError:
            self._refuse(path, [Mistake(str(path), 1, 1, "nested too deeply to be read", "left as it is")])
        return None

    def _refuse(self, path: Path, mistakes: Iterable[Mistake]) -> None:
        if path in self.project.given:
            self.refused += mistakes


def _holder_paths(scans: Iterable[FileScan | None]) -> set[Path]:
    holders = [
        holder
        for scan in scans
        if scan is not None
        for holder in (
            *(use.holder for use in scan.uses),
            *(call.holder for call in scan.calls),
            *(holder for inheritance in scan.inheritances for holder in (inheritance.to, inheritance.origin)),
        )
    ]
    return {Path(holder.path) for holder in holders if holder.path}


def find_mentions(texts: Iterable[Path]) -> Iterator[tuple[Path, int, str]]:
    """Old names in files that are not Python, and stay as they are: file, line, name."""
    for path in texts:
        try:
            if path.stat().st_size > MAX_TEXT_BYTES:
                continue
            text = path.read_text("utf-8")
        except (OSError, UnicodeDecodeError):
            continue
        for number, line in enumerate(text.splitlines(), 1):
            match = OLD_NAME_WORD.search(line)
            if match:
                yield path, number, match[1]


def find_project_root(folder: Path) -> Path:
    """The folder of the project: the nearest one upwards with a root marker, else the parent of the package."""
    for candidate in (folder, *folder.parents):
        if any((candidate / marker).exists() for marker in ROOT_MARKERS):
            return candidate
    return find_import_root(folder)


def find_import_root(folder: Path) -> Path:
    """The folder that has to be on Python's path to import the modules in `folder`."""
    while (folder / "__init__.py").exists() and folder.parent != folder:
        folder = folder.parent
    return folder


def _not_python_mistake(path: Path) -> Mistake:
    return Mistake(str(path), 1, 1, "not Python: its names are read by whatever reads it, so it is left as it is")


def _is_text(path: Path) -> bool:
    return path.suffix != ".py" and (path.suffix in TEXT_SUFFIXES or path.name.startswith(".env"))


def _walk(folder: Path) -> Iterator[Path]:
    for here, folders, files in os.walk(folder):
        folders[:] = sorted(name for name in folders if not _is_skipped(Path(here, name)))
        for name in sorted(files):
            path = Path(here, name)
            if not path.is_symlink() and not name.startswith(("._", ".#")):
                yield path


def _is_skipped(folder: Path) -> bool:
    return folder.name in SKIPPED_FOLDERS or folder.name.endswith(".egg-info") or (folder / "pyvenv.cfg").exists()


def _unique(paths: Iterable[Path]) -> list[Path]:
    return list(dict.fromkeys(paths))
