"""Walks a Python file scope by scope, and knows what each name in it stands for."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import libcst as cst

from livectl.ops.migration.file_scan import DJANGO, SettingsHolder
from livectl.ops.migration.source import child_nodes, dotted_name

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator


# What a name stands for: a holder of settings, the dotted path of an import, or None for any other value.
Meaning = SettingsHolder | str | None
SCOPE_NODES = {cst.FunctionDef, cst.ClassDef, cst.Lambda, cst.ListComp, cst.SetComp, cst.DictComp, cst.GeneratorExp}


class Scope:
    """A module, class or function, with the names bound in it and what they stand for."""

    def __init__(self, kind: str, parent: Scope | None = None, holder: SettingsHolder | None = None) -> None:
        self.kind = kind
        self.parent = parent
        self.holder = holder  # what holds the names bound here; None in a function
        self.names: dict[str, Meaning] = {}
        self.shared: set[str] = set()  # declared global
        self._hidden: frozenset[str] | None = None

    def owner(self, name: str) -> Scope | None:
        """The scope in which Python finds the name: from inside a function it passes over classes."""
        scope: Scope | None = self
        while scope is not None:
            if name in scope.shared:
                return scope.module
            if name in scope.names and (scope is self or scope.kind != "class"):
                return scope
            scope = scope.parent
        return None

    @property
    def module(self) -> Scope:
        return self if self.parent is None else self.parent.module

    def hidden_names(self) -> frozenset[str]:
        """Names that this function and the functions around it bind."""
        if self._hidden is None:
            own_names = frozenset(self.names) if self.kind == "function" else frozenset()
            self._hidden = own_names | (self.parent.hidden_names() if self.parent else frozenset())
        return self._hidden

    def meaning(self, name: str) -> Meaning:
        owner = self.owner(name)
        return owner.names.get(name, owner.holder) if owner else None


def bound_names(node: cst.CSTNode) -> Iterator[tuple[str, bool]]:
    """Names bound under a node, and whether `global` declares each. A nested scope binds only its own name here."""
    for child in child_nodes(node):
        kind = type(child)
        if kind in BINDERS:
            yield from BINDERS[kind](child)
        if kind not in SCOPE_NODES:
            yield from bound_names(child)


def names_in(target: cst.CSTNode) -> Iterator[str]:
    """Names that a target binds: `a`, `(a, *b)`, `[a, b]`; attributes and subscripts bind none."""
    if isinstance(target, cst.Name):
        yield target.value
    elif isinstance(target, cst.Tuple | cst.List):
        for element in target.elements:
            yield from names_in(element.value)


def parameter_names(node: cst.FunctionDef | cst.Lambda) -> Iterator[str]:
    params = node.params
    yield from (parameter.name.value for parameter in (*params.posonly_params, *params.params, *params.kwonly_params))
    for star in (params.star_arg, params.star_kwarg):
        if isinstance(star, cst.Param):
            yield star.name.value


def _target_names(node: Any) -> Iterator[tuple[str, bool]]:
    return ((name, False) for name in names_in(node.target))


def _own_name(node: Any) -> Iterator[tuple[str, bool]]:
    if node.name is not None:
        yield node.name.value, False


def _import_name(node: Any) -> Iterator[tuple[str, bool]]:
    if node.asname is None:
        yield dotted_name(node.name).partition(".")[0], False


BINDERS: dict[type, Callable[[Any], Iterator[tuple[str, bool]]]] = {
    **dict.fromkeys([cst.FunctionDef, cst.ClassDef, cst.MatchAs, cst.MatchStar], _own_name),
    **dict.fromkeys(
        [cst.AssignTarget, cst.AnnAssign, cst.AugAssign, cst.NamedExpr, cst.For, cst.CompFor], _target_names
    ),
    cst.AsName: lambda node: ((name, False) for name in names_in(node.name)),
    cst.ImportAlias: _import_name,
    cst.Global: lambda node: ((item.name.value, True) for item in node.names),
}


class ScopeWalker:
    """Visits every node once, in the scope in which Python runs it."""

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

    # For subclasses

    def enter_class(self, node: cst.ClassDef, holder: SettingsHolder) -> None:
        """Called before the body of a class is visited."""

    def shadow(self, name: str, node: cst.CSTNode) -> None:
        """Called for a name that a function, class or import takes."""

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
