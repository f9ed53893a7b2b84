"""What a platform is: patterns, a batch size, a budget, and a generator that asks and reads. No I/O in here."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple, TypeAlias, cast

from livectl.errors import LivectlError, PlatformError
from livectl.model import CacheGet, CacheSet, Observation, Request, Response, State

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Iterable, Mapping, Sequence


class Call(NamedTuple):
    """A function that does its own I/O, for a library that cannot do without.

    Whoever drives the check runs it in a thread and sends back what it returned, or None when `seconds` went by
    first; the thread is then left behind, so the function must end by itself some time. It raises nothing.
    """

    function: Callable[..., Any]
    args: tuple[Any, ...]
    seconds: float


# A check yields what it wants done and is sent what came of it: a Response for a Request, text or None for a Recall,
# None for a Keep, a value or None for a Call. Whoever drives it owns sockets, clock, threads and memory.
Effect: TypeAlias = "Request | CacheGet | CacheSet | Call"
Check: TypeAlias = "Generator[Effect, Any, list[Observation]]"
Resolve: TypeAlias = "Generator[Effect, Any, str]"


class CheckContext(NamedTuple):
    """What a check may use: the time it runs at and the user's own keys for this platform (client_id, cookie …)."""

    now: float
    keys: Mapping[str, str]


class NotAStreamer(LivectlError):  # noqa: N818
    """An address that names no streamer of this platform: a clip, a recording, a category."""

    code = 3


class CheckFailed(PlatformError):  # noqa: N818
    """A question that got no usable answer: a block, a limit, an outage, an unknown shape. Never "offline"."""

    def __init__(self, state: State, problem: str, retry_at: float | None = None, *, divisible: bool = False) -> None:
        super().__init__(problem)
        self.state = state
        self.retry_at = retry_at
        self.divisible = divisible  # one bad id may have spoilt it for the whole batch


class RateLimit(NamedTuple):
    """How many streamers one check takes, and how many requests the site bears: 600/m."""

    batch: int
    budget: str


class Platform(NamedTuple):
    """A site. `address` reads an id out of pasted text: None when the text is not this platform's at all.

    It also takes its own `name/id`, and gives back the id. Where one streamer has several (a login, a room, a
    short link), `resolve` leads any of them to the one that is followed, and yields nothing if it already is that.
    """

    name: str
    hosts: frozenset[str]  # the only hosts its requests may go to
    batch: int  # streamers per check at most
    budget: str  # requests it bears, as in settings: 600/m
    address: Callable[[str], str | None]
    url: Callable[[str], str]  # the page of a streamer; empty where only an answer can tell it
    check: Callable[[Sequence[str], CheckContext], Check]
    resolve: Callable[[str, CheckContext], Resolve] | None = None  # raises Refused or Unanswered
    keyless: RateLimit | None = None  # without the user's keys, where that is another way of asking

    def rate_limit(self, keys: Mapping[str, str]) -> RateLimit:
        key = keys.get("client_id") or keys.get("api_key")  # a cookie opens no other way of asking
        return RateLimit(self.batch, self.budget) if key or not self.keyless else self.keyless


def ask(request: Request) -> Generator[Effect, Any, Response]:
    return cast("Response", (yield request))


def cache_get(key: str) -> Generator[Effect, Any, str | None]:
    return cast("str | None", (yield CacheGet(key)))


def cache_set(key: str, value: str, seconds: float) -> Generator[Effect, Any, None]:
    yield CacheSet(key, value, seconds)


def same_observations(
    platform: str, ids: Iterable[str], state: State, context: CheckContext, problem: str
) -> list[Observation]:
    """The same observation of each: a refusal, an outage, a limit."""
    return [
        Observation(platform=platform, id=streamer_id, state=state, at=context.now, problem=problem)
        for streamer_id in ids
    ]


def failed_observation(platform: str, streamer_id: str, failure: CheckFailed, context: CheckContext) -> Observation:
    """What remains of a streamer when asking came to nothing."""
    return Observation(
        platform=platform,
        id=streamer_id,
        state=failure.state,
        at=context.now,
        problem=failure.message,
        retry_at=failure.retry_at,
    )
