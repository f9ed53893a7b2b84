"""The store of what is known of streamers: the one place that knows the keys.

    livectl:version            of the keys below
    livectl:platforms          names of platforms that were ever followed on
    livectl:outbox             changes, in order, until they are dropped
    livectl:follows:PLATFORM   id -> streamer as the follow list has it
    livectl:now:PLATFORM       id -> what was last read, and what went wrong since
    livectl:page:PLATFORM      id -> title, category, name, url, cover of the last good answer
    livectl:log:PLATFORM       id -> sessions of 400 days, six characters each
    livectl:recent:PLATFORM    id -> the last sessions with their titles
    livectl:live:PLATFORM      who is live, by start; livectl:ending: who was seen gone once, by that look
    livectl:due:PLATFORM       who is asked next, by when; livectl:claimed: who is being asked, by when that lapses
    livectl:pull:PLATFORM      id -> how strongly each hour of the week pulls; livectl:pulls: the sums
    livectl:unlearned:PLATFORM whose sessions the pulls do not reflect yet
    livectl:platform:PLATFORM  bucket, circuit, waits, counters
    livectl:target:TARGET      and its kin: how far each target of alerts was told (outbox.py)
    livectl:alias:PLATFORM     name as pasted -> the id that is followed
    livectl:kept:PLATFORM:KEY  what a platform keeps between checks

Every change of state is one Lua call, so that any number of workers may record at once.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from livectl.errors import ServerError
from livectl.live import rows, sessions
from livectl.live.scripts import script

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from redis import Redis

    from livectl.model import Change, Health, Known, Observation, Session, Streamer, Terms

VERSION = 1
# version -> Lua that makes its keys those of the next version. There is none older than the first yet.
MIGRATIONS: dict[int, str] = {}
# One call, and only if nobody else was faster.
STEP = "if redis.call('GET', 'livectl:version') == '{version}' then {change} redis.call('INCR', 'livectl:version') end"
BATCH = 2000  # observations recorded in one call: Lua's stack holds some 8,000 arguments
SCANNED = 500  # ids looked at in one call when those no longer followed are forgotten
DAY = 86_400
KEPT = 400 * DAY  # seconds that sessions are kept


class Store:
    """State, sessions, due times and outbox of everyone followed."""

    def __init__(self, client: Redis) -> None:
        self._client: Any = client  # its stubs know neither decoded answers nor which calls wait
        self._record = script(client, "record")

    def start(self, migrations: Mapping[int, str] = MIGRATIONS) -> None:
        """Makes an empty store ours, brings an older one up to date, refuses one that a newer livectl wrote."""
        newest = max(migrations, default=VERSION - 1) + 1
        self._client.set("livectl:version", newest, nx=True)
        found = int(self._client.get("livectl:version"))
        if found > newest:
            raise ServerError(
                f"The store was written by a newer livectl: its keys are version {found}, this one knows {newest}.",
                "Upgrade this livectl, or name another store in the settings.",
            )
        for version in range(found, newest):
            self._client.eval(STEP.format(version=version, change=migrations[version]), 0)

    # What changes state

    def follow(self, streamers: Iterable[Streamer], now: float) -> tuple[int, int]:
        """From now on exactly these are followed. Answers how many came and how many went; history stays."""
        wanted: dict[str, dict[str, str]] = {}
        for streamer in streamers:
            wanted.setdefault(streamer.platform, {})[streamer.id] = rows.follow(streamer)
        came, went = script(self._client, "follow")(now, rows.text(wanted))
        return int(came), int(went)

    def claim(self, terms: Sequence[Terms], now: float, lease: float) -> list[tuple[str, list[str]]]:
        """What is due now, within each platform's budget. What is not recorded in `lease` seconds is due again."""
        claimed = script(self._client, "claim")(now, lease, rows.text(terms))
        return [(str(platform), [str(one) for one in ids]) for platform, ids in claimed]

    def record(self, terms: Terms, observations: Sequence[Observation], extra: int = 0) -> list[Change]:
        """Notes what a platform said. The changes it made are in the outbox when this returns.

        `extra` counts the requests it took beyond those that were claimed.
        """
        changes: list[Change] = []
        for start in range(0, len(observations), BATCH):
            batch = [rows.sighting(one) for one in observations[start : start + BATCH]]
            told = self._record(terms.platform, rows.text(terms), rows.text(batch), 0 if start else extra)
            changes += [rows.change(*one) for one in told]
        return changes

    def spend(self, terms: Terms, requests: int, now: float) -> float:
        """Takes requests from a platform's bucket without asking; answers what is left, which may be less than none."""
        return float(script(self._client, "spend")(terms.platform, rows.text(terms), requests, now))

    def learn(self, platform: str, pulls: Mapping[str, str]) -> None:
        """Keeps how strongly each hour of the week pulls, as habits.pack wrote it."""
        script(self._client, "learn")(platform, rows.text(list(pulls.items())))

    def learn_again(self) -> None:
        """Everybody's habits are due to be learned anew: what is old counts for less by now."""
        for platform in self.platforms():
            ids = self._client.hkeys(f"livectl:follows:{platform}")
            for start in range(0, len(ids), BATCH):
                self._client.sadd(f"livectl:unlearned:{platform}", *ids[start : start + BATCH])

    def prune(self, now: float, drop_changes_before: float) -> int:
        """Drops old changes, and people who have not been followed for as long as sessions are kept."""
        self._client.xtrim("livectl:outbox", minid=f"{int(drop_changes_before * 1000)}")
        return sum(self._forget(platform, now - KEPT) for platform in self.platforms())

    # What only reads

    def platforms(self) -> list[str]:
        return sorted(self._client.smembers("livectl:platforms"))

    def live(self) -> list[Known]:
        return self._known("live")

    def everyone(self) -> list[Known]:
        return self._known("all")

    def some(self, platform: str, names: Sequence[str]) -> list[Known]:
        return self._known("some", platform, *names)

    def one(self, platform: str, name: str) -> Known:
        return self.some(platform, [name])[0]

    def sessions(self, platform: str, names: Sequence[str]) -> dict[str, list[Session]]:
        """Of each, oldest first; one without an end is on right now."""
        pipe = self._client.pipeline(transaction=False)
        for kind in ("log", "recent", "now"):
            pipe.hmget(f"livectl:{kind}:{platform}", list(names))
        found = zip(names, *pipe.execute(), strict=True)
        return {name: sessions.unpack(log or "", recent or "[]", now or "{}") for name, log, recent, now in found}

    def unlearned(self, platform: str, most: int) -> list[str]:
        """Some of those whose habits are due to be learned."""
        return list(self._client.srandmember(f"livectl:unlearned:{platform}", most) or [])

    def health(self, now: float) -> list[Health]:
        return [rows.health(row) for row in script(self._client, "health")(now)]

    def changes(self, after: str = "0", most: int = 1000) -> list[Change]:
        """From the outbox, in order, those after the one of that number."""
        found = self._client.xrange("livectl:outbox", min=f"({after}", count=most)
        return [rows.change(number, said["change"], said["page"]) for number, said in found]

    # What platforms keep between checks

    def recall(self, platform: str, names: Sequence[str]) -> list[str | None]:
        return list(self._client.mget([f"livectl:kept:{platform}:{name}" for name in names]))

    def keep(self, platform: str, name: str, value: str, seconds: float) -> None:
        self._client.set(f"livectl:kept:{platform}:{name}", value, px=max(1, int(seconds * 1000)))

    def aliases(self, platform: str, names: Sequence[str]) -> dict[str, str]:
        """The ids that these names were led to before."""
        found = self._client.hmget(f"livectl:alias:{platform}", list(names)) if names else []
        return {name: one for name, one in zip(names, found, strict=True) if one}

    def alias(self, platform: str, found: Mapping[str, str]) -> None:
        if found:
            self._client.hset(f"livectl:alias:{platform}", mapping=dict(found))

    def _known(self, *what: str) -> list[Known]:
        return [rows.known(row) for row in script(self._client, "read")(*what)]

    def _forget(self, platform: str, before: float) -> int:
        forget, forgotten, cursor = script(self._client, "forget"), 0, 0
        while True:
            cursor, found = self._client.hscan(f"livectl:now:{platform}", cursor, count=SCANNED)
            forgotten += int(forget(platform, before, *found)) if found else 0
            if not cursor:
                return forgotten
