"""The command line of Flower, a page for watching Celery, spelt so that it shows and changes no more than was asked."""

from __future__ import annotations

import sys
from importlib import metadata
from importlib.util import find_spec

from livectl.errors import UsageError
from livectl.ops.launch import OWN_APP

FLOWER_READ_ONLY_SINCE = (2, 2)
INSTALL_FLOWER = "pip install 'livectl[flower]'"


def flower_command(
    app: str | None, *, host: str, port: int, allow_changes: bool, extra: tuple[str, ...] = ()
) -> list[str]:
    """The argv to become."""
    if find_spec("flower") is None:
        raise UsageError("Flower is not installed", INSTALL_FLOWER)
    if not allow_changes and _flower_version() < FLOWER_READ_ONLY_SINCE:
        version = ".".join(map(str, _flower_version()))
        raise UsageError(f"Flower {version} has no read-only mode", f"{INSTALL_FLOWER} -U, or --allow-changes.")
    flags = [f"--address={host}", f"--port={port}", f"--read_only={not allow_changes}"]
    used_flags = flags if not allow_changes or _flower_version() >= FLOWER_READ_ONLY_SINCE else flags[:2]
    return [sys.executable, "-m", "celery", "-A", app or OWN_APP, "flower", *used_flags, *extra]


def _flower_version() -> tuple[int, ...]:
    return tuple(int(part) for part in metadata.version("flower").split(".")[:2])
