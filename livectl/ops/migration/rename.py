"""Renames settings: from the scans and the convention to edits, changes, and what is left to a person."""

from __future__ import annotations

import ast
import re
from collections import defaultdict
from typing import TYPE_CHECKING, TypeAlias
from urllib.parse import quote

from msgspec import Struct

from livectl.errors import Mistake
from livectl.ops.migration.convention import NAMESPACE
from livectl.ops.migration.file_scan import CONF, DJANGO, FLASK, FileScan, SettingsCall, SettingsHolder, SettingUse
from livectl.ops.migration.names import (
    ADDRESS_KEYS,
    KEYS,
    Classification,
    classify,
    is_ambiguous_with_namespace,
    is_generic,
    nearest_setting,
    spell,
)
from livectl.ops.migration.source import TextEdit

if TYPE_CHECKING:
    from livectl.ops.migration.convention import Convention, NamingStyle


DEFAULT_TRANSPORT = "amqp"  # what Celery takes without BROKER_TRANSPORT
HOST_NAME = re.compile(r"[A-Za-z0-9._-]+|\[[0-9A-Fa-f:.]+\]")  # of one server: neither an address nor a list
REPEATABLE = re.compile(r"[\w.]+|'[^']*'|\"[^\"]*\"")  # a value that can be written twice

# Uses of one holder's settings, each with the scan of its file.
LocatedUses: TypeAlias = list[tuple[FileScan, SettingUse]]


class SettingChange(Struct, frozen=True, kw_only=True):
    """One token that changes; `new` is None where a person has to decide."""

    file: str
    line: int
    old: str
    new: str | None
    why: str


class RenameResult(Struct):
    """The edits of each file, and the reason for each."""

    edits: dict[str, list[TextEdit]] = {}
    holders: dict[str, set[SettingsHolder]] = {}  # by file: the holders whose settings the edits rename
    changes: list[SettingChange] = []
    left: list[SettingChange] = []
    refused: list[Mistake] = []
    newly_read: set[str] = set()  # settings that Celery did not read before, and reads now
    broker_url_composed: bool = False  # broker_host, broker_port and the like became one broker_url
    correct_names: set[str] = set()  # correct names that Celery's warning calls deprecated


def rename(scans: list[FileScan], convention: Convention, *, guesses: bool = False) -> RenameResult:
    """Every setting by its name today, where the convention decides how its holder is spelt.

    `guesses` renames what Celery does not read as well, which sets what was not set before.
    """
    return _Renamer(scans, convention, guesses=guesses).rename()


