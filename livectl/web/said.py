"""Tells a visitor what came of a change on the page they are led to next, once."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple
from urllib.parse import quote, unquote

from flask import g

from livectl.web import look

if TYPE_CHECKING:
    from flask import Request
    from werkzeug.wrappers import Response

COOKIE_NAME = "livectl_said"
COOKIE_SECONDS = 60  # the browser comes within one
MAX_CHARS = 500
OUTCOMES = {"done", "nothing", "failed"}


class Said(NamedTuple):
    """A sentence, and whether it tells of something done, of nothing to do, or of a failure."""

    outcome: str
    text: str


def leave(response: Response, request: Request, said: Said) -> None:
    """Leaves a sentence for the page that this response leads to."""
    response.set_cookie(
        COOKIE_NAME,
        quote(f"{said.outcome} {said.text[:MAX_CHARS]}"),
        max_age=COOKIE_SECONDS,
        httponly=True,
        samesite="Strict",
        secure=request.is_secure,
        path=f"{request.script_root}/",
    )


def find(request: Request) -> Said | None:
    """What was left for this page; the page's own script, which asks again and again, is told nothing."""
    outcome, _, text = unquote(request.cookies.get(COOKIE_NAME, "")).partition(" ")
    if outcome not in OUTCOMES or not text or look.is_again(request) or request.method != "GET":
        return None
    g.livectl_said = True
    return Said(outcome, text[:MAX_CHARS])


def forget_if_told(response: Response, request: Request) -> Response:
    if g.get("livectl_said"):
        response.delete_cookie(COOKIE_NAME, path=f"{request.script_root}/")
    return response
