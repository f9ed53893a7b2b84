"""The meaning of an expression: which module, class, dict or framework's settings it stands for."""

from __future__ import annotations

from typing import TYPE_CHECKING

import libcst as cst

from livectl.ops.migration.places import CONF, FLASK, FLASK_CELERY, Place
from livectl.ops.migration.source import dotted, plain_text

if TYPE_CHECKING:
    from pathlib import Path

    from livectl.ops.migration.modules import Modules
    from livectl.ops.migration.scopes import Meaning, Scope


class Meanings:
    """Looks expressions of one file up."""

    def __init__(self, modules: Modules, path: Path) -> None:
        self.modules = modules
        self.path = path

    def place(self, scope: Scope, node: cst.CSTNode) -> Place | None:
        meaning = self.of(scope, node)
        return self.modules.place(meaning, self.path) if isinstance(meaning, str) else meaning

    def of(self, scope: Scope, node: cst.CSTNode) -> Meaning:
        if isinstance(node, cst.Name):
            return self._of_name(scope, node.value)
        if isinstance(node, cst.Attribute):
            return self._of_attribute(scope, node)
        if isinstance(node, cst.Call):
            return self._of_call(scope, node)
        if isinstance(node, cst.Subscript) and self.place(scope, node.value) == FLASK:
            index = node.slice[0].slice
            return FLASK_CELERY if isinstance(index, cst.Index) and plain_text(index.value) == "CELERY" else None
        return None

    def _of_name(self, scope: Scope, name: str) -> Meaning:
        owner = scope.owner(name)
        here = Place(str(self.path))
        own = owner is not None and owner.kind == "module" and owner.meaning(name) == here
        return Place(here.path, name) if own else scope.meaning(name)

    def _of_attribute(self, scope: Scope, node: cst.Attribute) -> Meaning:
        base, name = self.of(scope, node.value), node.attr.value
        if isinstance(base, str) and (base.startswith("django") or self._is_module(f"{base}.{name}")):
            return f"{base}.{name}"
        if name == "conf":
            return CONF
        if name == "config":
            return FLASK
        if isinstance(base, str):
            return f"{base}.{name}"
        if isinstance(base, Place) and base.path:
            return Place(base.path, f"{base.name}.{name}".lstrip("."))
        return None

    def _is_module(self, name: str) -> bool:
        place = self.modules.place(name, self.path)
        return place is not None and not place.name

    def _of_call(self, scope: Scope, node: cst.Call) -> Meaning:
        called = dotted(node.func)
        if called in {"globals", "vars", "locals"} and not node.args:
            return Place(str(self.path))
        if called == "vars":
            return self.of(scope, node.args[0].value)
        meaning = self.of(scope, node.func)
        return meaning if isinstance(meaning, Place) and meaning.name and meaning.path else None
