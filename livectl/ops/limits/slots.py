"""The limits of tasks in the store: who has a slot, who waits for one, which jobs are the same.

A limit has a partition for each value of its `per`. Of each there are, under `livectl:limit:APP:LIMIT:PARTITION:`,
`held` (who runs, with the end of its lease), `wait` (who waits, in the order in which they came), `told` (for whom a
slot is kept), `starts` (when the latest began) and `since`. `livectl:limits:APP` names all partitions that are in use,
with the time at which a slot of theirs may be free. `livectl:unique:APP:…` is the first of the jobs that are the same.
Each change is one script, by the server's clock.
"""

from __future__ import annotations

import hashlib
from functools import cache
from importlib import resources
from typing import TYPE_CHECKING, Any, NamedTuple
from uuid import uuid4

import msgspec

from livectl import redis_client
from livectl.errors import ServerError
from livectl.ops.protocol import delayed
from livectl.ops.transport.broker_memory import LEASE_S as MESSAGE_LEASE_S
from livectl.redaction import redact_text

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from livectl.ops.deployment import Deployment
    from livectl.ops.limits.duplicates import UniqueClaim
    from livectl.ops.transport.delays import BrokerPlace
    from livectl.redis_client import RedisConnection
    from livectl.task_settings import TaskSettings

LEASE_S = 8.0  # of a slot: as long as that of a message
RENEW_INTERVAL_S = 1.5
NAMES_PER_LOOK = 200
MAX_PLAIN_CHARS = 60  # of a partition in a key; a longer one is hashed
MAX_LABEL_CHARS = 80
MAX_LINES = 10  # of limits, for a person
MAX_READ = 2_000  # partitions that a person is told of
PARTITION_KEYS = ("held", "wait", "told", "starts", "since")
SHARED_SCRIPTS = frozenset({"enter", "leave", "missed", "next", "pump"})  # which begin with shared.lua
# What they need of the transport where messages are in the same database: its keys come after those of the limit.
BROKER_SCRIPTS = {
    "enter": ("delay", "{unpack(KEYS, 7)}", delayed.MOVE_TO_DELAYED),
    "next": (
        "take_over",
        "{KEYS[10], KEYS[11], KEYS[12], KEYS[13], KEYS[7], KEYS[8], KEYS[9]}",
        delayed.TAKE_OVER,
    ),
}


class Limit(msgspec.Struct, frozen=True, kw_only=True):
    """How many jobs of a partition may run at a time and begin within a time; 0 is any number."""

    name: str  # the entry of `tasks:`
    partition: str = ""
    most: int = 0
    amount: int = 0
    window: float = 0.0

    @property
    def member(self) -> str:
        return msgspec.json.encode((self.name, self.partition)).decode()

    @property
    def label(self) -> str:
        """As a person is told of it: `mail`, `mail for 7`."""
        return redact_text(f"{self.name} for {self.partition}" if self.partition else self.name, MAX_LABEL_CHARS)


class Woken(NamedTuple):
    """A job for which a slot is kept, and the list in which its message lay."""

    id: str
    list: str


class MessageNote(NamedTuple):
    """What the store has to know of a message that this worker holds, to let it wait."""

    place: BrokerPlace
    list: str
    tag: str
    head: bytes
    queue: str


class GivenJob(NamedTuple):
    """A job that has a slot, and whose message this worker holds."""

    id: str
    list: str
    text: str
    tag: str


class LimitState(msgspec.Struct, frozen=True, kw_only=True):
    """How a partition stands."""

    limit: str
    partition: str
    running: int
    waiting: int

    @property
    def label(self) -> str:
        return Limit(name=self.limit, partition=self.partition).label


class Waiting(NamedTuple):
    """The limit for which a job waits, and how many do so before it."""

    label: str
    before: int

    @property
    def text(self) -> str:
        return f"waiting for a slot of {self.label}, {self.before:,} before it"


def limit_of(name: str, settings: TaskSettings, partition: str = "") -> Limit:
    """A rate of less than a job, or of parts of one, is one job in so much more time."""
    amount, window = 0, 0.0
    if settings.rate is not None:
        is_whole = settings.rate.amount.is_integer()
        amount = int(settings.rate.amount) if is_whole else 1
        window = settings.rate.seconds if is_whole else settings.rate.seconds / settings.rate.amount
    return Limit(name=name, partition=partition, most=settings.concurrency or 0, amount=amount, window=window)


