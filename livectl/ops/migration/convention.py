"""Decides the convention of a project: how the settings of each holder are spelt, and why."""

from __future__ import annotations

from collections import defaultdict
from pathlib import PurePath
from typing import TYPE_CHECKING

from msgspec import Struct

from livectl.errors import Mistake
from livectl.ops.migration.file_scan import (
    CONF,
    DJANGO,
    FLASK,
    FLASK_CELERY,
    FileScan,
    Inheritance,
    SettingsCall,
    SettingsHolder,
)
from livectl.ops.migration.names import CELERY_LIKE_NAME, classify, is_generic, nearest_setting

if TYPE_CHECKING:
    from collections.abc import Iterable

CELERY_FILES = {"celeryconfig", "celery_config", "celeryconf"}
DJANGO_SETTING_NAMES = {"INSTALLED_APPS", "ROOT_URLCONF", "MIDDLEWARE", "MIDDLEWARE_CLASSES", "WSGI_APPLICATION",
                        "TEMPLATES", "TEMPLATE_DIRS", "TEMPLATE_LOADERS", "STATICFILES_DIRS", "DATABASES"}  # fmt: skip
NAMESPACE = "CELERY"  # what everybody's documentation uses
PLAIN_WHY = "nothing says how Celery reads it, and all its names are Celery's"


class NamingStyle(Struct, frozen=True):
    """How the settings of a holder are spelt: behind a namespace, or in lower case without one."""

    namespace: str | None
    why: str
    reread: bool = False  # a call is changed to pass this namespace; it passed none before

    def __str__(self) -> str:
        return f"names begin with {self.namespace}_" if self.namespace else "lower-case names"


class Convention(Struct):
    """The style of each holder, and the holders for which none can be decided."""

    styles: dict[SettingsHolder, NamingStyle] = {}
    calls_to_change: list[SettingsCall] = []  # calls that have to pass a namespace from now on
    refused: list[Mistake] = []
    families: dict[SettingsHolder, SettingsHolder] = {}  # a holder -> the holder that its style is inherited from
    untouched: dict[SettingsHolder, str] = {}  # holders that no app reads, and why that is believed
    opaque_calls: list[SettingsCall] = []  # calls that hand Celery something which cannot be followed
    upper_only: dict[SettingsHolder, str] = {}  # holders that end in Django or Flask, and the place that says so

    def family(self, holder: SettingsHolder) -> SettingsHolder:
        """The holder that this one has its style from; itself if a call decides its style."""
        return self.families.get(holder, holder)


def decide(scans: list[FileScan], namespace: str | None, *, given: bool) -> Convention:
    """Decides from what the calls, the frameworks and the names in the files say.

    `given` says that the user chose the namespace (None: none), which overrides the project.
    """
    return _ConventionDecider(scans, namespace, given=given).decide()


