"""A secret: a text that shows itself to nobody, kept in the environment or a file rather than in the settings."""

from __future__ import annotations

from typing import TYPE_CHECKING

from livectl.errors import SettingsError

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

MAX_SECRET_BYTES = 65_536  # the longest key file is a few KB


class Secret:
    """Shown as `***` wherever it is printed, logged or raised."""

    __slots__ = ("_text",)

    def __init__(self, text: str) -> None:
        self._text = text

    def reveal(self) -> str:
        return self._text

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Secret) and other._text == self._text

    def __hash__(self) -> int:
        return hash(self._text)

    def __repr__(self) -> str:
        return "***"


def resolve_secret(text: str, environ: Mapping[str, str], folder: Path) -> str:
    """The text itself, or what `env:NAME` or `file:PATH` stands for. Relative paths start from `folder`."""
    kind, _, name = text.partition(":")
    if kind == "env":
        return _secret_from_environment(name.strip(), environ)
    return _secret_from_file(folder / name.strip(), name.strip()) if kind == "file" else text


def _secret_from_environment(name: str, environ: Mapping[str, str]) -> str:
    if not environ.get(name):
        raise SettingsError(
            f"the environment variable {name or 'after env:'} is not set", "Set it where livectl starts."
        )
    return environ[name]


def _secret_from_file(path: Path, name: str) -> str:
    try:
        with path.open("rb") as file:
            text = file.read(MAX_SECRET_BYTES + 1).decode().rstrip("\r\n")
    except OSError as error:
        raise SettingsError(
            f"file:{name}: {(error.strerror or 'unreadable').lower()}", f"It is read from {path}."
        ) from error
    except ValueError:
        raise SettingsError(f"file:{name} is not text", f"It is read from {path}.") from None
    if not text or len(text) > MAX_SECRET_BYTES:
        raise SettingsError(f"file:{name} is {'too large' if text else 'empty'}", f"It is read from {path}.")
    return text
