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
from livectl.live import platforms, polling
from livectl.live.follows import follow_list
from livectl.live.platforms.base import NotAStreamer

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from pathlib import Path

    from livectl.live.follows.follow_list import FollowList
    from livectl.live.network.fetcher import Fetcher
    from livectl.live.platforms.base import CheckContext, Platform
    from livectl.live.polling import LimitsByPlatform
    from livectl.live.store import Store
    from livectl.models import Streamer
    from livectl.settings import Settings


CACHE_PLATFORM, CACHE_KEY = "livectl", "follows"  # the applied list is kept where platforms keep their tokens
CACHE_SECONDS = 10 * 365 * 86_400.0  # as good as for ever
MIN_FILE_AGE_S = 1.0  # an editor may still be writing a younger file
MAX_PROBLEMS_LOGGED = 5
MAX_LOOKUPS_AT_ONCE = 50  # of one platform: thousands of new names are looked up bit by bit

log = logging.getLogger(__name__)


class AppliedList(msgspec.Struct, frozen=True):
    """The follow list that the store has."""

    put: float  # when its file was put in its place
    digest: str
    whole: bool = True  # every name on it was resolved to an id


class FollowSync:
    """Applies the file for one process. A file that was read is remembered until it changes."""

    def __init__(self, settings: Settings, store: Store, fetcher: Fetcher, limits: LimitsByPlatform) -> None:
        self._settings = settings
        self._store = store
        self._resolver = AliasResolver(settings, store, fetcher, limits)
        self._seen_ctime = 0.0  # of the file that was last found to be applied
        self._last_read: tuple[str, FollowList | None] = ("", None)

    def refresh(self, now: float) -> tuple[int, int] | None:
        """Follows the streamers of the file, if it has changed.

        Returns how many were added and removed; None if nothing was done.
        """
        path = self._settings.follows
        try:
            placed_at = path.stat().st_ctime
        except OSError:
            return None  # without a file everybody stays followed
        applied = self._read_applied()
        if (
            0 <= now - placed_at < MIN_FILE_AGE_S
            or placed_at < applied.put
            or (applied.whole and placed_at == self._seen_ctime == applied.put)
        ):
            return None
        digest = self._compute_digest(path)
        self._seen_ctime = placed_at
        if digest == applied.digest and applied.whole:
            self._save_applied(AppliedList(placed_at, digest))
            return None
        parsed = self._load(path, digest)
        return None if parsed is None else self._apply(parsed, placed_at, digest, now)

    def _apply(self, parsed: FollowList, placed_at: float, digest: str, now: float) -> tuple[int, int]:
        resolved = self._resolver.resolve(parsed.streamers, now)
        self._log_problems(resolved.problems, digest)
        wanted = resolved.streamers
        if parsed.refused:  # an entry that cannot be read may mean anybody who is followed
            wanted_keys = {streamer.key for streamer in wanted}
            followed = (record.streamer for record in self._store.all_streamers() if record.streamer)
            wanted += tuple(streamer for streamer in followed if streamer.key not in wanted_keys)
        added, removed = self._store.set_followed(wanted, now)
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
        for mistake in (*parsed.refused[:MAX_PROBLEMS_LOGGED], *parsed.merged[:MAX_PROBLEMS_LOGGED]):
            log.warning("%s", mistake)
        self._last_read = (digest, parsed)
        return parsed

    def _log_problems(self, problems: Iterable[tuple[Streamer, str]], digest: str) -> None:
        if self._read_applied().digest == digest:
            return  # logged when the list was first read
        for streamer, problem in list(problems)[:MAX_PROBLEMS_LOGGED]:
            log.warning("%s/%s is not followed yet: %s", streamer.platform, streamer.id, problem)

    def _compute_digest(self, path: Path) -> str:
        """A digest of all that decides what the list means: its text, the user's keys, the version of livectl."""
        keys = {
            name: polling.fingerprint(polling.platform_keys(access))
            for name, access in self._settings.platforms.items()
        }
        context_json = msgspec.json.encode((keys, __version__), order="sorted")
        return hashlib.sha256(context_json + path.read_bytes()).hexdigest()

    def _read_applied(self) -> AppliedList:
        (text,) = self._store.cache_get(CACHE_PLATFORM, [CACHE_KEY])
        return msgspec.json.decode(text, type=AppliedList) if text else AppliedList(0.0, "")

    def _save_applied(self, applied: AppliedList) -> None:
        self._store.cache_set(CACHE_PLATFORM, CACHE_KEY, msgspec.json.encode(applied).decode(), CACHE_SECONDS)


