"""The meaning of an expression: which module, class, dict or framework's settings it stands for."""

from __future__ import annotations

from typing import TYPE_CHECKING

import libcst as cst

from livectl.ops.migration.places import CONF, FLASK, FLASK_CELERY, SettingsHolder
from livectl.ops.migration.source import dotted_name, plain_text

if TYPE_CHECKING:
    from pathlib import Path

    from livectl.ops.migration.modules import ModuleIndex
    from livectl.ops.migration.scopes import Meaning, Scope


class ExpressionResolver:
    """Looks expressions of one file up."""

    def __init__(self, modules: ModuleIndex, path: Path) -> None:
        self.modules = modules
        self.path = path

    def find_holder(self, scope: Scope, node: cst.CSTNode) -> SettingsHolder | None:
        meaning = self.resolve(scope, node)
        return self.modules.find_holder(meaning, self.path) if isinstance(meaning, str) else meaning

    def resolve(self, scope: Scope, node: cst.CSTNode) -> Meaning:
        if isinstance(node, cst.Name):
            return self._resolve_name(scope, node.value)
        if isinstance(node, cst.Attribute):
            return self._resolve_attribute(scope, node)
        if isinstance(node, cst.Call):
            return self._resolve_call(scope, node)
        if isinstance(node, cst.Subscript) and self.find_holder(scope, node.value) == FLASK:
            index = node.slice[0].slice
            return FLASK_CELERY if isinstance(index, cst.Index) and plain_text(index.value) == "CELERY" else None
        return None

    def _resolve_name(self, scope: Scope, name: str) -> Meaning:
        owner = scope.owner(name)
        here = SettingsHolder(str(self.path))
        is_own_name = owner is not None and owner.kind == "module" and owner.meaning(name) == here
        return SettingsHolder(here.path, name) if is_own_name else scope.meaning(name)

    def _resolve_attribute(self, scope: Scope, node: cst.Attribute) -> Meaning:
        base, name = self.resolve(scope, node.value), node.attr.value
        if isinstance(base, str) and (base.startswith("django") or self._is_module(f"{base}.{name}")):
            return f"{base}.{name}"
        if name == "conf":
            return CONF
        if name == "config":
            return FLASK
        if isinstance(base, str):
            return f"{base}.{name}"
        if isinstance(base, SettingsHolder) and base.path:
            return SettingsHolder(base.path, f"{base.name}.{name}".lstrip("."))
        return None

    def _is_module(self, name: str) -> bool:
        holder = self.modules.find_holder(name, self.path)
        return holder is not None and not holder.name

    def _resolve_call(self, scope: Scope, node: cst.Call) -> Meaning:
        function_name = dotted_name(node.func)
        if function_name in {"globals", "vars", "locals"} and not node.args:
            return SettingsHolder(str(self.path))
        if function_name == "vars":
            return self.resolve(scope, node.args[0].value)
        meaning = self.resolve(scope, node.func)
        return meaning if isinstance(meaning, SettingsHolder) and meaning.name and meaning.path else None
