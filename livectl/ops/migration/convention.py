"""The convention of a project: who reads which settings, and under what namespace."""

from __future__ import annotations

from collections import defaultdict
from pathlib import PurePath
from typing import TYPE_CHECKING

from msgspec import Struct, field

from livectl.errors import Mistake
from livectl.ops.migration.names import MENTION, is_weak, judged, nearest
from livectl.ops.migration.places import CONF, DJANGO, FLASK, FLASK_CELERY, Link, Place, Reading, Sink

if TYPE_CHECKING:
    from collections.abc import Iterable

CELERY_FILES = {"celeryconfig", "celery_config", "celeryconf"}
DJANGO_MARKS = {"INSTALLED_APPS", "ROOT_URLCONF", "MIDDLEWARE", "MIDDLEWARE_CLASSES"}
NAMESPACE = "CELERY"  # what everybody's documentation uses
PLAIN_WHY = "nothing says how Celery reads it, and all its names are Celery's"


class Style(Struct, frozen=True):
    """How the settings of a place are spelt: behind a namespace, or in lower case without one."""

    namespace: str | None
    why: str
    reread: bool = False  # a call is changed to pass this namespace: until now Celery read without one

    def __str__(self) -> str:
        return f"names begin with {self.namespace}_" if self.namespace else "lower-case names"


class Convention(Struct):
    styles: dict[Place, Style] = {}
    respelt: list[Sink] = []  # calls that must pass a namespace from now on
    refused: list[Mistake] = []
    families: dict[Place, Place] = {}  # a place -> where its style came from
    untouched: dict[Place, str] = field(default_factory=dict)  # nobody's settings, and why that is thought


def decide(readings: list[Reading], namespace: str | None, *, given: bool) -> Convention:
    """`given` says that the namespace (None: none) is the user's word; it overrides what the project says."""
    return _Judge(readings, namespace, given=given).decide()


