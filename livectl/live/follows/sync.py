"""Applies the follow list's file to the store whenever the file has changed, however long it is.

Any number of workers may do so. The file that was put in its place last counts, so that an old copy on another machine
does not take a change back. An entry that cannot be read never unfollows anybody. Names that lead to nobody yet are
looked up again as the store has them: for that the file is not read.
"""

from __future__ import annotations

import hashlib
import logging
import math
from collections import defaultdict
from functools import partial
from itertools import islice
from typing import TYPE_CHECKING, NamedTuple
from uuid import uuid4

import msgspec

from livectl import __version__
from livectl.errors import LivectlError, Mistake, SettingsError
from livectl.file_stamp import read_stamp
from livectl.live import platforms, polling
from livectl.live.follows import follow_list
from livectl.live.follows.follow_list import CACHE_KEY, CACHE_PLATFORM, LINES_AT_ONCE, AppliedList
from livectl.live.list_spool import NoRoomError, SpooledList
from livectl.live.platforms.base import NotAStreamer, same_observations, unresolved_observation
from livectl.models import State, Streamer, UnresolvedFollow
from livectl.validation import describe_error

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
    from typing import TypeAlias

    from livectl.file_stamp import FileStamp
    from livectl.live.follows.follow_list import FollowLine
    from livectl.live.list_spool import Merge
    from livectl.live.network.fetcher import Fetcher
    from livectl.live.platforms.base import Platform
    from livectl.live.polling import LimitsByPlatform
    from livectl.live.store import Store
    from livectl.models import Observation, PollingLimits
    from livectl.settings import Settings

    StreamerKey: TypeAlias = tuple[str, str]  # platform and id


CACHE_SECONDS = 10 * 365 * 86_400.0  # as good as for ever
MAX_PROBLEMS_LOGGED = 5
MAX_LOOKUPS_AT_ONCE = 50  # requests to one platform: thousands of new names are looked up bit by bit
MAX_LINES_LOOKED_AT = 5000  # of those that lead to nobody, at each call: some 20 ms
# A name is looked up again after as long as it has been known in vain: soon at first, once an hour in the end.
FIRST_LOOKUP_WAIT_S, MAX_LOOKUP_WAIT_S = 5.0, 3600.0
NOT_LOOKED_UP = "not looked up yet"
NO_ROOM_WAIT_S = 60.0
READ_BYTES = 1_000_000
HOLD_SECONDS, LINES_A_HOLD = 30.0, 100_000  # the lines take a few seconds

log = logging.getLogger(__name__)