class ResolvedFollows(NamedTuple):
    """Streamers by the id that is followed, each once; and those without one yet, with the reason."""

    streamers: tuple[Streamer, ...]
    problems: tuple[tuple[Streamer, str], ...]


class AliasResolver:
    """Finds the ids of names, rooms and short links: looks each up once, and remembers it in the store."""

    def __init__(self, settings: Settings, store: Store, fetcher: Fetcher, limits: LimitsByPlatform) -> None:
        self._settings = settings
        self._store = store
        self._fetcher = fetcher
        self._limits = limits

    def resolve(self, streamers: Sequence[Streamer], now: float) -> ResolvedFollows:
        """Replaces each streamer's name by its id, as far as the platforms' budgets allow look-ups."""
        by_key: dict[tuple[str, str], Streamer] = {}
        problems: list[tuple[Streamer, str]] = []
        for platform_name in dict.fromkeys(streamer.platform for streamer in streamers):
            same_platform = [streamer for streamer in streamers if streamer.platform == platform_name]
            ids, reasons = self._resolve_names(platform_name, [streamer.id for streamer in same_platform], now)
            for streamer in same_platform:
                if streamer.id not in ids:
                    problems.append((streamer, reasons.get(streamer.id, "not looked up yet")))
                    continue
                resolved = msgspec.structs.replace(streamer, id=ids[streamer.id])
                earlier = by_key.get(resolved.key)
                by_key[resolved.key] = follow_list.merge_streamers(earlier, resolved) if earlier else resolved
        return ResolvedFollows(tuple(by_key.values()), tuple(problems))

    def _resolve_names(
        self, platform_name: str, names: Sequence[str], now: float
    ) -> tuple[dict[str, str], dict[str, str]]:
        """The id of each name; for those that were looked up in vain, the reason."""
        try:
            platform = platforms.get(platform_name)
        except NotAStreamer as error:
            return {}, dict.fromkeys(names, error.message)
        if problem := polling.unset_key(self._settings, platform_name):
            known = self._store.aliases(platform_name, names)
            return known, {name: problem for name in names if name not in known}
        context = polling.check_context(self._settings, platform_name, now)
        ids = {name: name for name in names if _is_id(platform, name, context)}
        ids |= self._store.aliases(platform_name, [name for name in names if name not in ids])
        limits = self._limits[platform_name]
        max_lookups = max(0, min(MAX_LOOKUPS_AT_ONCE, int(self._store.spend(limits, 0, now))))
        unresolved = [name for name in dict.fromkeys(names) if name not in ids][:max_lookups]
        if not unresolved:
            return ids, {}
        answers, requests = self._fetcher.resolve(platform, unresolved, context)
        self._store.spend(limits, requests, now)
        new_ids: dict[str, str] = {}
        reasons: dict[str, str] = {}
        for name, answer in zip(unresolved, answers, strict=True):
            if isinstance(answer, str):
                new_ids[name] = answer
            else:
                reasons[name] = _describe_error(answer)
        self._store.save_aliases(platform_name, new_ids)
        return ids | new_ids, reasons


def _is_id(platform: Platform, name: str, context: CheckContext) -> bool:
    """Whether the name is the id already: the platform resolves it to itself without asking anything."""
    if platform.resolve is None:
        return True
    steps = platform.resolve(name, context)
    try:
        next(steps)
    except StopIteration as stop:
        return bool(stop.value == name)
    except LivectlError:
        return False
    steps.close()
    return False


def _describe_error(error: Exception) -> str:
    return error.message if isinstance(error, LivectlError) else f"{type(error).__name__} while it was looked up"
