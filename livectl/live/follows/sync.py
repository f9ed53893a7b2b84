"""Applies the follow list's file to the store whenever the file has changed.

Any number of workers may do so. The file that was put in its place last counts, so that an old copy on another machine
does not take a change back. An entry that cannot be read never unfollows anybody.
"""

from __future__ import annotations

import hashlib
import logging
from typing import TYPE_CHECKING, NamedTuple

import msgspec

from livectl import __version__
from livectl.errors import LivectlError
from livectl.file_stamp import read_stamp
from livectl.live import platforms, polling
from livectl.live.follows import follow_list
from livectl.live.follows.follow_list import CACHE_KEY, CACHE_PLATFORM, AppliedList
from livectl.live.platforms.base import NotAStreamer, same_observations, unresolved_observation
from livectl.models import State, UnresolvedFollow

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence
    from pathlib import Path
    from typing import TypeAlias

    from livectl.live.follows.follow_list import FollowList
    from livectl.live.network.fetcher import Fetcher
    from livectl.live.platforms.base import Platform
    from livectl.live.polling import LimitsByPlatform
    from livectl.live.store import Store
    from livectl.models import Observation, Streamer
    from livectl.settings import Settings

    StreamerKey: TypeAlias = tuple[str, str]  # platform and id


CACHE_SECONDS = 10 * 365 * 86_400.0  # as good as for ever
MAX_PROBLEMS_LOGGED = 5
MAX_LOOKUPS_AT_ONCE = 50  # requests to one platform: thousands of new names are looked up bit by bit
# A name is looked up again after as long as it has been known in vain: soon at first, once an hour in the end.
FIRST_LOOKUP_WAIT_S, MAX_LOOKUP_WAIT_S = 5.0, 3600.0
NOT_LOOKED_UP = "not looked up yet"

log = logging.getLogger(__name__)


class FollowSync:
    """Applies the file for one process. A file that was read is remembered until it changes.

    `named_at` is when the settings came to name this file instead of another: it counts as put in its place then.
    """

    def __init__(
        self, settings: Settings, store: Store, fetcher: Fetcher, limits: LimitsByPlatform, named_at: float = 0.0
    ) -> None:
        self._named_at = named_at
        self._settings = settings
        self._store = store
        self._resolver = AliasResolver(settings, store, fetcher, limits)
        self._seen_ctime = 0.0  # of the file that was last found to be applied
        self._last_read: tuple[str, FollowList | None] = ("", None)

    def refresh(self, now: float) -> tuple[int, int] | None:
        """Follows the streamers of the file, if it has changed.

        Returns how many were added and removed; None if nothing was done.
        """
        self._store.finish_following()
        path = self._settings.follows
        stamp = read_stamp(path)
        if stamp is None:
            return None  # without a file everybody stays followed
        applied, placed_at = follow_list.read_applied(self._store), max(stamp.placed_at, self._named_at)
        if (
            not stamp.is_settled(now)
            or placed_at < applied.put
            or (applied.whole and placed_at == self._seen_ctime == applied.put)
        ):
            return None
        digest = self._compute_digest(path)
        self._seen_ctime = placed_at
        if digest == applied.digest and (applied.whole or not self._any_lookup_due(now)):
            if applied.put != placed_at:
                self._save_applied(msgspec.structs.replace(applied, put=placed_at))
            return None
        parsed = self._load(path, digest)
        return None if parsed is None else self._apply(parsed, placed_at, digest, now)

    def _any_lookup_due(self, now: float) -> bool:
        return any(_awaits_lookup(follow, now) for follow in self._store.unresolved())

    def _apply(self, parsed: FollowList, placed_at: float, digest: str, now: float) -> tuple[int, int]:
        is_new = digest != follow_list.read_applied(self._store).digest
        earlier = {follow.streamer.key: follow for follow in self._store.unresolved()}
        resolved = self._resolver.resolve(parsed.streamers, now, {} if is_new else earlier)
        if is_new:
            _log_problems(resolved.problems)
        wanted = resolved.streamers
        found_keys = {streamer.key for streamer in wanted}
        unresolved = [
            _with_since(follow, earlier.get(follow.streamer.key), now)
            for follow in (*resolved.problems, *parsed.unread)
            if follow.streamer.key not in found_keys
        ]
        if parsed.refused:  # an entry that cannot be read may mean anybody who is followed
            wanted_keys = {streamer.key for streamer in wanted}
            everyone = self._store.all_streamers()
            followed = (record.streamer for record in everyone if record.streamer and not record.unresolved)
            wanted += tuple(streamer for streamer in followed if streamer.key not in wanted_keys)
        added, removed = self._store.set_followed(wanted, now, unresolved)
        self._save_applied(AppliedList(placed_at, digest, whole=not resolved.problems))
        if added or removed:
            log.info("%s: following %d, %d new, %d gone", self._settings.follows.name, len(wanted), added, removed)
        return added, removed

    def _load(self, path: Path, digest: str) -> FollowList | None:
        if self._last_read[0] == digest:
            return self._last_read[1]
        try:
            parsed = follow_list.load(path, path.name)
        except LivectlError as error:
            log.error("%s cannot be used, the list stays as it was: %s", path.name, error.message)
            self._last_read = (digest, None)
            return None
        for mistakes in (parsed.refused, parsed.merged):
            for mistake in mistakes[:MAX_PROBLEMS_LOGGED]:
                log.warning("%s", mistake)
            _log_more(len(mistakes) - MAX_PROBLEMS_LOGGED)
        self._last_read = (digest, parsed)
        return parsed

    def _compute_digest(self, path: Path) -> str:
        """A digest of all that decides what the list means: text, the user's keys, livectl's version, the platforms."""
        keys = {
            name: polling.fingerprint(polling.platform_keys(access))
            for name, access in self._settings.platforms.items()
        }
        context_json = msgspec.json.encode((keys, __version__, platforms.names()), order="sorted")
        return hashlib.sha256(context_json + path.read_bytes()).hexdigest()

    def _save_applied(self, applied: AppliedList) -> None:
        self._store.cache_set(CACHE_PLATFORM, CACHE_KEY, msgspec.json.encode(applied).decode(), CACHE_SECONDS)


