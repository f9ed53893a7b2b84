"""Drives a check or a resolve without sockets: a function answers requests, a dict is the cache."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, TypeVar
from urllib.parse import parse_qsl, urljoin, urlsplit

from livectl.live.platforms.base import CacheGet, CacheGetAll, CacheSet, Call
from livectl.models import Request, Response
from tests.support import fake_platforms
from tests.support.sites.plan import SiteRequest

if TYPE_CHECKING:
    from collections.abc import Callable, Generator

    from tests.support.sites.plan import Plan

T = TypeVar("T")
MAX_REDIRECTS = 3


def drive(
    generator: Generator[Any, Any, T], respond: Callable[[Request], Response], cache: dict[str, str] | None = None
) -> T:
    """What the generator returns, once every effect it yields is carried out."""
    cache = {} if cache is None else cache
    try:
        effect = next(generator)
        while True:
            effect = generator.send(_perform(effect, respond, cache))
    except StopIteration as stop:
        result: T = stop.value
        return result


def _perform(effect: object, respond: Callable[[Request], Response], cache: dict[str, str]) -> object:
    match effect:
        case Request():
            return respond(effect)
        case CacheGet():
            return cache.get(effect.key)
        case CacheGetAll():
            return [cache.get(key) for key in effect.keys]
        case CacheSet():
            cache[effect.key] = effect.value
            return None
        case Call():
            return effect.function(*effect.args)
    raise AssertionError(f"no effect: {effect!r}")


def plan_responder(plan: Plan, log: list[Request] | None = None) -> Callable[[Request], Response]:
    """Responds as the fake platforms do, and follows redirects as the fetcher does."""

    def respond(request: Request) -> Response:
        assert request.url.isascii()
        if log is not None:
            log.append(request)
        url, response = request.url, Response(status=0)
        for _ in range(MAX_REDIRECTS):
            split = urlsplit(url)
            headers = {name.lower(): value for name, value in request.headers.items()}
            query = tuple(parse_qsl(split.query, keep_blank_values=True))
            site_request = SiteRequest(split.netloc, request.method, split.path, query, headers, request.body)
            _, site_response, _ = fake_platforms.respond(plan, site_request)
            response_headers = {name.lower(): value for name, value in site_response.headers.items()}
            response = Response(
                status=site_response.status, url=url, headers=response_headers, body=site_response.body[: request.limit]
            )
            if not 300 <= site_response.status < 400 or not request.follow:
                break
            url = urljoin(url, response_headers["location"])
        return response

    return respond
