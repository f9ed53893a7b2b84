"""Installs a package that brings platforms of its own."""

from __future__ import annotations

import sys
from contextlib import contextmanager
from typing import TYPE_CHECKING

from livectl.live import platforms

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    import pytest


@contextmanager
def installed(folder: Path, source: str, entry_points: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Puts parrot.py and its entry points on the path, as pip would, until the block ends."""
    info = folder / "parrot-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: parrot\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text(f"[{platforms.ENTRY_POINT_GROUP}]\n{entry_points}\n")
    (folder / "parrot.py").write_text(source)
    with monkeypatch.context() as patch:
        patch.syspath_prepend(str(folder))
        patch.delitem(sys.modules, "parrot", raising=False)
        _forget_plug_ins()
        try:
            yield
        finally:
            sys.modules.pop("parrot", None)
            _forget_plug_ins()


def _forget_plug_ins() -> None:
    platforms._plug_ins.cache_clear()
    platforms._load_plug_in.cache_clear()
