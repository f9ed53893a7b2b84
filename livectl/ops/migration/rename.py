"""The renaming of settings: from what was read and decided to edits, each with its reason."""

from __future__ import annotations

import re
from collections import defaultdict
from typing import TYPE_CHECKING

from msgspec import Struct

from livectl.errors import Mistake
from livectl.ops.migration import address
from livectl.ops.migration.convention import NAMESPACE
from livectl.ops.migration.names import (
    ADDRESS_KEYS,
    KEYS,
    Verdict,
    is_ambiguous_with_namespace,
    is_weak,
    judged,
    nearest,
)
from livectl.ops.migration.places import CONF, DJANGO, FLASK, Place, Reading, Sink, Use
from livectl.ops.migration.source import Edit

if TYPE_CHECKING:
    from collections.abc import Iterable

    from livectl.ops.migration.convention import Convention, Style

REPEATABLE = re.compile(r"[\w.]+|'[^']*'|\"[^\"]*\"")  # a value that may be written twice


class Change(Struct, frozen=True, kw_only=True):
    """One thing changed, or left for a person when `new` is None."""

    file: str
    line: int
    old: str
    new: str | None
    why: str


class Renaming(Struct):
    edits: dict[str, list[Edit]] = {}
    places: dict[str, set[Place]] = {}  # by file: whose settings were edited there
    changes: list[Change] = []
    left: list[Change] = []
    refused: list[Mistake] = []
    mended: set[str] = set()  # settings that were written down but not read until now
    composed: bool = False  # a broker address was put together
    right: set[str] = set()  # correct names that Celery's warning calls deprecated


def rename(readings: list[Reading], convention: Convention) -> Renaming:
    return _Renamer(readings, convention).rename()


