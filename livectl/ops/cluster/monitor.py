"""The command line of Flower, a page for watching Celery, spelt so that it shows and changes no more than was asked."""

from __future__ import annotations

import sys
from importlib import metadata
from importlib.util import find_spec

from livectl.errors import UsageError
from livectl.ops.launch import OWN_APP

READ_ONLY_SINCE = (2, 2)
INSTALL = "pip install 'livectl[flower]'"


def command(app: str | None, *, host: str, port: int, changes: bool, extra: tuple[str, ...] = ()) -> list[str]:
    """The argv to become."""
    if find_spec("flower") is None:
        raise UsageError("Flower is not installed", INSTALL)
    if not changes and _version() < READ_ONLY_SINCE:
        found = ".".join(map(str, _version()))
        raise UsageError(f"Flower {found} has no read-only mode", f"{INSTALL} -U, or --allow-changes.")
    place = [f"--address={host}", f"--port={port}", f"--read_only={not changes}"]
    kept = place if not changes or _version() >= READ_ONLY_SINCE else place[:2]
    return [sys.executable, "-m", "celery", "-A", app or OWN_APP, "flower", *kept, *extra]


def _version() -> tuple[int, ...]:
    return tuple(int(part) for part in metadata.version("flower").split(".")[:2])
