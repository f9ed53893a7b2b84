"""Lets visitors in by their tokens, says which of them may change things, and whether a request is really theirs."""

from __future__ import annotations

import hashlib
import hmac
import secrets
from http import HTTPStatus
from typing import TYPE_CHECKING, NamedTuple
from urllib.parse import urlsplit

from flask import g, redirect, request, url_for

from livectl.web import auth, error_pages
from livectl.web.error_pages import BLUEPRINT_NAME, JSON

if TYPE_CHECKING:
    from collections.abc import Sequence

    from flask import Blueprint, Response
    from werkzeug.wrappers import Response as WerkzeugResponse

    from livectl.web.auth import AccessToken, Credential

# Sent by platforms, under whatever name the world knows the page by: a signature says from whom.
PUSHED_ENDPOINTS = {"pushed_probe", "pushed_kick", "hub_question", "pushed_youtube"}
WORLD_ENDPOINTS = {"static", *PUSHED_ENDPOINTS}
PUBLIC_ENDPOINTS = PUSHED_ENDPOINTS | {
    "static",
    "enter",
    "entered",
    "healthz",
    "check_in",
    "choose",
    "manifest",
    "service_worker",
}  # open to a visitor without a token
FEED_ENDPOINTS = {"atom", "calendar"}  # read by programs that can send a password alone
CSRF_FIELD, CSRF_HEADER = "csrf", "X-CSRF-Token"
PROXY_HEADERS = ("Forwarded", "X-Forwarded-For", "X-Real-Ip", "Via")  # who sends one is not at this machine
MARK_CHARS = 16
OWN_SITE = {"same-origin", "none"}  # of Sec-Fetch-Site


class Visitor(NamedTuple):
    """Who asks: by which token, and what they may do. `csrf` is what the forms of their pages carry."""

    name: str = ""  # of the token; empty where there is none
    manages: bool = False
    csrf: str = ""  # empty for those who change nothing
    address: str = ""
    by_header: bool = False  # a program, whose token no browser adds by itself
    mark: str = ""  # of the token: another for each, and none without one

    @property
    def role(self) -> str:
        return "manage" if self.manages else "read"


def visitor() -> Visitor:
    """Who sent the request that is being answered."""
    known: Visitor = g.get("livectl_visitor") or Visitor()
    return known


def endpoint() -> str:
    """The name of the view that answers this request, without that of the blueprint it is mounted with."""
    return (request.endpoint or "").rpartition(".")[2]


def let_in(flask_blueprint: Blueprint, tokens: Sequence[AccessToken], *, is_local: bool) -> None:
    """Lets in who has a token, and slows down who guesses one.

    Without tokens everybody reads; where the page is this machine's alone (`is_local`), they manage as well.
    """
    gate = _Gate(tokens, is_local=is_local)
    flask_blueprint.context_processor(lambda: {"visitor": visitor()})

    @flask_blueprint.before_request
    def require_token() -> Response | None:
        credential = auth.credential(request)
        if credential is None and endpoint() in FEED_ENDPOINTS:
            credential = auth.basic_credential(request)
        return None if endpoint() in PUBLIC_ENDPOINTS else gate.check(credential)

    @flask_blueprint.get("/enter")
    def entered() -> WerkzeugResponse | str:
        """The form for another token; for who has none yet, each page is that form."""
        if tokens and gate.check(auth.credential(request)) is None:
            return error_pages.render("enter.html", another=True)
        return redirect(url_for(f"{BLUEPRINT_NAME}.index"), HTTPStatus.SEE_OTHER)

    @flask_blueprint.post("/enter")
    def enter() -> WerkzeugResponse:
        guess = auth.Credential.of_token(request.form.get("token", "").strip())
        if tokens and (refused := gate.check(guess)):
            return refused
        response = redirect(url_for(f"{BLUEPRINT_NAME}.index"), HTTPStatus.SEE_OTHER)
        if tokens:
            gate.limit.admit(auth.set_auth_cookie(response, request, guess.text).nonce)  # type: ignore[arg-type]
        return response

    @flask_blueprint.post("/leave")
    def leave() -> WerkzeugResponse:
        response = redirect(url_for(f"{BLUEPRINT_NAME}.index"), HTTPStatus.SEE_OTHER)
        if is_own_site():
            auth.drop_auth_cookie(response, request)  # type: ignore[arg-type]
        return response


