"""Cards and rows, drawn once: of a thousand streamers, few look different from a second ago."""

from __future__ import annotations

from functools import lru_cache
from typing import TYPE_CHECKING

from flask import current_app

if TYPE_CHECKING:
    from markupsafe import Markup

    from livectl.web.cards import Card
    from livectl.web.wording import Translations

MAX_FRAGMENTS = 20_000  # drawings kept: some 20 MB
FRAGMENT_TEMPLATE = "livectl/streamers.html"


class FragmentCache:
    """What each card looks like. Equal cards look alike."""

    def __init__(self) -> None:
        self.render = lru_cache(MAX_FRAGMENTS)(_render_fragment)


def _render_fragment(macro: str, card: Card, translate: Translations) -> Markup:
    fragment: Markup = getattr(current_app.jinja_env.get_template(FRAGMENT_TEMPLATE).module, macro)(card, translate)
    return fragment
