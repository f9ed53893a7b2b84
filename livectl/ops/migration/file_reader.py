"""Walks one Python file, finds the holder that an expression stands for, and records uses of settings."""

from __future__ import annotations

from typing import TYPE_CHECKING

import libcst as cst

from livectl.ops.migration.file_scan import (
    CONF,
    FLASK,
    FLASK_CELERY,
    FileScan,
    Form,
    Inheritance,
    SettingsHolder,
    SettingUse,
)
from livectl.ops.migration.names import is_candidate
from livectl.ops.migration.scopes import Meaning, ScopeWalker
from livectl.ops.migration.source import dotted_name, plain_text

if TYPE_CHECKING:
    from livectl.ops.migration.modules import ModuleIndex
    from livectl.ops.migration.source import SourceFile


class FileReader(ScopeWalker):
    """Fills in the scan of its file. Subclasses and `find_calls` decide which nodes are recorded."""

    def __init__(self, source: SourceFile, modules: ModuleIndex) -> None:
        super().__init__(str(source.path))
        self.source = source
        self.modules = modules
        self.scan = FileScan(source=source)
        self.recorded: set[cst.CSTNode] = set()  # nodes whose use is in the scan

    def code(self, node: cst.CSTNode) -> str:
        return self.source.tree.code_for_node(node)

    def line(self, node: cst.CSTNode) -> int:
        return self.source.line(self.source.start(node))

    def end(self, node: cst.CSTNode) -> int:
        return self.source.start(node) + len(self.code(node))

    # Records

    def record_inheritance(self, to: SettingsHolder, origin: SettingsHolder) -> None:
        self.scan.inheritances.append(Inheritance(to, origin))

    def record_use(
        self,
        node: cst.BaseExpression,
        holder: SettingsHolder,
        name: str,
        form: Form,
        *,
        after: int = 0,
        **fields: object,
    ) -> None:
        """Records a token that names a setting; it stands `after` so many characters of the node."""
        start = self.source.start(node) + sum(len(self.code(paren)) for paren in getattr(node, "lpar", ())) + after
        self.recorded.add(node)
        token = {"holder": holder, "name": name, "start": start, "form": form, "line": self.source.line(start)}
        hidden = self.scope.hidden_names()
        self.scan.uses.append(SettingUse(**token, hidden=hidden, **fields))  # type: ignore[arg-type]

    def record_string_use(self, node: cst.BaseExpression, holder: SettingsHolder, form: Form, **fields: object) -> None:
        """Records a string literal that names a setting; passes over any other expression."""
        text = plain_text(node)
        if text and isinstance(node, cst.SimpleString) and is_candidate(text) and node not in self.recorded:
            self.record_use(node, holder, text, form, after=len(node.quote), **fields)

    # Holders

    def find_module_holder(self, name: str) -> SettingsHolder | None:
        """The module, class or dict of the project that has this dotted name."""
        return self.modules.find_holder(name, self.source.path)

    def find_holder(self, node: cst.CSTNode) -> SettingsHolder | None:
        """The holder of settings that an expression stands for; None for any other value."""
        meaning = self._resolve(node)
        return self.find_module_holder(meaning) if isinstance(meaning, str) else meaning

    def _resolve(self, node: cst.CSTNode) -> Meaning:
        if isinstance(node, cst.Name):
            return self._resolve_name(node.value)
        if isinstance(node, cst.Attribute):
            return self._resolve_attribute(node)
        if isinstance(node, cst.Call):
            return self._resolve_call(node)
        if isinstance(node, cst.Subscript) and self.find_holder(node.value) == FLASK:
            index = node.slice[0].slice
            return FLASK_CELERY if isinstance(index, cst.Index) and plain_text(index.value) == "CELERY" else None
        return None

    def _resolve_name(self, name: str) -> Meaning:
        owner = self.scope.owner(name)
        here = SettingsHolder(self.path)
        is_own_name = owner is not None and owner.kind == "module" and owner.meaning(name) == here
        return SettingsHolder(self.path, name) if is_own_name else self.scope.meaning(name)

    def _resolve_attribute(self, node: cst.Attribute) -> Meaning:
        base, name = self._resolve(node.value), node.attr.value
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
        holder = self.find_module_holder(name)
        return holder is not None and not holder.name

    def _resolve_call(self, node: cst.Call) -> Meaning:
        function_name = dotted_name(node.func)
        if function_name in {"globals", "vars", "locals"} and not node.args:
            return SettingsHolder(self.path)
        if function_name == "vars":
            return self._resolve(node.args[0].value)
        meaning = self._resolve(node.func)
        return meaning if isinstance(meaning, SettingsHolder) and meaning.name and meaning.path else None