class FollowSync:
    """Applies the file for one process.

    `named_at` is when the settings came to name this file instead of another: it counts as put in its place then.
    """

    def __init__(
        self, settings: Settings, store: Store, fetcher: Fetcher, limits: LimitsByPlatform, named_at: float = 0.0
    ) -> None:
        self._named_at = named_at
        self._settings = settings
        self._store = store
        self._make_resolver = partial(AliasResolver, settings, store, fetcher, limits)
        self._seen_ctime = 0.0  # of the file that was last found to be applied
        self._digest: tuple[FileStamp | None, str] = (None, "")
        self._refused = ("", 0.0)  # the digest of a list that cannot be used, and until when it is left alone
        self._lines: Iterator[UnresolvedFollow] | None = None  # those that lead to nobody, as far as not looked at yet
        self._any_waits = False  # of those that were looked at

    def refresh(self, now: float) -> tuple[int, int] | None:
        """Follows the streamers of the file, if it has changed.

        Returns how many were added and removed; None if nothing was done.
        """
        self._store.finish_following()
        stamp = read_stamp(self._settings.follows)
        if stamp is None:
            return None  # without a file everybody stays followed
        applied, placed_at = follow_list.read_applied(self._store), max(stamp.placed_at, self._named_at)
        if (
            not stamp.is_settled(now)
            or placed_at < applied.put
            or (applied.whole and placed_at == self._seen_ctime == applied.put)
        ):
            return None
        digest = self._compute_digest(stamp)
        self._seen_ctime = placed_at
        if digest != applied.digest:
            is_refused = digest == self._refused[0] and now < self._refused[1]
            return None if is_refused else self._apply(AppliedList(placed_at, digest), now)
        if applied.put != placed_at:
            applied = msgspec.structs.replace(applied, put=placed_at)
            self._save_applied(applied)
        return None if applied.whole else self._look_up_again(applied, now)

    def _apply(self, new: AppliedList, now: float) -> tuple[int, int] | None:
        """A long list is read by one process at a time."""
        token = uuid4().hex
        if not follow_list.is_long(self._settings.follows):
            return self._read_list(token, new, now)
        if not self._store.hold_list(token, HOLD_SECONDS):
            return None  # another process reads it
        try:
            return self._read_list(token, new, now)
        finally:
            self._store.release_list(token)

    def _read_list(self, token: str, new: AppliedList, now: float) -> tuple[int, int] | None:
        path, hold = self._settings.follows, partial(self._store.hold_list, token, HOLD_SECONDS)
        reading = ListReading(self._store, self._make_resolver(), path.name, now)
        try:
            with SpooledList() as wanted:
                reading.read(_calling(hold, follow_list.read_lines(path, path.name)), wanted)
                followed = self._store.follow_list(wanted, now, keep=bool(reading.refused.count))
                merged = wanted.merged()
        except SettingsError as error:
            log.error("%s cannot be used, the list stays as it was: %s", path.name, error.message)
            self._refused = (new.digest, now + NO_ROOM_WAIT_S if isinstance(error, NoRoomError) else math.inf)
            return None
        reading.log(*merged)
        self._lines = None
        self._save_applied(msgspec.structs.replace(new, whole=not reading.unresolved.count))
        if followed.added or followed.removed:
            log.info("%s: following %d, %d new, %d gone", path.name, followed.followed, *followed[:2])
        return followed.added, followed.removed

    def _look_up_again(self, applied: AppliedList, now: float) -> tuple[int, int] | None:
        """Looks up some of those names whose time has come. The list is whole once none is left that may be."""
        lines, self._lines = self._lines or self._store.unresolved(), None  # anew after an error
        some = list(islice(lines, MAX_LINES_LOOKED_AT))
        self._any_waits |= any(_may_be_looked_up(follow) for follow in some)
        due = [follow for follow in some if _may_be_looked_up(follow) and _is_due(follow, now)]
        found = self._look_up(due, now) if due else None
        if len(some) == MAX_LINES_LOOKED_AT:
            self._lines = lines
            return found
        if not self._any_waits:
            self._save_applied(msgspec.structs.replace(applied, whole=True))
        self._any_waits = False
        return found

    def _look_up(self, due: Sequence[UnresolvedFollow], now: float) -> tuple[int, int] | None:
        waiting = {follow.streamer.key: follow for follow in due}
        ids, problems = self._make_resolver().resolve([follow.streamer for follow in due], now, waiting)
        found = {"/".join(key): msgspec.structs.replace(waiting[key].streamer, id=ids[key]) for key in ids}
        told = [
            _with_since(problem, waiting[key], now)
            for key, problem in problems.items()
            if problem.looked_up != waiting[key].looked_up
        ]
        return (self._store.follow_found(found, told, now), 0) if found or told else None

    def _compute_digest(self, stamp: FileStamp) -> str:
        """A digest of all that decides what the list means: text, the user's keys, livectl's version, the platforms."""
        if self._digest[0] == stamp:
            return self._digest[1]
        keys = {
            name: polling.fingerprint(polling.platform_keys(access))
            for name, access in self._settings.platforms.items()
        }
        digest = hashlib.sha256(msgspec.json.encode((keys, __version__, platforms.names()), order="sorted"))
        with self._settings.follows.open("rb") as file:
            while some := file.read(READ_BYTES):
                digest.update(some)
        self._digest = (stamp, digest.hexdigest())
        return self._digest[1]

    def _save_applied(self, applied: AppliedList) -> None:
        self._store.cache_set(CACHE_PLATFORM, CACHE_KEY, msgspec.json.encode(applied).decode(), CACHE_SECONDS)


def _calling(hold: Callable[[], object], lines: Iterable[FollowLine]) -> Iterator[FollowLine]:
    """The lines; between them the list is held on to."""
    for number, line in enumerate(lines, 1):
        yield line
        if number % LINES_A_HOLD == 0:
            hold()


