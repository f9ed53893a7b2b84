"""The reader of one file: walks its tree and notes every token that names a setting, and whose."""

from __future__ import annotations

from typing import TYPE_CHECKING

import libcst as cst

from livectl.ops.migration import find_calls
from livectl.ops.migration.file_scan import (
    DJANGO,
    FLASK_CELERY,
    FileScan,
    Form,
    Inheritance,
    SettingsHolder,
    SettingUse,
)
from livectl.ops.migration.names import is_candidate
from livectl.ops.migration.scopes import ExpressionResolver, Scope, ScopeWalker, names_in
from livectl.ops.migration.source import dotted_name, plain_text

if TYPE_CHECKING:
    from livectl.ops.migration.modules import ModuleIndex
    from livectl.ops.migration.source import SourceFile


def scan_file(source: SourceFile, modules: ModuleIndex) -> FileScan:
    """What the file says of settings. Parses it; runs nothing of it."""
    return SettingUseReader(source, modules).read()


class SettingUseReader(ScopeWalker):
    def __init__(self, source: SourceFile, modules: ModuleIndex) -> None:
        super().__init__(str(source.path))
        self.source = source
        self.modules = modules
        self.resolver = ExpressionResolver(modules, source.path)
        self.scan = FileScan(source=source)
        self.handled: set[cst.CSTNode] = set()  # strings and names that are spoken for
        self.statement: tuple[cst.CSTNode, bool] | None = None
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

    def enter_class(self, node: cst.ClassDef, holder: SettingsHolder) -> None:
        for base in node.bases:
            origin = self.find_holder(base.value)
            if origin is not None:
                self.scan.inheritances.append(Inheritance(holder, origin))
            if dotted_name(base.value).endswith("BaseSettings"):
                self.scan.environment_classes.add(holder)
            if dotted_name(base.value).endswith("Configuration"):
                self.scan.configurations = True
                self.scan.inheritances.append(Inheritance(DJANGO, holder))

    # Bindings

    def visit_import(self, node: cst.Import) -> None:
        for alias in node.names:
            name = dotted_name(alias.name)
            bound = dotted_name(alias.asname.name) if alias.asname else name.partition(".")[0]
            self._bind_import(bound, name if alias.asname else bound, alias)
            self.scan.imports.append(self.modules.find_holder(name, self.source.path) or SettingsHolder("", name))

    def visit_import_from(self, node: cst.ImportFrom) -> None:
        module = self.modules.absolute_name(dotted_name(node.module), len(node.relative), self.source.path)
        origin = self.modules.find_holder(module, self.source.path)
        if isinstance(node.names, cst.ImportStar):
            self._note_star_import(node, module, origin)
            return
        for alias in node.names:
            name = dotted_name(alias.name)
            bound = dotted_name(alias.asname.name) if alias.asname else name
            self._bind_import(bound, f"{module}.{name}", alias)
            self.scan.imports.append(
                SettingsHolder(origin.path, name) if origin else SettingsHolder("", f"{module}.{name}")
            )
            if origin is not None and is_candidate(name):
                self.note_use(alias.name, origin, name, "import")
                if self.scope.kind == "module" and bound == name:
                    self.scan.inheritances.append(
                        Inheritance(SettingsHolder(self.path), SettingsHolder(origin.path, f"{origin.name}:{name}"))
                    )

    def _note_star_import(self, node: cst.ImportFrom, module: str, origin: SettingsHolder | None) -> None:
        if origin is None:
            self.scan.star_imports.append((self.source.line(self.source.start(node)), module))
        elif self.scope.kind == "module":
            self.scan.inheritances.append(Inheritance(SettingsHolder(self.path), origin))

    def _bind_import(self, bound: str, meaning: str, node: cst.CSTNode) -> None:
        self.scope.names[bound] = meaning
        self.shadow(bound, node)

    def shadow(self, name: str, node: cst.CSTNode) -> None:
        """An import, function or class: a name in the place that is no setting of it."""
        if self.scope.holder is not None:
            line = self.source.line(self.source.start(node))
            self.scan.shadows.setdefault(self.scope.holder, {}).setdefault(name, line)

    def visit_line(self, node: cst.SimpleStatementLine) -> None:
        before, self.statement = self.statement, (node, len(node.body) == 1)
        self.visit_children(node)
        self.statement = before

    def visit_assign(self, node: cst.Assign) -> None:
        for target in node.targets:
            self.note_binding(target.target, node.value, alone=len(node.targets) == 1, chains=True)
        self._remember_meaning(node)
        self.visit(node.value)

    def visit_annotated(self, node: cst.AnnAssign) -> None:
        self.note_binding(node.target, node.value, alone=True)
        self.visit(node.annotation)
        if node.value is not None:
            self.visit(node.value)

    def visit_augmented(self, node: cst.AugAssign) -> None:
        self.visit(node.target)
        self.visit(node.value)

    def note_binding(
        self, target: cst.CSTNode, value: cst.BaseExpression | None, *, alone: bool, chains: bool = False
    ) -> None:
        """A target of an assignment; settings are what is bound in a module or a class."""
        names = set(names_in(target))
        for name in names:
            owner = self.scope.owner(name)
            if owner is not None and owner.holder is not None:
                line = self.source.line(self.source.start(target))
                self.scan.bound.setdefault(owner.holder, {}).setdefault(name, line)
        if names == {"__all__"} and isinstance(value, cst.List | cst.Tuple) and self.scope.holder is not None:
            for element in value.elements:
                self.note_string_use(element.value, self.scope.holder, "string")
        if isinstance(target, cst.Name) and value is not None:
            self._note_setting_binding(target, value, alone=alone, chains=chains)
        else:
            self.visit(target)

    def _note_setting_binding(self, target: cst.Name, value: cst.BaseExpression, *, alone: bool, chains: bool) -> None:
        owner = self.scope.owner(target.value)
        if owner is None or owner.holder is None or not is_candidate(target.value):
            return
        line, alone_in_line = self.statement or (None, False)
        line_span = None
        if alone and alone_in_line and line is not None and owner is self.scope:
            end = self.source.start(value) + len(self.code(value))
            line_span = self.source.line_span(self.source.start(target), end)
        self.note_use(
            target,
            owner.holder,
            target.value,
            "binding",
            value=self.code(value),
            statement=line_span,
            chains=chains,
            outermost=self.depth == 0 and owner is self.scope,
            environ_at=find_calls.find_environ_gap(self, value),
        )

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
            self.scan.inheritances.append(
                Inheritance(SettingsHolder(self.path, target.value), meaning)
            )  # an instance of a class
        if isinstance(node.value, cst.Dict) or find_calls.is_dict_call(node.value):
            self._remember_dict(target.value, node.value, owner)

    def _remember_dict(self, name: str, value: cst.BaseExpression, owner: Scope | None) -> None:
        outer_holder = owner.holder if owner else None
        qualified_name = f"{outer_holder.name}.{name}" if outer_holder and outer_holder.name else name
        holder = SettingsHolder(
            self.path,
            qualified_name if outer_holder else f"{name} in line {self.source.line(self.source.start(value))}",
        )
        if owner is not None:
            owner.names[name] = holder if owner.names.get(name) in {None, outer_holder} else owner.names[name]
        find_calls.note_contents(self, value, holder)
        if name == "CELERY":
            self.scan.inheritances.append(Inheritance(FLASK_CELERY, holder))

    # Uses

    def visit_name(self, node: cst.Name) -> None:
        name = node.value
        if node in self.handled or not is_candidate(name):
            return
        owner = self.scope.owner(name)
        meaning = owner.names.get(name, owner.holder) if owner else None
        if owner is None:
            self.note_use(node, SettingsHolder(self.path), name, "name")
        elif isinstance(meaning, str) and owner.kind == "module" and meaning.endswith(f".{name}"):
            origin = self.modules.find_holder(meaning.rpartition(".")[0], self.source.path)
            self.note_use(node, origin or SettingsHolder(self.path), name, "name")
        elif owner.holder is not None and not isinstance(meaning, str):
            self.note_use(node, owner.holder, name, "name")

    def visit_attribute(self, node: cst.Attribute) -> None:
        self.visit(node.value)
        if not is_candidate(node.attr.value):
            return
        holder = self.find_holder(node.value)
        if holder is not None:
            self.note_use(node.attr, holder, node.attr.value, "attribute")

    def visit_subscript(self, node: cst.Subscript) -> None:
        holder = self.find_holder(node.value)
        index = node.slice[0].slice
        if holder is not None and isinstance(index, cst.Index):
            self.note_string_use(index.value, holder, "key")
        self.visit_children(node)

    def visit_comparison(self, node: cst.Comparison) -> None:
        operator = node.comparisons[0]
        if isinstance(operator.operator, cst.In | cst.NotIn):
            holder = self.find_holder(operator.comparator)
            if holder is not None:
                self.note_string_use(node.left, holder, "key")
        self.visit_children(node)

    def visit_call(self, node: cst.Call) -> None:
        find_calls.note_call(self, node)
        self.visit_children(node)

    def visit_string(self, node: cst.SimpleString) -> None:
        text = plain_text(node)
        if node not in self.handled and text and text.isidentifier() and is_candidate(text):
            self.scan.strings.append((text, self.source.line(self.source.start(node))))

    # Notes

    def find_holder(self, node: cst.CSTNode) -> SettingsHolder | None:
        """What holds the settings an expression stands for; None if it is no such thing."""
        return self.resolver.find_holder(self.scope, node)

    def note_use(
        self,
        node: cst.BaseExpression,
        holder: SettingsHolder,
        name: str,
        form: Form,
        *,
        after: int = 0,
        **fields: object,
    ) -> None:
        """A token that names a setting; it stands `after` so many characters of the node."""
        start = self.source.start(node) + sum(len(self.code(paren)) for paren in getattr(node, "lpar", ())) + after
        self.handled.add(node)
        token = {"holder": holder, "name": name, "start": start, "form": form, "line": self.source.line(start)}
        hidden = self.scope.hidden_names()
        self.scan.uses.append(SettingUse(**token, hidden=hidden, **fields))  # type: ignore[arg-type]

    def note_string_use(self, node: cst.BaseExpression, holder: SettingsHolder, form: Form, **fields: object) -> None:
        text = plain_text(node)
        if text and isinstance(node, cst.SimpleString) and is_candidate(text) and node not in self.handled:
            self.note_use(node, holder, text, form, after=len(node.quote), **fields)

    def code(self, node: cst.CSTNode) -> str:
        return self.source.tree.code_for_node(node)