class _Gate:
    """Knows the tokens, and who has guessed how often."""

    def __init__(self, tokens: Sequence[AccessToken], *, is_local: bool) -> None:
        self._tokens = tokens
        self._is_local = is_local
        self._secret = secrets.token_hex()  # of the forms of those who need no token
        self.limit = auth.GuessLimit()

    def check(self, credential: Credential | None) -> Response | None:
        """Why the visitor is not let in; None for one who is, and who is known from then on."""
        address = request.remote_addr or ""
        if not self._tokens:
            g.livectl_visitor = self._anybody(address)
            return None
        if credential is None:
            return _unauthorized(wrong=False)
        is_admitted = not credential.is_token and self.limit.is_admitted(credential.nonce)
        if not is_admitted and (wait_s := self.limit.wait_s(address)):
            return _told_to_wait(wait_s)
        if token := next((token for token in self._tokens if credential.matches(token.text)), None):
            if not credential.is_token:
                self.limit.admit(credential.nonce)
            g.livectl_visitor = _owner(token, credential, address)
            return None
        self.limit.note_wrong(address)
        response = _unauthorized(wrong=credential.is_token)
        if not credential.is_token:  # else the browser would send it again and again, and be taken for one who guesses
            auth.drop_auth_cookie(response, request)
        return response

    def _anybody(self, address: str) -> Visitor:
        manages = self._is_local and auth.is_loopback(address) and not any(map(request.headers.get, PROXY_HEADERS))
        return Visitor(manages=manages, csrf=_sign(self._secret, "") if manages else "", address=address)


def _owner(token: AccessToken, credential: Credential, address: str) -> Visitor:
    csrf = _sign(token.text, credential.nonce) if token.manages and not credential.is_token else ""
    return Visitor(token.name, token.manages, csrf, address, by_header=credential.is_token, mark=token_mark(token))


def token_mark(token: AccessToken) -> str:
    """What tells a token from another one, also from an older one of its name; nobody gets the token from it."""
    return _sign(token.text, "mark")[:MARK_CHARS]


def _sign(secret: str, nonce: str) -> str:
    return hmac.new(secret.encode(), f"livectl form {nonce}".encode(errors="replace"), hashlib.sha256).hexdigest()


def refuse_change() -> Response | None:
    """Why this request may change nothing: its visitor only reads, or another site may have sent it."""
    if not visitor().manages:
        return _forbidden("error_role")
    if visitor().by_header:
        return None
    if not is_own_site():
        return _forbidden("error_origin")
    if _is_program_here() or _has_csrf(visitor().csrf):
        return None
    return _forbidden("error_csrf")


def is_own_site() -> bool:
    """Whether the request comes from a page of this server, as far as its browser says where it comes from.

    The scheme is not looked at: a proxy in front may speak HTTPS for us.
    """
    origin = request.headers.get("Origin")
    if origin is not None:
        return urlsplit(origin).netloc.lower() == request.host.lower()
    return request.headers.get("Sec-Fetch-Site", "same-origin") in OWN_SITE


def _is_program_here() -> bool:
    """Whether no browser sent it: one says where it comes from, and asks before it sends JSON to another site."""
    headers = request.headers
    return (
        not visitor().name
        and request.mimetype == JSON
        and not any(map(headers.get, ("Origin", "Sec-Fetch-Site", "Cookie")))
    )


def _has_csrf(wanted: str) -> bool:
    shown = request.headers.get(CSRF_HEADER) or request.form.get(CSRF_FIELD, "")
    return bool(wanted) and hmac.compare_digest(shown.encode(errors="replace"), wanted.encode())


def _forbidden(key: str) -> Response:
    return error_pages.respond(HTTPStatus.FORBIDDEN, key)


def _told_to_wait(seconds: int) -> Response:
    response = error_pages.respond(HTTPStatus.TOO_MANY_REQUESTS, "error_429", "enter.html", seconds=seconds)
    response.headers["Retry-After"] = str(seconds)
    return response


def _unauthorized(*, wrong: bool) -> Response:
    response = error_pages.respond(HTTPStatus.UNAUTHORIZED, "error_401", "enter.html", wrong=wrong)
    scheme = "Basic" if endpoint() in FEED_ENDPOINTS else "Bearer"
    response.headers["WWW-Authenticate"] = f'{scheme} realm="livectl"'
    return response
