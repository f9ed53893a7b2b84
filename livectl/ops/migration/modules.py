"""The modules of a project by their dotted names, found from the paths of its files alone."""

from __future__ import annotations

from typing import TYPE_CHECKING

from livectl.ops.migration.places import DJANGO, Place

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path


class Modules:
    """Looks up `pkg.settings.Config` among the project's files, wherever the project's roots may be."""

    def __init__(self, paths: Iterable[Path]) -> None:
        self.by_last: dict[str, list[tuple[tuple[str, ...], Path]]] = {}
        for path in paths:
            parts = path.with_suffix("").parts
            parts = parts[:-1] if parts[-1] == "__init__" else parts
            if parts:
                self.by_last.setdefault(parts[-1], []).append((parts, path))

    def place(self, name: str, near: Path) -> Place | None:
        """The module, class or dict called so; the file nearest to `near` when several fit."""
        if name == "django.conf.settings":
            return DJANGO
        parts = tuple(part for part in name.split(".") if part)
        for cut in range(len(parts), 0, -1):
            found = self._file(parts[:cut], near)
            if found is not None:
                return Place(str(found), ".".join(parts[cut:]))
        return None

    def _file(self, parts: tuple[str, ...], near: Path) -> Path | None:
        fits = [
            (_shared(path.parent.parts, near.parent.parts), -len(whole), path)
            for whole, path in self.by_last.get(parts[-1], ())
            if whole[-len(parts) :] == parts
        ]
        return max(fits)[2] if fits else None

    def absolute(self, name: str, level: int, near: Path) -> str:
        """A relative import spelt out from the folders around the file."""
        if not level:
            return name
        folders = near.parent.parts
        around = [part for part in folders[: len(folders) - level + 1] if part not in {"/", "."}]
        return ".".join([*around, name] if name else around)


def _shared(one: tuple[str, ...], other: tuple[str, ...]) -> int:
    count = 0
    for left, right in zip(one, other, strict=False):
        if left != right:
            break
        count += 1
    return count
