"""The walk through the tree of a file, scope by scope; what is looked for on the way is the reader's."""

from __future__ import annotations

from typing import TYPE_CHECKING

import libcst as cst

from livectl.ops.migration.places import DJANGO, SettingsHolder
from livectl.ops.migration.scopes import Meaning, Scope, bound_names, parameter_names
from livectl.ops.migration.source import child_nodes

if TYPE_CHECKING:
    from collections.abc import Callable


class ScopeWalker:
    """Visits every node once, in the scope Python would run it in."""

    def __init__(self, path: str) -> None:
        self.path = path
        self.scope = Scope("module", holder=SettingsHolder(path))
        self.depth = 0  # of `if`, `try` and the like around the statement
        self.visitors: dict[type, Callable[..., None]] = {
            cst.ClassDef: self.visit_class,
            cst.FunctionDef: self.visit_function,
            cst.Lambda: self.visit_function,
            cst.Arg: self.visit_argument,
            cst.Param: self.visit_parameter,
            **dict.fromkeys([cst.If, cst.Try, cst.TryStar, cst.For, cst.While, cst.With, cst.Match], self.visit_branch),
            **dict.fromkeys([cst.ListComp, cst.SetComp, cst.DictComp, cst.GeneratorExp], self.visit_comprehension),
        }

    def walk(self, tree: cst.Module) -> None:
        self._enter_names(tree)
        self.visit_children(tree)

    def visit(self, node: cst.CSTNode) -> None:
        self.visitors.get(type(node), self.visit_children)(node)

    def visit_children(self, node: cst.CSTNode) -> None:
        for child in child_nodes(node):
            self.visit(child)

    # What the reader fills in

    def enter_class(self, node: cst.ClassDef, holder: SettingsHolder) -> None:
        """A class is about to be walked through."""

    def shadow(self, name: str, node: cst.CSTNode) -> None:
        """A function, class or import takes a name."""

    # Scopes

    def visit_class(self, node: cst.ClassDef) -> None:
        outer = self.scope
        outer_name = outer.holder.name if outer.holder else ""
        holder = SettingsHolder(self.path, f"{outer_name}.{node.name.value}".lstrip("."))
        self.shadow(node.name.value, node)
        for part in (*node.decorators, *node.bases, *node.keywords):
            self.visit(part)
        self.enter_class(node, holder)
        depth, self.depth = self.depth, 0
        self.scope = Scope("class", outer, holder)
        self._enter_names(node.body)
        self.visit(node.body)
        self.scope, self.depth = outer, depth

    def visit_function(self, node: cst.FunctionDef | cst.Lambda) -> None:
        outer = self.scope
        if isinstance(node, cst.FunctionDef):
            self.shadow(node.name.value, node)
            for part in (*node.decorators, *filter(None, [node.returns])):
                self.visit(part)
        for parameter in child_nodes(node.params):
            self.visit(parameter)
        self.scope = Scope("function", outer)
        self._enter_parameters(node, outer)
        self._enter_names(node.body)
        self.visit(node.body)
        self.scope = outer

    def visit_comprehension(self, node: cst.CSTNode) -> None:
        outer, self.scope = self.scope, Scope("function", self.scope)
        self._enter_names(node)
        self.visit_children(node)
        self.scope = outer

    def visit_branch(self, node: cst.CSTNode) -> None:
        self.depth += 1
        self.visit_children(node)
        self.depth -= 1

    def visit_argument(self, node: cst.Arg) -> None:
        self.visit(node.value)  # its keyword is a name of the function called

    def visit_parameter(self, node: cst.Param) -> None:
        for part in (node.annotation, node.default):
            if part is not None:
                self.visit(part)

    def _enter_parameters(self, node: cst.FunctionDef | cst.Lambda, outer: Scope) -> None:
        for number, name in enumerate(parameter_names(node)):
            meaning: Meaning = DJANGO if name == "settings" else None  # pytest-django's fixture
            if number == 0 and outer.kind == "class" and name in {"self", "cls"}:
                meaning = outer.holder
            self.scope.names[name] = meaning

    def _enter_names(self, body: cst.CSTNode) -> None:
        scope = self.scope
        bindings = list(bound_names(body))
        if scope.kind == "function":
            scope.shared.update(name for name, shared in bindings if shared)
        for name, _ in bindings:
            if name not in scope.shared:
                scope.names.setdefault(name, scope.holder if scope.kind != "function" else None)