class _Judge:
    def __init__(self, readings: list[Reading], namespace: str | None, *, given: bool) -> None:
        self.readings = readings
        self.by_path = {str(reading.source.path): reading for reading in readings}
        self.namespace = namespace
        self.given = given
        self.sinks = [sink for reading in readings for sink in reading.sinks]
        self.links = [link for reading in readings for link in reading.links]
        self.barred: set[Place] = set()  # refused already
        self.found = Convention(styles={CONF: Style(None, "app.conf takes new names"), FLASK_CELERY: Style(None, "")})

    def decide(self) -> Convention:
        self._add_django()
        self._add_flask()
        for sink in self.sinks:
            if sink.kind in {"source", "update"}:
                self._take(sink)
        self._spread()
        for place in self._holders():
            if place not in self.found.styles and place not in self.barred:
                self._judge_unread(place)
        self._spread()
        return self.found

    # What the calls say

    def _take(self, sink: Sink) -> None:
        if sink.place in {CONF, FLASK_CELERY} or not (sink.place.path or sink.place in {DJANGO, FLASK}):
            return
        if not sink.known and sink.kind == "source":
            self._take_unspelt(sink)
            return
        wanted = self._wanted(sink)
        if wanted == sink.namespace:
            self._style(sink.place, Style(wanted, f"{sink.path}:{sink.line} {sink.text}"))
        elif sink.namespace is not None:
            self._refuse(
                sink.path, sink.line, f"this call says namespace {sink.namespace!r}, not what --namespace says"
            )
        elif wanted is not None and self._has_settings(sink.place):
            why = "sees upper-case names only" if sink.place in {DJANGO, FLASK} else "is to pass the namespace you said"
            self._style(sink.place, Style(wanted, f"{sink.path}:{sink.line} {sink.text} {why}", reread=True))
            self.found.respelt.append(sink)

    def _take_unspelt(self, sink: Sink) -> None:
        if not self.given:
            self.barred.add(sink.place)
            self._refuse(sink.path, sink.line, "the namespace is not written out here")
            return
        self._style(sink.place, Style(self.namespace, "--namespace says so"))

    def _wanted(self, sink: Sink) -> str | None:
        """Django and Flask keep upper-case names alone: Celery 6 can read those behind a namespace only."""
        if self.given and self.namespace is not None and sink.kind == "source":
            return self.namespace
        if sink.namespace is None and sink.place in {DJANGO, FLASK}:
            return self.namespace or NAMESPACE
        return sink.namespace

    def _style(self, place: Place, style: Style) -> None:
        if place in self.barred:
            return
        known = self.found.styles.get(place)
        if known is not None and known.namespace != style.namespace:
            where = place.path or str(place)
            self._refuse(where, 1, f"read in two ways: {known} ({known.why}), {style} ({style.why})")
            self.barred.add(place)
            del self.found.styles[place]
            return
        self.found.styles.setdefault(place, style)

    # Frameworks

    def _add_django(self) -> None:
        for reading in self.readings:
            place = Place(str(reading.source.path))
            if DJANGO_MARKS & reading.bound.get(place, {}).keys():
                self.links.append(Link(DJANGO, place))
        self.links += [Link(DJANGO, sink.place) for sink in self.sinks if sink.kind == "django"]

    def _add_flask(self) -> None:
        for sink in self.sinks:
            if sink.kind == "flask" and sink.place.path:
                self.links.append(Link(FLASK, sink.place))
            elif sink.kind == "flask":
                self.links += [Link(FLASK, place) for place in self._classes_near(sink)]

    def _classes_near(self, sink: Sink) -> Iterable[Place]:
        """Classes a call like `from_object(config[name])` may mean: those of the modules its file imports from."""
        near = {place.path for place in self.by_path[sink.path].imports} | {sink.path}
        return [place for place in self._holders() if place.name and place.path in near]

    # From place to place

    def _spread(self) -> None:
        todo = list(self.found.styles)
        while todo:
            place = todo.pop()
            style = self.found.styles[place]
            for other in self._linked(place):
                if other not in self.found.styles and other not in self.barred:
                    self.found.styles[other] = Style(style.namespace, f"part of {place}", style.reread)
                    self.found.families[other] = self.found.families.get(place, place)
                    todo.append(other)

    def _linked(self, place: Place) -> Iterable[Place]:
        special = {CONF, FLASK_CELERY}
        for link in self.links:
            origin, _, name = link.origin.name.partition(":")
            if link.to == place and (not name or _is_setting(name)):
                yield Place(link.origin.path, origin)
            elif link.origin == place and link.to not in special and not name:
                yield link.to

    # What no call says

    def _holders(self) -> list[Place]:
        return sorted({place for reading in self.readings for place in self._settings(reading)}, key=str)

    @staticmethod
    def _settings(reading: Reading) -> dict[Place, list[str]]:
        """Places of a file in which something unmistakably Celery's is set."""
        found: dict[Place, list[str]] = defaultdict(list)
        for use in reading.uses:
            mine = use.form == "binding" and use.place.path == str(reading.source.path)
            if mine and not is_weak(use.name) and (_is_setting(use.name) or nearest(use.name)):
                found[use.place].append(use.name)
        return found

    def _has_settings(self, family: Place) -> bool:
        named = [use for reading in self.readings for use in reading.uses if use.place == family]
        if any(use.form in {"keyword", "key"} and not is_weak(use.name) and _is_setting(use.name) for use in named):
            return True
        members = {link.origin for link in self.links if link.to == family}
        return any(place in members or self._reaches(place, family) for place in self._holders())

    def _reaches(self, place: Place, family: Place) -> bool:
        seen, todo = {place}, [place]
        while todo:
            for other in self._linked(todo.pop()):
                if other == family:
                    return True
                if other not in seen:
                    seen.add(other)
                    todo.append(other)
        return False

    def _judge_unread(self, place: Place) -> None:
        names = self._settings(self.by_path[place.path])[place]
        if self.given:
            family = next((f for f in (DJANGO, FLASK) if self._reaches(place, f)), place)
            self._style(family, Style(self.namespace, "--namespace says so"))
            self._spread()
        elif not place.name and PurePath(place.path).stem in CELERY_FILES:
            self._style(place, Style(None, "Celery reads a file of this name by itself"))
        else:
            self._judge_by_project(place, names)

    def _judge_by_project(self, place: Place, names: list[str]) -> None:
        if place.name and all(_is_new(name) for name in names):
            return  # new names without a namespace: right, if they are settings at all
        doubtful = [s for s in self.sinks if s.kind == "source" and not (s.place.path or s.place in {DJANGO, FLASK})]
        apps = sum(reading.apps for reading in self.readings)
        if doubtful:
            where = f"{doubtful[0].path}:{doubtful[0].line}"
            self._refuse(
                place.path, self._line(place, names[0]), f"{where} may or may not read this: {doubtful[0].text}"
            )
        elif apps:
            self.found.untouched[place] = "no app reads its settings here: constants of your own"
        elif self._is_spelt_for_namespace(names) and (place.name or self._is_mixed(place)):
            self._style(place, Style(NAMESPACE, "its names are spelt so, and nothing says otherwise"))
        elif place.name or self._is_mixed(place) or self._reaches(place, DJANGO):
            self._refuse(
                place.path,
                self._line(place, names[0]),
                f"{names[0]} is Celery's, but nothing says under which namespace Celery reads it",
            )
        else:
            self._style(place, Style(None, PLAIN_WHY))

    @staticmethod
    def _is_spelt_for_namespace(names: list[str]) -> bool:
        verdicts = [judged(name, NAMESPACE) for name in names]
        return all(v is not None and v.kind == "correct" for v in verdicts) and any(
            (judged(name, None) or verdicts[0]).kind == "unread"  # type: ignore[union-attr]
            for name in names
        )

    def _is_mixed(self, place: Place) -> bool:
        """Whether upper-case names of other things are set beside Celery's."""
        bound = self.by_path[place.path].bound.get(place, {})
        return any(name.isupper() and not judged(name, None) and not MENTION.fullmatch(name) for name in bound)

    def _line(self, place: Place, name: str) -> int:
        return self.by_path[place.path].bound.get(place, {}).get(name, 1)

    def _refuse(self, path: str, line: int, text: str) -> None:
        hint = "say --namespace CELERY or --namespace none"
        self.found.refused.append(Mistake(path, line, 1, text, hint))


def _is_new(name: str) -> bool:
    verdict = judged(name, None)
    return verdict is not None and verdict.kind == "correct"


def _is_setting(name: str) -> bool:
    return judged(name, NAMESPACE) is not None or judged(name, None) is not None
