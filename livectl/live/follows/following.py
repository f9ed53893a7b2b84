"""The follow list kept in force: a changed file becomes whom the store follows.

Any number of workers may look; the file that was put in its place last is the one that counts, so that an old copy on
another machine does not take it back. What is not understood never unfollows anybody.
"""

from __future__ import annotations

import hashlib
import logging
from typing import TYPE_CHECKING

import msgspec

from livectl import __version__
from livectl.errors import LivectlError
from livectl.live import polling
from livectl.live.follows import aliases, followlist

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

    from livectl.config import Settings
    from livectl.live.follows.followlist import FollowList
    from livectl.live.network.fetch import Fetcher
    from livectl.live.store import Store
    from livectl.model import Streamer

PLACE, NOTE = "livectl", "follows"  # where the store keeps which list is in force, as platforms keep their tokens
KEPT = 10 * 365 * 86_400.0  # seconds: as good as for ever
STILL = 1.0  # seconds a file has to lie still: an editor may be writing it
SHOWN = 5  # problems told one by one

log = logging.getLogger(__name__)


class InForce(msgspec.Struct, frozen=True):
    """Which list the store follows."""

    put: float  # when its file came to where it is
    digest: str
    whole: bool = True  # everyone on it was led to their id


class Following:
    """One process's look at the file. What was read is kept until the file changes."""

    def __init__(self, settings: Settings, store: Store, fetcher: Fetcher) -> None:
        self._settings = settings
        self._store = store
        self._fetcher = fetcher
        self._seen = 0.0  # the file that was last found to be in force
        self._read: tuple[str, FollowList | None] = ("", None)

    def refresh(self, now: float) -> tuple[int, int] | None:
        """Follows whom the file says, if that has changed. Answers how many came and went; None if nothing was done."""
        path = self._settings.follows
        try:
            put = path.stat().st_ctime
        except OSError:
            return None  # no file says nothing: whoever is followed stays so
        inforce = self._noted()
        if 0 <= now - put < STILL or put < inforce.put or (inforce.whole and put == self._seen == inforce.put):
            return None
        digest = self._digest(path)
        self._seen = put
        if digest == inforce.digest and inforce.whole:
            self._note(InForce(put, digest))
            return None
        found = self._understood(path, digest)
        return None if found is None else self._follow(found, put, digest, now)

    def _follow(self, found: FollowList, put: float, digest: str, now: float) -> tuple[int, int]:
        settled = aliases.settle(found.streamers, self._store, self._fetcher, self._settings, now)
        self._tell_problems(settled.problems, digest)
        wanted = settled.streamers
        if found.refused:  # a line that nobody can read may mean anybody who is followed
            known = {(one.platform, one.id) for one in wanted}
            followed = (one.streamer for one in self._store.everyone() if one.streamer)
            wanted += tuple(one for one in followed if (one.platform, one.id) not in known)
        came, went = self._store.follow(wanted, now)
        self._note(InForce(put, digest, whole=not settled.problems))
        if came or went:
            log.info("%s: following %d, %d new, %d gone", self._settings.follows.name, len(wanted), came, went)
        return came, went

    def _understood(self, path: Path, digest: str) -> FollowList | None:
        if self._read[0] == digest:
            return self._read[1]
        try:
            found = followlist.load(path, path.name)
        except LivectlError as error:
            log.error("%s cannot be used, the list stays as it was: %s", path.name, error.message)
            self._read = (digest, None)
            return None
        for mistake in (*found.refused[:SHOWN], *found.merged[:SHOWN]):
            log.warning("%s", mistake)
        self._read = (digest, found)
        return found

    def _tell_problems(self, problems: Iterable[tuple[Streamer, str]], digest: str) -> None:
        if self._noted().digest == digest:
            return  # told when the list was first read
        for streamer, problem in list(problems)[:SHOWN]:
            log.warning("%s/%s is not followed yet: %s", streamer.platform, streamer.id, problem)

    def _digest(self, path: Path) -> str:
        """Of all that decides what the list means: its text, the user's keys, this livectl."""
        keys = {name: polling.fingerprint(polling.keys(access)) for name, access in self._settings.platforms.items()}
        known = msgspec.json.encode((keys, __version__), order="sorted")
        return hashlib.sha256(known + path.read_bytes()).hexdigest()

    def _noted(self) -> InForce:
        (said,) = self._store.recall(PLACE, [NOTE])
        return msgspec.json.decode(said, type=InForce) if said else InForce(0.0, "")

    def _note(self, inforce: InForce) -> None:
        self._store.keep(PLACE, NOTE, msgspec.json.encode(inforce).decode(), KEPT)
