"""Decides who may read the page, and tells browsers what the page may do."""

from __future__ import annotations

import hashlib
import hmac
import ipaddress
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from livectl.errors import SettingsError

if TYPE_CHECKING:
    from flask import Request, Response


COOKIE_NAME = "livectl"
COOKIE_DAYS = 90
DAY_SECONDS = 86_400
MIN_TOKEN_CHARS = 16  # so many cannot be guessed over a network
BEARER_PREFIX = "bearer "
MAKE_ONE_HINT = "python3 -c 'import secrets; print(secrets.token_urlsafe())' makes one"

SECURITY_HEADERS = {
    "Content-Security-Policy": (
        "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' https:; connect-src 'self'; "
        "form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
    ),
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Cross-Origin-Opener-Policy": "same-origin",
}


def check_exposure(host: str, token: str | None) -> None:
    """SettingsError when the page must not be served at this address, for want of a good token."""
    if token is not None and len(token) < MIN_TOKEN_CHARS:
        raise SettingsError(
            f"web.token is shorter than {MIN_TOKEN_CHARS} characters", f"{MAKE_ONE_HINT}; keep it in env: or file:."
        )
    if token is None and not is_loopback(host):
        raise SettingsError(
            f"at {host} anybody who reaches this machine could read the page",
            f"Set `web: {{token: env:LIVECTL_TOKEN}}` in livectl.yaml ({MAKE_ONE_HINT}), or serve at 127.0.0.1.",
        )


def is_loopback(host: str) -> bool:
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return False


def is_local_request(request: Request) -> bool:
    """Whether the request names this machine as its host. Another site can make its own name resolve to 127.0.0.1."""
    return is_loopback(urlsplit(f"//{request.host}").hostname or "")


def is_authorized(request: Request, token: str) -> bool:
    """Whether the request has the token or its cookie. The time taken does not tell how much of a guess is right."""
    authorization = request.headers.get("Authorization", "")
    if authorization.lower().startswith(BEARER_PREFIX):
        return token_matches(authorization[len(BEARER_PREFIX) :].strip(), token)
    return hmac.compare_digest(request.cookies.get(COOKIE_NAME, "").encode(), cookie_value(token).encode())


def token_matches(candidate: str, token: str) -> bool:
    return hmac.compare_digest(candidate.encode(), token.encode())


def set_auth_cookie(response: Response, request: Request, token: str) -> None:
    """Lets the browser in from now on. The cookie is made from the token, and the token cannot be had from it."""
    response.set_cookie(
        COOKIE_NAME,
        cookie_value(token),
        max_age=COOKIE_DAYS * DAY_SECONDS,
        httponly=True,
        samesite="Strict",
        secure=request.is_secure,
        path=f"{request.script_root}/",
    )


def cookie_value(token: str) -> str:
    return hmac.new(token.encode(), b"livectl web", hashlib.sha256).hexdigest()