class LimitKeys(NamedTuple):
    """The keys of the limits of an app."""

    prefix: str  # the app's global_keyprefix
    app: str

    @classmethod
    def of_deployment(cls, deployment: Deployment) -> LimitKeys:
        return cls(deployment.layout.prefix, deployment.app_name)

    @property
    def all(self) -> str:
        return f"{self.prefix}livectl:limits:{self.app}"

    def of(self, name: str, partition: str) -> tuple[str, ...]:
        base = f"{self.prefix}livectl:limit:{self.app}:{name}:{short(partition)}:"
        return (*(base + key for key in PARTITION_KEYS), self.all)

    def unique(self, task: str, arguments: str) -> tuple[str, str, str]:
        base = f"{self.prefix}livectl:unique:{self.app}:{task}:{short(arguments)}"
        return base, f"{base}:gone", f"{base}:joined"


def short(text: str) -> str:
    """The text, or what stands for it in a key where it is long."""
    return text if len(text) <= MAX_PLAIN_CHARS else hashlib.sha256(text.encode()).hexdigest()


@cache
def _source(name: str) -> str:
    folder = resources.files(__package__).joinpath("lua")
    own = folder.joinpath(f"{name}.lua").read_text(encoding="utf-8")
    if name not in SHARED_SCRIPTS:
        return own
    shared = folder.joinpath("shared.lua").read_text(encoding="utf-8")
    if name in BROKER_SCRIPTS:
        function, keys, source = BROKER_SCRIPTS[name]
        shared += f"\nlocal {function} = (function(KEYS)\n{source}\nreturn {function}\nend)({keys})\n"
    return shared + own


class LimitStore:
    """The limits of an app, as one worker uses them. `owner` names it: a slot is the owner's who took it."""

    def __init__(self, store: Any, keys: LimitKeys, owner: str, *, wakes: bool) -> None:
        self.keys = keys
        self.wakes = wakes  # whether who waits can be called; if not, it has to come by
        self._store = store
        self._owner = owner
        self._scripts: dict[str, Any] = {}

    def _run(self, script: str, keys: Sequence[str], *arguments: Any, client: Any = None) -> Any:
        if script not in self._scripts:
            self._scripts[script] = self._store.register_script(_source(script))
        return self._scripts[script](keys=keys, args=arguments, client=client)

    def _ask(self, script: str, limit: Limit, *arguments: Any, broker: Sequence[str] = ()) -> Any:
        mode = "wake" if self.wakes else "poll"
        keys = (*self.keys.of(limit.name, limit.partition), *broker)
        return self._run(script, keys, limit.member, limit.most, limit.amount, limit.window, mode, *arguments)

    def enter(self, limit: Limit, job_id: str, list_key: str = "") -> int | None:
        """Takes a slot: None when the job may begin, else how many wait before it."""
        may_begin, before = self._ask("enter", limit, job_id, self._owner, LEASE_S, list_key)
        return None if may_begin else int(before)

    def enter_or_wait(
        self, limit: Limit, job_id: str, message: MessageNote, pause: Sequence[float]
    ) -> tuple[int | None, bool]:
        """The same where messages are in this database: a job without a slot waits from now on, unless its message
        has to stay with its worker. `pause`: seconds until it comes by itself, and more for each before it."""
        words = (message.list, message.tag, *pause, message.head, message.queue)
        broker = (*message.place.held, *message.place.delayed)
        may_begin, before, *moved = self._ask("enter", limit, job_id, self._owner, LEASE_S, *words, broker=broker)
        return (None, False) if may_begin else (int(before), moved[0] >= 0)

    def give_to_next(self, limit: Limit, job_id: str, place: BrokerPlace) -> tuple[GivenJob | None, list[Woken]]:
        """Gives a slot back where messages are in this database: to the job that has waited longest, if this worker
        may take it, which it has then. Returns that one, and who else is to be called."""
        tag = str(uuid4())
        words = (LEASE_S, MESSAGE_LEASE_S, tag, len(place.prefix.encode()), place.separator, *place.queues)
        broker = (*place.held, *place.delayed)
        given, list_key, text, *flat = self._ask("next", limit, self._owner, job_id, *words, broker=broker)
        return (GivenJob(given, list_key, text, tag) if given else None), _woken(flat)

    def leave(self, limit: Limit, *ids: str) -> list[Woken]:
        """Gives slots back, and places in the line. Returns who is to be called."""
        return _woken(self._ask("leave", limit, self._owner, *ids))

    def missed(self, limit: Limit, ids: Iterable[str]) -> list[Woken]:
        """Keeps no slot for these, who could not be called."""
        return _woken(self._ask("missed", limit, *ids))

    def pump(self, limit: Limit) -> tuple[list[Woken], float | None]:
        """Gives free slots to those who wait. Returns who is to be called, and seconds until there may be others."""
        *flat, seconds = self._ask("pump", limit)
        return _woken(flat), float(seconds) if seconds else None

    def look(self) -> tuple[float | None, list[tuple[str, str]]]:
        """Seconds until a partition is to be looked at, and name and partition of those that are now."""
        seconds, *names = self._run("look", [self.keys.all], NAMES_PER_LOOK)
        return float(seconds) if seconds else None, [msgspec.json.decode(name, type=tuple[str, str]) for name in names]

    def renew(self, held: Iterable[tuple[Limit, Sequence[str]]]) -> None:
        """Renews the leases of jobs that run."""
        for limit, ids in held:
            keys = self.keys.of(limit.name, limit.partition)[:1]
            self._run("renew", keys, LEASE_S, *(f"{job_id} {self._owner}" for job_id in ids))

    def is_waiting(self, limit: Limit, job_id: str) -> bool:
        return self._store.zscore(self.keys.of(limit.name, limit.partition)[1], job_id) is not None

    def claim(self, claim: UniqueClaim, job_id: str, list_key: str = "") -> list[str]:
        """What is to become of a job that may be the same as others; claim.lua has the answers."""
        keys = self.keys.unique(claim.task, claim.arguments)
        reply: list[str] = self._run("claim", keys, job_id, claim.mode, claim.seconds, list_key)
        return reply

    def mark(self, claim: UniqueClaim, job_id: str, state: str, seconds: float) -> tuple[bool, list[Woken]]:
        """Notes that a job that is unique begins, goes on or has ended: whether no other took its place, and who waited
        for its end."""
        keys = self.keys.unique(claim.task, claim.arguments)
        is_first, *flat = self._run("mark", keys, job_id, state, seconds, int(claim.until_end))
        return bool(is_first), _woken(flat)


