"""Drives a check or a resolve by hand: requests to a function, memory in a dict, no sockets."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, TypeVar
from urllib.parse import parse_qsl, urljoin, urlsplit

from livectl.live.platforms.base import Call
from livectl.models import CacheGet, CacheSet, Request, Response
from tests.support import fake_platforms
from tests.support.sites.plan import Asked

if TYPE_CHECKING:
    from collections.abc import Callable, Generator

    from tests.support.sites.plan import Plan

T = TypeVar("T")
REDIRECTS = 3


def drive(
    generator: Generator[Any, Any, T], answer: Callable[[Request], Response], memory: dict[str, str] | None = None
) -> T:
    """What the generator returns, with everything it yields done for it."""
    memory = {} if memory is None else memory
    try:
        effect = next(generator)
        while True:
            effect = generator.send(_done(effect, answer, memory))
    except StopIteration as stop:
        result: T = stop.value
        return result


def _done(effect: object, answer: Callable[[Request], Response], memory: dict[str, str]) -> object:
    match effect:
        case Request():
            return answer(effect)
        case CacheGet():
            return memory.get(effect.key)
        case CacheSet():
            memory[effect.key] = effect.value
            return None
        case Call():
            return effect.function(*effect.args)
    raise AssertionError(f"no effect: {effect!r}")


def of_plan(plan: Plan, log: list[Request] | None = None) -> Callable[[Request], Response]:
    """Answers as the fakes would, redirects followed as fetch follows them."""

    def answer(request: Request) -> Response:
        assert request.url.isascii()
        if log is not None:
            log.append(request)
        url, response = request.url, Response(status=0)
        for _ in range(REDIRECTS):
            split = urlsplit(url)
            headers = {name.lower(): value for name, value in request.headers.items()}
            query = tuple(parse_qsl(split.query, keep_blank_values=True))
            asked = Asked(split.netloc, request.method, split.path, query, headers, request.body)
            _, said, _ = fake_platforms.answer(plan, asked)
            told = {name.lower(): value for name, value in said.headers.items()}
            response = Response(status=said.status, url=url, headers=told, body=said.body[: request.limit])
            if not 300 <= said.status < 400:
                break
            url = urljoin(url, told["location"])
        return response

    return answer
