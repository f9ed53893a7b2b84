"""What a platform is: patterns, a batch size, a budget, and a generator that asks and reads. No I/O in here."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple, TypeAlias, cast

from livectl.errors import LivectlError
from livectl.model import Keep, Observation, Recall, Request, Response, State

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Iterable, Mapping, Sequence

# A check yields what it wants done and is sent what came of it: a Response for a Request, text or None for a Recall,
# None for a Keep. Whoever drives it owns sockets, clock and memory.
Effect: TypeAlias = "Request | Recall | Keep"
Check: TypeAlias = "Generator[Effect, Any, list[Observation]]"


class Means(NamedTuple):
    """What a check may use: the time it runs at and the user's own keys for this platform (client_id, cookie …)."""

    now: float
    keys: Mapping[str, str]


class Refused(LivectlError):  # noqa: N818
    """An address that names no streamer of this platform: a clip, a recording, a category."""

    code = 3


class Platform(NamedTuple):
    """A site. `address` reads an id out of pasted text: None when the text is not this platform's at all."""

    name: str
    hosts: frozenset[str]  # the only hosts its requests may go to
    batch: int  # streamers per check at most
    budget: str  # requests it bears, as in settings: 600/m
    address: Callable[[str], str | None]
    url: Callable[[str], str]  # the page of a streamer
    check: Callable[[Sequence[str], Means], Check]
    resolve: Callable[[str, Means], Generator[Effect, Any, str]] | None = None  # an alias or short link to its id


def ask(request: Request) -> Generator[Effect, Any, Response]:
    return cast("Response", (yield request))


def recall(key: str) -> Generator[Effect, Any, str | None]:
    return cast("str | None", (yield Recall(key)))


def keep(key: str, value: str, seconds: float) -> Generator[Effect, Any, None]:
    yield Keep(key, value, seconds)


def all_alike(platform: str, ids: Iterable[str], state: State, means: Means, problem: str) -> list[Observation]:
    """The same observation of each: a refusal, an outage, a limit."""
    return [Observation(platform=platform, id=one, state=state, at=means.now, problem=problem) for one in ids]