class _ConventionDecider:
    def __init__(self, scans: list[FileScan], namespace: str | None, *, given: bool) -> None:
        self.scans = scans
        self.by_path = {str(scan.source.path): scan for scan in scans}
        self.namespace = namespace
        self.given = given
        self.calls = [call for scan in scans for call in scan.calls]
        self.inheritances = [inheritance for scan in scans for inheritance in scan.inheritances]
        self.refused_holders: set[SettingsHolder] = set()
        self.convention = Convention(
            styles={CONF: NamingStyle(None, "app.conf takes new names"), FLASK_CELERY: NamingStyle(None, "")}
        )

    def decide(self) -> Convention:
        self._add_django()
        self._add_flask()
        self._find_upper_only()
        self.convention.opaque_calls = [call for call in self.calls if self._is_opaque(call)]
        for call in self.calls:
            if call.kind in {"source", "update"}:
                self._apply_call(call)
        self._spread_styles()
        for holder in sorted(self._holders_of_settings(), key=lambda holder: not _is_celery_file(holder)):
            if holder not in self.convention.styles and holder not in self.refused_holders:
                self._decide_unread(holder)
                self._spread_styles()  # what it takes from others is spelt as it is, and moves with it
        return self.convention

    # Calls

    def _apply_call(self, call: SettingsCall) -> None:
        if call.holder in {CONF, FLASK_CELERY} or not (call.holder.path or call.holder in {DJANGO, FLASK}):
            return
        if not call.known and call.kind == "source":
            self._apply_call_of_unknown_namespace(call)
            return
        wanted_namespace = self._wanted_namespace(call)
        if wanted_namespace == call.namespace:
            self._set_style(call.holder, NamingStyle(wanted_namespace, f"{call.path}:{call.line} {call.text}"))
        elif call.namespace is not None:
            self._refuse(
                call.path, call.line, f"this call says namespace {call.namespace!r}, not what --namespace says"
            )
        elif wanted_namespace is not None and self._has_settings(call.holder):
            why = (
                "sees upper-case names only" if call.holder in {DJANGO, FLASK} else "is to pass the namespace you said"
            )
            self._set_style(
                call.holder, NamingStyle(wanted_namespace, f"{call.path}:{call.line} {call.text} {why}", reread=True)
            )
            self.convention.calls_to_change.append(call)

    def _apply_call_of_unknown_namespace(self, call: SettingsCall) -> None:
        if not self.given:
            self.refused_holders.add(call.holder)
            self._refuse(call.path, call.line, "the namespace is not written out here")
            return
        self._set_style(call.holder, NamingStyle(self.namespace, "--namespace says so"))

    def _wanted_namespace(self, call: SettingsCall) -> str | None:
        """Django and Flask keep upper-case names only, and Celery 6 reads those only behind a namespace."""
        if self.given and self.namespace is not None and call.kind == "source":
            return self.namespace
        if call.namespace is None and call.holder in {DJANGO, FLASK}:
            return self.namespace or NAMESPACE
        return call.namespace

    def _set_style(self, holder: SettingsHolder, style: NamingStyle) -> None:
        if holder in self.refused_holders:
            return
        existing = self.convention.styles.get(holder)
        if existing is not None and existing.namespace != style.namespace:
            location = holder.path or str(holder)
            self._refuse(location, 1, f"read in two ways: {existing} ({existing.why}), {style} ({style.why})")
            self.refused_holders.add(holder)
            del self.convention.styles[holder]
            return
        self.convention.styles.setdefault(holder, style)

    # Frameworks

    def _add_django(self) -> None:
        for scan in self.scans:
            holder = SettingsHolder(str(scan.source.path))
            if DJANGO_SETTING_NAMES & scan.bound.get(holder, {}).keys():
                self.inheritances.append(Inheritance(DJANGO, holder))
        self.inheritances += [Inheritance(DJANGO, call.holder) for call in self.calls if call.kind == "django"]
        # djcelery is set up by the settings module itself, or by what it imports
        self.inheritances += [
            Inheritance(DJANGO, SettingsHolder(call.path))
            for call in self.calls
            if call.kind == "djcelery" and self._celery_names(self.by_path[call.path])
        ]

    def _add_flask(self) -> None:
        for call in self.calls:
            if call.kind == "flask" and call.holder.path:
                self.inheritances.append(Inheritance(FLASK, call.holder))
            elif call.kind == "flask":
                self.inheritances += [Inheritance(FLASK, holder) for holder in self._classes_near(call)]

    def _classes_near(self, call: SettingsCall) -> Iterable[SettingsHolder]:
        """The classes that `from_object(config[name])` may mean: all in the modules that its file imports from."""
        near = {holder.path for holder in self.by_path[call.path].imports} | {call.path}
        return [holder for holder in self._holders_of_settings() if holder.name and holder.path in near]

    def _find_upper_only(self) -> None:
        """Finds what Django and Flask take up, directly or through others: of it they show upper-case names only."""
        todo = [(DJANGO, "Django's settings"), (FLASK, "Flask's app.config")]
        while todo:
            holder, place = todo.pop()
            for inheritance in self.inheritances:
                origin = SettingsHolder(inheritance.origin.path, inheritance.origin.name.partition(":")[0])
                if inheritance.to == holder and origin.path and origin not in self.convention.upper_only:
                    self.convention.upper_only[origin] = place
                    todo.append((origin, f"{holder}, part of {place}" if holder.path else place))

    def _is_opaque(self, call: SettingsCall) -> bool:
        """Whether a call hands Celery settings from where no name of them can be seen."""
        if call.kind not in {"source", "update"} or call.holder in {CONF, DJANGO, FLASK, FLASK_CELERY}:
            return False
        if not call.holder.path:
            return True
        known = {use.holder for scan in self.scans for use in scan.uses}
        known.update(*(scan.bound for scan in self.scans), (link.to for link in self.inheritances))
        return bool(call.holder.name) and call.holder not in known

    # From holder to holder

    def _spread_styles(self) -> None:
        todo = list(self.convention.styles)
        while todo:
            holder = todo.pop()
            style = self.convention.styles[holder]
            for related_holder in self._related_holders(holder):
                if related_holder in {DJANGO, FLASK} and style.namespace is None:
                    continue  # they show no lower-case name, whatever else takes a part of them
                if related_holder not in self.convention.styles and related_holder not in self.refused_holders:
                    self.convention.styles[related_holder] = NamingStyle(
                        style.namespace, f"part of {holder}", style.reread
                    )
                    self.convention.families[related_holder] = self.convention.family(holder)
                    todo.append(related_holder)

    def _related_holders(self, holder: SettingsHolder) -> Iterable[SettingsHolder]:
        special = {CONF, FLASK_CELERY}
        for inheritance in self.inheritances:
            origin, _, name = inheritance.origin.name.partition(":")
            if inheritance.to == holder and (not name or _is_setting(name)):
                yield SettingsHolder(inheritance.origin.path, origin)
            elif inheritance.origin == holder and not {holder, inheritance.to} & special and not name:
                yield inheritance.to

    # Holders that no call names

    def _holders_of_settings(self) -> list[SettingsHolder]:
        return sorted({holder for scan in self.scans for holder in self._celery_names(scan)}, key=str)

    @staticmethod
    def _celery_names(scan: FileScan) -> dict[SettingsHolder, list[str]]:
        """The holders in a file that set something which is surely Celery's, with its names."""
        names_by_holder: dict[SettingsHolder, list[str]] = defaultdict(list)
        for use in scan.uses:
            is_own_binding = use.form == "binding" and use.holder.path == str(scan.source.path)
            if is_own_binding and not is_generic(use.name) and (_is_setting(use.name) or nearest_setting(use.name)):
                names_by_holder[use.holder].append(use.name)
        return names_by_holder

    def _has_settings(self, family: SettingsHolder) -> bool:
        uses = [use for scan in self.scans for use in scan.uses if use.holder == family]
        if any(use.form in {"keyword", "key"} and not is_generic(use.name) and _is_setting(use.name) for use in uses):
            return True
        members = {inheritance.origin for inheritance in self.inheritances if inheritance.to == family}
        return any(holder in members or self._reaches(holder, family) for holder in self._holders_of_settings())

    def _reaches(self, holder: SettingsHolder, family: SettingsHolder) -> bool:
        visited, todo = {holder}, [holder]
        while todo:
            for related_holder in self._related_holders(todo.pop()):
                if related_holder == family:
                    return True
                if related_holder not in visited:
                    visited.add(related_holder)
                    todo.append(related_holder)
        return False

    def _decide_unread(self, holder: SettingsHolder) -> None:
        names = self._celery_names(self.by_path[holder.path])[holder]
        if self.given:
            family = next((candidate for candidate in (DJANGO, FLASK) if self._reaches(holder, candidate)), holder)
            self._set_style(family, NamingStyle(self.namespace, "--namespace says so"))
            self._spread_styles()
        elif holder in self.convention.upper_only:
            self._refuse_framework(holder, names)
        elif _is_celery_file(holder):
            self._set_style(holder, NamingStyle(None, "Celery reads a file of this name by itself"))
        else:
            self._decide_by_project(holder, names)

    def _refuse_framework(self, holder: SettingsHolder, names: list[str]) -> None:
        """Django and Flask take this holder up, and no call tells how Celery reads them."""
        if self._is_spelt_for_namespace(names):
            self._set_style(holder, NamingStyle(NAMESPACE, "its names are spelt so, and nothing says otherwise"))
            return
        place = self.convention.upper_only[holder]
        old_loader = next((call for call in self.calls if call.kind == "djcelery"), None)
        reason = f"{names[0]} ends in {place}, and nothing says under which namespace Celery reads it"
        if old_loader is not None:
            reason += f" ({old_loader.path}:{old_loader.line} {old_loader.text} is the way of Celery 3)"
        line = self._binding_line(holder, names[0])
        self.convention.refused.append(Mistake(holder.path, line, 1, reason, "say --namespace CELERY"))

    def _decide_by_project(self, holder: SettingsHolder, names: list[str]) -> None:
        if holder.name and all(_is_new_name(name) for name in names):
            return  # new names without a namespace: right, if they are settings at all
        doubtful_calls = self.convention.opaque_calls
        app_count = sum(scan.app_count for scan in self.scans)
        if doubtful_calls:
            location = f"{doubtful_calls[0].path}:{doubtful_calls[0].line}"
            self._refuse(
                holder.path,
                self._binding_line(holder, names[0]),
                f"{location} may or may not read this: {doubtful_calls[0].text}",
            )
        elif app_count:
            self.convention.untouched[holder] = "no app reads its settings here: constants of your own"
        elif self._is_spelt_for_namespace(names) and (holder.name or self._is_mixed(holder)):
            self._set_style(holder, NamingStyle(NAMESPACE, "its names are spelt so, and nothing says otherwise"))
        elif holder.name or self._is_mixed(holder) or self._reaches(holder, DJANGO):
            self._refuse(
                holder.path,
                self._binding_line(holder, names[0]),
                f"{names[0]} is Celery's, but nothing says under which namespace Celery reads it",
            )
        else:
            self._set_style(holder, NamingStyle(None, PLAIN_WHY))

    @staticmethod
    def _is_spelt_for_namespace(names: list[str]) -> bool:
        classifications = [classify(name, NAMESPACE) for name in names]
        return all(
            classification is not None and classification.kind == "correct" for classification in classifications
        ) and any(
            (classify(name, None) or classifications[0]).kind == "unread"  # type: ignore[union-attr]
            for name in names
        )

    def _is_mixed(self, holder: SettingsHolder) -> bool:
        """Whether the holder also has upper-case names that are not Celery's."""
        bound = self.by_path[holder.path].bound.get(holder, {})
        return any(
            name.isupper() and not classify(name, None) and not CELERY_LIKE_NAME.fullmatch(name) for name in bound
        )

    def _binding_line(self, holder: SettingsHolder, name: str) -> int:
        return self.by_path[holder.path].bound.get(holder, {}).get(name, 1)

    def _refuse(self, path: str, line: int, text: str) -> None:
        hint = "say --namespace CELERY or --namespace none"
        self.convention.refused.append(Mistake(path, line, 1, text, hint))


def _is_celery_file(holder: SettingsHolder) -> bool:
    return not holder.name and PurePath(holder.path).stem in CELERY_FILES


def _is_new_name(name: str) -> bool:
    classification = classify(name, None)
    return classification is not None and classification.kind == "correct"


def _is_setting(name: str) -> bool:
    return classify(name, NAMESPACE) is not None or classify(name, None) is not None
