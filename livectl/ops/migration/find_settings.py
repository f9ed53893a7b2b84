"""Finds every token of a Python file that names a setting, and the holder that the setting belongs to."""

from __future__ import annotations

from typing import TYPE_CHECKING

import libcst as cst

from livectl.ops.migration import find_calls
from livectl.ops.migration.file_scan import DJANGO, FLASK_CELERY, FileScan, SettingsHolder
from livectl.ops.migration.names import is_candidate
from livectl.ops.migration.scopes import FileReader, Scope, names_in
from livectl.ops.migration.source import dotted_name, last_name, plain_text

if TYPE_CHECKING:
    from livectl.ops.migration.file_scan import ModuleIndex
    from livectl.ops.migration.source import SourceFile


def scan_file(source: SourceFile, modules: ModuleIndex) -> FileScan:
    """Parses the file and collects what it says of settings; runs nothing of it."""
    return SettingUseReader(source, modules).read()


class SettingUseReader(FileReader):
    """Visits imports, assignments, names, attributes, keys, strings and calls."""

    def __init__(self, source: SourceFile, modules: ModuleIndex) -> None:
        super().__init__(source, modules)
        self.alone_in_line = False  # the statement being visited has its lines to itself
        self.visitors |= {
            cst.ImportFrom: self.visit_import_from,
            cst.Import: self.visit_import,
            cst.SimpleStatementLine: self.visit_line,
            cst.Assign: self.visit_assign,
            cst.AnnAssign: self.visit_annotated,
            cst.AugAssign: self.visit_augmented,
            cst.Attribute: self.visit_attribute,
            cst.Subscript: self.visit_subscript,
            cst.Comparison: self.visit_comparison,
            cst.Call: self.visit_call,
            cst.Name: self.visit_name,
            cst.SimpleString: self.visit_string,
        }

    def read(self) -> FileScan:
        self.walk(self.source.tree)
        self.source.forget_tree()
        return self.scan

    # Names that are no settings

    def enter_class(self, node: cst.ClassDef, holder: SettingsHolder) -> None:
        for base in node.bases:
            origin = self.find_holder(base.value)
            if origin is not None:
                self.record_inheritance(holder, origin)
            if dotted_name(base.value).endswith("BaseSettings"):
                self.scan.environment_classes.add(holder)
            if dotted_name(base.value).endswith("Configuration"):
                self.scan.configurations = True
                self.record_inheritance(DJANGO, holder)

    def shadow(self, name: str, node: cst.CSTNode) -> None:
        """Records an import, function or class: its name is taken in the holder, and is no setting of it."""
        if self.scope.holder is not None:
            self.scan.shadows.setdefault(self.scope.holder, {}).setdefault(name, self.line(node))

    # Imports

    def visit_import(self, node: cst.Import) -> None:
        for alias in node.names:
            name = dotted_name(alias.name)
            bound = dotted_name(alias.asname.name) if alias.asname else name.partition(".")[0]
            self._bind_import(bound, name if alias.asname else bound, alias)
            self.scan.imports.append(self.find_module_holder(name) or SettingsHolder("", name))

    def visit_import_from(self, node: cst.ImportFrom) -> None:
        module = self.modules.absolute_name(dotted_name(node.module), len(node.relative), self.source.path)
        origin = self.find_module_holder(module)
        if isinstance(node.names, cst.ImportStar):
            if origin is not None and self.scope.kind == "module":
                self.record_inheritance(SettingsHolder(self.path), origin)
            return
        for alias in node.names:
            name = dotted_name(alias.name)
            bound = dotted_name(alias.asname.name) if alias.asname else name
            self._bind_import(bound, f"{module}.{name}", alias)
            self.scan.imports.append(
                SettingsHolder(origin.path, name) if origin else SettingsHolder("", f"{module}.{name}")
            )
            if origin is not None and is_candidate(name):
                self._record_imported_setting(alias, origin, name, keeps_name=bound == name)

    def _record_imported_setting(
        self, alias: cst.ImportAlias, origin: SettingsHolder, name: str, *, keeps_name: bool
    ) -> None:
        self.record_use(alias.name, origin, name, "import")
        if self.scope.kind == "module" and keeps_name:
            self.record_inheritance(SettingsHolder(self.path), SettingsHolder(origin.path, f"{origin.name}:{name}"))

    def _bind_import(self, bound: str, meaning: str, node: cst.CSTNode) -> None:
        self.scope.names[bound] = meaning
        self.shadow(bound, node)

    # Assignments

    def visit_line(self, node: cst.SimpleStatementLine) -> None:
        self.alone_in_line = len(node.body) == 1
        self.visit_children(node)
        self.alone_in_line = False

    def visit_assign(self, node: cst.Assign) -> None:
        for target in node.targets:
            self._record_target(target.target, node.value, alone=len(node.targets) == 1, chains=True)
        self._remember_meaning(node)
        self._remember_app(node)
        self.visit(node.value)

    def _remember_app(self, node: cst.Assign) -> None:
        target = node.targets[0].target
        is_app = isinstance(node.value, cst.Call) and last_name(node.value.func) == "Celery"
        if is_app and isinstance(target, cst.Name) and self.scope.kind == "module":
            self.scan.app_names.append(target.value)

    def visit_annotated(self, node: cst.AnnAssign) -> None:
        self._record_target(node.target, node.value, alone=True)
        self.visit(node.annotation)
        if node.value is not None:
            self.visit(node.value)

    def visit_augmented(self, node: cst.AugAssign) -> None:
        self.visit(node.target)
        self.visit(node.value)

    def _record_target(
        self, target: cst.CSTNode, value: cst.BaseExpression | None, *, alone: bool, chains: bool = False
    ) -> None:
        """A target of an assignment; settings are what is bound in a module or a class."""
        names = set(names_in(target))
        for name in names:
            owner = self.scope.owner(name)
            if owner is not None and owner.holder is not None:
                self.scan.bound.setdefault(owner.holder, {}).setdefault(name, self.line(target))
        if names == {"__all__"} and isinstance(value, cst.List | cst.Tuple) and self.scope.holder is not None:
            for element in value.elements:
                self.record_string_use(element.value, self.scope.holder, "string")
        if isinstance(target, cst.Name) and value is not None:
            self._record_binding(target, value, alone=alone, chains=chains)
        else:
            self.visit(target)

    def _record_binding(self, target: cst.Name, value: cst.BaseExpression, *, alone: bool, chains: bool) -> None:
        owner = self.scope.owner(target.value)
        if owner is None or owner.holder is None or not is_candidate(target.value):
            return
        line_span = None
        if alone and self.alone_in_line and owner is self.scope:
            line_span = self.source.line_span(self.source.start(target), self.end(value))
        self.record_use(
            target,
            owner.holder,
            target.value,
            "binding",
            value=self.code(value),
            line_span=line_span,
            chains=chains,
            outermost=self.depth == 0 and owner is self.scope,
            environ_at=self._environ_name_offset(value),
        )

    def _environ_name_offset(self, value: cst.BaseExpression) -> int:
        """Where `environ_name=` goes in a value of django-configurations whose variable is named after the attribute.

        -1 where it has no place.
        """
        if not isinstance(value, cst.Call) or not self.scan.configurations:
            return -1
        if not (dotted_name(value.func).startswith("values.") or last_name(value.func).endswith("Value")):
            return -1
        keywords = {argument.keyword.value for argument in value.args if argument.keyword is not None}
        return -1 if keywords & {"environ", "environ_name"} else self.end(value) - 1

    def _remember_meaning(self, node: cst.Assign) -> None:
        """What a name stands for after `conf = app.conf`, `d = {…}`, `d = dict(…)`."""
        target = node.targets[0].target
        if not isinstance(target, cst.Name):
            return
        meaning = self.find_holder(node.value)
        owner = self.scope.owner(target.value)
        if meaning is not None and owner is not None and meaning.path == "":
            owner.names[target.value] = meaning
        elif meaning is not None and isinstance(node.value, cst.Call) and self.scope.kind == "module":
            self.record_inheritance(SettingsHolder(self.path, target.value), meaning)  # an instance of a class
        if find_calls.holds_keys(node.value):
            self._remember_dict(target.value, node.value, owner)

    def _remember_dict(self, name: str, value: cst.BaseExpression, owner: Scope | None) -> None:
        outer_holder = owner.holder if owner else None
        if outer_holder is None:
            holder = SettingsHolder(self.path, f"{name} in line {self.line(value)}")
        else:
            holder = SettingsHolder(self.path, f"{outer_holder.name}.{name}".lstrip("."))
        if owner is not None and owner.names.get(name) in {None, outer_holder}:
            owner.names[name] = holder
        find_calls.record_contents(self, value, holder)
        if name == "CELERY":
            self.record_inheritance(FLASK_CELERY, holder)

    # Uses

    def visit_name(self, node: cst.Name) -> None:
        name = node.value
        if node in self.recorded or not is_candidate(name):
            return
        owner = self.scope.owner(name)
        meaning = self.scope.meaning(name)
        if owner is None:
            self.record_use(node, SettingsHolder(self.path), name, "name")
        elif isinstance(meaning, str) and owner.kind == "module" and meaning.endswith(f".{name}"):
            origin = self.find_module_holder(meaning.rpartition(".")[0])
            self.record_use(node, origin or SettingsHolder(self.path), name, "name")
        elif owner.holder is not None and not isinstance(meaning, str):
            self.record_use(node, owner.holder, name, "name")

    def visit_attribute(self, node: cst.Attribute) -> None:
        self.visit(node.value)
        if not is_candidate(node.attr.value):
            return
        holder = self.find_holder(node.value)
        if holder is not None:
            self.record_use(node.attr, holder, node.attr.value, "attribute")

    def visit_subscript(self, node: cst.Subscript) -> None:
        holder = self.find_holder(node.value)
        index = node.slice[0].slice
        if holder is not None and isinstance(index, cst.Index):
            self.record_string_use(index.value, holder, "key")
        self.visit_children(node)

    def visit_comparison(self, node: cst.Comparison) -> None:
        operator = node.comparisons[0]
        if isinstance(operator.operator, cst.In | cst.NotIn):
            holder = self.find_holder(operator.comparator)
            if holder is not None:
                self.record_string_use(node.left, holder, "key")
        self.visit_children(node)

    def visit_call(self, node: cst.Call) -> None:
        find_calls.record_call(self, node)
        self.visit_children(node)

    def visit_string(self, node: cst.SimpleString) -> None:
        text = plain_text(node)
        if node not in self.recorded and text and text.isidentifier() and is_candidate(text):
            self.scan.strings.append((text, self.line(node)))
