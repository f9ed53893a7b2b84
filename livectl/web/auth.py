"""Decides who may read the page, and tells browsers what the page may do."""

from __future__ import annotations

import hashlib
import hmac
import ipaddress
import logging
import math
import secrets
import stat
import threading
import time
from collections import OrderedDict
from typing import TYPE_CHECKING, NamedTuple
from urllib.parse import urlsplit

from livectl.errors import SettingsError

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

    from flask import Request, Response

    from livectl.settings import Web


COOKIE_NAME = "livectl"
COOKIE_DAYS = 90
DAY_SECONDS = 86_400
MIN_TOKEN_CHARS = 16  # so many cannot be guessed over a network
BEARER_PREFIX = "bearer "
PLAIN_TOKEN_NAME = "token"  # noqa: S105 - of `web.token`, in the audit log
FREE_GUESSES = 5  # a person mistypes a few times
MAX_WAIT_S = 30
MAX_COUNT = 100  # of wrong tokens: the wait is at its longest long before
FORGET_AFTER_S = 900.0  # without another wrong one
MAX_ADDRESSES = 4096  # that are remembered: some 1 MB
MAX_ADDRESS_CHARS = 64
MAX_ADMITTED = 1024  # cookies that were accepted
NONCE_CHARS = 32
READABLE_BY_OTHERS = stat.S_IRGRP | stat.S_IROTH
MAKE_ONE_HINT = "python3 -c 'import secrets; print(secrets.token_urlsafe())' makes one"

log = logging.getLogger(__name__)

# `styles` is the hash of the page's own sheet: it applies no other, and asks no other site for anything.
CONTENT_POLICY = (
    "default-src 'none'; script-src 'self'; style-src {styles}; img-src 'self'; connect-src 'self'; "
    "manifest-src 'self'; worker-src 'self'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
)
SECURITY_HEADERS = {
    "Referrer-Policy": "same-origin",  # other sites get none; our own forms say where they come from
    "X-Content-Type-Options": "nosniff",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Cross-Origin-Opener-Policy": "same-origin",
}


class AccessToken(NamedTuple):
    """A token that lets a visitor in: what the settings call it, and what it allows."""

    name: str
    text: str
    manages: bool = False  # may change things; otherwise it only reads

    @property
    def setting(self) -> str:
        return "web.token" if self.name == PLAIN_TOKEN_NAME else f"web.tokens.{self.name}"


def read_tokens(web: Web) -> tuple[AccessToken, ...]:
    """The tokens of the settings. SecretUnsetError for one that is not set here: without it others might get in."""
    named = {PLAIN_TOKEN_NAME: web.token} if web.token else {}
    plain = [AccessToken(name, secret.reveal()) for name, secret in named.items()]
    others = [
        AccessToken(name, entry.token.reveal(), entry.role == "manage")
        for name, entry in web.tokens.items()
        if entry.token
    ]
    return (*plain, *others)


def has_unset_token(web: Web) -> bool:
    """Whether a token of the settings cannot be read here: the page would be open to those it should keep out."""
    secrets_of_page = (web.token, *(entry.token for entry in web.tokens.values()))
    return any(secret.problem for secret in secrets_of_page if secret)


def check_exposure(host: str, tokens: Sequence[AccessToken]) -> None:
    """SettingsError when the page must not be served at this address, for want of a good token."""
    for token in tokens:
        if len(token.text) < MIN_TOKEN_CHARS:
            raise SettingsError(
                f"{token.setting} is shorter than {MIN_TOKEN_CHARS} characters",
                f"{MAKE_ONE_HINT}; keep it in env: or file:.",
            )
    if len({token.text for token in tokens}) < len(tokens):
        raise SettingsError("two tokens of the page are the same", "Give each of web.tokens a text of its own.")
    if not tokens and not is_loopback(host):
        raise SettingsError(
            f"at {host} anybody who reaches this machine could read the page",
            f"Set `web: {{token: env:LIVECTL_TOKEN}}` in livectl.yaml ({MAKE_ONE_HINT}), or serve at 127.0.0.1.",
        )


def hint_for_local_users(tokens: Sequence[AccessToken], settings_file: Path | None) -> str:
    """What lets the other users of this machine use the page, and its cure; empty where nothing does.

    The embedded broker's socket is in a folder of its user alone; a TCP port is everybody's.
    """
    if not tokens:
        return "the page has no token: every user of this machine can use it. Set web.tokens to keep them out."
    if settings_file and settings_file.stat().st_mode & READABLE_BY_OTHERS:
        text = settings_file.read_text()
        if written := next((token.setting for token in tokens if token.text in text), ""):
            name = settings_file.name
            return f"{written} is written in {name}, which other users can read: chmod 600 {settings_file}"
    return ""


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


