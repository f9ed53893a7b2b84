"""Shows who is live on a web page, with its JSON and its metrics. Nothing here changes the store."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from livectl.web.server import blueprint

__all__ = ["blueprint"]


def __getattr__(name: str) -> Any:
    """Imports the blueprint on first need: Flask takes longer to import than anything else here."""
    if name != "blueprint":
        message = f"module {__name__!r} has no attribute {name!r}"
        raise AttributeError(message)
    from livectl.web.server import blueprint

    return blueprint
