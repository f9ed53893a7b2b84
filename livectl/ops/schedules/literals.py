"""Evaluates expressions of Python source without running it.

It knows literals, constants of the module, arithmetic, timedelta, and the classes of celery.schedules.
"""

from __future__ import annotations

import ast
import operator
from collections import Counter
from datetime import timedelta
from typing import TYPE_CHECKING, Any

from livectl.errors import shorten
from livectl.ops.schedules.conditions import ASSUME_HINT, find_cure
from livectl.ops.schedules.conversion import CRONTAB_FIELDS, SOLAR_FIELDS, NotPortable, PortableTiming, crontab_timing

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

MAX_RANGE_VALUES = 60  # of a crontab field
MAX_SOURCE_CHARS = 50  # of an expression in a message
MUTATING_METHODS = frozenset(
    {"update", "pop", "popitem", "clear", "setdefault", "append", "extend", "insert", "remove"}
)
ARITHMETIC: dict[type, Callable[[Any, Any], Any]] = {
    ast.Add: operator.add,
    ast.Sub: operator.sub,
    ast.Mult: operator.mul,
    ast.Div: operator.truediv,
    ast.FloorDiv: operator.floordiv,
    ast.Mod: operator.mod,
}


def walk_in_order(node: ast.AST) -> Iterator[ast.AST]:
    yield node
    for child in ast.iter_child_nodes(node):
        yield from walk_in_order(child)


class Constants:
    """The names that a module sets once and for all, with their values, and why others are none."""

    def __init__(self, tree: ast.Module, conditions: Mapping[ast.AST, str], assumed: Mapping[str, Any]) -> None:
        self.imports = dict(_imports(tree))
        self.values: dict[str, ast.expr] = {}
        self.reasons: dict[str, str] = {}
        counts = Counter(name for node in ast.walk(tree) for name in _changed_names(node))
        for node in walk_in_order(tree):
            for name, value in _assigned(node):
                self.values[name] = value
                if condition := conditions.get(node, ""):
                    self.reasons[name] = f"{name} is set only {condition}: {find_cure(condition)}"
        for name in [name for name in self.values if counts[name] > 1]:
            self.reasons[name] = f"computed at run time: {name} is set more than once; {ASSUME_HINT}"
        for name, value in assumed.items():
            self.values[name] = ast.Constant(value)
            self.reasons.pop(name, None)

    def get(self, name: str) -> ast.expr | None:
        """The value of a constant; None for any other name."""
        return None if name in self.reasons else self.values.get(name)


def _assigned(node: ast.AST) -> Iterator[tuple[str, ast.expr]]:
    """The names that a statement sets, each with its value."""
    if isinstance(node, ast.Assign | ast.AnnAssign) and node.value is not None:
        for target in node.targets if isinstance(node, ast.Assign) else [node.target]:
            if isinstance(target, ast.Name):
                yield target.id, node.value


def _changed_names(node: ast.AST) -> Iterator[str]:
    """The names that a node binds, or whose value it changes in place."""
    if isinstance(node, ast.Name) and not isinstance(node.ctx, ast.Load):
        yield node.id
    elif isinstance(node, ast.arg):
        yield node.arg
    elif isinstance(node, ast.alias):
        yield (node.asname or node.name).split(".")[0]
    elif isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef | ast.ExceptHandler) and node.name:
        yield node.name
    elif isinstance(node, ast.Subscript | ast.Attribute) and not isinstance(node.ctx, ast.Load):
        yield root_name(node)
    elif isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.func.attr in MUTATING_METHODS:
        yield root_name(node.func)


def root_name(node: ast.expr) -> str:
    """The name at the beginning of `name.attribute["key"]`; empty where there is none."""
    while isinstance(node, ast.Attribute | ast.Subscript):
        node = node.value
    return node.id if isinstance(node, ast.Name) else ""


def _imports(tree: ast.Module) -> Iterator[tuple[str, str]]:
    """Imported names with the names in their modules; a class of this file is not taken for Celery's of that name."""
    for node in walk_in_order(tree):
        if isinstance(node, ast.ImportFrom):
            yield from ((alias.asname or alias.name, alias.name) for alias in node.names)
        elif isinstance(node, ast.ClassDef | ast.FunctionDef) and node.name in BUILDERS:
            yield node.name, f"{node.name} of this file"


