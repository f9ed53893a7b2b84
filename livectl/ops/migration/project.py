"""The files of a project: which there are, and what each says of settings."""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import TYPE_CHECKING

from msgspec import Struct

from livectl.errors import FileError, Mistake
from livectl.ops.migration.find_settings import scan_file
from livectl.ops.migration.modules import ModuleIndex
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

# A file without any of these neither sets, uses nor hands on settings: it is not even parsed.
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


class Project(Struct, kw_only=True):
    """What was found under the paths given; paths are absolute."""

    given: list[Path]
    context: list[Path]
    texts: list[Path]
    refused: list[Mistake]


def find_project(paths: Iterable[Path]) -> Project:
    """The Python files under the paths, and those of the project around them, which are read but not changed."""
    project = Project(given=[], context=[], texts=[], refused=[])
    roots = set()
    for path in paths:
        if path.is_dir():
            _add_folder(project, path)
        elif path.suffix == ".py":
            project.given.append(path)
        else:
            text = "not Python: its names are read by whatever reads it, so it is left as it is"
            project.refused.append(Mistake(str(path), 1, 1, text))
        roots.add(find_project_root(path if path.is_dir() else path.parent))
    project.given = _unique(project.given)
    context_files = [file for root in sorted(roots) for file in _walk(root) if file.suffix == ".py"]
    if len(context_files) <= MAX_CONTEXT_FILES:
        given = set(project.given)
        project.context = [file for file in _unique(context_files) if file not in given]
    return project


def scan_files(project: Project, *, explicit: set[Path]) -> list[FileScan]:
    """What each file says that may say anything; files in `named` are read whatever they hold."""
    modules = ModuleIndex([*project.given, *project.context])
    scans_by_path: dict[Path, FileScan | None] = {}
    for path in [*project.given, *project.context]:
        data = _read_data(project, path)
        if data is not None and (path in explicit or RELEVANT_TEXT.search(data)):
            scans_by_path[path] = _scan_file(project, path, data, modules)
    pending = _holder_paths(scans_by_path.values()) - scans_by_path.keys()
    while pending:  # a file without old names whose settings are used, handed on or taken over elsewhere
        for path in sorted(pending):
            data = _read_data(project, path)
            scans_by_path[path] = _scan_file(project, path, data, modules) if data is not None else None
        pending = _holder_paths(scans_by_path.values()) - scans_by_path.keys()
    return [scan for scan in scans_by_path.values() if scan is not None]


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


def _read_data(project: Project, path: Path) -> bytes | None:
    try:
        return path.read_bytes()
    except OSError as error:
        if path in project.given:
            project.refused.append(Mistake(str(path), 1, 1, f"cannot be read: {error.strerror}"))
        return None


def _scan_file(project: Project, path: Path, data: bytes, modules: ModuleIndex) -> FileScan | None:
    try:
        return scan_file(SourceFile(path, data), modules)
    except FileError as error:
        project.refused += error.mistakes if path in project.given else ()
    except RecursionError:
        mistake = Mistake(str(path), 1, 1, "nested too deeply to be read", "left as it is")
        project.refused += [mistake] if path in project.given else ()
    return None


def find_mentions(texts: Iterable[Path]) -> Iterator[tuple[Path, int, str]]:
    """Old names in files that are not Python, which nobody changes: file, line, name."""
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
    """The folder of the project: the nearest above with a mark of one; else the one its packages are in."""
    for candidate in (folder, *folder.parents):
        if any((candidate / marker).exists() for marker in ROOT_MARKERS):
            return candidate
    return find_import_root(folder)


def find_import_root(folder: Path) -> Path:
    """The folder that must be on Python's path for what is in `folder` to be imported."""
    while (folder / "__init__.py").exists() and folder.parent != folder:
        folder = folder.parent
    return folder


def _add_folder(project: Project, folder: Path) -> None:
    for path in _walk(folder):
        if path.suffix == ".py":
            project.given.append(path)
        elif path.suffix in TEXT_SUFFIXES or path.name.startswith(".env"):
            project.texts.append(path)


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
