"""Aliases: names, rooms and short links, each led once to the id that is followed, and remembered."""

from __future__ import annotations

import hashlib
import logging
from typing import TYPE_CHECKING, NamedTuple

import msgspec

from livectl import __version__
from livectl.errors import LivectlError
from livectl.live import platforms, polling
from livectl.live.follows import follow_list
from livectl.live.platforms.base import CheckContext, NotAStreamer

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from pathlib import Path

    from livectl.live.follows.follow_list import FollowList
    from livectl.live.network.fetcher import Fetcher
    from livectl.live.platforms.base import Platform
    from livectl.live.store import Store
    from livectl.models import Streamer
    from livectl.settings import Settings


MAX_LOOKUPS_AT_ONCE = 50  # asked in one go and for one platform: a new list of thousands is led home bit by bit


class ResolvedFollows(NamedTuple):
    """Streamers by the id that is followed, each once; those who could not be led there yet, and why."""

    streamers: tuple[Streamer, ...]
    problems: tuple[tuple[Streamer, str], ...]


def resolve_streamers(
    streamers: Sequence[Streamer], store: Store, fetcher: Fetcher, settings: Settings, now: float
) -> ResolvedFollows:
    """Leads everyone to their id: from memory, or by asking, as far as the platform's budget goes."""
    by_key: dict[tuple[str, str], Streamer] = {}
    problems: list[tuple[Streamer, str]] = []
    for platform_name in dict.fromkeys(streamer.platform for streamer in streamers):
        same_platform = [streamer for streamer in streamers if streamer.platform == platform_name]
        ids, reasons = _resolve_ids(
            platform_name, [streamer.id for streamer in same_platform], store, fetcher, settings, now
        )
        for streamer in same_platform:
            if streamer.id not in ids:
                problems.append((streamer, reasons.get(streamer.id, "not looked up yet")))
                continue
            resolved = msgspec.structs.replace(streamer, id=ids[streamer.id])
            key = (platform_name, resolved.id)
            by_key[key] = follow_list.merge_streamers(by_key[key], resolved) if key in by_key else resolved
    return ResolvedFollows(tuple(by_key.values()), tuple(problems))


def _resolve_ids(
    platform_name: str, ids: list[str], store: Store, fetcher: Fetcher, settings: Settings, now: float
) -> tuple[dict[str, str], dict[str, str]]:
    """What each id leads to; and of those that lead nowhere, why."""
    try:
        platform = platforms.get(platform_name)
    except NotAStreamer as error:
        return {}, dict.fromkeys(ids, error.message)
    context = CheckContext(now, polling.platform_keys(settings.platforms.get(platform_name)))
    resolved = {alias: alias for alias in ids if _is_resolved(platform, alias, context)}
    resolved |= store.aliases(platform_name, [alias for alias in ids if alias not in resolved])
    limits = polling.polling_limits(settings, platform)
    limit = min(MAX_LOOKUPS_AT_ONCE, int(store.spend(limits, 0, now)))
    unresolved = [alias for alias in dict.fromkeys(ids) if alias not in resolved][: max(0, limit)]
    if not unresolved:
        return resolved, {}
    answers, requests = fetcher.resolve(platform, unresolved, context)
    store.spend(limits, requests, now)
    new = {alias: answer for alias, answer in zip(unresolved, answers, strict=True) if isinstance(answer, str)}
    store.save_aliases(platform_name, new)
    return resolved | new, {
        alias: _describe_error(answer) for alias, answer in zip(unresolved, answers, strict=True) if alias not in new
    }


def _is_resolved(platform: Platform, alias: str, context: CheckContext) -> bool:
    """A platform that need not ask anything has it as its id already."""
    if platform.resolve is None:
        return True
    steps = platform.resolve(alias, context)
    try:
        next(steps)
    except StopIteration as stop:
        return bool(stop.value == alias)
    except LivectlError:
        return False
    steps.close()
    return False


def _describe_error(error: str | Exception) -> str:
    return error.message if isinstance(error, LivectlError) else f"{type(error).__name__} while it was looked up"


CACHE_PLATFORM, CACHE_KEY = (
    "livectl",
    "follows",
)  # where the store keeps which list is in force, as platforms keep their tokens
CACHE_SECONDS = 10 * 365 * 86_400.0  # seconds: as good as for ever
MIN_FILE_AGE_S = 1.0  # seconds a file has to lie still: an editor may be writing it
MAX_PROBLEMS_LOGGED = 5  # problems told one by one

log = logging.getLogger(__name__)


class AppliedList(msgspec.Struct, frozen=True):
    """Which list the store follows."""

    put: float  # when its file came to where it is
    digest: str
    whole: bool = True  # everyone on it was led to their id


class FollowSync:
    """One process's look at the file. What was read is kept until the file changes."""

    def __init__(self, settings: Settings, store: Store, fetcher: Fetcher) -> None:
        self._settings = settings
        self._store = store
        self._fetcher = fetcher
        self._seen_ctime = 0.0  # the file that was last found to be in force
        self._last_read: tuple[str, FollowList | None] = ("", None)

    def refresh(self, now: float) -> tuple[int, int] | None:
        """Follows whom the file says, if that has changed. Answers how many came and went; None if nothing was done."""
        path = self._settings.follows
        try:
            placed_at = path.stat().st_ctime
        except OSError:
            return None  # no file says nothing: whoever is followed stays so
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
        resolved = resolve_streamers(parsed.streamers, self._store, self._fetcher, self._settings, now)
        self._log_problems(resolved.problems, digest)
        wanted = resolved.streamers
        if parsed.refused:  # a line that nobody can read may mean anybody who is followed
            wanted_keys = {(one.platform, one.id) for one in wanted}
            followed = (one.streamer for one in self._store.all_streamers() if one.streamer)
            wanted += tuple(one for one in followed if (one.platform, one.id) not in wanted_keys)
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
            return  # told when the list was first read
        for streamer, problem in list(problems)[:MAX_PROBLEMS_LOGGED]:
            log.warning("%s/%s is not followed yet: %s", streamer.platform, streamer.id, problem)

    def _compute_digest(self, path: Path) -> str:
        """Of all that decides what the list means: its text, the user's keys, this livectl."""
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