class _Renamer:
    def __init__(self, scans: list[FileScan], convention: Convention, *, guesses: bool) -> None:
        self.scans = scans
        self.guesses = guesses
        self.styles = dict(convention.styles)
        self.families = convention.families
        self.calls_to_change = convention.calls_to_change
        self.result = RenameResult(edits=defaultdict(list))
        self.uses: dict[SettingsHolder, LocatedUses] = defaultdict(list)
        self.assigned: set[tuple[SettingsHolder, str]] = set()  # names that are bound in their holder
        self.settled: set[tuple[SettingsHolder, str]] = set()  # names whose every use is dealt with
        self.handled: set[tuple[str, int]] = set()  # paths and offsets that are dealt with

    def rename(self) -> RenameResult:
        self._group_uses()
        for holder in list(self.uses):
            self._refuse_unread(holder)
            if holder in self.styles:
                self._refuse_collisions(holder)
        for holder, uses in self.uses.items():
            if holder in self.styles:
                self._settle_duplicates(holder, uses)
                self._join_broker_address(holder, uses)
                for scan, use in uses:
                    self._apply_use(scan, use, self.styles[holder])
        for call in self.calls_to_change:
            if call.holder in self.styles:
                self._add_namespace(call)
        return self.result

    def _group_uses(self) -> None:
        """Groups uses by holder, where the convention decides how the holder is spelt."""
        for scan in self.scans:
            for use in scan.uses:
                if use.holder in self.styles:
                    self.uses[use.holder].append((scan, use))
                if use.form == "binding":
                    self.assigned.add((use.holder, use.name))

    # One use

    def _classify(self, use: SettingUse, style: NamingStyle) -> Classification | None:
        """What the name means where it stands; None if it is no setting there."""
        is_assigned_key = use.name in KEYS and (use.holder, use.name) in self.assigned
        if style.namespace and is_generic(use.name) and not is_assigned_key:
            return None
        return classify(use.name, style.namespace)

    def _apply_use(self, scan: FileScan, use: SettingUse, style: NamingStyle) -> None:
        path = str(scan.source.path)
        if (use.holder, use.name) in self.settled or (path, use.start) in self.handled:
            return
        classification = self._classify(use, style)
        if classification is None:
            self._suggest(path, use)
        elif classification.kind == "removed":
            if use.form != "name":
                self._leave_to_user(path, use, classification.why)
        elif classification.changes and not classification.was_read and not self.guesses:
            if use.form in {"binding", "keyword", "key"}:
                new = " and ".join(classification.new)
                self._leave_to_user(path, use, f"{classification.why}; --guesses makes it {new}, which then counts")
        elif classification.changes:
            self._replace(scan, use, classification)
        else:
            self._note_correct_name(use, style)

    def _note_correct_name(self, use: SettingUse, style: NamingStyle) -> None:
        if style.namespace == NAMESPACE and use.form == "binding":
            if is_ambiguous_with_namespace(use.name):
                self.result.correct_names.add(use.name)
            before = classify(use.name, None)
            if style.reread and before is not None and before.kind == "unread":
                self.result.newly_read.add(before.key)

    def _suggest(self, path: str, use: SettingUse) -> None:
        suggestion = nearest_setting(use.name) if use.form in {"binding", "keyword", "key"} else ""
        if suggestion:
            self._leave_to_user(path, use, f"not a setting; did you mean {suggestion}?")

    def _replace(self, scan: FileScan, use: SettingUse, classification: Classification) -> None:
        path = str(scan.source.path)
        new, text = classification.new[0], classification.new[0]
        if classification.kind == "split" and use.form in {"binding", "keyword", "key", "attribute"}:
            split_text = self._split_text(scan, use, classification)
            if split_text is None:
                self._leave_to_user(path, use, f"{classification.why}: set {' and '.join(classification.new)} instead")
                return
            new, text = " and ".join(classification.new), split_text
        self._add_edit(use.holder, path, use.start, use.start + len(use.name), text)
        self._add_change(path, use.line, use.name, new, _reason(use, classification))
        if use.environ_at >= 0 and use.form == "binding":
            self._keep_variable(scan, use)
        if not classification.was_read or new.isupper():  # Celery before 5.7 reads no old name beside a namespace
            self.result.newly_read.add(classification.key)

    def _split_text(self, scan: FileScan, use: SettingUse, classification: Classification) -> str | None:
        """The text that sets both settings that an old one was split into; None where one text cannot."""
        first, second = classification.new
        if use.form == "binding" and use.chains:
            return f"{first} = {second}"
        if not REPEATABLE.fullmatch(use.value):
            return None
        if use.form == "keyword":
            return f"{first}={use.value}, {second}"
        if use.form == "key":
            quote_mark = scan.source.text[use.start - 1]
            return f"{first}{quote_mark}: {use.value}, {quote_mark}{second}"
        return None

    def _keep_variable(self, scan: FileScan, use: SettingUse) -> None:
        """Writes the old name out: django-configurations names the environment variable after the attribute."""
        before = scan.source.text[: use.environ_at].rstrip()
        comma = "" if before.endswith(("(", ",")) else ", "
        text = f"{comma}environ_name='{use.name}'"
        self._add_edit(use.holder, str(scan.source.path), use.environ_at, use.environ_at, text)

    # One holder as a whole

    def _settle_duplicates(self, holder: SettingsHolder, uses: LocatedUses) -> None:
        """Where two names set one setting, keeps the one that Celery uses."""
        if holder == CONF:
            return  # set in many calls: the last one made wins, before and after
        style = self.styles[holder]
        bindings = _group_bindings(uses)
        by_key: dict[str, list[Classification]] = defaultdict(list)
        for (_, use), *_ in bindings.values():
            classification = self._classify(use, style)
            if classification is not None and classification.kind != "removed":
                by_key[classification.key].append(classification)
        for classifications in by_key.values():
            if len(classifications) > 1:
                winner = min(classifications, key=_rank)
                for loser in (classification for classification in classifications if classification != winner):
                    self._drop_duplicate(holder, uses, bindings, winner, loser)

    def _drop_duplicate(
        self,
        holder: SettingsHolder,
        uses: LocatedUses,
        bindings: dict[str, LocatedUses],
        winner: Classification,
        loser: Classification,
    ) -> None:
        loser_uses = [(scan, use) for scan, use in uses if use.name == loser.old]
        scan, use = bindings[loser.old][0]
        self.settled.add((holder, loser.old))
        always = all(use.outermost for _, use in bindings[winner.old])
        path = str(scan.source.path)
        if not loser.was_read:
            self._leave_to_user(path, use, f"not read by Celery: {winner.old} sets {winner.key}")
        elif len(loser_uses) == 1 and use.line_span and use.outermost and always:
            self._add_edit(holder, path, *use.line_span, "")
            self._add_change(
                path, use.line, use.name, "", f"set by {winner.old} as well, which is the value Celery used"
            )
        else:
            self._leave_to_user(path, use, f"{winner.old} sets the same, and wins; used elsewhere: mend by hand")

    def _join_broker_address(self, holder: SettingsHolder, uses: LocatedUses) -> None:
        """Turns BROKER_HOST, BROKER_PORT … into one address, where every part is a literal."""
        style = self.styles[holder]
        parts: dict[str, LocatedUses] = defaultdict(list)
        for scan, use in uses:
            classification = self._classify(use, style)
            if classification is not None and classification.key in {*ADDRESS_KEYS, "broker_url"}:
                parts[classification.key].append((scan, use))
        if "broker_host" not in parts and "broker_transport" not in parts:
            return
        has_backend = any(use.name == "BROKER_BACKEND" for _, use in uses)  # what Celery 3 took as the transport
        line = None if has_backend else _compose_broker_url(holder, parts, style.namespace)
        scan, first = parts["broker_host" if "broker_host" in parts else "broker_transport"][0]
        path = str(scan.source.path)
        if line is None:
            self._leave_to_user(
                path, first, "undocumented: put the parts together in broker_url (transport://user:…@host/vhost)"
            )
            return
        self.result.broker_url_composed = True
        for key, [(_, use)] in parts.items():
            self.handled.add((path, use.start))
            start, end = use.line_span or (use.start, use.start)
            if use is first:
                self._add_edit(holder, path, use.start, use.start + _assignment_length(scan.source.text, use), line)
            else:
                self._add_edit(holder, path, start, end, "")
            new = line.partition(" ")[0]
            self._add_change(path, use.line, use.name, new, f"part of the broker's address ({key})")

    def _refuse_collisions(self, holder: SettingsHolder) -> None:
        """Leaves a holder alone when a new name is taken: an import called `timezone`, a local called `broker_url`."""
        for scan, use in self.uses[holder]:
            classification = self._classify(use, self.styles[holder])
            collision = (
                self._find_collision(scan, use, classification)
                if classification is not None and classification.changes
                else None
            )
            if collision is not None:
                text, hint = collision
                hint = f"{hint}; nothing of {holder} was changed"
                self.result.refused.append(Mistake(str(scan.source.path), use.line, 1, text, hint))
                self.styles.pop(holder, None)
                return

    def _refuse_unread(self, holder: SettingsHolder) -> None:
        """Leaves a holder alone when a namespace that is new to the call would make unread names count."""
        style = self.styles.get(holder)
        if style is None or not style.reread or self.guesses:
            return
        for scan, use in self.uses[holder]:
            before = classify(use.name, None)
            if use.form in {"binding", "key", "keyword"} and before is not None and before.kind == "unread":
                text = f"Celery does not read {use.name} now, and would with the namespace {style.namespace}"
                hint = "say --guesses to have it count, or take it out first; nothing of it was changed"
                self.result.refused.append(Mistake(str(scan.source.path), use.line, 1, text, hint))
                self._leave_family(holder)
                return

    def _leave_family(self, holder: SettingsHolder) -> None:
        """Takes a holder and all that shares its style out of the renaming: half of a family is none."""
        family = self.families.get(holder, holder)
        for member in list(self.styles):
            if self.families.get(member, member) == family:
                del self.styles[member]

    def _find_collision(
        self, scan: FileScan, use: SettingUse, classification: Classification
    ) -> tuple[str, str] | None:
        if use.form == "binding" and use.holder in scan.environment_classes:
            text = f"pydantic reads {use.name} from the environment under the field's name"
            return text, f"rename the variable as well, or give the field an alias, by hand: {classification.new[0]}"
        taken_name = self._find_taken_name(scan, use, classification)
        if taken_name is None:
            return None
        line, name = taken_name
        text = f"`{name}` in line {line} is another thing, and the new name of {use.name}"
        return text, f"import or name it differently first, say `dt_{name}`"

    @staticmethod
    def _find_taken_name(scan: FileScan, use: SettingUse, classification: Classification) -> tuple[int, str] | None:
        here = SettingsHolder(str(scan.source.path))
        names_here = {**scan.bound.get(here, {}), **scan.shadows.get(here, {})}
        for name in classification.new:
            if use.form in {"binding", "name"} and name in scan.shadows.get(use.holder, {}):
                return scan.shadows[use.holder][name], name
            if use.form == "name" and name in use.hidden:
                return use.line, name
            is_imported = use.form in {"import", "name"} and use.holder.path not in {here.path, ""}
            if is_imported and name in names_here:
                return names_here[name], name
        return None

    # Calls

    def _add_namespace(self, call: SettingsCall) -> None:
        scan = next(scan for scan in self.scans if str(scan.source.path) == call.path)
        quote_mark = '"' if '"' in call.text else "'"
        argument = f"namespace={quote_mark}{self.styles[call.holder].namespace}{quote_mark}"
        before = scan.source.text[: call.end].rstrip()
        gap = " " if before.endswith(",") else ", "
        self._add_edit(call.holder, call.path, call.end, call.end, f"{gap}{argument}")
        if call.kind == "update":
            self._add_edit(call.holder, call.path, *self._conf_update_span(scan, call), "config_from_object")
        new = f"{call.text[:-1]}{gap}{argument})"
        new = new.replace("conf.update", "config_from_object", 1) if call.kind == "update" else new
        why = "so that Celery reads the names behind it"
        if call.holder in {DJANGO, FLASK}:
            why = f"{'Django' if call.holder == DJANGO else 'Flask'} keeps upper-case names only, so a namespace"
        self._add_change(call.path, call.line, call.text, new, why)

    @staticmethod
    def _conf_update_span(scan: FileScan, call: SettingsCall) -> tuple[int, int]:
        text = scan.source.text
        return text.rindex("conf", 0, call.method_at), call.method_at + len("update")

    # The result

    def _add_edit(self, holder: SettingsHolder, path: str, start: int, end: int, text: str) -> None:
        self.result.holders.setdefault(path, set()).add(holder)
        self.result.edits.setdefault(path, []).append(TextEdit(start, end, text))
        self.handled.add((path, start))

    def _add_change(self, path: str, line: int, old: str, new: str, why: str) -> None:
        self.result.changes.append(SettingChange(file=path, line=line, old=old, new=new, why=why))

    def _leave_to_user(self, path: str, use: SettingUse, why: str) -> None:
        self.result.left.append(SettingChange(file=path, line=use.line, old=use.name, new=None, why=why))