class _Renamer:
    def __init__(self, readings: list[Reading], convention: Convention) -> None:
        self.readings = readings
        self.styles = dict(convention.styles)
        self.respelt = convention.respelt
        self.found = Renaming(edits=defaultdict(list))
        self.uses: dict[Place, list[tuple[Reading, Use]]] = defaultdict(list)
        self.assigned: set[tuple[Place, str]] = set()
        self.kept: set[tuple[Place, str]] = set()
        self.done: set[tuple[str, int]] = set()  # places in files already dealt with

    def rename(self) -> Renaming:
        self._sort()
        for place in list(self.uses):
            self._refuse_collisions(place)
        for place, uses in self.uses.items():
            if place in self.styles:
                self._settle_doubles(place, uses)
                self._compose(place, uses)
                for reading, use in uses:
                    self._apply(reading, use, self.styles[place])
        for sink in self.respelt:
            if sink.place in self.styles:
                self._respell(sink)
        return self.found

    def _sort(self) -> None:
        """Uses by the place they belong to, where something was decided for it."""
        for reading in self.readings:
            for use in reading.uses:
                if use.place in self.styles:
                    self.uses[use.place].append((reading, use))
                if use.form == "binding":
                    self.assigned.add((use.place, use.name))

    # One use

    def _verdict(self, use: Use, style: Style) -> Verdict | None:
        if style.namespace and is_weak(use.name) and not (use.name in KEYS and (use.place, use.name) in self.assigned):
            return None
        return judged(use.name, style.namespace)

    def _apply(self, reading: Reading, use: Use, style: Style) -> None:
        path = str(reading.source.path)
        if (use.place, use.name) in self.kept or (path, use.start) in self.done:
            return
        verdict = self._verdict(use, style)
        if verdict is None:
            self._suggest(path, use)
        elif verdict.kind == "removed":
            if use.form != "name":
                self._leave(path, use, verdict.why)
        elif verdict.changes:
            self._replace(reading, use, verdict)
        else:
            self._note_right(use, style)

    def _note_right(self, use: Use, style: Style) -> None:
        if style.namespace == NAMESPACE and use.form == "binding":
            if is_ambiguous_with_namespace(use.name):
                self.found.right.add(use.name)
            before = judged(use.name, None)
            if style.reread and before is not None and before.kind == "unread":
                self.found.mended.add(before.key)

    def _suggest(self, path: str, use: Use) -> None:
        close = nearest(use.name) if use.form in {"binding", "keyword", "key"} else ""
        if close:
            self._leave(path, use, f"not a setting; did you mean {close}?")

    def _replace(self, reading: Reading, use: Use, verdict: Verdict) -> None:
        path = str(reading.source.path)
        new, text = verdict.new[0], verdict.new[0]
        if verdict.kind == "split" and use.form in {"binding", "keyword", "key", "attribute"}:
            both = self._both(reading, use, verdict)
            if both is None:
                self._leave(path, use, f"{verdict.why}: set {' and '.join(verdict.new)} instead")
                return
            new, text = " and ".join(verdict.new), both
        self._edit(use.place, path, use.start, use.start + len(use.name), text)
        self._change(path, use.line, use.name, new, _why(use, verdict))
        if use.environ_at >= 0 and use.form == "binding":
            self._keep_variable(reading, use)
        if not verdict.was_read or new.isupper():  # Celery before 5.7 reads no old name beside a namespace
            self.found.mended.add(verdict.key)

    def _both(self, reading: Reading, use: Use, verdict: Verdict) -> str | None:
        """The text that sets both settings an old one was split into; None where that cannot be said in place."""
        one, other = verdict.new
        if use.form == "binding" and use.chains:
            return f"{one} = {other}"
        if not REPEATABLE.fullmatch(use.value):
            return None
        if use.form == "keyword":
            return f"{one}={use.value}, {other}"
        if use.form == "key":
            quote = reading.source.text[use.start - 1]
            return f"{one}{quote}: {use.value}, {quote}{other}"
        return None

    def _keep_variable(self, reading: Reading, use: Use) -> None:
        """django-configurations names the variable after the attribute: the old name is written out."""
        before = reading.source.text[: use.environ_at].rstrip()
        comma = "" if before.endswith(("(", ",")) else ", "
        text = f"{comma}environ_name='{use.name}'"
        self._edit(use.place, str(reading.source.path), use.environ_at, use.environ_at, text)

    # A place as a whole

    def _bindings(self, uses: Iterable[tuple[Reading, Use]]) -> dict[str, list[tuple[Reading, Use]]]:
        found: dict[str, list[tuple[Reading, Use]]] = defaultdict(list)
        for reading, use in uses:
            if use.form in {"binding", "keyword", "key"}:
                found[use.name].append((reading, use))
        return found

    def _settle_doubles(self, place: Place, uses: list[tuple[Reading, Use]]) -> None:
        """Two names of one setting: the one Celery used stays, as Celery would have it."""
        style = self.styles[place]
        bindings = self._bindings(uses)
        by_key: dict[str, list[Verdict]] = defaultdict(list)
        for where in bindings.values():
            verdict = self._verdict(where[0][1], style)
            for key in _keys(verdict):
                by_key[key].append(verdict)  # type: ignore[arg-type]
        if place == CONF:
            return  # set in many calls: the last one made wins, before and after
        for verdicts in by_key.values():
            if len(verdicts) > 1:
                winner = min(verdicts, key=_rank)
                for loser in (verdict for verdict in verdicts if verdict != winner):
                    self._drop(place, uses, bindings, winner, loser)

    def _drop(
        self,
        place: Place,
        uses: list[tuple[Reading, Use]],
        bindings: dict[str, list[tuple[Reading, Use]]],
        winner: Verdict,
        loser: Verdict,
    ) -> None:
        mine = [(reading, use) for reading, use in uses if use.name == loser.old]
        reading, use = bindings[loser.old][0]
        self.kept.add((place, loser.old))
        always = all(use.outermost for _, use in bindings[winner.old])
        path = str(reading.source.path)
        if not loser.was_read:
            self._leave(path, use, f"not read by Celery: {winner.old} sets {winner.key}")
        elif len(mine) == 1 and use.statement and use.outermost and always:
            self._edit(place, path, *use.statement, "")
            self._change(path, use.line, use.name, "", f"set by {winner.old} as well, which is the value Celery used")
        else:
            self._leave(path, use, f"{winner.old} sets the same, and wins; used elsewhere: mend by hand")

    def _compose(self, place: Place, uses: list[tuple[Reading, Use]]) -> None:
        """BROKER_HOST, BROKER_PORT … to one address, where every part is written out."""
        style = self.styles[place]
        parts: dict[str, list[tuple[Reading, Use]]] = defaultdict(list)
        for reading, use in uses:
            verdict = self._verdict(use, style)
            if verdict is not None and verdict.key in {*ADDRESS_KEYS, "broker_url"}:
                parts[verdict.key].append((reading, use))
        if "broker_host" not in parts and "broker_transport" not in parts:
            return
        line = address.composed(place, parts, style.namespace)
        reading, first = parts["broker_host" if "broker_host" in parts else "broker_transport"][0]
        path = str(reading.source.path)
        if line is None:
            self._leave(
                path, first, "undocumented: put the parts together in broker_url (transport://user:…@host/vhost)"
            )
            return
        self.found.composed = True
        for key, [(_, use)] in parts.items():
            self.done.add((path, use.start))
            start, end = use.statement or (use.start, use.start)
            if use is first:
                self._edit(place, path, use.start, use.start + address.length(reading.source.text, use), line)
            else:
                self._edit(place, path, start, end, "")
            new = line.partition(" ")[0]
            self._change(path, use.line, use.name, new, f"part of the broker's address ({key})")

    def _refuse_collisions(self, place: Place) -> None:
        """A new name that is taken already: an import called `timezone`, a local called `broker_url`."""
        for reading, use in self.uses[place]:
            verdict = self._verdict(use, self.styles[place])
            refusal = self._refusal(reading, use, verdict) if verdict is not None and verdict.changes else None
            if refusal is not None:
                text, hint = refusal
                hint = f"{hint}; nothing of {place} was changed"
                self.found.refused.append(Mistake(str(reading.source.path), use.line, 1, text, hint))
                self.styles.pop(place, None)
                return

    def _refusal(self, reading: Reading, use: Use, verdict: Verdict) -> tuple[str, str] | None:
        if use.form == "binding" and use.place in reading.environment:
            text = f"pydantic reads {use.name} from the environment under the field's name"
            return text, f"rename the variable as well, or give the field an alias, by hand: {verdict.new[0]}"
        taken = self._taken(reading, use, verdict)
        if taken is None:
            return None
        line, name = taken
        text = f"`{name}` in line {line} is another thing, and the new name of {use.name}"
        return text, f"import or name it differently first, say `dt_{name}`"

    @staticmethod
    def _taken(reading: Reading, use: Use, verdict: Verdict) -> tuple[int, str] | None:
        here = Place(str(reading.source.path))
        for name in verdict.new:
            if use.form in {"binding", "name"} and name in reading.shadows.get(use.place, {}):
                return reading.shadows[use.place][name], name
            if use.form == "name" and name in use.hidden:
                return use.line, name
            borrowed = use.form in {"import", "name"} and use.place.path not in {here.path, ""}
            if borrowed and name in {**reading.bound.get(here, {}), **reading.shadows.get(here, {})}:
                return {**reading.bound.get(here, {}), **reading.shadows.get(here, {})}[name], name
        return None

    # Calls

    def _respell(self, sink: Sink) -> None:
        reading = next(reading for reading in self.readings if str(reading.source.path) == sink.path)
        quote = '"' if '"' in sink.text else "'"
        argument = f"namespace={quote}{self.styles[sink.place].namespace}{quote}"
        before = reading.source.text[: sink.end].rstrip()
        gap = " " if before.endswith(",") else ", "
        self._edit(sink.place, sink.path, sink.end, sink.end, f"{gap}{argument}")
        if sink.kind == "update":
            self._edit(sink.place, sink.path, *self._conf_update(reading, sink), "config_from_object")
        new = f"{sink.text[:-1]}{gap}{argument})"
        new = new.replace("conf.update", "config_from_object", 1) if sink.kind == "update" else new
        why = "so that Celery reads the names behind it"
        if sink.place in {DJANGO, FLASK}:
            why = f"{'Django' if sink.place == DJANGO else 'Flask'} keeps upper-case names only, so a namespace"
        self._change(sink.path, sink.line, sink.text, new, why)

    @staticmethod
    def _conf_update(reading: Reading, sink: Sink) -> tuple[int, int]:
        text = reading.source.text
        return text.rindex("conf", 0, sink.method_at), sink.method_at + len("update")

    # Notes

    def _edit(self, place: Place, path: str, start: int, end: int, text: str) -> None:
        self.found.places.setdefault(path, set()).add(place)
        self.found.edits.setdefault(path, []).append(Edit(start, end, text))
        self.done.add((path, start))

    def _change(self, path: str, line: int, old: str, new: str, why: str) -> None:
        self.found.changes.append(Change(file=path, line=line, old=old, new=new, why=why))

    def _leave(self, path: str, use: Use, why: str) -> None:
        self.found.left.append(Change(file=path, line=use.line, old=use.name, new=None, why=why))


def _why(use: Use, verdict: Verdict) -> str:
    if verdict.kind == "rename" and is_weak(use.name) and use.form == "binding":
        return f"Celery reads this as {verdict.key}, as it reads all that stands here"
    return verdict.why


def _keys(verdict: Verdict | None) -> tuple[str, ...]:
    if verdict is None or verdict.kind == "removed":
        return ()
    return (verdict.key,)


def _rank(verdict: Verdict) -> int:
    """Celery looks for the new name first; what it does not read at all comes last."""
    if verdict.kind == "correct":
        return 0
    return 1 if verdict.was_read else 2
