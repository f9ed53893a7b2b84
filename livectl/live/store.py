"""The Lua scripts, each put together from the files it needs and run in one call."""

from __future__ import annotations

from functools import cache
from importlib import resources
from typing import TYPE_CHECKING, Any

from livectl.errors import ServerError
from livectl.live import store_records

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence

    from redis import Redis

    from livectl.models import Change, Observation, PlatformHealth, PollingLimits, Session, Streamer, StreamerRecord


# script -> the files it is made of; a name is known from where it is first spelt, so the order matters
SCRIPT_FILES = {
    "record": ("shared", "pace", "circuit", "session", "record"),
    "claim": ("shared", "circuit", "claim"),
    "follow": ("shared", "pace", "pull", "follow"),
    "learn": ("shared", "pace", "pull", "learn"),
    "read": ("shared", "read"),
    "health": ("shared", "health"),
    "forget": ("shared", "forget"),
    "spend": ("shared", "circuit", "spend"),
    "take": ("shared", "target", "take"),
    "hold": ("shared", "target", "hold"),
    "settle": ("shared", "target", "settle"),
    "release": ("shared", "target", "release"),
    "trouble": ("shared", "trouble"),
}


@cache
def script_source(name: str) -> str:
    folder = resources.files("livectl.live") / "lua"
    return "\n".join((folder / f"{part}.lua").read_text(encoding="utf-8") for part in SCRIPT_FILES[name])


def lua_script(client: Redis, name: str) -> Callable[..., Any]:
    """The script as a function of its arguments. The server keeps it; after a restart it is sent again."""
    registered = client.register_script(script_source(name))

    def run(*args: str | float) -> Any:
        return registered(args=list(args))

    return run


KEYS_VERSION = 1
# version -> Lua that makes its keys those of the next version. There is none older than the first yet.
MIGRATIONS: dict[int, str] = {}
# One call, and only if nobody else was faster.
MIGRATION_SCRIPT = (
    "if redis.call('GET', 'livectl:version') == '{version}' then {change} redis.call('INCR', 'livectl:version') end"
)
RECORD_BATCH = 2000  # observations recorded in one call: Lua's stack holds some 8,000 arguments
SCAN_COUNT = 500  # ids looked at in one call when those no longer followed are forgotten
DAY_SECONDS = 86_400
SESSION_KEEP_SECONDS = 400 * DAY_SECONDS  # seconds that sessions are kept


