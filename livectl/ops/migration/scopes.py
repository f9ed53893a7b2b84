"""Walks a Python file scope by scope, knows what each name in it stands for, and records uses of settings."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import libcst as cst

from livectl.ops.migration.file_scan import (
    CONF,
    DJANGO,
    FLASK,
    FLASK_CELERY,
    FileScan,
    Form,
    Inheritance,
    SettingsHolder,
    SettingUse,
)
from livectl.ops.migration.names import is_candidate
from livectl.ops.migration.source import child_nodes, dotted_name, plain_text

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from livectl.ops.migration.file_scan import ModuleIndex
    from livectl.ops.migration.source import SourceFile


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
