"""Defines what a platform is: addresses, limits, and a check that yields what to ask. No I/O in here.

A check is a generator. It yields effects and is sent what came of them: a Response for a Request, text or None for a
CacheGet, a list of these for a CacheGetAll, None for a CacheSet, a value or None for a Call. What drives it owns
sockets, clock, threads and memory.
"""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING, Any, NamedTuple, TypeAlias, cast

import msgspec

from livectl.errors import LivectlError, PlatformError
from livectl.models import Observation, Request, Response, State

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Iterable, Mapping, Sequence

Effect: TypeAlias = "Request | CacheGet | CacheGetAll | CacheSet | Call"
Check: TypeAlias = "Generator[Effect, Any, list[Observation]]"
Resolve: TypeAlias = "Generator[Effect, Any, str]"
ResolveNames: TypeAlias = "Generator[Effect, Any, dict[str, str | LivectlError]]"
Observations: TypeAlias = "Generator[Effect, Any, dict[str, Observation]]"
StreamerCheck: TypeAlias = "Callable[[str, CheckContext], Generator[Effect, Any, Observation]]"
ResolveBatch: TypeAlias = "Callable[[Sequence[str], CheckContext], ResolveNames]"
BatchCheck: TypeAlias = "Callable[[Sequence[str], CheckContext], Observations]"
ListPage: TypeAlias = "Callable[[str, CheckContext], Generator[Effect, Any, ListingPage]]"
WholeCheck: TypeAlias = "Callable[[Sequence[str], CheckContext], Check]"
FindAvatars: TypeAlias = "Callable[[Sequence[str], CheckContext], Generator[Effect, Any, dict[str, str]]]"

# Failures without one answer: the batch, its two halves, their four quarters. It is the site then, not an id.
MAX_FAILURES_WITHOUT_ANSWER = 7
MAX_SPLITS = 16  # in one check; 7 find one bad id in 100
MAX_SINGLE_RETRIES = 5  # missing rows asked again in one check: an answer that lacks more is broken as a whole
AVATAR_SECONDS = 86_400.0  # an avatar is asked for once a day
AVATAR_RETRY_SECONDS = 3_600.0  # ... where that failed, once an hour
NO_AVATAR = "-"
ABSENT_CACHE_SECONDS = 3_600.0  # a row missing even when asked alone is not asked alone again for so long
# What an answer positively says of a streamer, whoever else it may have failed.
POSITIVE_STATES = {State.LIVE, State.OFFLINE, State.REPLAY, State.UPCOMING, State.RESTRICTED, State.BANNED}
MAX_PAGE_ROWS = 10_000  # the longest pages have 1,000; reading these takes a fifth of a second
MAX_UNREAD_SHARE = 0.5  # of the rows of a page: with more, it is a page of another shape
PLATFORM_WIDE_STATES = {State.BLOCKED, State.RATE_LIMITED, State.AUTH}  # of the whole site: asking on would be rude


class Platform(NamedTuple):
    """A site. `address` reads an id out of pasted text: None when the text is not this platform's at all.

    It also takes its own `name/id`, and gives back the id. Where one streamer has several ids (a login, a room, a
    short link), `resolve` leads any of them to the one that is followed, and yields nothing if it already is that.
    """

    name: str
    hosts: frozenset[str]  # the only hosts its requests may go to
    batch: int  # streamers per check at most
    budget: str  # requests it bears, as in settings: 600/m
    address: Callable[[str], str | None]
    url: Callable[[str], str]  # the page of a streamer; empty where only an answer has it
    check: Callable[[Sequence[str], CheckContext], Check]
    resolve: Callable[[str, CheckContext], Resolve] | None = None  # raises NotAStreamer or CheckFailed
    keyless: RateLimit | None = None  # without the user's keys, where that is another way of asking
    names: NameLookup | None = None  # where many names are resolved in one request
    key_names: tuple[str, ...] = ()  # of the user's keys that it uses
    key_needed: bool = False  # it answers nothing without them
    listing: Listing | None = None  # its list of everybody who is live, where it has one
    recheck: BatchCheck | None = None  # one request for many who were live: only those who still are, and what is known
    recording: Callable[[str], str] | None = None  # where the session of this key can be watched when it has ended
    requests: int = 1  # that a check of a whole batch usually takes
    offline_batch: int = 0  # of those who are not live, so many are asked about by one more request
    offline_seconds: float = 0.0  # ... each of them once in so long

    def rate_limit(self, keys: Mapping[str, str]) -> RateLimit:
        key = keys.get("client_id") or keys.get("api_key")  # a cookie opens no other way of asking
        return RateLimit(self.batch, self.budget, self.requests) if key or not self.keyless else self.keyless

    def is_id(self, name: str, context: CheckContext) -> bool:
        """Whether the name is the id already: it resolves to itself, and nothing is asked for that."""
        if self.resolve is None:
            return True
        steps = self.resolve(name, context)
        try:
            next(steps)
        except StopIteration as stop:
            return bool(stop.value == name)
        except Exception:  # it is raised again where the name is resolved, and shown there
            return False
        steps.close()
        return False


