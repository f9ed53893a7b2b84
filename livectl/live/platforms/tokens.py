"""An app token: what a client id and a secret are traded for, kept until it runs out."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any
from urllib.parse import urlencode

import msgspec

from livectl.live.platforms import answers
from livectl.live.platforms.base import Unanswered, ask, keep, recall
from livectl.model import Request, Response, State

if TYPE_CHECKING:
    from collections.abc import Callable, Generator

    from livectl.live.platforms.base import Effect, Means

MARGIN = 300.0  # seconds a token is dropped before it runs out, so that none dies under way
SHORTEST = 60.0  # seconds; one that lives less is not worth keeping


class Grant(msgspec.Struct):
    access_token: str
    expires_in: float


GRANT = msgspec.json.Decoder(Grant, strict=False)


def has_keys(means: Means) -> bool:
    return bool(means.keys.get("client_id") and means.keys.get("client_secret"))


def authorized(grants: str, means: Means, request: Callable[[str], Request]) -> Generator[Effect, Any, Response]:
    """The answer to `request(token)`. A token that is refused is renewed, once."""
    kept = yield from recall(_key(means))
    if kept:
        response = yield from ask(request(kept))
        if response.status != 401:
            return response
    token = yield from _granted(grants, means)
    return (yield from ask(request(token)))


def _granted(grants: str, means: Means) -> Generator[Effect, Any, str]:
    form = {
        "client_id": means.keys["client_id"],
        "client_secret": means.keys["client_secret"],
        "grant_type": "client_credentials",
    }
    headers = {"Content-Type": "application/x-www-form-urlencoded"}
    request = Request(url=grants, method="POST", headers=headers, body=urlencode(form).encode())
    response = yield from ask(request)
    if response.status in {400, 401, 403}:
        raise Unanswered(State.AUTH, f"client_id or client_secret was refused (HTTP {response.status})")
    grant = answers.read(response, GRANT, means.now)
    yield from keep(_key(means), grant.access_token, max(grant.expires_in - MARGIN, SHORTEST))
    return grant.access_token


def _key(means: Means) -> str:
    return f"token/{means.keys['client_id']}"
