"""How a visitor wants the page: language and theme, chosen by a link and kept in a cookie, or the browser's own."""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

from livectl.web import i18n

if TYPE_CHECKING:
    from flask import Request
    from werkzeug.wrappers import Response

    from livectl.web.i18n import Translations


COOKIE_NAME = "livectl_look"
COOKIE_SECONDS = 400 * 86_400  # as long as browsers keep one
THEMES = ("", "light", "dark")  # the first is the browser's own


class Look(msgspec.Struct, frozen=True):
    """Theme and language as chosen; what is empty is left to the browser."""

    theme: str = ""
    language: str = ""

    def with_choice(self, theme: str | None, language: str | None) -> Look:
        """The look after a choice. What nobody offered is no choice."""
        return Look(
            self.theme if theme is None else theme if theme in THEMES else "",
            self.language if language is None else language if language in i18n.languages() else "",
        )


def look_of(request: Request) -> Look:
    theme, _, language = request.cookies.get(COOKIE_NAME, "").partition(".")
    return Look().with_choice(theme, language)


def translations_of(request: Request) -> Translations:
    """The language that was chosen, or the one that the browser accepts best; English where it accepts none."""
    chosen = look_of(request).language
    known = i18n.languages()
    offered = [*known, *(name.partition("-")[0] for name in known)]
    return i18n.translations_for(chosen or request.accept_languages.best_match(offered, i18n.BASE_LANGUAGE))


def keep(response: Response, request: Request, look: Look) -> None:
    """Lets the browser remember this look."""
    response.set_cookie(
        COOKIE_NAME,
        f"{look.theme}.{look.language}",
        max_age=COOKIE_SECONDS,
        httponly=True,
        samesite="Lax",
        secure=request.is_secure,
        path=f"{request.script_root}/",
    )


def own_path(text: str) -> str:
    """The path on this site that was asked for; empty for anything that could lead elsewhere."""
    is_own = text.startswith("/") and not text.startswith("//") and text.isprintable() and "\\" not in text
    return text if is_own else ""