class Credential(NamedTuple):
    """What a visitor shows: the token itself, or the cookie made from it."""

    text: str
    is_token: bool

    @classmethod
    def of_token(cls, text: str) -> Credential:
        return cls(text, is_token=True)

    @property
    def nonce(self) -> str:
        """What distinguishes this cookie from all others."""
        return self.text.partition(".")[0][:NONCE_CHARS]

    def matches(self, token: str) -> bool:
        """The time taken does not tell how much of a guess is right, nor how long the token is."""
        right = token if self.is_token else cookie_value(token, self.nonce)
        shown, wanted = self.text.encode(errors="replace"), right.encode(errors="replace")
        return hmac.compare_digest(hashlib.sha256(shown).digest(), hashlib.sha256(wanted).digest())


def credential(request: Request) -> Credential | None:
    """What this request shows; None when it shows nothing."""
    authorization = request.headers.get("Authorization", "")
    if authorization.lower().startswith(BEARER_PREFIX):
        return Credential.of_token(authorization[len(BEARER_PREFIX) :].strip())
    cookie = request.cookies.get(COOKIE_NAME)
    return Credential(cookie, is_token=False) if cookie else None


def basic_credential(request: Request) -> Credential | None:
    """The token as a password: readers of feeds and calendars can send one, and no header of their choice."""
    authorization = request.authorization
    if authorization is None or authorization.type != "basic":
        return None
    return Credential.of_token(authorization.password or "")


class GuessLimit:
    """Slows down who guesses: after some wrong tokens, an address waits after each, up to half a minute.

    Each address by itself: whoever has the token comes in from any other one meanwhile, and whose browser is in already
    stays in, though somebody guesses at the same address, such as another user of the machine.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._lock = threading.Lock()
        self._wrong: OrderedDict[str, tuple[int, float]] = OrderedDict()  # how often, and when last
        self._admitted: OrderedDict[str, None] = OrderedDict()  # nonces of cookies, which nobody else can know

    def wait_s(self, address: str) -> int:
        """The seconds for which nothing from this address is looked at; 0 for none."""
        with self._lock:
            count, last_at = self._wrong.get(_neighbourhood(address), (0, 0.0))
        over = count - FREE_GUESSES
        if over < 0:
            return 0
        return max(0, math.ceil(last_at + min(MAX_WAIT_S, 1 << over) - self._clock()))

    def admit(self, nonce: str) -> None:
        """Lets the cookie of this nonce be looked at from now on, whoever guesses beside it."""
        with self._lock:
            self._admitted[nonce] = None
            self._admitted.move_to_end(nonce)
            if len(self._admitted) > MAX_ADMITTED:
                self._admitted.popitem(last=False)

    def is_admitted(self, nonce: str) -> bool:
        return nonce in self._admitted

    def note_wrong(self, address: str) -> None:
        key, now = _neighbourhood(address), self._clock()
        with self._lock:
            count, last_at = self._wrong.pop(key, (0, now))
            self._wrong[key] = (min(count + 1, MAX_COUNT) if now - last_at < FORGET_AFTER_S else 1, now)
            if len(self._wrong) > MAX_ADDRESSES:
                self._wrong.popitem(last=False)
        if count + 1 == FREE_GUESSES:
            log.warning("%s wrong tokens came from %s: it has to wait after each from now on", count + 1, key)


def _neighbourhood(address: str) -> str:
    """The address, or the /64 of one of IPv6: whoever has one of these has them all."""
    try:
        parsed = ipaddress.ip_address(address.partition("%")[0])
    except ValueError:
        return address[:MAX_ADDRESS_CHARS]
    if isinstance(parsed, ipaddress.IPv4Address):
        return str(parsed)
    return str(parsed.ipv4_mapped or ipaddress.IPv6Network((parsed, 64), strict=False))


def set_auth_cookie(response: Response, request: Request, token: str) -> Credential:
    """Lets the browser in from now on. The cookie is made from the token, and the token cannot be had from it."""
    cookie = Credential(cookie_value(token, secrets.token_hex(NONCE_CHARS // 2)), is_token=False)
    response.set_cookie(
        COOKIE_NAME,
        cookie.text,
        max_age=COOKIE_DAYS * DAY_SECONDS,
        httponly=True,
        samesite="Strict",
        secure=request.is_secure,
        path=f"{request.script_root}/",
    )
    return cookie


def drop_auth_cookie(response: Response, request: Request) -> None:
    response.delete_cookie(COOKIE_NAME, path=f"{request.script_root}/")


def cookie_value(token: str, nonce: str) -> str:
    mark = hmac.new(token.encode(), f"livectl web {nonce}".encode(errors="replace"), hashlib.sha256).hexdigest()
    return f"{nonce}.{mark}"