class LiteralReader:
    """Evaluates expressions of one module."""

    def __init__(self, constants: Constants) -> None:
        self.constants = constants
        self.used_lines: set[int] = set()  # where the constants are set that were used
        self._evaluating: set[str] = set()  # names of constants, so that none is evaluated for its own value

    def value(self, node: ast.expr) -> Any:
        if isinstance(node, ast.Constant):
            return node.value
        if isinstance(node, ast.List | ast.Tuple | ast.Set):
            kind = {ast.List: list, ast.Tuple: tuple, ast.Set: set}[type(node)]
            return kind(self.value(item) for item in node.elts)
        if isinstance(node, ast.Dict):
            return dict(self._items(node))
        if isinstance(node, ast.Name):
            return self._constant(node)
        if isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.USub):
            return -self._number(node.operand)
        if isinstance(node, ast.BinOp) and type(node.op) in ARITHMETIC:
            return self._arithmetic(node)
        if isinstance(node, ast.Call):
            return self._call(node)
        raise NotPortable(f"computed at run time: {source_text(node)}")

    def _items(self, node: ast.Dict) -> list[tuple[Any, Any]]:
        items: list[tuple[Any, Any]] = []
        for key, value in zip(node.keys, node.values, strict=True):
            items += self.value(value).items() if key is None else [(self.value(key), self.value(value))]
        return items

    def _constant(self, node: ast.Name) -> Any:
        value = self.constants.get(node.id)
        if value is None or node.id in self._evaluating:
            raise NotPortable(self.constants.reasons.get(node.id, f"computed at run time: {node.id}"))
        self.used_lines.add(getattr(value, "lineno", 0))
        self._evaluating.add(node.id)
        try:
            return self.value(value)
        finally:
            self._evaluating.remove(node.id)

    def _number(self, node: ast.expr) -> Any:
        value = self.value(node)
        if isinstance(value, int | float | timedelta):
            return value
        raise NotPortable(f"not a number: {source_text(node)}")

    def _arithmetic(self, node: ast.BinOp) -> Any:
        left, right = self.value(node.left), self.value(node.right)
        are_texts = isinstance(left, str) and isinstance(right, str) and isinstance(node.op, ast.Add)
        are_numbers = all(isinstance(operand, int | float | timedelta) for operand in (left, right))
        if not (are_texts or are_numbers):
            raise NotPortable(f"computed at run time: {source_text(node)}")
        try:
            return ARITHMETIC[type(node.op)](left, right)
        except (ArithmeticError, TypeError) as error:
            raise NotPortable(f"{source_text(node)}: {error}") from None

    def _call(self, node: ast.Call) -> Any:
        name = self._called_name(node.func)
        if name not in BUILDERS:
            raise NotPortable(f"{source_text(node.func)} is not one of Celery's schedules, nor a plain value")
        args = [self.value(argument) for argument in node.args]
        kwargs = {
            keyword.arg: self.value(keyword.value) for keyword in node.keywords if keyword.arg not in {None, "app"}
        }
        if any(keyword.arg is None for keyword in node.keywords):
            raise NotPortable(f"computed at run time: {source_text(node)}")
        try:
            return BUILDERS[name](*args, **kwargs)
        except (TypeError, ValueError, OverflowError) as error:
            raise NotPortable(str(error)) from None

    def _called_name(self, node: ast.expr) -> str:
        """The name of a function where it is defined; a class of this file is not taken for Celery's of that name."""
        if isinstance(node, ast.Attribute):
            return node.attr
        name = node.id if isinstance(node, ast.Name) else ""
        return self.constants.imports.get(name, name)


def _build_crontab(*args: Any, **kwargs: Any) -> PortableTiming:
    given = dict(zip(CRONTAB_FIELDS, args, strict=False)) | kwargs
    for key in given.keys() - set(CRONTAB_FIELDS):
        raise NotPortable(f"crontab: {key} cannot be said in YAML")
    return crontab_timing(given)


def _build_range(*bounds: int) -> range:
    values = range(*bounds)
    if len(values) > MAX_RANGE_VALUES:
        raise NotPortable("a range of so many values is no field of a crontab")
    return values


def _build_solar(*args: Any, **kwargs: Any) -> PortableTiming:
    given = dict(zip(SOLAR_FIELDS, args, strict=False)) | kwargs
    for key in given.keys() ^ set(SOLAR_FIELDS):
        raise NotPortable(f"solar: {key} cannot be said in YAML" if key in given else f"solar: no {key}")
    return PortableTiming("solar", {key: given[key] for key in SOLAR_FIELDS})


def _build_interval(run_every: Any = None, relative: Any = False, nowfun: Any = None) -> PortableTiming:  # noqa: FBT002
    if isinstance(run_every, PortableTiming) and run_every.key == "every":
        run_every = run_every.value
    if isinstance(run_every, timedelta):
        run_every = run_every.total_seconds()
    if not isinstance(run_every, int | float) or nowfun is not None:
        raise NotPortable("schedule: not a number of seconds")
    return PortableTiming("every", float(run_every), relative=bool(relative))


BUILDERS: dict[str, Callable[..., Any]] = {
    "timedelta": timedelta,
    "crontab": _build_crontab,
    "solar": _build_solar,
    "schedule": _build_interval,
    "maybe_schedule": lambda run_every, relative=False: _build_interval(run_every, relative),
    "dict": dict,
    "list": list,
    "tuple": tuple,
    "set": set,
    "range": _build_range,
}


def source_text(node: ast.expr) -> str:
    return shorten(ast.unparse(node), MAX_SOURCE_CHARS)