class NameLookup(NamedTuple):
    """Resolves up to `size` names at once, to an id or to the reason why there is none. It may leave names out, which
    are resolved alone then.

    Where the site tells the state of a name, too, `observe` asks for both in one. What it finds has the streamer's id;
    or the name itself, where somebody of that name is offline if there is such a streamer at all. It may leave out
    names, which are resolved first then.
    """

    size: int
    resolve: ResolveBatch
    takes: Callable[[str], bool] = bool  # whether a name is of the kind that is looked up with others
    observe: BatchCheck | None = None


class Listing(NamedTuple):
    """How a platform shows everybody who is live: a page for each cursor, from the empty one on.

    A row says that somebody is live; that somebody has no row says nothing. Where a row may also be a recording, it is
    a hint: whoever was not known to be live is asked before they count as live.
    """

    page: ListPage
    pages: int  # that it usually has, as long as nobody has counted
    hint: bool = False
    key_needed: bool = False  # it is shown to those with the user's keys alone


class ListingPage(NamedTuple):
    """A page of the list: who is live there, in its order, and the cursor of the next page, empty at the end."""

    rows: list[Observation]
    cursor: str = ""


class RateLimit(NamedTuple):
    """How many streamers one check takes, how many requests the site bears (600/m), how many a whole check needs."""

    batch: int
    budget: str
    requests: int = 1


class CheckContext(NamedTuple):
    """What a check may use: the time it runs at and the user's own keys for this platform (client_id, cookie …)."""

    now: float
    keys: Mapping[str, str]
    with_avatars: bool = False  # whether avatars may be asked for, where that takes a request of their own


class CacheGet(msgspec.Struct, frozen=True):
    """A platform wants a value that it kept: a token, an alias."""

    key: str


class CacheGetAll(msgspec.Struct, frozen=True):
    """A platform wants several values that it kept, in one go."""

    keys: tuple[str, ...]


class CacheSet(msgspec.Struct, frozen=True):
    """A platform keeps a value for the next check, in any process, for this many seconds."""

    key: str
    value: str
    seconds: float


class Call(NamedTuple):
    """A function that does its own I/O, for a library that cannot do without.

    It runs in a thread, and the check is sent what it returns, or None when `seconds` go by first. The thread is then
    left behind, so the function must end by itself some time. It raises nothing.
    """

    function: Callable[..., Any]
    args: tuple[Any, ...]
    seconds: float


class NotAStreamer(LivectlError):  # noqa: N818
    """An address that names no streamer of this platform: a clip, a recording, a category."""

    code = 2  # on the command line; one in a file is a mistake of that file


class UnknownPlatform(NotAStreamer):
    """An address `name/id` where no platform has the name."""


class CheckFailed(PlatformError):  # noqa: N818
    """A request without a usable answer: a block, a limit, an outage, an unknown shape. Never "offline"."""

    def __init__(self, state: State, problem: str, retry_at: float | None = None, *, divisible: bool = False) -> None:
        super().__init__(problem)
        self.state = state
        self.retry_at = retry_at
        self.divisible = divisible  # one bad id may have spoilt the answer for the whole batch


def ask(request: Request) -> Generator[Effect, Any, Response]:
    return cast("Response", (yield request))


def follow_link(link: str, headers: dict[str, str]) -> Generator[Effect, Any, str]:
    """Where a short link (host and path) leads: the page it ends on, or the one it points to."""
    response = yield from ask(Request(url=f"https://{link}", headers=headers))
    if response.status == 0:
        raise CheckFailed(State.NETWORK, response.error or "no answer")
    return response.headers.get("location") or response.url


def cache_get(key: str) -> Generator[Effect, Any, str | None]:
    return cast("str | None", (yield CacheGet(key)))


def cache_set(key: str, value: str, seconds: float) -> Generator[Effect, Any, None]:
    yield CacheSet(key, value, seconds)


def resolve_alone(resolve_batch: ResolveBatch, name: str, context: CheckContext) -> Resolve:
    """The id of one name, by what resolves many."""
    answer = (yield from resolve_batch([name], context))[name]
    if isinstance(answer, LivectlError):
        raise answer
    return answer


