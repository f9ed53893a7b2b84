"""Knows under which condition a statement of Python source runs, and which branches an assumed value decides."""

from __future__ import annotations

import ast
import re
from typing import TYPE_CHECKING, Any

from livectl.errors import UsageError, shorten

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

IMPORT_HINT = "import with -A"
ASSUME_HINT = f"say --assume NAME=VALUE of what it asks, or {IMPORT_HINT}"
NO_QUESTION = re.compile(r"in a (loop|match) in line \d|if (nothing fails in )?line \d|never, behind line \d")
ENVIRONMENT_READERS = {"os.environ.get", "environ.get", "os.getenv", "getenv"}
ENVIRONMENTS = {"os.environ", "environ"}
MAX_CONDITION_CHARS = 60
LOOPS = (ast.For, ast.AsyncFor, ast.While)
COMPARISONS = {ast.Eq: lambda a, b: a == b, ast.NotEq: lambda a, b: a != b, ast.Is: lambda a, b: a is b,
               ast.IsNot: lambda a, b: a is not b}  # fmt: skip
UNKNOWN = object()


def parse_assumed(words: Iterable[str]) -> dict[str, Any]:
    """The values of `NAME=VALUE`: Python literals, or text."""
    assumed = {}
    for word in words:
        name, equals, text = word.partition("=")
        if not equals or not all(part.isidentifier() for part in name.split(".")):
            raise UsageError(f"--assume {word!r} is not NAME=VALUE", "Say --assume DEBUG=False.")
        try:
            assumed[name] = ast.literal_eval(text)
        except (ValueError, SyntaxError):
            assumed[name] = text
    return assumed


def find_cure(condition: str) -> str:
    """What decides a condition: an assumed value, where it asks for one."""
    return IMPORT_HINT if NO_QUESTION.search(condition) else ASSUME_HINT


def prune(tree: ast.Module, assumed: Mapping[str, Any]) -> ast.Module:
    """The module with each `if` that the assumed values decide replaced by the branch that runs."""
    return tree if not assumed else ast.fix_missing_locations(_Pruner(assumed).visit(tree))


def find_conditions(tree: ast.Module) -> dict[ast.AST, str]:
    """For each node that need not run exactly once, when it runs, in words."""
    conditions: dict[ast.AST, str] = {}

    def mark(nodes: Iterable[ast.AST], condition: str) -> None:
        for node in nodes:
            conditions[node] = condition
            visit(node, condition)
            if after := _condition_after(node):
                condition = f"{condition}, {after}" if condition else after

    def visit(node: ast.AST, condition: str) -> None:
        parts = _conditional_parts(node)
        inside = {child for nodes, _ in parts for child in nodes}
        mark((child for child in ast.iter_child_nodes(node) if child not in inside), condition)
        for nodes, own in parts:
            mark(nodes, f"{condition}, {own}" if condition else own)

    visit(tree, "")
    return conditions


def _conditional_parts(node: ast.AST) -> list[tuple[list[Any], str]]:
    """The children of a node that may not run, or run more than once, each with the words for it."""
    if isinstance(node, ast.If):
        test = _short(node.test)
        return [(node.body, f"if {test}"), (node.orelse, f"unless {test}")]
    if isinstance(node, ast.IfExp):
        test = _short(node.test)
        return [([node.body], f"if {test}"), ([node.orelse], f"unless {test}")]
    if isinstance(node, LOOPS):
        return [([*node.body, *node.orelse], f"in a loop in line {node.lineno}")]
    if isinstance(node, ast.Try):
        handled = [child for handler in node.handlers for child in handler.body]
        passed = f"if nothing fails in line {node.lineno}"
        return [([*node.body, *node.orelse], passed), (handled, f"if line {node.lineno} fails")]
    if isinstance(node, ast.BoolOp):
        word = "if" if isinstance(node.op, ast.And) else "unless"
        return [(node.values[1:], f"{word} {_short(node.values[0])}")]
    if isinstance(node, ast.Match):
        return [([case], f"in a match in line {node.lineno}") for case in node.cases]
    return []


def _condition_after(node: ast.AST) -> str:
    """When the statements behind this one run: a function may have returned before."""
    if isinstance(node, ast.Return):
        return f"never, behind line {node.lineno}"
    if not isinstance(node, ast.If) or not (_returns(node.body) or _returns(node.orelse)):
        return ""
    return f"{'unless' if _returns(node.body) else 'if'} {_short(node.test)}"


def _returns(statements: list[ast.stmt]) -> bool:
    return any(isinstance(part, ast.Return) for statement in statements for part in ast.walk(statement))


class _Pruner(ast.NodeTransformer):
    def __init__(self, assumed: Mapping[str, Any]) -> None:
        self.assumed = assumed

    def visit_If(self, node: ast.If) -> Any:
        self.generic_visit(node)
        value = self._value(node.test)
        if value is UNKNOWN:
            return node
        return (node.body if value else node.orelse) or ast.copy_location(ast.Pass(), node)

    def visit_IfExp(self, node: ast.IfExp) -> Any:
        self.generic_visit(node)
        value = self._value(node.test)
        return node if value is UNKNOWN else node.body if value else node.orelse

    def _value(self, node: ast.expr) -> Any:
        """What a condition comes to; UNKNOWN where the assumed values do not decide it."""
        if isinstance(node, ast.Constant):
            return node.value
        if isinstance(node, ast.Name | ast.Attribute):
            return self.assumed.get(ast.unparse(node), UNKNOWN)
        if (variable := _environment_variable(node)) in self.assumed:
            return _as_in_environment(self.assumed[variable])
        if isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.Not):
            value = self._value(node.operand)
            return UNKNOWN if value is UNKNOWN else not value
        if isinstance(node, ast.Compare) and len(node.ops) == 1 and type(node.ops[0]) in COMPARISONS:
            sides = self._value(node.left), self._value(node.comparators[0])
            return UNKNOWN if UNKNOWN in sides else COMPARISONS[type(node.ops[0])](*sides)  # type: ignore[no-untyped-call]
        if isinstance(node, ast.BoolOp):
            values = [self._value(value) for value in node.values]
            is_and = isinstance(node.op, ast.And)
            if any(value is not UNKNOWN and bool(value) != is_and for value in values):
                return not is_and  # one of them decides, whatever the others are
            return UNKNOWN if UNKNOWN in values else is_and
        return UNKNOWN


def _environment_variable(node: ast.expr) -> str:
    """The variable that an expression reads from the environment; empty where it reads none."""
    name: ast.expr | None = None
    if isinstance(node, ast.Call) and node.args and ast.unparse(node.func) in ENVIRONMENT_READERS:
        name = node.args[0]
    elif isinstance(node, ast.Subscript) and ast.unparse(node.value) in ENVIRONMENTS:
        name = node.slice
    return name.value if isinstance(name, ast.Constant) and isinstance(name.value, str) else ""


def _as_in_environment(value: Any) -> Any:
    """Text, as all there is; whether a variable that holds `False` counts as true is for the code to say."""
    return UNKNOWN if isinstance(value, bool) else "" if value is None else str(value)


def _short(node: ast.expr) -> str:
    return shorten(ast.unparse(node), MAX_CONDITION_CHARS)
