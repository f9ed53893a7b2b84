"""The files of a project: those that may be changed, those read beside them, and what is not Python."""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import TYPE_CHECKING

from msgspec import Struct

from livectl.errors import FileError, Mistake
from livectl.ops.migration.modules import Modules
from livectl.ops.migration.names import OLD, is_weak
from livectl.ops.migration.reading import read
from livectl.ops.migration.source import Source

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from livectl.ops.migration.places import Reading

SKIPPED = {".git", ".hg", ".svn", ".venv", "venv", "env", "node_modules", "__pycache__", "site-packages", ".tox",
           ".nox", ".eggs", ".mypy_cache", ".pytest_cache", ".ruff_cache", "build", "dist"}  # fmt: skip
ROOT_MARKS = (".git", ".hg", "pyproject.toml", "setup.py", "setup.cfg", "manage.py", "requirements.txt", "Pipfile")
CONTEXT_LIMIT = 5000  # Python files around the ones given; a folder with more is no single project
TEXT_LIMIT_BYTES = 500_000  # of a file that is not Python; larger ones are data
TEXT_SUFFIXES = {".cfg", ".conf", ".env", ".ini", ".json", ".md", ".rst", ".service", ".sh", ".toml", ".txt", ".yaml",
                 ".yml", ""}  # fmt: skip

# A file without any of these neither sets, uses nor hands on settings: it is not even parsed.
RELEVANT = re.compile(
    rb"CELERY|BROKER|celery_[a-z]|result_backend|task_serializer|accept_content|RESULT_BACKEND|TASK_"
    rb"|config_from_object|from_object|from_pyfile|DJANGO_SETTINGS_MODULE|conf\.update|Celery\(|import \*"
    rb"|ENABLE_UTC|acks_on_failure_or_timeout"
)
OLD_WORD = re.compile(
    r"(?<![\w.-])(" + "|".join(sorted(filter(lambda n: not is_weak(n), OLD), key=len, reverse=True)) + r")(?![\w-])"
)


class Project(Struct, kw_only=True):
    """What was found under the paths given; paths are absolute."""

    given: list[Path]
    context: list[Path]
    texts: list[Path]
    refused: list[Mistake]


def find(paths: Iterable[Path]) -> Project:
    """The Python files under the paths, and those of the project around them, which are read but not changed."""
    found = Project(given=[], context=[], texts=[], refused=[])
    roots = set()
    for path in paths:
        if path.is_dir():
            _add_folder(found, path)
        elif path.suffix == ".py":
            found.given.append(path)
        else:
            text = "not Python: its names are read by whatever reads it, so it is left as it is"
            found.refused.append(Mistake(str(path), 1, 1, text))
        roots.add(root_of(path if path.is_dir() else path.parent))
    found.given = _once(found.given)
    around = [file for root in sorted(roots) for file in _walk(root) if file.suffix == ".py"]
    if len(around) <= CONTEXT_LIMIT:
        given = set(found.given)
        found.context = [file for file in _once(around) if file not in given]
    return found


def readings(project: Project, *, named: set[Path]) -> list[Reading]:
    """What each file says that may say anything; files in `named` are read whatever they hold."""
    modules = Modules([*project.given, *project.context])
    found: dict[Path, Reading | None] = {}
    for path in [*project.given, *project.context]:
        data = _data(project, path)
        if data is not None and (path in named or RELEVANT.search(data)):
            found[path] = _reading(project, path, data, modules)
    spoken = _spoken_of(found.values()) - found.keys()
    while spoken:  # a file without old names whose settings are used, handed on or taken over elsewhere
        for path in sorted(spoken):
            data = _data(project, path)
            found[path] = _reading(project, path, data, modules) if data is not None else None
        spoken = _spoken_of(found.values()) - found.keys()
    return [reading for reading in found.values() if reading is not None]


def _spoken_of(found: Iterable[Reading | None]) -> set[Path]:
    places = [
        place
        for reading in found
        if reading is not None
        for place in (
            *(use.place for use in reading.uses),
            *(sink.place for sink in reading.sinks),
            *(place for link in reading.links for place in (link.to, link.origin)),
        )
    ]
    return {Path(place.path) for place in places if place.path}


def _data(project: Project, path: Path) -> bytes | None:
    try:
        return path.read_bytes()
    except OSError as error:
        if path in project.given:
            project.refused.append(Mistake(str(path), 1, 1, f"cannot be read: {error.strerror}"))
        return None


def _reading(project: Project, path: Path, data: bytes, modules: Modules) -> Reading | None:
    try:
        return read(Source(path, data), modules)
    except FileError as error:
        project.refused += error.mistakes if path in project.given else ()
    except RecursionError:
        mistake = Mistake(str(path), 1, 1, "nested too deeply to be read", "left as it is")
        project.refused += [mistake] if path in project.given else ()
    return None


def mentions(texts: Iterable[Path]) -> Iterator[tuple[Path, int, str]]:
    """Old names in files that are not Python, which nobody changes: file, line, name."""
    for path in texts:
        try:
            if path.stat().st_size > TEXT_LIMIT_BYTES:
                continue
            text = path.read_text("utf-8")
        except (OSError, UnicodeDecodeError):
            continue
        for number, line in enumerate(text.splitlines(), 1):
            match = OLD_WORD.search(line)
            if match:
                yield path, number, match[1]


def root_of(folder: Path) -> Path:
    """The folder of the project: the nearest above with a mark of one; else the one its packages are in."""
    for candidate in (folder, *folder.parents):
        if any((candidate / mark).exists() for mark in ROOT_MARKS):
            return candidate
    return import_root(folder)


def import_root(folder: Path) -> Path:
    """The folder that must be on Python's path for what is in `folder` to be imported."""
    while (folder / "__init__.py").exists() and folder.parent != folder:
        folder = folder.parent
    return folder


def _add_folder(found: Project, folder: Path) -> None:
    for path in _walk(folder):
        if path.suffix == ".py":
            found.given.append(path)
        elif path.suffix in TEXT_SUFFIXES or path.name.startswith(".env"):
            found.texts.append(path)


def _walk(folder: Path) -> Iterator[Path]:
    for here, folders, files in os.walk(folder):
        folders[:] = sorted(name for name in folders if not _is_skipped(Path(here, name)))
        for name in sorted(files):
            path = Path(here, name)
            if not path.is_symlink() and not name.startswith(("._", ".#")):
                yield path


def _is_skipped(folder: Path) -> bool:
    return folder.name in SKIPPED or folder.name.endswith(".egg-info") or (folder / "pyvenv.cfg").exists()


def _once(paths: Iterable[Path]) -> list[Path]:
    return list(dict.fromkeys(paths))