def resolve_each(resolve: Callable[[str, CheckContext], Resolve]) -> ResolveBatch:
    """Resolves several names by what resolves one, for a site that is asked for each by itself."""

    def resolve_batch(names: Sequence[str], context: CheckContext) -> ResolveNames:
        ids: dict[str, str | LivectlError] = {}
        for name in names:
            ids[name] = yield from resolve(name, context)
        return ids

    return resolve_batch


def with_second_route(first: StreamerCheck, second: StreamerCheck) -> StreamerCheck:
    """Asks by another route where the first one's answer cannot be read. If both fail, the first failure stands."""

    def check_streamer(streamer_id: str, context: CheckContext) -> Generator[Effect, Any, Observation]:
        try:
            return (yield from first(streamer_id, context))
        except CheckFailed as failure:
            if failure.state is not State.PARSE_ERROR:
                raise
            try:
                observation = yield from second(streamer_id, context)
            except CheckFailed:
                raise failure from None
            if observation.state in {State.NOT_FOUND, State.UNKNOWN}:  # the first answer had something to read
                raise
            return observation

    return check_streamer


def with_second_check(
    first: Callable[[Sequence[str], CheckContext], Check],
    second: Callable[[Sequence[str], CheckContext], Check],
    is_unread: Callable[[Observation], bool] = lambda observation: observation.state is State.PARSE_ERROR,
) -> Callable[[Sequence[str], CheckContext], Check]:
    """The check of a site with two routes: asks the second about whom the first one's answer cannot be read."""

    def check(ids: Sequence[str], context: CheckContext) -> Check:
        observations = {observation.id: observation for observation in (yield from first(ids, context))}
        unread = [streamer_id for streamer_id in ids if is_unread(observations[streamer_id])]
        others = (yield from second(unread, context)) if unread else []
        observations |= {other.id: other for other in others if other.state in POSITIVE_STATES}
        return [observations[streamer_id] for streamer_id in ids]

    return check


def with_avatars(check: WholeCheck, find: FindAvatars, size: int) -> WholeCheck:
    """The check of a site whose answers lack the avatars: asks for those of who is live once a day, `size` at once.

    Nothing that goes wrong with them spoils the check.
    """

    def check_with_avatars(ids: Sequence[str], context: CheckContext) -> Check:
        observations = yield from check(ids, context)
        live = [each for each in observations if each.state is State.LIVE] if context.with_avatars else []
        bare = [each.id for each in live if not each.avatar]
        avatars = (yield from _kept_avatars(bare)) if bare else {}
        missing = [streamer_id for streamer_id in bare if streamer_id not in avatars]
        for part in _split(missing, size):
            avatars |= yield from _find_and_keep(find, part, context)
        return [
            msgspec.structs.replace(each, avatar=avatars[each.id]) if avatars.get(each.id) else each
            for each in observations
        ]

    return check_with_avatars


def _kept_avatars(ids: Sequence[str]) -> Generator[Effect, Any, dict[str, str]]:
    kept = yield CacheGetAll(tuple(f"avatar/{streamer_id}" for streamer_id in ids))
    return {streamer_id: text.removeprefix(NO_AVATAR) for streamer_id, text in zip(ids, kept, strict=True) if text}


def _find_and_keep(
    find: FindAvatars, ids: Sequence[str], context: CheckContext
) -> Generator[Effect, Any, dict[str, str]]:
    try:
        found, seconds = (yield from find(ids, context)), AVATAR_SECONDS
    except CheckFailed:
        found, seconds = {}, AVATAR_RETRY_SECONDS
    for streamer_id in ids:
        yield from cache_set(f"avatar/{streamer_id}", found.get(streamer_id) or NO_AVATAR, seconds)
    return found


def read_rows(rows: Sequence[Any], read: Callable[[Any], Iterable[Observation]]) -> list[Observation]:
    """What the rows of a page say. One that cannot be read says nothing; CheckFailed where most of them cannot, and for
    more rows than any site has on a page.
    """
    if len(rows) > MAX_PAGE_ROWS:
        raise CheckFailed(State.PARSE_ERROR, f"a page of {len(rows):,} rows")
    observations: list[Observation] = []
    failures: list[CheckFailed] = []
    for row in rows:
        try:
            observations += read(row)
        except CheckFailed as failure:
            failures.append(failure)
    if failures and len(failures) > MAX_UNREAD_SHARE * len(rows):
        raise failures[0]
    return observations


def next_page(cursor: str, *, is_last: bool) -> str:
    """The cursor behind this one, where pages have numbers, from 1 on."""
    return "" if is_last else str(int(cursor or 1) + 1)


