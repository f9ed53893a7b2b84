"""Reads Celery's schedules from Python source without running it.

It evaluates what can be read off the source: literals, constants of the module, arithmetic, timedelta, and the classes
of celery.schedules. Everything else is left out, with its line.
"""

from __future__ import annotations

import ast
import io
import tokenize
from typing import TYPE_CHECKING, Any

from livectl.errors import FileError, Mistake
from livectl.ops.schedules.conditions import find_conditions, find_cure, prune
from livectl.ops.schedules.conversion import (
    WHOLE_SCHEDULE,
    ImportedSchedule,
    NotPortable,
    PortableEntry,
    PortingNote,
    portable_keys,
)
from livectl.ops.schedules.literals import (
    MUTATING_METHODS,
    Constants,
    LiteralReader,
    root_name,
    source_text,
    walk_in_order,
)

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path


SCHEDULE_NAMES = ("CELERYBEAT_SCHEDULE", "beat_schedule")
SCHEDULE_SUFFIX = "_BEAT_SCHEDULE"  # behind a namespace
DJANGO_ZONE = "TIME_ZONE"
ZONE_NAMES = ("timezone", "CELERY_TIMEZONE")
UTC_NAMES = ("enable_utc", "CELERY_ENABLE_UTC", "ENABLE_UTC")  # switched off, cron lines are in the machine's zone
SETTING_CALLS = ("update", "Celery", "dict", "add_defaults")  # whose keywords are settings
IMPORT_HINT = "import with -A"


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
    """Finds assignments to a schedule in the tree of a module, and updates of it, in the order of the source.

    An entry belongs to its holder, the class or object that the schedule is set on: of several, Celery reads one.
    """

    def __init__(self, tree: ast.Module, text: str, name: str, assumed: dict[str, Any]) -> None:
        self.tree = prune(tree, assumed)
        self.conditions = find_conditions(self.tree)
        self.condition = ""  # under which the statement being visited runs
        self.holder = ""  # of the schedule that the statement being visited sets
        self.classes = _enclosing_classes(self.tree)
        self.aliases = _find_aliases(self.tree)
        self.comments = _read_comments(text)
        self.name = name
        self.reader = LiteralReader(Constants(self.tree, self.conditions, assumed))
        self.entries: dict[tuple[str, str], PortableEntry] = {}
        self.left_out: list[tuple[str, PortingNote]] = []  # each with its holder
        self.first_line = 0  # of a schedule

    def find(self) -> ImportedSchedule:
        for node in walk_in_order(self.tree):
            self.condition = self.conditions.get(node, "")
            self._visit(node)
        if not self.first_line:
            hint = "-A proj asks the app, if it is put together when that is imported."
            raise FileError([Mistake(self.name, 1, 1, "sets no beat_schedule and no CELERYBEAT_SCHEDULE")], hint)
        self._drop_rivals()
        entries = list(self.entries.values())
        zone = self._find_zone(entries)
        return ImportedSchedule(
            origin=self.name,
            timezone=zone,
            entries=entries,
            left=[note for _, note in self.left_out],
            notes=list(self._star_notes()),
        )

    def _leave_out(self, name: str, line: int, why: str) -> None:
        self.left_out.append((self.holder, PortingNote(name=name, line=line, why=why)))

    def _visit(self, node: ast.AST) -> None:
        if isinstance(node, ast.Assign | ast.AnnAssign) and node.value is not None:
            for target in node.targets if isinstance(node, ast.Assign) else [node.target]:
                self._visit_assignment(target, node.value)
        elif isinstance(node, ast.AugAssign) and self._is_schedule(node.target):
            self._hold(node.target, node)
            self._add_mapping(node.value)
        elif isinstance(node, ast.Call):
            self._visit_call(node)
        elif isinstance(node, ast.Delete):
            for target in node.targets:
                self._drop_changed(target)
        elif isinstance(node, ast.For) and _changes_something(node):
            self._visit_loop(node)
        elif isinstance(node, ast.Dict):
            self._visit_dict(node)

    def _visit_loop(self, loop: ast.For) -> None:
        """A loop over a schedule that changes something may change any entry."""
        if any(isinstance(part, ast.expr) and self._is_schedule(part) for part in ast.walk(loop.iter)):
            self._drop_all(loop.lineno)

    def _visit_dict(self, node: ast.Dict) -> None:
        for key, value in zip(node.keys, node.values, strict=True):
            if isinstance(key, ast.Constant) and _is_schedule_name(key.value):
                self._hold(node, node, "a dict")
                self._add_mapping(value)

    def _visit_assignment(self, target: ast.expr, value: ast.expr) -> None:
        if self._is_schedule(value):
            return  # the one schedule by another name
        if self._is_schedule(target):
            self._hold(target, target)
            self._replace_all(value)
        elif isinstance(target, ast.Subscript) and self._is_schedule(target.value):
            self._hold(target.value, target)
            self._add_entry(target.slice, value)
        elif isinstance(target, ast.Subscript):
            self._drop_changed(target.value)

    def _is_schedule(self, node: ast.expr) -> bool:
        return _is_schedule_name(_last_name(node)) or (isinstance(node, ast.Name) and node.id in self.aliases)

    def _hold(self, target: ast.AST, node: ast.AST, name: str = "") -> None:
        """Notes on what the schedule is set that `node` is about."""
        inner = target.value if isinstance(target, ast.Attribute | ast.Subscript) else target
        own_class = self.classes.get(node, "")
        holder = f"class {own_class}" if own_class else name or ast.unparse(inner)
        self.holder = "" if holder in self.aliases else holder
        self.first_line = self.first_line or getattr(node, "lineno", 1)

    def _drop_changed(self, target: ast.expr, key: ast.expr | None = None) -> None:
        """Leaves out an entry that a later line takes away or changes; all of them where its name is computed."""
        if key is None:
            while isinstance(target, ast.Subscript) and not self._is_schedule(target.value):
                target = target.value
            if self._is_schedule(target):
                self._drop_all(target.lineno)
            if not isinstance(target, ast.Subscript):
                return
            key = target.slice
        self._drop_all(key.lineno, key.value if isinstance(key, ast.Constant) else None)

    def _drop_all(self, line: int, only: Any = None) -> None:
        for place in [place for place in self.entries if only in {None, place[1]}]:
            entry = self.entries.pop(place)
            why = f"changed or taken out by line {line}: {IMPORT_HINT}"
            self._leave_out(entry.name, entry.line, why)

    def _drop_rivals(self) -> None:
        """Leaves everything out where several schedules are set and nothing here says which of them is read."""
        holders = {holder for holder, _ in self.entries if holder}
        if len(holders) > 1:
            for (holder, name), entry in self.entries.items():
                why = f"in one of {len(holders)} schedules ({holder or name}), of which Celery reads one: {IMPORT_HINT}"
                self._leave_out(name, entry.line, why)
            self.entries.clear()

    def _visit_call(self, node: ast.Call) -> None:
        if isinstance(node.func, ast.Attribute):
            self._visit_method(node, node.func.attr, node.func.value)
        for keyword in node.keywords:
            if _is_schedule_name(keyword.arg) and not self._is_schedule(keyword.value):
                self._hold(node.func, node)
                self._add_mapping(keyword.value)

    def _visit_method(self, node: ast.Call, method: str, owner: ast.expr) -> None:
        if method == "add_periodic_task":
            self._add_periodic_task(node)
        elif method not in MUTATING_METHODS:
            return
        elif not self._is_schedule(owner):
            self._drop_changed(owner)
        elif method == "update":
            self._hold(owner, node)
            self._add_dict_call(node)
        elif method == "setdefault" and len(node.args) > 1:
            self._hold(owner, node)
            self._add_default(*node.args[:2])
        else:
            self._drop_changed(owner, node.args[0] if node.args else owner)

    def _add_default(self, key: ast.expr, value: ast.expr) -> None:
        if not (isinstance(key, ast.Constant) and (self.holder, key.value) in self.entries):
            self._add_entry(key, value)

    def _add_periodic_task(self, node: ast.Call) -> None:
        """Leaves out a call of `add_periodic_task`."""
        self.holder, self.first_line = "add_periodic_task", self.first_line or node.lineno
        values = [keyword.value for keyword in node.keywords if keyword.arg == "name"]
        names = [value.value for value in values if isinstance(value, ast.Constant) and isinstance(value.value, str)]
        reason = f"add_periodic_task names its task at run time: {IMPORT_HINT}"
        name = names[0] if names else "add_periodic_task"
        self._leave_out(name, node.lineno, reason)

    def _replace_all(self, node: ast.expr) -> None:
        """A whole schedule that is set anew: what was set before is gone, or under a condition may be."""
        earlier = [place for place in self.entries if place[0] == self.holder]
        replaced = [self.entries.pop(place) for place in earlier]
        if self.condition:
            why = f"set anew {self.condition}: {find_cure(self.condition)}"
            for entry in replaced:
                self._leave_out(entry.name, entry.line, why)
        else:
            self.left_out = [left for left in self.left_out if left[0] != self.holder]
        self._add_mapping(node)

    def _add_mapping(self, node: ast.expr) -> None:
        """Adds the entries of a mapping."""
        if isinstance(node, ast.Name) and (value := self.reader.constants.get(node.id)):
            self.reader.used_lines.add(getattr(value, "lineno", 0))
            node = value
        if isinstance(node, ast.Dict):
            for key, value in zip(node.keys, node.values, strict=True):
                self._add_mapping(value) if key is None else self._add_entry(key, value)
        elif isinstance(node, ast.BinOp) and isinstance(node.op, ast.BitOr | ast.Add):
            self._add_mapping(node.left)
            self._add_mapping(node.right)
        elif isinstance(node, ast.List | ast.Tuple) and all(map(_is_pair, node.elts)):
            for pair in node.elts:
                self._add_entry(*pair.elts)  # type: ignore[attr-defined]
        elif isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "dict":
            self._add_dict_call(node)
        elif not self._is_schedule(node):
            self._leave_out_mapping(node)

    def _add_dict_call(self, node: ast.Call) -> None:
        for argument in node.args:
            self._add_mapping(argument)
        for keyword in node.keywords:
            self._add_keyword(keyword)

    def _leave_out_mapping(self, node: ast.expr) -> None:
        reason = self.reader.constants.reasons.get(node.id) if isinstance(node, ast.Name) else None
        reason = reason or f"computed at run time: {source_text(node)}; {IMPORT_HINT}"
        self._leave_out(WHOLE_SCHEDULE, node.lineno, reason)

    def _add_keyword(self, keyword: ast.keyword) -> None:
        if keyword.arg is None:
            self._add_mapping(keyword.value)
        else:
            self._add_entry(ast.Constant(keyword.arg), keyword.value)

    def _add_entry(self, key: ast.expr, value: ast.expr) -> None:
        line = getattr(key, "lineno", value.lineno)
        name = ast.unparse(key)
        try:
            name = ast.unparse(key) if "in a loop in line" in self.condition else self.reader.value(key)
            if not isinstance(name, str):
                raise NotPortable("its name is no text")
            if self.condition:
                raise NotPortable(f"only {self.condition}: {find_cure(self.condition)}")
            keys = portable_keys(self.reader.value(value))
        except NotPortable as error:
            self.entries.pop((self.holder, name), None)
            self._leave_out(str(name), line, str(error))
            return
        # this assignment replaces an earlier one
        self.left_out = [(holder, note) for holder, note in self.left_out if (holder, note.name) != (self.holder, name)]
        comments = tuple(self._entry_comments(line, value.end_lineno or line))
        self.entries[self.holder, name] = PortableEntry(name=name, line=line, keys=keys, comments=comments)

    def _entry_comments(self, first: int, last: int) -> Iterator[str]:
        """The comments right above an entry, inside it and behind it."""
        start = first
        while self.comments.get(start - 1, ("", False))[1]:
            start -= 1
        yield from (self.comments[line][0] for line in range(start, last + 1) if line in self.comments)

    def _find_zone(self, entries: list[PortableEntry]) -> str:
        """Celery's time zone if it is set, else Django's. UTC stands in for one that is not known, with a note."""
        settings = dict[str, tuple[ast.expr, str]]()  # the last value of each name, and when it is set
        for name, node, statement in _zone_assignments(self.tree):
            condition = self.conditions.get(statement, "") or (settings[name][1] if name in settings else "")
            settings[name] = (node, condition)
        is_local = any(_is_false(node) for name, (node, _) in settings.items() if name in UTC_NAMES)
        reason, place = "", ("", 0)
        for name in sorted(settings.keys() - set(UTC_NAMES), key=lambda name: name == DJANGO_ZONE):
            node, condition = settings[name]
            place = (name, node.lineno)
            try:
                zone = self.reader.value(node)
                reason = f"set only {condition}: put its value in timezone:" if condition else ""
            except NotPortable:
                zone, reason = None, "computed at run time: put its value in timezone:"
            if isinstance(zone, str) and not reason:
                return zone
            if reason:
                break
        if not reason and is_local:
            place, reason = ("enable_utc", 0), "switched off: cron lines are in the machine's zone; put it in timezone:"
        if reason and any(not {"cron", "crontab"}.isdisjoint(entry.keys) for entry in entries):
            self._leave_out(place[0], place[1], reason)
        return "UTC"

    def _star_notes(self) -> Iterator[PortingNote]:
        """Modules that are imported whole, behind what was read: they may set it anew."""
        first = min([self.first_line, *self.reader.used_lines])
        for node in walk_in_order(self.tree):
            if (
                isinstance(node, ast.ImportFrom)
                and node.lineno > first
                and any(name.name == "*" for name in node.names)
            ):
                why = f"from {'.' * node.level}{node.module or ''} import * may set it anew: look there"
                yield PortingNote(name=WHOLE_SCHEDULE, line=node.lineno, why=why)


