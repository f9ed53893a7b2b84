"""Tells which addresses of streamers are parsed: of a long list only those that may be meant are."""

from __future__ import annotations

from typing import TYPE_CHECKING

from livectl.live import platforms

if TYPE_CHECKING:
    import pytest


def note_parsed(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """A list to which each address is added that is parsed from now on."""
    read: list[str] = []
    parse = platforms.parse_address

    def note(text: str) -> tuple[str, str]:
        read.append(text)
        return parse(text)

    monkeypatch.setattr(platforms, "parse_address", note)
    return read
