"""Reads Celery's schedules from Python source without running it.

It evaluates what can be read off the source: literals, constants of the module, arithmetic, timedelta, and the classes
of celery.schedules. Everything else is left out, with its line.
"""

from __future__ import annotations

import ast
import io
import operator
import tokenize
from datetime import timedelta
from typing import TYPE_CHECKING, Any

from livectl.errors import FileError, Mistake
from livectl.ops.schedules.conditions import ASSUME_HINT, find_conditions, prune
from livectl.ops.schedules.conversion import (
    CRONTAB_FIELDS,
    WHOLE_SCHEDULE,
    ImportedSchedule,
    NotPortable,
    PortableEntry,
    PortableTiming,
    PortingNote,
    crontab_timing,
    portable_keys,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping
    from pathlib import Path


SOLAR_FIELDS = ("event", "lat", "lon")
MAX_RANGE_VALUES = 60  # of a crontab field
MAX_SOURCE_CHARS = 50  # of an expression in a message
SCHEDULE_NAMES = ("CELERYBEAT_SCHEDULE", "beat_schedule")
DJANGO_ZONE = "TIME_ZONE"
ARITHMETIC: dict[type, Callable[[Any, Any], Any]] = {
    ast.Add: operator.add,
    ast.Sub: operator.sub,
    ast.Mult: operator.mul,
    ast.Div: operator.truediv,
    ast.FloorDiv: operator.floordiv,
    ast.Mod: operator.mod,
}


def read(path: Path, name: str, assumed: Mapping[str, Any] | None = None) -> ImportedSchedule:
    """The entries that a file puts into a `beat_schedule`, under any of the names of that setting.

    `assumed` are values of names that conditions ask for; an entry under any other condition is left out.
    """
    try:
        data = path.read_bytes()
        encoding, _ = tokenize.detect_encoding(io.BytesIO(data).readline)
        text = data.decode(encoding)
        tree = ast.parse(data)
    except OSError as error:
        raise FileError([Mistake(name, 1, 1, f"cannot be read: {error.strerror}")]) from error
    except SyntaxError as error:
        raise FileError([Mistake(name, error.lineno or 1, error.offset or 1, f"not Python: {error.msg}")]) from error
    except (ValueError, RecursionError) as error:
        raise FileError([Mistake(name, 1, 1, "not Python that can be read")]) from error
    return _ScheduleFinder(tree, text, name, dict(assumed or {})).find()


class _ScheduleFinder:
    """Finds assignments to a schedule in the tree of a module, and updates of it, in the order of the source."""

    def __init__(self, tree: ast.Module, text: str, name: str, assumed: dict[str, Any]) -> None:
        self.tree = prune(tree, assumed)
        self.conditions = find_conditions(self.tree)
        self.condition = ""  # under which the statement being visited runs
        self.comments = _read_comments(text)
        self.name = name
        constants, imports = _constants_and_imports(self.tree)
        constants |= {name: ast.Constant(value) for name, value in assumed.items()}
        self.reader = _LiteralReader(constants, imports)
        self.entries: dict[str, PortableEntry] = {}
        self.left_out: list[PortingNote] = []
        self.has_schedule = False

    def find(self) -> ImportedSchedule:
        for node in _walk_in_order(self.tree):
            self.condition = self.conditions.get(node, "")
            self._visit(node)
        if not self.has_schedule:
            hint = "-A proj asks the app, if it is put together when that is imported."
            raise FileError([Mistake(self.name, 1, 1, "sets no beat_schedule and no CELERYBEAT_SCHEDULE")], hint)
        return ImportedSchedule(
            origin=self.name, timezone=self._find_zone(), entries=list(self.entries.values()), left=self.left_out
        )

    def _visit(self, node: ast.AST) -> None:
        if isinstance(node, ast.Assign | ast.AnnAssign) and node.value is not None:
            for target in node.targets if isinstance(node, ast.Assign) else [node.target]:
                self._visit_assignment(target, node.value)
        elif isinstance(node, ast.AugAssign) and _is_schedule(node.target):
            self._add_mapping(node.value)
        elif isinstance(node, ast.Call):
            self._visit_call(node)
        elif isinstance(node, ast.Delete):
            for target in node.targets:
                self._drop_changed(target)
        elif isinstance(node, ast.Dict):
            for key, value in zip(node.keys, node.values, strict=True):
                if isinstance(key, ast.Constant) and _is_schedule_name(key.value):
                    self._add_mapping(value)

    def _visit_assignment(self, target: ast.expr, value: ast.expr) -> None:
        if _is_schedule(target):
            self._replace_all(value)
        elif isinstance(target, ast.Subscript) and _is_schedule(target.value):
            self.has_schedule = True
            self._add_entry(target.slice, value)
        elif isinstance(target, ast.Subscript):
            self._drop_changed(target.value)

    def _drop_changed(self, target: ast.expr, key: ast.expr | None = None) -> None:
        """Leaves out an entry that a later line takes away or changes; all of them where its name is computed."""
        if key is None:
            while isinstance(target, ast.Subscript) and not _is_schedule(target.value):
                target = target.value
            if not isinstance(target, ast.Subscript):
                return
            key = target.slice
        named = key.value if isinstance(key, ast.Constant) else None
        for name in [name for name in self.entries if named in {None, name}]:
            entry = self.entries.pop(name)
            why = f"changed or taken out by line {key.lineno}: import with -A"
            self.left_out.append(PortingNote(name=name, line=entry.line, why=why))

    def _visit_call(self, node: ast.Call) -> None:
        if isinstance(node.func, ast.Attribute):
            if node.func.attr == "update" and _is_schedule(node.func.value):
                for argument in node.args:
                    self._add_mapping(argument)
            elif node.func.attr in {"pop", "popitem", "clear", "setdefault"} and _is_schedule(node.func.value):
                self._drop_changed(node.func.value, node.args[0] if node.args else node.func.value)
            elif node.func.attr == "add_periodic_task":
                self._add_periodic_task(node)
        for keyword in node.keywords:
            if _is_schedule_name(keyword.arg):
                self._add_mapping(keyword.value)

    def _add_periodic_task(self, node: ast.Call) -> None:
        """Leaves out a call of `add_periodic_task`."""
        self.has_schedule = True
        values = [keyword.value for keyword in node.keywords if keyword.arg == "name"]
        names = [value.value for value in values if isinstance(value, ast.Constant) and isinstance(value.value, str)]
        reason = "add_periodic_task names its task at run time: import with -A"
        name = names[0] if names else "add_periodic_task"
        self.left_out.append(PortingNote(name=name, line=node.lineno, why=reason))

    def _replace_all(self, node: ast.expr) -> None:
        """A whole schedule that is set anew: what was set before is gone, or under a condition may be."""
        earlier = [*self.entries.values()]
        self.entries.clear()
        if self.condition:
            why = f"set anew {self.condition}: {ASSUME_HINT}"
            self.left_out += [PortingNote(name=entry.name, line=entry.line, why=why) for entry in earlier]
        else:
            self.left_out.clear()
        self._add_mapping(node)

    def _add_mapping(self, node: ast.expr) -> None:
        """Adds the entries of a mapping."""
        self.has_schedule = True
        if isinstance(node, ast.Name) and node.id in self.reader.constants:
            node = self.reader.constants[node.id]
        if isinstance(node, ast.Dict):
            for key, value in zip(node.keys, node.values, strict=True):
                self._add_mapping(value) if key is None else self._add_entry(key, value)
        elif isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "dict":
            for keyword in node.keywords:
                self._add_mapping(keyword.value) if keyword.arg is None else self._add_entry(
                    ast.Constant(keyword.arg), keyword.value
                )
        else:
            reason = f"computed at run time: {ast.unparse(node)[:MAX_SOURCE_CHARS]}; import with -A"
            self.left_out.append(PortingNote(name=WHOLE_SCHEDULE, line=node.lineno, why=reason))

    def _add_entry(self, key: ast.expr, value: ast.expr) -> None:
        line = getattr(key, "lineno", value.lineno)
        name = ast.unparse(key)
        try:
            name = ast.unparse(key) if self.condition.startswith("in a loop") else self.reader.value(key)
            if not isinstance(name, str):
                raise NotPortable("its name is no text")
            if self.condition:
                raise NotPortable(f"only {self.condition}: {ASSUME_HINT}")
            keys = portable_keys(self.reader.value(value))
        except NotPortable as error:
            self.entries.pop(name, None)
            self.left_out.append(PortingNote(name=str(name), line=line, why=str(error)))
            return
        self.left_out = [note for note in self.left_out if note.name != name]  # this assignment replaces an earlier one
        comments = tuple(self._entry_comments(line, value.end_lineno or line))
        self.entries[name] = PortableEntry(name=name, line=line, keys=keys, comments=comments)

    def _entry_comments(self, first: int, last: int) -> Iterator[str]:
        """The comments right above an entry, inside it and behind it."""
        start = first
        while self.comments.get(start - 1, ("", False))[1]:
            start -= 1
        yield from (self.comments[line][0] for line in range(start, last + 1) if line in self.comments)

    def _find_zone(self) -> str:
        """Celery's time zone if it is set, else Django's. UTC stands in for one that is computed."""
        assignments = sorted(_zone_assignments(self.tree), key=lambda pair: pair[0] == DJANGO_ZONE)
        if not assignments:
            return "UTC"
        name, node = assignments[0]
        if isinstance(node, ast.Constant):
            return "UTC" if node.value is None else str(node.value)
        reason = "computed at run time: put its value in timezone:"
        self.left_out.append(PortingNote(name=name, line=node.lineno, why=reason))
        return "UTC"


def _zone_assignments(tree: ast.Module) -> Iterator[tuple[str, ast.expr]]:
    for node in _walk_in_order(tree):
        if isinstance(node, ast.Assign) and _is_zone(_last_name(node.targets[0])):
            yield str(_last_name(node.targets[0])), node.value
        elif isinstance(node, ast.keyword) and _is_zone(node.arg):
            yield str(node.arg), node.value


def _constants_and_imports(tree: ast.Module) -> tuple[dict[str, ast.expr], dict[str, str]]:
    """The names that a module sets once, with their values; and imported names, with the names in their modules."""
    values: dict[str, ast.expr] = {}
    reassigned: set[str] = set()
    imports = {}
    for node in _walk_in_order(tree):
        if isinstance(node, ast.ImportFrom):
            imports.update({alias.asname or alias.name: alias.name for alias in node.names})
        elif isinstance(node, ast.ClassDef | ast.FunctionDef) and node.name in BUILDERS:
            imports[node.name] = f"{node.name} of this file"
        elif isinstance(node, ast.Assign | ast.AnnAssign | ast.AugAssign | ast.For):
            targets = node.targets if isinstance(node, ast.Assign) else [node.target]
            for name in (child.id for target in targets for child in ast.walk(target) if isinstance(child, ast.Name)):
                reassigned.update({name} if name in values else ())
                value = node.value if isinstance(node, ast.Assign | ast.AnnAssign) else None
                values[name] = value if value is not None else ast.Name("a loop", lineno=node.lineno)
    return {name: value for name, value in values.items() if name not in reassigned}, imports


def _read_comments(text: str) -> dict[int, tuple[str, bool]]:
    """The comment of each line, and whether the line holds nothing else."""
    comments = {}
    for token in tokenize.generate_tokens(io.StringIO(text).readline):
        if token.type == tokenize.COMMENT:
            alone = not token.line[: token.start[1]].strip()
            comments[token.start[0]] = (token.string.lstrip("#").strip(), alone)
    return comments


def _walk_in_order(node: ast.AST) -> Iterator[ast.AST]:
    yield node
    for child in ast.iter_child_nodes(node):
        yield from _walk_in_order(child)


def _is_schedule(node: ast.expr) -> bool:
    return _is_schedule_name(_last_name(node))


def _is_schedule_name(name: Any) -> bool:
    return isinstance(name, str) and (name in SCHEDULE_NAMES or name.endswith("_BEAT_SCHEDULE"))


def _is_zone(name: Any) -> bool:
    return isinstance(name, str) and (name in {"timezone", DJANGO_ZONE} or name.endswith("_TIMEZONE"))


def _last_name(node: ast.expr) -> Any:
    if isinstance(node, ast.Subscript):
        return node.slice.value if isinstance(node.slice, ast.Constant) else None
    return node.attr if isinstance(node, ast.Attribute) else getattr(node, "id", None)


class _LiteralReader:
    """Evaluates expressions of one module, with the constants and imports of that module."""

    def __init__(self, constants: dict[str, ast.expr], imports: dict[str, str]) -> None:
        self.constants = constants
        self.imports = imports
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
        if name not in BUILDERS:
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
        """The name of a function where it is defined; a class of this file is not taken for Celery's of that name."""
        if isinstance(node, ast.Attribute):
            return node.attr
        name = node.id if isinstance(node, ast.Name) else ""
        return self.imports.get(name, name)


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


def _source_text(node: ast.expr) -> str:
    text = ast.unparse(node)
    return text if len(text) <= MAX_SOURCE_CHARS else f"{text[: MAX_SOURCE_CHARS - 1]}…"