def _reason(use: SettingUse, classification: Classification) -> str:
    if classification.kind == "rename" and is_generic(use.name) and use.form == "binding":
        return f"Celery reads this as {classification.key}, as it reads all that stands here"
    return classification.why


def _group_bindings(uses: LocatedUses) -> dict[str, LocatedUses]:
    """The uses that set a setting, by its name."""
    bindings: dict[str, LocatedUses] = defaultdict(list)
    for scan, use in uses:
        if use.form in {"binding", "keyword", "key"}:
            bindings[use.name].append((scan, use))
    return bindings


def _rank(classification: Classification) -> int:
    """The order in which Celery looks names up: the new one first; one that it does not read comes last."""
    if classification.kind == "correct":
        return 0
    return 1 if classification.was_read else 2


def _compose_broker_url(holder: SettingsHolder, parts: dict[str, LocatedUses], namespace: str | None) -> str | None:
    """The assignment that takes the place of the parts; None unless each is set once, by a literal, in one file."""
    if "broker_url" in parts or "broker_host" not in parts or not holder.path:
        return None
    values: dict[str, str] = {}
    for key, uses in parts.items():
        if len(uses) != 1 or not uses[0][1].line_span or not uses[0][1].outermost:
            return None
        value = _parse_literal(uses[0][1].value)
        if value is None:
            return None
        values[key] = str(value)
    transport = values.get("broker_transport") or DEFAULT_TRANSPORT
    if not transport.isalnum():
        return None  # a class, not the name of a transport
    if not HOST_NAME.fullmatch(values["broker_host"]) or not values.get("broker_port", "0").isdecimal():
        return None  # an address in place of a part of one
    return f"{spell('broker_url', namespace)} = {_broker_url(transport, values)!r}"


def _assignment_length(text: str, use: SettingUse) -> int:
    """The length of an assignment in characters, from its name to the end of its value."""
    value_start = text.index(use.value, use.start + len(use.name)) if use.value else use.start
    return value_start + len(use.value) - use.start


def _broker_url(transport: str, values: dict[str, str]) -> str:
    user, password = (quote(values.get(key, ""), safe="") for key in ("broker_user", "broker_password"))
    login = f"{user}:{password}@" if password else f"{user}@" if user else ""
    port = f":{values['broker_port']}" if values.get("broker_port", "0") not in {"", "0"} else ""
    vhost = values.get("broker_vhost", "")
    path = "//" if vhost == "/" else f"/{quote(vhost, safe='')}" if vhost else ""
    return f"{transport}://{login}{values['broker_host']}{port}{path}"


def _parse_literal(text: str) -> str | int | None:
    try:
        value = ast.literal_eval(text)
    except (ValueError, SyntaxError):
        return None
    return value if isinstance(value, str | int) and not isinstance(value, bool) else None
