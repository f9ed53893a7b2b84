"""How a visitor wants the page: language and theme, chosen by a link and kept in a cookie, or the browser's own."""

from __future__ import annotations

import base64
import hashlib
from functools import cache
from importlib import resources
from typing import TYPE_CHECKING, Any, NamedTuple

import msgspec
from markupsafe import Markup

from livectl.web import i18n

if TYPE_CHECKING:
    from flask import Request
    from werkzeug.wrappers import Response

    from livectl.web.i18n import Translations


COOKIE_NAME = "livectl_look"
COOKIE_SECONDS = 400 * 86_400  # as long as browsers keep one
THEMES = ("", "light", "dark")  # the first is the browser's own
AGAIN_HEADER = "Livectl-Again"  # of the page's own script, which has all but what changes


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


class ThemeChoice(NamedTuple):
    """A theme to choose, as an address has it, and in words."""

    value: str
    words: str


def page_variables(request: Request, translate: Translations, back: str = "") -> dict[str, Any]:
    """What every template needs. `back` is the address at which somebody is after a choice of theme or language."""
    theme = look_of(request).theme
    following = THEMES[(THEMES.index(theme) + 1) % len(THEMES)]
    return {
        "theme": theme,
        "next_theme": ThemeChoice(following or "auto", _theme_words(following, translate)),
        "languages": [
            (name, other("language_short"), other("language_name"))
            for name in i18n.languages()
            if name != translate.language
            for other in [i18n.translations_for(name)]
        ],
        "back": back or f"{request.script_root}{request.path}",
        "again": is_again(request),
        "css": stylesheet(),
    }


def is_again(request: Request) -> bool:
    """Whether the page's own script asks, which needs only what may have changed."""
    return AGAIN_HEADER in request.headers


@cache
def stylesheet() -> Markup:
    """The sheet that each page carries, so that it is painted after one request."""
    return Markup(static_text("page.css"))  # noqa: S704 - our own


@cache
def static_text(name: str) -> str:
    return (resources.files("livectl.web") / "static" / name).read_text(encoding="utf-8")


@cache
def stylesheet_hash() -> str:
    """Names the sheet to browsers, which apply no other."""
    digest = hashlib.sha256(stylesheet().encode()).digest()
    return f"'sha256-{base64.b64encode(digest).decode()}'"


def _theme_words(theme: str, translate: Translations) -> str:
    if theme == "light":
        return translate("theme_next_light")
    return translate("theme_next_dark") if theme == "dark" else translate("theme_next_auto")