class Warnings:
    """What is logged of many: the first ones, and how many more there are."""

    def __init__(self) -> None:
        self.count = 0
        self._first: list[str] = []

    def add(self, text: str) -> None:
        self.count += 1
        if len(self._first) < MAX_PROBLEMS_LOGGED:
            self._first.append(text)

    def log(self) -> None:
        for text in self._first:
            log.warning("%s", text)
        if more := self.count - len(self._first):
            log.warning("... and %d more like these; `livectl live --all` shows each", more)


class ListReading:
    """Leads the lines of a list to streamers, a thousand at a time."""

    def __init__(self, store: Store, resolver: AliasResolver, name: str, now: float) -> None:
        self._store = store
        self._resolver = resolver
        self._name = name
        self._now = now
        self.refused, self.unresolved = Warnings(), Warnings()

    def read(self, lines: Iterator[FollowLine], wanted: SpooledList) -> None:
        while some := list(islice(lines, LINES_AT_ONCE)):
            good = [(place, read) for place, read, _ in some if isinstance(read, Streamer)]
            ids, problems = self._resolver.resolve([streamer for _, streamer in good], self._now, {})
            for place, streamer in good:
                if (found := ids.get(streamer.key)) is not None:
                    is_found = found == streamer.id
                    wanted.add(streamer if is_found else msgspec.structs.replace(streamer, id=found), place)
            for key, problem in problems.items():
                self.unresolved.add(f"{'/'.join(key)} is not followed yet: {problem.problem}")
            unread = [self._refuse(line, error) for line in some if isinstance(error := line.streamer, LivectlError)]
            self._leave([*problems.values(), *unread], wanted)

    def log(self, merged: int, first: Sequence[Merge]) -> None:
        warnings = Warnings()
        for each in first:
            warnings.add(str(follow_list.merged_mistake(self._name, each.place, each.key, each.earlier)))
        warnings.count = merged
        for some in (self.refused, warnings, self.unresolved):
            some.log()

    def _refuse(self, line: FollowLine, error: LivectlError) -> UnresolvedFollow:
        self.refused.add(str(Mistake(self._name, *line.location, *describe_error(error))))
        return follow_list.unread_follow(self._name, line.location[0], error, line.written)

    def _leave(self, follows: Sequence[UnresolvedFollow], wanted: SpooledList) -> None:
        earlier = self._store.find_unresolved([follow.streamer for follow in follows])
        for follow in follows:
            wanted.add_unresolved(_with_since(follow, earlier.get(follow.streamer.key), self._now))


def _with_since(follow: UnresolvedFollow, earlier: UnresolvedFollow | None, now: float) -> UnresolvedFollow:
    """The follow with the time since when it has led to nobody for this reason."""
    lasting = earlier is not None and earlier.state is follow.state
    return msgspec.structs.replace(follow, since=earlier.since if earlier and lasting else now)


class ResolvedNames(NamedTuple):
    """The ids of streamers, by platform and name; and those without one yet, with the reason."""

    ids: dict[StreamerKey, str]
    problems: dict[StreamerKey, UnresolvedFollow]


