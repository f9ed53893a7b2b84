"""Python expressions whose value can be read off the source: literals, arithmetic, timedelta, Celery's schedules."""

from __future__ import annotations

import ast
import operator
from datetime import timedelta
from typing import TYPE_CHECKING, Any

from livectl.ops.schedules.porting.brought import CannotSay, When

if TYPE_CHECKING:
    from collections.abc import Callable

CRONTAB_FIELDS = ("minute", "hour", "day_of_week", "day_of_month", "month_of_year")
SOLAR_FIELDS = ("event", "lat", "lon")
CALLS = {"timedelta", "crontab", "schedule", "solar", "dict", "list", "tuple", "set", "range", "maybe_schedule"}
LONGEST_RANGE = 60  # a crontab field has no more values
ARITHMETIC: dict[type, Callable[[Any, Any], Any]] = {
    ast.Add: operator.add,
    ast.Sub: operator.sub,
    ast.Mult: operator.mul,
    ast.Div: operator.truediv,
    ast.FloorDiv: operator.floordiv,
    ast.Mod: operator.mod,
}


class Reader:
    """Evaluates expressions of one module, with the constants and imports of that module."""

    def __init__(self, constants: dict[str, ast.expr], imports: dict[str, str]) -> None:
        self.constants = constants
        self.imports = imports
        self._busy: set[str] = set()

    def value(self, node: ast.expr) -> Any:
        if isinstance(node, ast.Constant):
            return node.value
        if isinstance(node, ast.List | ast.Tuple | ast.Set):
            kind = {ast.List: list, ast.Tuple: tuple, ast.Set: set}[type(node)]
            return kind(self.value(each) for each in node.elts)
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
        raise CannotSay(f"computed at run time: {_source(node)}")

    def _items(self, node: ast.Dict) -> list[tuple[Any, Any]]:
        found: list[tuple[Any, Any]] = []
        for key, value in zip(node.keys, node.values, strict=True):
            found += self.value(value).items() if key is None else [(self.value(key), self.value(value))]
        return found

    def _constant(self, node: ast.Name) -> Any:
        if node.id not in self.constants or node.id in self._busy:
            raise CannotSay(f"computed at run time: {node.id}")
        self._busy.add(node.id)
        try:
            return self.value(self.constants[node.id])
        finally:
            self._busy.remove(node.id)

    def _number(self, node: ast.expr) -> Any:
        value = self.value(node)
        if isinstance(value, int | float | timedelta):
            return value
        raise CannotSay(f"not a number: {_source(node)}")

    def _arithmetic(self, node: ast.BinOp) -> Any:
        left, right = self.value(node.left), self.value(node.right)
        texts = isinstance(left, str) and isinstance(right, str) and isinstance(node.op, ast.Add)
        numbers = all(isinstance(side, int | float | timedelta) for side in (left, right))
        if not (texts or numbers):
            raise CannotSay(f"computed at run time: {_source(node)}")
        try:
            return ARITHMETIC[type(node.op)](left, right)
        except (ArithmeticError, TypeError) as error:
            raise CannotSay(f"{_source(node)}: {error}") from None

    def _call(self, node: ast.Call) -> Any:
        name = self._called(node.func)
        if name not in CALLS:
            raise CannotSay(f"{_source(node.func)} is not one of Celery's schedules, nor a plain value")
        args = [self.value(each) for each in node.args]
        words = {word.arg: self.value(word.value) for word in node.keywords if word.arg not in {None, "app"}}
        if any(word.arg is None for word in node.keywords):
            raise CannotSay(f"computed at run time: {_source(node)}")
        try:
            return BUILDERS[name](*args, **words)
        except (TypeError, ValueError, OverflowError) as error:
            raise CannotSay(str(error)) from None

    def _called(self, node: ast.expr) -> str:
        """The name something was imported under; a class of the module itself has none of ours."""
        if isinstance(node, ast.Attribute):
            return node.attr
        name = node.id if isinstance(node, ast.Name) else ""
        return self.imports.get(name, name)


def crontab(*args: Any, **words: Any) -> When:
    """Celery's fields, as they are given; one that is left out is `*`."""
    given = dict(zip(CRONTAB_FIELDS, args, strict=False)) | words
    for key in given.keys() - set(CRONTAB_FIELDS):
        raise CannotSay(f"crontab: {key} cannot be said in YAML")
    fields = {key: field(given[key]) for key in CRONTAB_FIELDS if given.get(key, "*") != "*"}
    return When("crontab", fields or {"minute": "*"})


def short_range(*bounds: int) -> range:
    found = range(*bounds)
    if len(found) > LONGEST_RANGE:
        raise CannotSay("a range of so many values is no field of a crontab")
    return found


def field(value: Any) -> Any:
    if isinstance(value, set | frozenset):
        value = sorted(value)
    return list(value) if isinstance(value, list | tuple | range) else value


def solar(*args: Any, **words: Any) -> When:
    given = dict(zip(SOLAR_FIELDS, args, strict=False)) | words
    for key in given.keys() ^ set(SOLAR_FIELDS):
        raise CannotSay(f"solar: {key} cannot be said in YAML" if key in given else f"solar: no {key}")
    return When("solar", {key: given[key] for key in SOLAR_FIELDS})


def schedule(run_every: Any = None, relative: Any = False, nowfun: Any = None) -> When:  # noqa: FBT002
    if isinstance(run_every, timedelta):
        run_every = run_every.total_seconds()
    if not isinstance(run_every, int | float) or nowfun is not None:
        raise CannotSay("schedule: not a number of seconds")
    return When("every", float(run_every), relative=bool(relative))


BUILDERS: dict[str, Callable[..., Any]] = {
    "timedelta": timedelta,
    "crontab": crontab,
    "solar": solar,
    "schedule": schedule,
    "maybe_schedule": lambda said, relative=False: schedule(said, relative),
    "dict": dict,
    "list": list,
    "tuple": tuple,
    "set": set,
    "range": short_range,
}


def _source(node: ast.expr) -> str:
    text = ast.unparse(node)
    return text if len(text) <= 50 else f"{text[:49]}…"
