"""The fitting of a YAML document to Structs: each value read as its field's type, every mistake at its place."""

from __future__ import annotations

from difflib import get_close_matches
from types import UnionType
from typing import TYPE_CHECKING, Any, Literal, TypeAlias, Union, get_args, get_origin

import msgspec

from livectl.errors import FileError, Mistake, SettingsError
from livectl.yamlfile import shortened

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from livectl.yamlfile import Document, Route

    Reader: TypeAlias = Callable[[str], Any]

KINDS: dict[Any, str] = {
    str: "text", int: "a whole number", float: "a number", bool: "true or false",
    list: "a list", tuple: "a list", dict: "keys with values", type(None): "nothing",
}  # fmt: skip
MISFIT = object()


class Fitting:
    """Reads one document. A value left empty counts as left out; `sources` says where each one stands."""

    def __init__(self, document: Document, readers: Mapping[Any, Reader]) -> None:
        self.document = document
        self.readers = readers  # type -> what makes such a value of a text, or raises SettingsError
        self.mistakes: list[Mistake] = []
        self.sources: dict[str, str] = {}

    def read(self, struct: type[msgspec.Struct]) -> dict[str, Any]:
        """What the document says of this struct's fields, by name."""
        value = self.document.value
        if value is not None and not isinstance(value, dict):
            self.note((), f"keys with values are wanted, not {KINDS[type(value)]}", "a colon is followed by a space")
            return {}
        return self._fields(struct, value or {}, ())

    def note(self, route: Route, text: str, hint: str, *, key: bool = False) -> None:
        self.mistakes.append(self.document.mistake(route, text, hint, key=key))

    def refuse(self) -> None:
        """Raises what was noted, if anything was."""
        if self.mistakes:
            raise FileError(sorted(self.mistakes))

    def _fields(self, struct: type[msgspec.Struct], value: Mapping[str, Any], route: Route) -> dict[str, Any]:
        known = {field.name: field for field in msgspec.structs.fields(struct)}
        fitted = {}
        for key, given in value.items():
            if key not in known:
                self._unknown((*route, key), key, known)
            elif given is not None:
                fitted[key] = self._placed(known[key].type, given, (*route, key))
        return fitted

    def _placed(self, kind: Any, value: Any, route: Route) -> Any:
        self.sources[".".join(map(str, route))] = f"{self.document.name}:{self.document.place(route, key=True).line}"
        return self._value(kind, value, route)

    def _value(self, kind: Any, value: Any, route: Route) -> Any:
        """The value as its type wants it; MISFIT when it cannot be, and the mistake is noted."""
        if get_origin(kind) in {Union, UnionType}:
            kind = next(one for one in get_args(kind) if one is not type(None))
        origin, arguments = get_origin(kind), get_args(kind)
        if kind in self.readers:
            return self._read(kind, value, route)
        if origin is Literal:
            return self._choice(arguments, value, route)
        if origin is tuple:
            return self._items(arguments[0], value, route)
        if origin is dict:
            return self._entries(arguments[1], value, route)
        if isinstance(kind, type) and issubclass(kind, msgspec.Struct):
            return self._struct(kind, value, route)
        return value if type(value) is kind or kind is Any else self._misfit(route, kind, value)

    def _unknown(self, route: Route, name: str, known: Mapping[str, Any]) -> None:
        near = get_close_matches(shortened(name).lower(), known, 1)
        hint = f"do you mean {near[0]}?" if near else f"it can be {', '.join(known)}"
        self.note(route, f"unknown key `{shortened(name)}`", hint, key=True)

    def _read(self, kind: Any, value: Any, route: Route) -> Any:
        try:
            return self.readers[kind](value)
        except SettingsError as error:
            return self._refused(route, error)

    def _refused(self, route: Route, error: SettingsError) -> Any:
        self.note(route, f"{_spelt(route)}: {error.message}", error.hint[:1].lower() + error.hint[1:].rstrip("."))
        return MISFIT

    def _choice(self, choices: tuple[Any, ...], value: Any, route: Route) -> Any:
        if value not in choices:
            near = get_close_matches(shortened(str(value)), choices, 1)
            hint = f"do you mean {near[0]}?" if near else f"it can be {', '.join(choices)}"
            self.note(route, f"{_spelt(route)} cannot be {shortened(str(value))}", hint)
            return MISFIT
        return value

    def _items(self, kind: Any, value: Any, route: Route) -> Any:
        if not isinstance(value, list):
            return self._misfit(route, list, value)
        return tuple(self._value(kind, item, (*route, index)) for index, item in enumerate(value))

    def _entries(self, kind: Any, value: Any, route: Route) -> Any:
        if not isinstance(value, dict):
            return self._misfit(route, dict, value)
        return {key: self._placed(kind, entry, (*route, key)) for key, entry in value.items()}

    def _struct(self, kind: type[msgspec.Struct], value: Any, route: Route) -> Any:
        if value is not None and not isinstance(value, dict):
            return self._misfit(route, dict, value)
        fields = self._fields(kind, value or {}, route)
        if MISFIT in fields.values():
            return MISFIT
        try:
            return kind(**fields)
        except SettingsError as error:
            return self._refused(route, error)

    def _misfit(self, route: Route, kind: Any, value: Any) -> Any:
        wanted = KINDS[kind]
        hint = "put it in quotes" if kind is str and isinstance(value, int | float) else ""
        self.note(route, f"{_spelt(route)} wants {wanted}, not {KINDS[type(value)]}", hint)
        return MISFIT


def _spelt(route: Route) -> str:
    return ".".join(map(str, route))