def _woken(flat: Sequence[str]) -> list[Woken]:
    return [Woken(*pair) for pair in zip(flat[::2], flat[1::2], strict=True)]


def read_states_of(deployment: Deployment) -> tuple[LimitState, ...]:
    """How the partitions of a deployment stand; none where there is no store, or it does not answer."""
    if deployment.store is None:
        return ()
    try:
        with redis_client.connect(deployment.store, trial_write=False) as connection:
            return tuple(read_states(connection, LimitKeys.of_deployment(deployment)))
    except ServerError:
        return ()


def describe_waiting(states: Sequence[LimitState]) -> list[str]:
    """A line for each limit for which jobs wait: `12 wait for a slot of mail, 3 run`."""
    return [
        f"{state.waiting:,} wait{'s' if state.waiting == 1 else ''} for a slot of {state.label}, {state.running:,} "
        f"run{'s' if state.running == 1 else ''}"
        for state in sorted(states, key=lambda state: -state.waiting)[:MAX_LINES]
        if state.waiting
    ]


def read_states(connection: RedisConnection, keys: LimitKeys) -> list[LimitState]:
    """How the partitions stand that are in use."""
    names = _read_names(connection, keys)
    commands = [("ZCARD", key) for name in names for key in keys.of(*name)[:3]]
    counts = connection.execute_all(commands) if commands else []
    return [
        LimitState(limit=limit, partition=partition, running=running, waiting=waiting + told)
        for (limit, partition), running, waiting, told in zip(
            names, counts[::3], counts[1::3], counts[2::3], strict=True
        )
    ]


def find_waiting(connection: RedisConnection, keys: LimitKeys, ids: Sequence[str]) -> dict[str, Waiting]:
    """For which limit each of these jobs waits, of those that do."""
    names = _read_names(connection, keys)
    asked = [(job_id, name) for job_id in ids for name in names]
    ranks = connection.execute_all([("ZRANK", keys.of(*name)[1], job_id) for job_id, name in asked]) if asked else []
    return {
        job_id: Waiting(Limit(name=name[0], partition=name[1]).label, rank)
        for (job_id, name), rank in zip(asked, ranks, strict=True)
        if isinstance(rank, int)
    }


def _read_names(connection: RedisConnection, keys: LimitKeys) -> list[tuple[str, str]]:
    """Limit and partition of those that are in use."""
    members = connection.execute("ZRANGE", keys.all, 0, MAX_READ - 1)
    return [msgspec.json.decode(member, type=tuple[str, str]) for member in members]
