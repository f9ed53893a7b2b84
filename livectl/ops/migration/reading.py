"""The reader of one file: walks its tree and notes every token that names a setting, and whose."""

from __future__ import annotations

from typing import TYPE_CHECKING

import libcst as cst

from livectl.ops.migration import calls
from livectl.ops.migration.meanings import Meanings
from livectl.ops.migration.names import is_candidate
from livectl.ops.migration.places import (
    DJANGO,
    FLASK_CELERY,
    Form,
    Link,
    Place,
    Reading,
    Use,
)
from livectl.ops.migration.scopes import Scope, names_in
from livectl.ops.migration.source import dotted, plain_text
from livectl.ops.migration.walking import Walker

if TYPE_CHECKING:
    from livectl.ops.migration.modules import Modules
    from livectl.ops.migration.source import Source


def read(source: Source, modules: Modules) -> Reading:
    """What the file says of settings. Parses it; runs nothing of it."""
    return Reader(source, modules).read()


class Reader(Walker):
    def __init__(self, source: Source, modules: Modules) -> None:
        super().__init__(str(source.path))
        self.source = source
        self.modules = modules
        self.meanings = Meanings(modules, source.path)
        self.found = Reading(source=source)
        self.taken: set[cst.CSTNode] = set()  # strings and names that are spoken for
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

    def read(self) -> Reading:
        self.walk(self.source.tree)
        self.source.forget_tree()
        return self.found

    def enter_class(self, node: cst.ClassDef, place: Place) -> None:
        for base in node.bases:
            origin = self.place(base.value)
            if origin is not None:
                self.found.links.append(Link(place, origin))
            if dotted(base.value).endswith("BaseSettings"):
                self.found.environment.add(place)
            if dotted(base.value).endswith("Configuration"):
                self.found.configurations = True
                self.found.links.append(Link(DJANGO, place))

    # Bindings

    def visit_import(self, node: cst.Import) -> None:
        for alias in node.names:
            name = dotted(alias.name)
            bound = dotted(alias.asname.name) if alias.asname else name.partition(".")[0]
            self._bind_import(bound, name if alias.asname else bound, alias)
            self.found.imports.append(self.modules.place(name, self.source.path) or Place("", name))

    def visit_import_from(self, node: cst.ImportFrom) -> None:
        module = self.modules.absolute(dotted(node.module), len(node.relative), self.source.path)
        origin = self.modules.place(module, self.source.path)
        if isinstance(node.names, cst.ImportStar):
            self._star(node, module, origin)
            return
        for alias in node.names:
            name = dotted(alias.name)
            bound = dotted(alias.asname.name) if alias.asname else name
            self._bind_import(bound, f"{module}.{name}", alias)
            self.found.imports.append(Place(origin.path, name) if origin else Place("", f"{module}.{name}"))
            if origin is not None and is_candidate(name):
                self.note(alias.name, origin, name, "import")
                if self.scope.kind == "module" and bound == name:
                    self.found.links.append(Link(Place(self.path), Place(origin.path, f"{origin.name}:{name}")))

    def _star(self, node: cst.ImportFrom, module: str, origin: Place | None) -> None:
        if origin is None:
            self.found.stars.append((self.source.line(self.source.start(node)), module))
        elif self.scope.kind == "module":
            self.found.links.append(Link(Place(self.path), origin))

    def _bind_import(self, bound: str, meaning: str, node: cst.CSTNode) -> None:
        self.scope.names[bound] = meaning
        self.shadow(bound, node)

    def shadow(self, name: str, node: cst.CSTNode) -> None:
        """An import, function or class: a name in the place that is no setting of it."""
        if self.scope.place is not None:
            line = self.source.line(self.source.start(node))
            self.found.shadows.setdefault(self.scope.place, {}).setdefault(name, line)

    def visit_line(self, node: cst.SimpleStatementLine) -> None:
        before, self.statement = self.statement, (node, len(node.body) == 1)
        self.visit_children(node)
        self.statement = before

    def visit_assign(self, node: cst.Assign) -> None:
        for target in node.targets:
            self.bind(target.target, node.value, alone=len(node.targets) == 1, chains=True)
        self._remember(node)
        self.visit(node.value)

    def visit_annotated(self, node: cst.AnnAssign) -> None:
        self.bind(node.target, node.value, alone=True)
        self.visit(node.annotation)
        if node.value is not None:
            self.visit(node.value)

    def visit_augmented(self, node: cst.AugAssign) -> None:
        self.visit(node.target)
        self.visit(node.value)

    def bind(self, target: cst.CSTNode, value: cst.BaseExpression | None, *, alone: bool, chains: bool = False) -> None:
        """A target of an assignment; settings are what is bound in a module or a class."""
        names = set(names_in(target))
        for name in names:
            owner = self.scope.owner(name)
            if owner is not None and owner.place is not None:
                line = self.source.line(self.source.start(target))
                self.found.bound.setdefault(owner.place, {}).setdefault(name, line)
        if names == {"__all__"} and isinstance(value, cst.List | cst.Tuple) and self.scope.place is not None:
            for element in value.elements:
                self.note_string(element.value, self.scope.place, "string")
        if isinstance(target, cst.Name) and value is not None:
            self._bind_setting(target, value, alone=alone, chains=chains)
        else:
            self.visit(target)

    def _bind_setting(self, target: cst.Name, value: cst.BaseExpression, *, alone: bool, chains: bool) -> None:
        owner = self.scope.owner(target.value)
        if owner is None or owner.place is None or not is_candidate(target.value):
            return
        line, only = self.statement or (None, False)
        whole = None
        if alone and only and line is not None and owner is self.scope:
            end = self.source.start(value) + len(self.code(value))
            whole = self.source.line_span(self.source.start(target), end)
        self.note(
            target,
            owner.place,
            target.value,
            "binding",
            value=self.code(value),
            statement=whole,
            chains=chains,
            outermost=self.depth == 0 and owner is self.scope,
            environ_at=calls.environ_gap(self, value),
        )

    def _remember(self, node: cst.Assign) -> None:
        """What a name stands for after `conf = app.conf`, `d = {…}`, `d = dict(…)`."""
        target = node.targets[0].target
        if not isinstance(target, cst.Name):
            return
        meaning = self.place(node.value)
        owner = self.scope.owner(target.value)
        if meaning is not None and owner is not None and meaning.path == "":
            owner.names[target.value] = meaning
        elif meaning is not None and isinstance(node.value, cst.Call) and self.scope.kind == "module":
            self.found.links.append(Link(Place(self.path, target.value), meaning))  # an instance of a class
        if isinstance(node.value, cst.Dict) or calls.is_dict_call(node.value):
            self._remember_dict(target.value, node.value, owner)

    def _remember_dict(self, name: str, value: cst.BaseExpression, owner: Scope | None) -> None:
        around = owner.place if owner else None
        inside = f"{around.name}.{name}" if around and around.name else name
        place = Place(self.path, inside if around else f"{name} in line {self.source.line(self.source.start(value))}")
        if owner is not None:
            owner.names[name] = place if owner.names.get(name) in {None, around} else owner.names[name]
        calls.note_contents(self, value, place)
        if name == "CELERY":
            self.found.links.append(Link(FLASK_CELERY, place))

    # Uses

    def visit_name(self, node: cst.Name) -> None:
        name = node.value
        if node in self.taken or not is_candidate(name):
            return
        owner = self.scope.owner(name)
        meaning = owner.names.get(name, owner.place) if owner else None
        if owner is None:
            self.note(node, Place(self.path), name, "name")
        elif isinstance(meaning, str) and owner.kind == "module" and meaning.endswith(f".{name}"):
            origin = self.modules.place(meaning.rpartition(".")[0], self.source.path)
            self.note(node, origin or Place(self.path), name, "name")
        elif owner.place is not None and not isinstance(meaning, str):
            self.note(node, owner.place, name, "name")

    def visit_attribute(self, node: cst.Attribute) -> None:
        self.visit(node.value)
        if not is_candidate(node.attr.value):
            return
        place = self.place(node.value)
        if place is not None:
            self.note(node.attr, place, node.attr.value, "attribute")

    def visit_subscript(self, node: cst.Subscript) -> None:
        place = self.place(node.value)
        index = node.slice[0].slice
        if place is not None and isinstance(index, cst.Index):
            self.note_string(index.value, place, "key")
        self.visit_children(node)

    def visit_comparison(self, node: cst.Comparison) -> None:
        operator = node.comparisons[0]
        if isinstance(operator.operator, cst.In | cst.NotIn):
            place = self.place(operator.comparator)
            if place is not None:
                self.note_string(node.left, place, "key")
        self.visit_children(node)

    def visit_call(self, node: cst.Call) -> None:
        calls.note_call(self, node)
        self.visit_children(node)

    def visit_string(self, node: cst.SimpleString) -> None:
        text = plain_text(node)
        if node not in self.taken and text and text.isidentifier() and is_candidate(text):
            self.found.strings.append((text, self.source.line(self.source.start(node))))

    # Notes

    def place(self, node: cst.CSTNode) -> Place | None:
        """What holds the settings an expression stands for; None if it is no such thing."""
        return self.meanings.place(self.scope, node)

    def note(
        self, node: cst.BaseExpression, place: Place, name: str, form: Form, *, after: int = 0, **more: object
    ) -> None:
        """A token that names a setting; it stands `after` so many characters of the node."""
        start = self.source.start(node) + sum(len(self.code(mark)) for mark in getattr(node, "lpar", ())) + after
        self.taken.add(node)
        known = {"place": place, "name": name, "start": start, "form": form, "line": self.source.line(start)}
        hidden = self.scope.hidden_names()
        self.found.uses.append(Use(**known, hidden=hidden, **more))  # type: ignore[arg-type]

    def note_string(self, node: cst.BaseExpression, place: Place, form: Form, **more: object) -> None:
        text = plain_text(node)
        if text and isinstance(node, cst.SimpleString) and is_candidate(text) and node not in self.taken:
            self.note(node, place, text, form, after=len(node.quote), **more)

    def code(self, node: cst.CSTNode) -> str:
        return self.source.tree.code_for_node(node)