def _enclosing_classes(tree: ast.Module) -> dict[ast.AST, str]:
    """The innermost class around each node that is in one."""
    return {
        child: node.name for node in walk_in_order(tree) if isinstance(node, ast.ClassDef) for child in ast.walk(node)
    }


def _find_aliases(tree: ast.Module) -> set[str]:
    """The name that is set to a schedule, or that a schedule is set to: if there is one, it is that schedule."""
    pairs: list[tuple[ast.AST, ast.AST]] = []
    for node in ast.walk(tree):
        if isinstance(node, ast.Assign):
            pairs += [(target, node.value) for target in node.targets]
        elif isinstance(node, ast.Call):
            pairs += [(keyword, keyword.value) for keyword in node.keywords]
    aliases = {
        name.id
        for left, right in pairs
        for schedule, name in ((left, right), (right, left))
        if isinstance(name, ast.Name) and _is_schedule_name(_last_name(schedule)) and not _is_schedule_name(name.id)
    }
    return aliases if len(aliases) == 1 else set()


def _changes_something(loop: ast.For) -> bool:
    """Whether the body of a loop sets items or calls a method that changes its object."""
    return any(
        (isinstance(node, ast.Subscript | ast.Attribute) and not isinstance(node.ctx, ast.Load))
        or (isinstance(node, ast.Attribute) and node.attr in MUTATING_METHODS and bool(root_name(node)))
        for statement in loop.body
        for node in ast.walk(statement)
    )


