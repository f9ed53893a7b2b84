"""Cards and rows, drawn once: of a thousand streamers, few look different from a second ago."""

from __future__ import annotations

from functools import lru_cache
from typing import TYPE_CHECKING

from flask import current_app

if TYPE_CHECKING:
    from markupsafe import Markup

    from livectl.web.cards import Card
    from livectl.web.wording import Words

MOST = 20_000  # drawings kept: some 20 MB
TEMPLATE = "livectl/streamers.html"


class Drawings:
    """What each card looks like. Equal cards look alike."""

    def __init__(self) -> None:
        self.draw = lru_cache(MOST)(_draw)


def _draw(shape: str, card: Card, words: Words) -> Markup:
    drawn: Markup = getattr(current_app.jinja_env.get_template(TEMPLATE).module, shape)(card, words)
    return drawn
