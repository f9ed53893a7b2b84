"""The page that shows who is live, with its JSON and its metrics; it only reads."""

from __future__ import annotations

from livectl.web.mounting import blueprint

__all__ = ["blueprint"]
