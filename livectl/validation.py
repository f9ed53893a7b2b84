"""Checks what a YAML document says, and notes each mistake with its line and column.

A `FileLocation` is a place in the document where mistakes are noted; the `read_*` functions check one value there.
`StructReader` reads a whole document into a msgspec Struct.
"""

from __future__ import annotations

import re
from contextlib import suppress
from types import UnionType
from typing import TYPE_CHECKING, Any, Literal, TypeAlias, Union, get_args, get_origin

import msgspec

from livectl.errors import FileError, SettingsError, shorten
from livectl.suggestions import did_you_mean, nearest
from livectl.units import nearest_zone, parse_duration, parse_timezone

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterable, Mapping

    from livectl.errors import LivectlError, Mistake
    from livectl.yamlfile import Document, KeyPath, Position

    ValueParser: TypeAlias = Callable[[Any], Any]


TYPE_NAMES: dict[Any, str] = {
    str: "text", int: "a whole number", float: "a number", bool: "true or false",
    list: "a list", tuple: "a list", dict: "keys with values", type(None): "nothing",
}  # fmt: skip
INVALID = object()
MAX_QUOTE_CHARS = 60  # characters of a value in a message
DURATION_HINT = "such as 30s, 5m or 1h30m"
ZONE_HINT = "such as Europe/Paris or UTC"
DEFAULT_ZONE = "UTC"
WORD = re.compile(r"\w+")


class FileLocation:
    """A place in a document. Messages begin with the keys that lead to it: `sweep: options: unknown option "queu"`."""

    __slots__ = ("_key", "_parent", "_silent", "document", "mistakes")

    def __init__(self, document: Document, mistakes: list[Mistake] | None = None) -> None:
        self.document = document
        self.mistakes: list[Mistake] = [] if mistakes is None else mistakes  # of the whole document
        self._parent: FileLocation | None = None
        self._key: str | int = ""
        self._silent = True

    def child(self, key: str | int, *, silent: bool = False) -> FileLocation:
        """The place of a key's value; messages leave out the key of a silent one."""
        child = FileLocation(self.document, self.mistakes)
        child._parent, child._key, child._silent = self, key, silent
        return child

    @property
    def key_path(self) -> KeyPath:
        """The keys that lead here."""
        return () if self._parent is None else (*self._parent.key_path, self._key)

    @property
    def prefix(self) -> str:
        """What messages begin with. Most places never have one: it is put together for those that do."""
        before = "" if self._parent is None else self._parent.prefix
        return before if self._silent else f"{before}{self._key}: "

    @property
    def dotted(self) -> str:
        """The keys that lead here, as `web.port`."""
        return ".".join(map(str, self.key_path))

    @property
    def position(self) -> Position:
        """Line and column of the value here."""
        return self.document.position(self.key_path)

    @property
    def source(self) -> str:
        """File and line of the key that leads here."""
        return f"{self.document.name}:{self.document.position(self.key_path, key=True).line}"

    def add_mistake(self, text: str, hint: str = "", *, key: bool = False) -> None:
        """Notes what is wrong with the value here, or with its key."""
        self.mistakes.append(self.document.mistake(self.key_path, self.prefix + text, hint, key=key))

    def add_warning(self, text: str, hint: str = "") -> None:
        self.mistakes.append(self.document.mistake(self.key_path, self.prefix + text, hint, warning=True))

    def add_unknown(self, kind: str, key: str, known: Collection[str]) -> None:
        """Notes a key that is not one of the known ones, at that key."""
        hint = did_you_mean(key, known) or f"one of {', '.join(known)}"
        self.child(key, silent=True).add_mistake(f"unknown {kind} {quote(key)}", hint, key=True)

    def check_keys(self, kind: str, keys: Iterable[str], known: Collection[str]) -> None:
        """Notes each key that is not one of the known ones."""
        for key in keys:
            if key not in known:
                self.add_unknown(kind, key, known)

    def raise_mistakes(self) -> None:
        """Sorts what was noted in the document; raises FileError with all of it, unless it is warnings only."""
        self.mistakes.sort(key=lambda mistake: (mistake.line, mistake.column))
        if any(not mistake.warning for mistake in self.mistakes):
            raise FileError(self.mistakes)


