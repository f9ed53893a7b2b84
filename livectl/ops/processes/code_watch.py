"""Notices when Python files of a folder change, and whether they can be read as Python, for workers in development."""

from __future__ import annotations

import os
import time
from pathlib import Path
from typing import TYPE_CHECKING

from livectl.ops.processes.supervisor import MemberRequest

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

LOOK_S = 0.5
MAX_FILES = 5_000  # of a project; more would be somebody else's code
FOREIGN_FOLDERS = frozenset({"__pycache__", "node_modules", "site-packages", "build", "dist"})
MAX_NAMED = 3  # files in a message

Stamps = dict[Path, tuple[int, int]]


class CodeWatch:
    """Asks for the workers to be started anew when the code has changed and is at rest.

    While a file cannot be read as Python, it is said once, and the workers go on with the code of before.
    """

    def __init__(
        self,
        folder: Path,
        names: Callable[[], Sequence[str]],
        say: Callable[[str], None],
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._folder, self._names, self._say, self._clock = folder, names, say, clock
        self._accepted = self._last = read_stamps(folder)
        self._refused: Stamps | None = None
        self._look_at = clock() + LOOK_S

    def __call__(self) -> list[MemberRequest]:
        """What to do with the workers since the last call."""
        if self._clock() < self._look_at:
            return []
        stamps = read_stamps(self._folder)
        self._look_at = self._clock() + LOOK_S
        last, self._last = self._last, stamps
        if stamps in (self._accepted, self._refused) or stamps != last:  # somebody may still be writing
            return []
        changed = sorted(
            path for path in stamps.keys() | self._accepted.keys() if stamps.get(path) != self._accepted.get(path)
        )
        if mistake := next(filter(None, map(self._find_mistake, changed)), ""):
            self._refused = stamps
            self._say(f"{mistake}: the workers go on with the code of before")
            return []
        self._accepted, self._refused = stamps, None
        if not (names := self._names()):
            return []
        self._say(f"{self._describe(changed)} changed; started anew once running jobs are done: {', '.join(names)}")
        return [MemberRequest(action="restart", name=name, patient=True, wakes=False) for name in names]

    def _find_mistake(self, path: Path) -> str:
        try:
            compile(path.read_bytes(), str(path), "exec", dont_inherit=True)
        except FileNotFoundError:
            return ""
        except (SyntaxError, ValueError, OSError) as error:
            place = f":{error.lineno}" if isinstance(error, SyntaxError) else ""
            return f"{self._name_of(path)}{place}: {getattr(error, 'msg', None) or error}"
        return ""

    def _describe(self, paths: Sequence[Path]) -> str:
        more = f" and {len(paths) - MAX_NAMED} more" if len(paths) > MAX_NAMED else ""
        return ", ".join(map(self._name_of, paths[:MAX_NAMED])) + more

    def _name_of(self, path: Path) -> str:
        return str(path.relative_to(self._folder))


def read_stamps(folder: Path) -> Stamps:
    """When each Python file was written, and how large it is; those of environments and packages are left out."""
    stamps: Stamps = {}
    for path in _python_files(folder):
        try:
            status = path.stat()
        except OSError:
            continue
        stamps[path] = (status.st_mtime_ns, status.st_size)
        if len(stamps) >= MAX_FILES:
            break
    return stamps


def _python_files(folder: Path) -> Iterator[Path]:
    for root, folders, files in os.walk(folder):
        folders[:] = sorted(name for name in folders if _is_own(Path(root, name)))
        yield from (Path(root, name) for name in files if name.endswith(".py"))


def _is_own(folder: Path) -> bool:
    return not (folder.name.startswith(".") or folder.name in FOREIGN_FOLDERS or (folder / "pyvenv.cfg").exists())