def one_by_one(platform: str, check_streamer: StreamerCheck) -> Callable[[Sequence[str], CheckContext], Check]:
    """The check of a site that answers about one streamer at a time."""

    def check_batch(ids: Sequence[str], context: CheckContext) -> Generator[Effect, Any, dict[str, Observation]]:
        return {ids[0]: (yield from check_streamer(ids[0], context))}

    check_several = in_batches(platform, 1, check_batch)

    def check(ids: Sequence[str], context: CheckContext) -> Check:
        if len(ids) != 1:
            return (yield from check_several(ids, context))
        try:  # of one, which is what a worker asks about, nothing has to be kept track of
            return [(yield from check_streamer(ids[0], context))]
        except CheckFailed as failure:
            return [failed_observation(platform, ids[0], failure, context)]

    return check


def in_batches(platform: str, size: int, check_batch: BatchCheck) -> Callable[[Sequence[str], CheckContext], Check]:
    """The check of a site that answers about up to `size` streamers at once.

    `check_batch` may leave ids out, which are asked again alone, and may raise CheckFailed.
    """

    def check(ids: Sequence[str], context: CheckContext) -> Check:
        progress = _CheckProgress(platform, context, _split(list(dict.fromkeys(ids)), size), {}, [])
        while progress.waiting:
            batch = progress.waiting.popleft()
            try:
                observations = yield from check_batch(batch, context)
            except CheckFailed as failure:
                progress.record_failure(batch, failure)
                continue
            progress.observations.update(observations)
            if missing_ids := [streamer_id for streamer_id in batch if streamer_id not in observations]:
                yield from _retry_alone(progress, batch, missing_ids)
        return [progress.observations[streamer_id] for streamer_id in ids]

    return check


class _CheckProgress(NamedTuple):
    """One check under way: the batches still to ask, the observations so far, the failures."""

    platform: str
    context: CheckContext
    waiting: deque[Sequence[str]]
    observations: dict[str, Observation]
    failures: list[CheckFailed]

    def record_failure(self, ids: Sequence[str], failure: CheckFailed) -> None:
        self.failures.append(failure)
        give_up = not self.observations and len(self.failures) >= MAX_FAILURES_WITHOUT_ANSWER
        if failure.divisible and len(ids) > 1 and len(self.failures) <= MAX_SPLITS and not give_up:
            self.waiting.extend(_split(ids, -(-len(ids) // 2)))
            return
        self.mark_failed(ids, failure)
        if give_up or failure.state in PLATFORM_WIDE_STATES:
            self.mark_failed([streamer_id for batch in self.waiting for streamer_id in batch], failure)
            self.waiting.clear()

    def mark_failed(self, ids: Iterable[str], failure: CheckFailed) -> None:
        failed = {each: failed_observation(self.platform, each, failure, self.context) for each in ids}
        self.observations.update(failed)


def _retry_alone(
    progress: _CheckProgress, batch: Sequence[str], missing_ids: Sequence[str]
) -> Generator[Effect, Any, None]:
    """A row that an answer lacks says nothing: its streamer is UNKNOWN, unless the site answers about it alone."""
    unknown = same_observations(progress.platform, missing_ids, State.UNKNOWN, progress.context, "not in the answer")
    progress.observations.update({observation.id: observation for observation in unknown})
    if len(batch) == 1:
        for streamer_id in missing_ids:
            yield from cache_set(f"absent/{streamer_id}", "1", ABSENT_CACHE_SECONDS)
        return
    retries = 0
    for streamer_id in missing_ids:
        if retries < MAX_SINGLE_RETRIES and not (yield from cache_get(f"absent/{streamer_id}")):
            progress.waiting.append([streamer_id])
            retries += 1


def _split(ids: Sequence[str], size: int) -> deque[Sequence[str]]:
    return deque(ids[start : start + size] for start in range(0, len(ids), size))


def failed_observation(platform: str, streamer_id: str, failure: CheckFailed, context: CheckContext) -> Observation:
    """The observation of a streamer whose check failed."""
    return Observation(
        platform=platform,
        id=streamer_id,
        state=failure.state,
        at=context.now,
        problem=failure.message,
        retry_at=failure.retry_at,
    )


def unresolved_observation(platform: str, name: str, error: Exception, context: CheckContext) -> Observation:
    """The observation of somebody whose name leads to no id."""
    if isinstance(error, CheckFailed):
        return failed_observation(platform, name, error, context)
    if isinstance(error, NotAStreamer):
        state, problem = State.NOT_FOUND, error.message
    else:
        state, problem = State.PARSE_ERROR, f"its name could not be looked up: {type(error).__name__}"
    return Observation(platform=platform, id=name, state=state, at=context.now, problem=problem)


def same_observations(
    platform: str, ids: Iterable[str], state: State, context: CheckContext, problem: str
) -> list[Observation]:
    """The same observation for each streamer: a refusal, an outage, a limit."""
    return [Observation(platform=platform, id=each, state=state, at=context.now, problem=problem) for each in ids]
