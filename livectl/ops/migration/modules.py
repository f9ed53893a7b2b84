"""Finds the modules of a project by their dotted names, from the paths of its files alone."""

from __future__ import annotations

from typing import TYPE_CHECKING

from livectl.ops.migration.file_scan import DJANGO, SettingsHolder

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path


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