class AliasResolver:
    """Finds the ids of names, rooms and short links: looks each up once, and remembers it in the store.

    One resolver looks no more than some names of each platform up.
    """

    def __init__(self, settings: Settings, store: Store, fetcher: Fetcher, limits: LimitsByPlatform) -> None:
        self._settings = settings
        self._store = store
        self._fetcher = fetcher
        self._limits = limits
        self._lookups_left: dict[str, int] = {}

    def resolve(
        self, streamers: Sequence[Streamer], now: float, earlier: Mapping[StreamerKey, UnresolvedFollow]
    ) -> ResolvedNames:
        """Finds the id of each, as far as the platforms' budgets allow look-ups.

        `earlier` are those who were looked up in vain, and who are not looked up at each call.
        """
        resolved = ResolvedNames({}, {})
        by_platform: dict[str, list[Streamer]] = defaultdict(list)
        for streamer in streamers:
            by_platform[streamer.platform].append(streamer)
        for platform_name, same_platform in by_platform.items():
            names = [streamer.id for streamer in same_platform]
            waiting = {name: follow for name in names if (follow := earlier.get((platform_name, name)))}
            ids, failures = self._resolve_names(platform_name, names, waiting, now)
            for streamer in same_platform:
                if (found := ids.get(streamer.id)) is not None:
                    resolved.ids[streamer.key] = found
                    continue
                problem = _unresolved(streamer, failures.get(streamer.id), waiting.get(streamer.id))
                resolved.problems[streamer.key] = problem
        return resolved

    def _resolve_names(
        self, platform_name: str, names: Sequence[str], waiting: Mapping[str, UnresolvedFollow], now: float
    ) -> tuple[dict[str, str], dict[str, Observation]]:
        """The id of each name; for those that were looked up in vain, an observation that says why."""
        context = polling.check_context(self._settings, platform_name, now)
        try:
            platform = platforms.get(platform_name)
        except NotAStreamer as error:
            return {}, _by_id(same_observations(platform_name, names, State.UNKNOWN, context, error.message))
        ids = {name: name for name in names if platform.is_id(name, context)}
        ids |= self._store.aliases(platform_name, [name for name in names if name not in ids])
        unresolved = [name for name in dict.fromkeys(names) if name not in ids]
        if problem := polling.unset_key(self._settings, platform_name):
            return ids, _by_id(same_observations(platform_name, unresolved, State.AUTH, context, problem))
        names_due = [name for name in unresolved if _is_due(waiting.get(name), now)]
        if not names_due or self._lookups_left.get(platform_name, MAX_LOOKUPS_AT_ONCE) <= 0:
            return ids, {}
        ways = self._limits.at_large(platform_name, now)
        due = self._pick_due(platform, names_due, ways[0], now)
        if not due:
            return ids, {}
        if reason := polling.left_alone(self._store, platform_name, now):
            return ids, _by_id(same_observations(platform_name, due, reason[0], context, NOT_LOOKED_UP))
        answers, requests = self._fetcher.resolve(platform, due, context, [each.exit for each in ways])
        self._store.spend(ways[0], requests, now)
        self._lookups_left[platform_name] -= requests
        new_ids = {name: answer for name, answer in zip(due, answers, strict=True) if isinstance(answer, str)}
        self._store.save_aliases(platform_name, new_ids)
        failures = [
            unresolved_observation(platform_name, name, answer, context)
            for name, answer in zip(due, answers, strict=True)
            if not isinstance(answer, str)
        ]
        return ids | new_ids, _by_id(failures)

    def _pick_due(self, platform: Platform, names: Sequence[str], limits: PollingLimits, now: float) -> list[str]:
        """The first of these names, as many as may be looked up now."""
        left = self._lookups_left.get(platform.name, MAX_LOOKUPS_AT_ONCE)
        budget = self._lookups_left[platform.name] = min(left, int(self._store.spend(limits, 0, now)))
        return _first_lookups(platform, names, max(0, budget))


def _first_lookups(platform: Platform, names: Sequence[str], requests: int) -> list[str]:
    """The first names, as many as so many requests look up."""
    chosen: list[str] = []
    together = alone = 0
    for name in names:
        if platform.names and platform.names.takes(name):
            together += 1
        else:
            alone += 1
        if alone + (-(-together // platform.names.size) if platform.names else 0) > requests:
            break
        chosen.append(name)
    return chosen


def _may_be_looked_up(follow: UnresolvedFollow) -> bool:
    """Whether somebody may be found by the name. By a line that cannot be read nobody ever is."""
    return follow.looked_up is not None or follow.problem == NOT_LOOKED_UP


def _is_due(follow: UnresolvedFollow | None, now: float) -> bool:
    """Whether a name is looked up now that was looked up in vain before."""
    if follow is None or follow.looked_up is None or follow.since is None:
        return True
    wait = max(FIRST_LOOKUP_WAIT_S, min(follow.looked_up - follow.since, MAX_LOOKUP_WAIT_S))
    return now - follow.looked_up >= wait


def _unresolved(streamer: Streamer, failure: Observation | None, waiting: UnresolvedFollow | None) -> UnresolvedFollow:
    """Why this streamer has no id: what the look-up said, now or before."""
    if failure:
        state, problem, looked_up = failure.state, failure.problem, failure.at
        return UnresolvedFollow(streamer=streamer, state=state, problem=problem, looked_up=looked_up)
    return waiting or UnresolvedFollow(streamer=streamer, state=State.UNKNOWN, problem=NOT_LOOKED_UP)


def _by_id(observations: Iterable[Observation]) -> dict[str, Observation]:
    return {observation.id: observation for observation in observations}
