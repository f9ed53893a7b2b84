"""A `beat_schedule` in Python source, read without running it, comments included."""

from __future__ import annotations

import ast
import io
import tokenize
from typing import TYPE_CHECKING, Any

from livectl.errors import FileError, Mistake
from livectl.ops.schedules.porting.brought import CannotSay, Entry, Import, LeftOut, keys_of
from livectl.ops.schedules.porting.literals import CALLS, Reader

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

SCHEDULE_NAMES = ("CELERYBEAT_SCHEDULE", "beat_schedule")
DJANGO_ZONE = "TIME_ZONE"
WHOLE = "(all of it)"


def read(path: Path, name: str) -> Import:
    """Everything that the file puts in a `beat_schedule`, whatever that is called there."""
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
    return _Finder(tree, text, name).find()


class _Finder:
    def __init__(self, tree: ast.Module, text: str, name: str) -> None:
        self.tree = tree
        self.comments = _comments(text)
        self.name = name
        constants, imports = _names(tree)
        self.reader = Reader(constants, imports)
        self.entries: dict[str, Entry] = {}
        self.left: list[LeftOut] = []
        self.seen = False

    def find(self) -> Import:
        for node in _in_order(self.tree):
            self._look(node)
        if not self.seen:
            hint = "-A proj asks the app, if it is put together when that is imported."
            raise FileError([Mistake(self.name, 1, 1, "sets no beat_schedule and no CELERYBEAT_SCHEDULE")], hint)
        return Import(origin=self.name, timezone=self._zone(), entries=list(self.entries.values()), left=self.left)

    def _look(self, node: ast.AST) -> None:
        if isinstance(node, ast.Assign | ast.AnnAssign) and node.value is not None:
            for target in node.targets if isinstance(node, ast.Assign) else [node.target]:
                self._assigned(target, node.value)
        elif isinstance(node, ast.AugAssign) and _is_schedule(node.target):
            self._take(node.value)
        elif isinstance(node, ast.Call):
            self._called(node)
        elif isinstance(node, ast.Dict):
            for key, value in zip(node.keys, node.values, strict=True):
                if isinstance(key, ast.Constant) and _is_schedule_name(key.value):
                    self._take(value)

    def _assigned(self, target: ast.expr, value: ast.expr) -> None:
        if _is_schedule(target):
            self._take(value)
        elif isinstance(target, ast.Subscript) and _is_schedule(target.value):
            self.seen = True
            self._entry(target.slice, value)

    def _called(self, node: ast.Call) -> None:
        method = node.func.attr if isinstance(node.func, ast.Attribute) else ""
        if method == "update" and isinstance(node.func, ast.Attribute) and _is_schedule(node.func.value):
            for argument in node.args:
                self._take(argument)
        elif method == "add_periodic_task":
            self.seen = True
            names = [word.value.value for word in node.keywords if word.arg == "name" and _is_text(word.value)]  # type: ignore[attr-defined]
            why = "add_periodic_task names its task at run time: import with -A"
            self.left.append(LeftOut(name=names[0] if names else method, line=node.lineno, why=why))
        for word in node.keywords:
            if _is_schedule_name(word.arg):
                self._take(word.value)

    def _take(self, node: ast.expr) -> None:
        """A whole mapping of entries."""
        self.seen = True
        if isinstance(node, ast.Name) and node.id in self.reader.constants:
            node = self.reader.constants[node.id]
        if isinstance(node, ast.Dict):
            for key, value in zip(node.keys, node.values, strict=True):
                self._take(value) if key is None else self._entry(key, value)
        elif isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "dict":
            for word in node.keywords:
                self._take(word.value) if word.arg is None else self._entry(ast.Constant(word.arg), word.value)
        else:
            why = f"computed at run time: {ast.unparse(node)[:50]}; import with -A"
            self.left.append(LeftOut(name=WHOLE, line=node.lineno, why=why))

    def _entry(self, key: ast.expr, value: ast.expr) -> None:
        line = getattr(key, "lineno", value.lineno)
        name = ast.unparse(key)
        try:
            name = self.reader.value(key)
            if not isinstance(name, str):
                raise CannotSay("its name is no text")
            keys = keys_of(self.reader.value(value))
        except CannotSay as error:
            self.entries.pop(name, None)
            self.left.append(LeftOut(name=str(name), line=line, why=str(error)))
            return
        self.left = [each for each in self.left if each.name != name]  # set anew
        comments = tuple(self._comments_of(line, value.end_lineno or line))
        self.entries[name] = Entry(name=name, line=line, keys=keys, comments=comments)

    def _comments_of(self, first: int, last: int) -> Iterator[str]:
        """Those right above an entry, and those inside it or behind it."""
        start = first
        while self.comments.get(start - 1, ("", False))[1]:
            start -= 1
        yield from (self.comments[line][0] for line in range(start, last + 1) if line in self.comments)

    def _zone(self) -> str:
        """Celery's zone where it is set, Django's otherwise; one that is computed is told, and UTC stands in for it."""
        told = sorted(_zones(self.tree), key=lambda pair: pair[0] == DJANGO_ZONE)
        for name, node in told:
            if isinstance(node, ast.Constant):
                return str(node.value)
            self.left.append(
                LeftOut(name=name, line=node.lineno, why="computed at run time: put its value in timezone:")
            )
            break
        return "UTC"