def quote(value: Any) -> str:
    """A value as a message shows it: short, on one line, as YAML would spell it."""
    import json

    is_plain = isinstance(value, str) and value.isprintable() and "'" not in value
    text = f"'{value}'" if is_plain and '"' in value else json.dumps(value, ensure_ascii=False, default=str)
    return shorten(text, MAX_QUOTE_CHARS)


def describe_error(error: LivectlError) -> tuple[str, str]:
    """Message and hint of an error, as they stand in the mistakes of a file."""
    return error.message, error.hint[:1].lower() + error.hint[1:].rstrip(".")


def describe_unknown_key(key: str, known: Iterable[str], other_hint: str) -> tuple[str, str]:
    """Message and hint for a key that a mapping does not have; `other_hint` is for one that resembles none."""
    meant = nearest(shorten(key), known)
    return f"unknown key `{shorten(key)}`", f"do you mean {meant}?" if meant else other_hint


def read_text(location: FileLocation, value: Any) -> str:
    if not isinstance(value, str) or not value:
        location.add_mistake(f"{quote(value)} is no text", f'"{value}"' if isinstance(value, int | float) else "")
    return str(value)


def read_bool(location: FileLocation, value: Any) -> bool:
    if not isinstance(value, bool):
        location.add_mistake(f"{quote(value)} is neither true nor false", "true or false")
    return bool(value)


def read_mapping(location: FileLocation, value: Any) -> dict[str, Any]:
    if isinstance(value, dict):
        return value
    location.add_mistake(f"{quote(value)} is no mapping", "{name: value}")
    return {}


def read_choice(location: FileLocation, value: Any, known: tuple[str, ...]) -> Any:
    if value not in known:
        hint = did_you_mean(value, known) if isinstance(value, str) else ""
        location.add_mistake(f"{quote(value)} is neither {' nor '.join(known)}", hint)
    return value


def read_duration(location: FileLocation, value: Any) -> float | int:
    """Seconds, more than none: a number, or text such as 1h30m."""
    if not is_number(value) and not isinstance(value, str):
        location.add_mistake(f"{quote(value)} is no duration", DURATION_HINT)
        return 0
    try:
        seconds = float(parse_duration(value))
    except SettingsError as error:
        negative = str(value).startswith("-")
        problem = " must be more than zero" if negative else f": {error.message}"
        location.add_mistake(f"{quote(value)}{problem}", DURATION_HINT)
        return 0
    if seconds == 0:
        location.add_mistake(f"{quote(value)} must be more than zero", DURATION_HINT)
    return int(seconds) if seconds.is_integer() else seconds


def read_zone(location: FileLocation, value: Any) -> str:
    """The name of a time zone; UTC stands in for one that is wrong, so that reading can go on."""
    if isinstance(value, str):
        with suppress(SettingsError):
            return parse_timezone(value)
    zone = nearest_zone(str(value))
    location.add_mistake(f"{quote(value)} is no time zone", f"did you mean {zone}?" if zone else ZONE_HINT)
    return DEFAULT_ZONE


def is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def is_invalid(value: Any) -> bool:
    """Whether what was read is a mistake, or held one."""
    return value is INVALID