def _log_problems(problems: Sequence[UnresolvedFollow]) -> None:
    for follow in problems[:MAX_PROBLEMS_LOGGED]:
        log.warning("%s/%s is not followed yet: %s", follow.streamer.platform, follow.streamer.id, follow.problem)
    _log_more(len(problems) - MAX_PROBLEMS_LOGGED)


def _log_more(count: int) -> None:
    if count > 0:
        log.warning("... and %d more like these; `livectl live --all` shows each", count)


def _with_since(follow: UnresolvedFollow, earlier: UnresolvedFollow | None, now: float) -> UnresolvedFollow:
    """The follow with the time since when it has led to nobody for this reason."""
    lasting = earlier is not None and earlier.state is follow.state
    return msgspec.structs.replace(follow, since=earlier.since if earlier and lasting else now)


class ResolvedFollows(NamedTuple):
    """Streamers by the id that is followed, each once; and those without one yet, with the reason."""

    streamers: tuple[Streamer, ...]
    problems: tuple[UnresolvedFollow, ...]


class AliasResolver:
    """Finds the ids of names, rooms and short links: looks each up once, and remembers it in the store."""

    def __init__(self, settings: Settings, store: Store, fetcher: Fetcher, limits: LimitsByPlatform) -> None:
        self._settings = settings
        self._store = store
        self._fetcher = fetcher
        self._limits = limits

    def resolve(
        self, streamers: Sequence[Streamer], now: float, earlier: Mapping[StreamerKey, UnresolvedFollow]
    ) -> ResolvedFollows:
        """Replaces each streamer's name by its id, as far as the platforms' budgets allow look-ups.

        `earlier` are those who were looked up in vain, and who are not looked up at each call.
        """
        by_key: dict[StreamerKey, Streamer] = {}
        problems: list[UnresolvedFollow] = []
        for platform_name in dict.fromkeys(streamer.platform for streamer in streamers):
            same_platform = [streamer for streamer in streamers if streamer.platform == platform_name]
            names = [streamer.id for streamer in same_platform]
            waiting = {name: follow for name in names if (follow := earlier.get((platform_name, name)))}
            ids, failures = self._resolve_names(platform_name, names, waiting, now)
            for streamer in same_platform:
                if streamer.id not in ids:
                    problems.append(_unresolved(streamer, failures.get(streamer.id), waiting.get(streamer.id)))
                    continue
                resolved = msgspec.structs.replace(streamer, id=ids[streamer.id])
                other = by_key.get(resolved.key)
                by_key[resolved.key] = follow_list.merge_streamers(other, resolved) if other else resolved
        return ResolvedFollows(tuple(by_key.values()), tuple(problems))

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
        limits = self._limits[platform_name]
        max_lookups = max(0, min(MAX_LOOKUPS_AT_ONCE, int(self._store.spend(limits, 0, now))))
        due_names = [name for name in unresolved if _is_due(waiting.get(name), now)]
        due = _first_lookups(platform, due_names, max_lookups)
        if not due:
            return ids, {}
        if reason := polling.left_alone(self._store, platform_name, now):
            return ids, _by_id(same_observations(platform_name, due, reason[0], context, NOT_LOOKED_UP))
        answers, requests = self._fetcher.resolve(platform, due, context)
        self._store.spend(limits, requests, now)
        new_ids = {name: answer for name, answer in zip(due, answers, strict=True) if isinstance(answer, str)}
        self._store.save_aliases(platform_name, new_ids)
        failures = [
            unresolved_observation(platform_name, name, answer, context)
            for name, answer in zip(due, answers, strict=True)
            if not isinstance(answer, str)
        ]
        return ids | new_ids, _by_id(failures)


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


def _awaits_lookup(follow: UnresolvedFollow, now: float) -> bool:
    """Whether a name is to be looked up now. A line that cannot be read never is."""
    if follow.looked_up is None:
        return follow.problem == NOT_LOOKED_UP
    return _is_due(follow, now)


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