def _zone_assignments(tree: ast.Module) -> Iterator[tuple[str, ast.expr, ast.AST]]:
    """Settings of the time zone: name, value, and the node that a condition would be about."""
    prefixes = {
        name.removesuffix(SCHEDULE_SUFFIX)
        for node in ast.walk(tree)
        if isinstance(node, ast.Name | ast.Attribute) and _is_schedule_name(name := str(_last_name(node)))
    }
    names = {*ZONE_NAMES, *UTC_NAMES, DJANGO_ZONE, *(f"{prefix}_TIMEZONE" for prefix in prefixes)}
    for node in walk_in_order(tree):
        if isinstance(node, ast.Assign) and _last_name(node.targets[0]) in names:
            yield str(_last_name(node.targets[0])), node.value, node
        elif isinstance(node, ast.Call) and _last_name(node.func) in SETTING_CALLS:
            for keyword in node.keywords:
                if keyword.arg in names:
                    yield str(keyword.arg), keyword.value, node
        elif isinstance(node, ast.Dict):
            pairs = {
                key.value: value
                for key, value in zip(node.keys, node.values, strict=True)
                if isinstance(key, ast.Constant)
            }
            if any(_is_schedule_name(key) for key in pairs):
                yield from ((key, value, node) for key, value in pairs.items() if key in names)


def _is_pair(node: ast.expr) -> bool:
    return isinstance(node, ast.List | ast.Tuple) and len(node.elts) == 2


def _is_false(node: ast.expr) -> bool:
    return isinstance(node, ast.Constant) and node.value is False


def _is_schedule_name(name: Any) -> bool:
    return isinstance(name, str) and (name in SCHEDULE_NAMES or name.endswith(SCHEDULE_SUFFIX))


def _last_name(node: ast.AST) -> Any:
    if isinstance(node, ast.Subscript):
        return node.slice.value if isinstance(node.slice, ast.Constant) else None
    if isinstance(node, ast.keyword):
        return node.arg
    return node.attr if isinstance(node, ast.Attribute) else getattr(node, "id", None)


def _read_comments(text: str) -> dict[int, tuple[str, bool]]:
    """The comment of each line, and whether the line holds nothing else."""
    comments = {}
    for token in tokenize.generate_tokens(io.StringIO(text).readline):
        if token.type == tokenize.COMMENT:
            alone = not token.line[: token.start[1]].strip()
            comments[token.start[0]] = (token.string.lstrip("#").strip(), alone)
    return comments