class Store:
    """State, sessions, due times and outbox of everyone followed."""

    def __init__(self, client: Redis) -> None:
        self._client: Any = client  # its stubs know neither decoded answers nor which calls wait
        self._record_script = lua_script(client, "record")

    def prepare(self, migrations: Mapping[int, str] = MIGRATIONS) -> None:
        """Makes an empty store ours, brings an older one up to date, refuses one that a newer livectl wrote."""
        newest = max(migrations, default=KEYS_VERSION - 1) + 1
        self._client.set("livectl:version", newest, nx=True)
        stored_version = int(self._client.get("livectl:version"))
        if stored_version > newest:
            raise ServerError(
                f"The store was written by a newer livectl: its keys are version {stored_version}, "
                f"this one knows {newest}.",
                "Upgrade this livectl, or name another store in the settings.",
            )
        for version in range(stored_version, newest):
            self._client.eval(MIGRATION_SCRIPT.format(version=version, change=migrations[version]), 0)

    # What changes state

    def set_followed(self, streamers: Iterable[Streamer], now: float) -> tuple[int, int]:
        """From now on exactly these are followed. Answers how many came and how many went; history stays."""
        wanted: dict[str, dict[str, str]] = {}
        for streamer in streamers:
            wanted.setdefault(streamer.platform, {})[streamer.id] = store_records.encode_follow(streamer)
        added, removed = lua_script(self._client, "follow")(now, store_records.encode_json(wanted))
        return int(added), int(removed)

    def claim(self, limits: Sequence[PollingLimits], now: float, lease: float) -> list[tuple[str, list[str]]]:
        """What is due now, within each platform's budget. What is not recorded in `lease` seconds is due again."""
        claimed = lua_script(self._client, "claim")(now, lease, store_records.encode_json(limits))
        return [(str(platform), [str(streamer_id) for streamer_id in ids]) for platform, ids in claimed]

    def record(
        self, limits: PollingLimits, observations: Sequence[Observation], extra_requests: int = 0
    ) -> list[Change]:
        """Notes what a platform said. The changes it made are in the outbox when this returns.

        `extra` counts the requests it took beyond those that were claimed.
        """
        changes: list[Change] = []
        for start in range(0, len(observations), RECORD_BATCH):
            batch = [store_records.encode_observation(one) for one in observations[start : start + RECORD_BATCH]]
            change_rows = self._record_script(
                limits.platform,
                store_records.encode_json(limits),
                store_records.encode_json(batch),
                0 if start else extra_requests,
            )
            changes += [store_records.decode_change(*one) for one in change_rows]
        return changes

    def spend(self, limits: PollingLimits, requests: int, now: float) -> float:
        """Takes requests from a platform's bucket without asking; answers what is left, which may be less than none."""
        return float(
            lua_script(self._client, "spend")(limits.platform, store_records.encode_json(limits), requests, now)
        )

    def save_poll_weights(self, platform: str, weights: Mapping[str, str]) -> None:
        """Keeps how strongly each hour of the week pulls, as habits.pack wrote it."""
        lua_script(self._client, "learn")(platform, store_records.encode_json(list(weights.items())))

    def mark_unlearned(self) -> None:
        """Everybody's habits are due to be learned anew: what is old counts for less by now."""
        for platform in self.platforms():
            ids = self._client.hkeys(f"livectl:follows:{platform}")
            for start in range(0, len(ids), RECORD_BATCH):
                self._client.sadd(f"livectl:unlearned:{platform}", *ids[start : start + RECORD_BATCH])

    def prune(self, now: float, drop_changes_before: float) -> int:
        """Drops old changes, and people who have not been followed for as long as sessions are kept."""
        self._client.xtrim("livectl:outbox", minid=f"{int(drop_changes_before * 1000)}")
        return sum(self._forget_unfollowed(platform, now - SESSION_KEEP_SECONDS) for platform in self.platforms())

    # What only reads

    def platforms(self) -> list[str]:
        return sorted(self._client.smembers("livectl:platforms"))

    def live_streamers(self) -> list[StreamerRecord]:
        return self._read_records("live")

    def all_streamers(self) -> list[StreamerRecord]:
        return self._read_records("all")

    def find_streamers(self, platform: str, names: Sequence[str]) -> list[StreamerRecord]:
        return self._read_records("some", platform, *names)

    def find_streamer(self, platform: str, name: str) -> StreamerRecord:
        return self.find_streamers(platform, [name])[0]

    def sessions(self, platform: str, names: Sequence[str]) -> dict[str, list[Session]]:
        """Of each, oldest first; one without an end is on right now."""
        pipe = self._client.pipeline(transaction=False)
        for kind in ("log", "recent", "now"):
            pipe.hmget(f"livectl:{kind}:{platform}", list(names))
        packed = zip(names, *pipe.execute(), strict=True)
        return {
            name: store_records.unpack_sessions(log or "", recent or "[]", now or "{}")
            for name, log, recent, now in packed
        }

    def unlearned(self, platform: str, limit: int) -> list[str]:
        """Some of those whose habits are due to be learned."""
        return list(self._client.srandmember(f"livectl:unlearned:{platform}", limit) or [])

    def health(self, now: float) -> list[PlatformHealth]:
        return [store_records.decode_health(row) for row in lua_script(self._client, "health")(now)]

    def changes(self, after: str = "0", limit: int = 1000) -> list[Change]:
        """From the outbox, in order, those after the one of that number."""
        entries = self._client.xrange("livectl:outbox", min=f"({after}", count=limit)
        return [store_records.decode_change(number, fields["change"], fields["page"]) for number, fields in entries]

    def outbox_size(self) -> tuple[int, float | None]:
        """How many changes the outbox keeps, and when the first of them joined it, in seconds since the epoch."""
        size = int(self._client.xlen("livectl:outbox"))
        first = self.changes(limit=1)
        return size, int(first[0].number.partition("-")[0]) / 1000 if first else None

    # What platforms keep between checks

    def cache_get(self, platform: str, names: Sequence[str]) -> list[str | None]:
        return list(self._client.mget([f"livectl:kept:{platform}:{name}" for name in names]))

    def cache_set(self, platform: str, name: str, value: str, seconds: float) -> None:
        self._client.set(f"livectl:kept:{platform}:{name}", value, px=max(1, int(seconds * 1000)))

    def aliases(self, platform: str, names: Sequence[str]) -> dict[str, str]:
        """The ids that these names were led to before."""
        ids = self._client.hmget(f"livectl:alias:{platform}", list(names)) if names else []
        return {name: streamer_id for name, streamer_id in zip(names, ids, strict=True) if streamer_id}

    def save_aliases(self, platform: str, ids_by_name: Mapping[str, str]) -> None:
        if ids_by_name:
            self._client.hset(f"livectl:alias:{platform}", mapping=dict(ids_by_name))

    def _read_records(self, *selector: str) -> list[StreamerRecord]:
        return [store_records.decode_record(row) for row in lua_script(self._client, "read")(*selector)]

    def _forget_unfollowed(self, platform: str, before: float) -> int:
        forget_script, forgotten, cursor = lua_script(self._client, "forget"), 0, 0
        while True:
            cursor, ids = self._client.hscan(f"livectl:now:{platform}", cursor, count=SCAN_COUNT)
            forgotten += int(forget_script(platform, before, *ids)) if ids else 0
            if not cursor:
                return forgotten
