"""The fitting of a YAML document to Structs: each value read as its field's type, every mistake at its place."""

from __future__ import annotations

from types import UnionType
from typing import TYPE_CHECKING, Any, Literal, TypeAlias, Union, get_args, get_origin

import msgspec

from livectl.errors import FileError, Mistake, SettingsError
from livectl.suggestions import nearest
from livectl.yamlfile import shorten

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from livectl.yamlfile import Document, KeyPath

    ValueReader: TypeAlias = Callable[[str], Any]


TYPE_NAMES: dict[Any, str] = {
    str: "text", int: "a whole number", float: "a number", bool: "true or false",
    list: "a list", tuple: "a list", dict: "keys with values", type(None): "nothing",
}  # fmt: skip
INVALID = object()


class StructReader:
    """Reads one document. A value left empty counts as left out; `sources` says where each one stands."""

    def __init__(self, document: Document, readers: Mapping[Any, ValueReader]) -> None:
        self.document = document
        self.readers = readers  # type -> what makes such a value of a text, or raises SettingsError
        self.mistakes: list[Mistake] = []
        self.sources: dict[str, str] = {}

    def read(self, struct: type[msgspec.Struct]) -> dict[str, Any]:
        """What the document says of this struct's fields, by name."""
        value = self.document.value
        if value is not None and not isinstance(value, dict):
            self.add_mistake(
                (), f"keys with values are wanted, not {TYPE_NAMES[type(value)]}", "a colon is followed by a space"
            )
            return {}
        return self._read_fields(struct, value or {}, ())

    def add_mistake(self, key_path: KeyPath, text: str, hint: str, *, key: bool = False) -> None:
        self.mistakes.append(self.document.mistake(key_path, text, hint, key=key))

    def raise_mistakes(self) -> None:
        """Raises what was noted, if anything was."""
        if self.mistakes:
            raise FileError(sorted(self.mistakes))

    def _read_fields(self, struct: type[msgspec.Struct], value: Mapping[str, Any], key_path: KeyPath) -> dict[str, Any]:
        fields = {field.name: field for field in msgspec.structs.fields(struct)}
        values = {}
        for key, raw_value in value.items():
            if key not in fields:
                self._add_unknown_key((*key_path, key), key, fields)
            elif raw_value is not None:
                values[key] = self._read_with_source(fields[key].type, raw_value, (*key_path, key))
        return values

    def _read_with_source(self, kind: Any, value: Any, key_path: KeyPath) -> Any:
        self.sources[".".join(map(str, key_path))] = (
            f"{self.document.name}:{self.document.position(key_path, key=True).line}"
        )
        return self._read_value(kind, value, key_path)

    def _read_value(self, kind: Any, value: Any, key_path: KeyPath) -> Any:
        """The value as its type wants it; MISFIT when it cannot be, and the mistake is noted."""
        if get_origin(kind) in {Union, UnionType}:
            kind = next(argument for argument in get_args(kind) if argument is not type(None))
        origin, arguments = get_origin(kind), get_args(kind)
        if kind in self.readers:
            return self._read_custom(kind, value, key_path)
        if origin is Literal:
            return self._read_choice(arguments, value, key_path)
        if origin is tuple:
            return self._read_list(arguments[0], value, key_path)
        if origin is dict:
            return self._read_dict(arguments[1], value, key_path)
        if isinstance(kind, type) and issubclass(kind, msgspec.Struct):
            return self._read_struct(kind, value, key_path)
        return value if type(value) is kind or kind is Any else self._add_type_mistake(key_path, kind, value)

    def _add_unknown_key(self, key_path: KeyPath, name: str, fields: Mapping[str, Any]) -> None:
        meant = nearest(shorten(name), fields)
        hint = f"do you mean {meant}?" if meant else f"it can be {', '.join(fields)}"
        self.add_mistake(key_path, f"unknown key `{shorten(name)}`", hint, key=True)

    def _read_custom(self, kind: Any, value: Any, key_path: KeyPath) -> Any:
        try:
            return self.readers[kind](value)
        except SettingsError as error:
            return self._add_error(key_path, error)

    def _add_error(self, key_path: KeyPath, error: SettingsError) -> Any:
        self.add_mistake(
            key_path, f"{_dotted(key_path)}: {error.message}", error.hint[:1].lower() + error.hint[1:].rstrip(".")
        )
        return INVALID

    def _read_choice(self, choices: tuple[Any, ...], value: Any, key_path: KeyPath) -> Any:
        if value not in choices:
            meant = nearest(shorten(str(value)), choices)
            hint = f"do you mean {meant}?" if meant else f"it can be {', '.join(choices)}"
            self.add_mistake(key_path, f"{_dotted(key_path)} cannot be {shorten(str(value))}", hint)
            return INVALID
        return value

    def _read_list(self, kind: Any, value: Any, key_path: KeyPath) -> Any:
        if not isinstance(value, list):
            return self._add_type_mistake(key_path, list, value)
        return tuple(self._read_value(kind, item, (*key_path, index)) for index, item in enumerate(value))

    def _read_dict(self, kind: Any, value: Any, key_path: KeyPath) -> Any:
        if not isinstance(value, dict):
            return self._add_type_mistake(key_path, dict, value)
        return {key: self._read_with_source(kind, entry, (*key_path, key)) for key, entry in value.items()}

    def _read_struct(self, kind: type[msgspec.Struct], value: Any, key_path: KeyPath) -> Any:
        if value is not None and not isinstance(value, dict):
            return self._add_type_mistake(key_path, dict, value)
        fields = self._read_fields(kind, value or {}, key_path)
        if INVALID in fields.values():
            return INVALID
        try:
            return kind(**fields)
        except SettingsError as error:
            return self._add_error(key_path, error)

    def _add_type_mistake(self, key_path: KeyPath, kind: Any, value: Any) -> Any:
        wanted = TYPE_NAMES[kind]
        hint = "put it in quotes" if kind is str and isinstance(value, int | float) else ""
        self.add_mistake(key_path, f"{_dotted(key_path)} wants {wanted}, not {TYPE_NAMES[type(value)]}", hint)
        return INVALID


def _dotted(key_path: KeyPath) -> str:
    return ".".join(map(str, key_path))