def _zones(tree: ast.Module) -> Iterator[tuple[str, ast.expr]]:
    for node in _in_order(tree):
        if isinstance(node, ast.Assign) and _is_zone(_last(node.targets[0])):
            yield str(_last(node.targets[0])), node.value
        elif isinstance(node, ast.keyword) and _is_zone(node.arg):
            yield str(node.arg), node.value


def _in_order(node: ast.AST) -> Iterator[ast.AST]:
    yield node
    for child in ast.iter_child_nodes(node):
        yield from _in_order(child)


def _names(tree: ast.Module) -> tuple[dict[str, ast.expr], dict[str, str]]:
    """Names of a module set once, with what they are set to; and what imported names are called at home."""
    found: dict[str, ast.expr] = {}
    often: set[str] = set()
    imports = {}
    for node in _in_order(tree):
        if isinstance(node, ast.ImportFrom):
            imports.update({alias.asname or alias.name: alias.name for alias in node.names})
        elif isinstance(node, ast.ClassDef | ast.FunctionDef) and node.name in CALLS:
            imports[node.name] = f"{node.name} of this file"
        elif isinstance(node, ast.Assign | ast.AnnAssign | ast.AugAssign | ast.For):
            targets = node.targets if isinstance(node, ast.Assign) else [node.target]
            for name in (each.id for target in targets for each in ast.walk(target) if isinstance(each, ast.Name)):
                often.update({name} if name in found else ())
                value = node.value if isinstance(node, ast.Assign | ast.AnnAssign) else None
                found[name] = value if value is not None else ast.Name("a loop", lineno=node.lineno)
    return {name: value for name, value in found.items() if name not in often}, imports


def _comments(text: str) -> dict[int, tuple[str, bool]]:
    """The comment of each line, and whether the line holds nothing else."""
    found = {}
    for token in tokenize.generate_tokens(io.StringIO(text).readline):
        if token.type == tokenize.COMMENT:
            alone = not token.line[: token.start[1]].strip()
            found[token.start[0]] = (token.string.lstrip("#").strip(), alone)
    return found


def _is_schedule(node: ast.expr) -> bool:
    return _is_schedule_name(_last(node))


def _is_zone(name: Any) -> bool:
    return isinstance(name, str) and (name in {"timezone", DJANGO_ZONE} or name.endswith("_TIMEZONE"))


def _last(node: ast.expr) -> Any:
    if isinstance(node, ast.Subscript):
        return node.slice.value if isinstance(node.slice, ast.Constant) else None
    return node.attr if isinstance(node, ast.Attribute) else getattr(node, "id", None)


def _is_schedule_name(name: Any) -> bool:
    return isinstance(name, str) and (name in SCHEDULE_NAMES or name.endswith("_BEAT_SCHEDULE"))


def _is_text(node: ast.expr) -> bool:
    return isinstance(node, ast.Constant) and isinstance(node.value, str)
