"""Python expressions whose value can be read off the source: literals, arithmetic, timedelta, Celery's schedules."""

from __future__ import annotations

import ast
import operator
from datetime import timedelta
from typing import TYPE_CHECKING, Any

from livectl.ops.schedules.porting.brought import NotPortable, PortableTiming

if TYPE_CHECKING:
    from collections.abc import Callable

CRONTAB_FIELDS = ("minute", "hour", "day_of_week", "day_of_month", "month_of_year")
SOLAR_FIELDS = ("event", "lat", "lon")
KNOWN_CALLS = {"timedelta", "crontab", "schedule", "solar", "dict", "list", "tuple", "set", "range", "maybe_schedule"}
MAX_RANGE_VALUES = 60  # a crontab field has no more values
ARITHMETIC: dict[type, Callable[[Any, Any], Any]] = {
    ast.Add: operator.add,
    ast.Sub: operator.sub,
    ast.Mult: operator.mul,
    ast.Div: operator.truediv,
    ast.FloorDiv: operator.floordiv,
    ast.Mod: operator.mod,
}


class LiteralReader:
    """Evaluates expressions of one module, with the constants and imports of that module."""

    def __init__(self, constants: dict[str, ast.expr], imports: dict[str, str]) -> None:
        self.constants = constants
        self.imports = imports
        self._evaluating: set[str] = set()

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
        raise NotPortable(f"computed at run time: {_source_text(node)}")

    def _items(self, node: ast.Dict) -> list[tuple[Any, Any]]:
        items: list[tuple[Any, Any]] = []
        for key, value in zip(node.keys, node.values, strict=True):
            items += self.value(value).items() if key is None else [(self.value(key), self.value(value))]
        return items

    def _constant(self, node: ast.Name) -> Any:
        if node.id not in self.constants or node.id in self._evaluating:
            raise NotPortable(f"computed at run time: {node.id}")
        self._evaluating.add(node.id)
        try:
            return self.value(self.constants[node.id])
        finally:
            self._evaluating.remove(node.id)

    def _number(self, node: ast.expr) -> Any:
        value = self.value(node)
        if isinstance(value, int | float | timedelta):
            return value
        raise NotPortable(f"not a number: {_source_text(node)}")

    def _arithmetic(self, node: ast.BinOp) -> Any:
        left, right = self.value(node.left), self.value(node.right)
        are_texts = isinstance(left, str) and isinstance(right, str) and isinstance(node.op, ast.Add)
        are_numbers = all(isinstance(operand, int | float | timedelta) for operand in (left, right))
        if not (are_texts or are_numbers):
            raise NotPortable(f"computed at run time: {_source_text(node)}")
        try:
            return ARITHMETIC[type(node.op)](left, right)
        except (ArithmeticError, TypeError) as error:
            raise NotPortable(f"{_source_text(node)}: {error}") from None

    def _call(self, node: ast.Call) -> Any:
        name = self._called_name(node.func)
        if name not in KNOWN_CALLS:
            raise NotPortable(f"{_source_text(node.func)} is not one of Celery's schedules, nor a plain value")
        args = [self.value(argument) for argument in node.args]
        kwargs = {
            keyword.arg: self.value(keyword.value) for keyword in node.keywords if keyword.arg not in {None, "app"}
        }
        if any(keyword.arg is None for keyword in node.keywords):
            raise NotPortable(f"computed at run time: {_source_text(node)}")
        try:
            return BUILDERS[name](*args, **kwargs)
        except (TypeError, ValueError, OverflowError) as error:
            raise NotPortable(str(error)) from None

    def _called_name(self, node: ast.expr) -> str:
        """The name something was imported under; a class of the module itself has none of ours."""
        if isinstance(node, ast.Attribute):
            return node.attr
        name = node.id if isinstance(node, ast.Name) else ""
        return self.imports.get(name, name)


def build_crontab(*args: Any, **kwargs: Any) -> PortableTiming:
    """Celery's fields, as they are given; one that is left out is `*`."""
    given = dict(zip(CRONTAB_FIELDS, args, strict=False)) | kwargs
    for key in given.keys() - set(CRONTAB_FIELDS):
        raise NotPortable(f"crontab: {key} cannot be said in YAML")
    fields = {key: field_value(given[key]) for key in CRONTAB_FIELDS if given.get(key, "*") != "*"}
    return PortableTiming("crontab", fields or {"minute": "*"})


def build_range(*bounds: int) -> range:
    values = range(*bounds)
    if len(values) > MAX_RANGE_VALUES:
        raise NotPortable("a range of so many values is no field of a crontab")
    return values


def field_value(value: Any) -> Any:
    if isinstance(value, set | frozenset):
        value = sorted(value)
    return list(value) if isinstance(value, list | tuple | range) else value


def build_solar(*args: Any, **kwargs: Any) -> PortableTiming:
    given = dict(zip(SOLAR_FIELDS, args, strict=False)) | kwargs
    for key in given.keys() ^ set(SOLAR_FIELDS):
        raise NotPortable(f"solar: {key} cannot be said in YAML" if key in given else f"solar: no {key}")
    return PortableTiming("solar", {key: given[key] for key in SOLAR_FIELDS})


def build_interval(run_every: Any = None, relative: Any = False, nowfun: Any = None) -> PortableTiming:  # noqa: FBT002
    if isinstance(run_every, timedelta):
        run_every = run_every.total_seconds()
    if not isinstance(run_every, int | float) or nowfun is not None:
        raise NotPortable("schedule: not a number of seconds")
    return PortableTiming("every", float(run_every), relative=bool(relative))


BUILDERS: dict[str, Callable[..., Any]] = {
    "timedelta": timedelta,
    "crontab": build_crontab,
    "solar": build_solar,
    "schedule": build_interval,
    "maybe_schedule": lambda run_every, relative=False: build_interval(run_every, relative),
    "dict": dict,
    "list": list,
    "tuple": tuple,
    "set": set,
    "range": build_range,
}


def _source_text(node: ast.expr) -> str:
    text = ast.unparse(node)
    return text if len(text) <= 50 else f"{text[:49]}…"