class StructReader:
    """Reads a document into a Struct. A value left empty counts as left out; `sources` says where each one stands."""

    def __init__(self, document: Document, parsers: Mapping[Any, ValueParser]) -> None:
        self.location = FileLocation(document)
        self.sources: dict[str, str] = {}
        self._parsers = parsers  # type -> what makes such a value of a plain one, or raises SettingsError

    def read(self, struct: type[msgspec.Struct]) -> dict[str, Any]:
        """The fields of the struct that the document sets, by name."""
        value = self.location.document.value
        if value is not None and not isinstance(value, dict):
            self.location.add_mistake(
                f"keys with values are wanted, not {TYPE_NAMES[type(value)]}", "a colon is followed by a space"
            )
            return {}
        return self._read_fields(struct, value or {}, self.location)

    def _read_fields(
        self, struct: type[msgspec.Struct], value: Mapping[str, Any], location: FileLocation
    ) -> dict[str, Any]:
        fields = {field.name: field for field in msgspec.structs.fields(struct)}
        values = {}
        for key, raw_value in value.items():
            child = location.child(key, silent=True)
            if key not in fields:
                hint = f"it can be {', '.join(fields)}"
                child.add_mistake(*describe_unknown_key(key, fields, hint), key=True)
            elif raw_value is not None:
                values[key] = self._read_with_source(fields[key].type, raw_value, child)
        return values

    def _read_with_source(self, kind: Any, value: Any, location: FileLocation) -> Any:
        self.sources[location.dotted] = location.source
        return self._read_value(kind, value, location)

    def _read_value(self, kind: Any, value: Any, location: FileLocation) -> Any:
        """The value as its type wants it; INVALID when it cannot be, and the mistake is noted."""
        if get_origin(kind) in {Union, UnionType}:
            kind = next(argument for argument in get_args(kind) if argument is not type(None))
        origin, arguments = get_origin(kind), get_args(kind)
        if kind in self._parsers:
            return _call(location, self._parsers[kind], value)
        if origin is Literal:
            return _read_literal(location, arguments, value)
        if origin is tuple:
            return self._read_list(arguments[0], value, location)
        if origin is dict:
            return self._read_dict(arguments[1], value, location)
        if isinstance(kind, type) and issubclass(kind, msgspec.Struct):
            return self._read_struct(kind, value, location)
        return value if type(value) is kind or kind is Any else _add_type_mistake(location, kind, value)

    def _read_list(self, kind: Any, value: Any, location: FileLocation) -> Any:
        if not isinstance(value, list):
            return _add_type_mistake(location, list, value)
        items = tuple(
            self._read_value(kind, item, location.child(index, silent=True)) for index, item in enumerate(value)
        )
        return INVALID if any(item is INVALID for item in items) else items

    def _read_dict(self, kind: Any, value: Any, location: FileLocation) -> Any:
        if not isinstance(value, dict):
            return _add_type_mistake(location, dict, value)
        entries = {
            key: self._read_with_source(kind, entry, location.child(key, silent=True)) for key, entry in value.items()
        }
        return INVALID if any(entry is INVALID for entry in entries.values()) else entries

    def _read_struct(self, kind: type[msgspec.Struct], value: Any, location: FileLocation) -> Any:
        short = getattr(kind, "short", "")  # the field that a plain value is for
        if short and not isinstance(value, dict):
            value = {short: value}
        if value is not None and not isinstance(value, dict):
            return _add_type_mistake(location, dict, value)
        fields = self._read_fields(kind, value or {}, location)
        if INVALID in fields.values():
            return INVALID
        try:
            return kind(**fields)
        except SettingsError as error:
            message, hint = describe_error(error)
            named = next((word for word in WORD.findall(message) if word in fields), None)  # what it speaks of first
            place = location.child(named, silent=True) if named and isinstance(value, dict) else location
            place.add_mistake(f"{location.dotted}: {message}", hint)
            return INVALID


def _call(location: FileLocation, parse: Callable[[Any], Any], value: Any) -> Any:
    """What it returns; a SettingsError is noted instead."""
    try:
        return parse(value)
    except SettingsError as error:
        message, hint = describe_error(error)
        location.add_mistake(f"{location.dotted}: {message}", hint)
        return INVALID


def _read_literal(location: FileLocation, choices: tuple[Any, ...], value: Any) -> Any:
    if value in choices:
        return value
    meant = nearest(shorten(str(value)), choices)
    hint = f"do you mean {meant}?" if meant else f"it can be {', '.join(choices)}"
    location.add_mistake(f"{location.dotted} cannot be {shorten(str(value))}", hint)
    return INVALID


def _add_type_mistake(location: FileLocation, kind: Any, value: Any) -> Any:
    hint = "put it in quotes" if kind is str and isinstance(value, int | float) else ""
    location.add_mistake(f"{location.dotted} wants {TYPE_NAMES[kind]}, not {TYPE_NAMES[type(value)]}", hint)
    return INVALID
