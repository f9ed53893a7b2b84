"""Trades the user's client id and secret for an app token, and keeps it until it expires."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any
from urllib.parse import urlencode

import msgspec

from livectl.live.platforms import parsing
from livectl.live.platforms.base import CheckFailed, ask, cache_get, cache_set
from livectl.models import Request, Response, State

if TYPE_CHECKING:
    from collections.abc import Callable, Generator

    from livectl.live.platforms.base import CheckContext, Effect


EXPIRY_MARGIN_S = 300.0  # a token is dropped so long before it expires, so that none expires under way
MIN_CACHE_SECONDS = 60.0  # ... but every token is kept for a minute


class TokenResponse(msgspec.Struct):
    access_token: str
    expires_in: float


TOKEN_RESPONSE = msgspec.json.Decoder(TokenResponse, strict=False)


def has_client_keys(context: CheckContext) -> bool:
    return bool(context.keys.get("client_id") and context.keys.get("client_secret"))


def ask_with_token(
    token_url: str, context: CheckContext, build_request: Callable[[str], Request]
) -> Generator[Effect, Any, Response]:
    """The response to `build_request(token)`. A kept token that is refused is renewed, once; a new one is dropped."""
    cached_token = yield from cache_get(_cache_key(context))
    if cached_token:
        response = yield from ask(build_request(cached_token))
        if response.status != 401:
            return response
    renewed_token = yield from cache_get(_cache_key(context))  # perhaps another check has met the same refusal
    if renewed_token and renewed_token != cached_token:
        return (yield from ask(build_request(renewed_token)))
    token = yield from _fetch_token(token_url, context)
    response = yield from ask(build_request(token))
    if response.status == 401:
        yield from cache_set(_cache_key(context), "", MIN_CACHE_SECONDS)
    return response


def _fetch_token(token_url: str, context: CheckContext) -> Generator[Effect, Any, str]:
    form = {
        "client_id": context.keys["client_id"],
        "client_secret": context.keys["client_secret"],
        "grant_type": "client_credentials",
    }
    headers = {"Content-Type": "application/x-www-form-urlencoded"}
    request = Request(url=token_url, method="POST", headers=headers, body=urlencode(form).encode())
    response = yield from ask(request)
    if response.status in {400, 401, 403}:
        raise CheckFailed(State.AUTH, f"client_id or client_secret was refused (HTTP {response.status})")
    token = parsing.read_json(response, TOKEN_RESPONSE, context.now)
    seconds = max(token.expires_in - EXPIRY_MARGIN_S, MIN_CACHE_SECONDS)
    yield from cache_set(_cache_key(context), token.access_token, seconds)
    return token.access_token


def _cache_key(context: CheckContext) -> str:
    return f"token/{context.keys['client_id']}"
