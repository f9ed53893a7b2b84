"""The claims of runs in the store: who sends which run, and which have been sent.

    livectl:beat:last       hash  entry -> due instant of the last run that was claimed
    livectl:beat:since      hash  entry -> the instant from which on its runs count: when it was first seen
    livectl:beat:timing     hash  entry -> what its timing was; another one makes it count anew
    livectl:beat:names      zset  entry -> when a beat last had it
    livectl:beat:pending    zset  "due entry" -> when it was claimed; gone once it is sent
    livectl:beat:running    hash  entry -> "task-id sent-at" of its latest job, where jobs must not overlap
    livectl:beat:seen       hash  beat -> {"at", "host", "pid", "entries"}
    livectl:beat:held       hash  beat -> the schedule file that it runs, as it last read it
    livectl:beat:paused     hash  entry -> why and since when nobody sends it
    livectl:beat:namespace  of the task ids made for this store

A claim is its claimer's for as long as the score in `pending` is the one it was claimed with. Whoever takes a stale one
over changes the score: that is the fence against a beat that slept and wakes up. Each script answers the store's time
first; every instant is in UTC milliseconds.
"""

from __future__ import annotations

from importlib import resources
from typing import TYPE_CHECKING, Any
from uuid import NAMESPACE_OID, uuid4, uuid5

import msgspec

from livectl.model import Run, Schedule

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    import redis

    from livectl.ops.beat.clock import Clock

PREFIX = "livectl:beat:"
LAST, SINCE, TIMING, NAMES, PENDING, RUNNING, SEEN, HELD, PAUSED, NAMESPACE = (
    PREFIX + name
    for name in ("last", "since", "timing", "names", "pending", "running", "seen", "held", "paused", "namespace")
)
REGISTERED = [LAST, SINCE, TIMING, NAMES, RUNNING, PAUSED]
SCRIPTS = ("register", "claim", "look", "take", "leave", "commit", "begin")

STALE = 3_500  # a claim this old is anybody's: with a look each second, a dead beat's run is sent within 5 s
FRESH = 2_500  # a claim older than this is left alone by its claimer, so that it is not sent while another takes it
ANYTIME = 1  # the score of a claim that was given back: stale at once
AT_ONCE = 1_000  # entries in one call: the store answers others in between


class Claim(msgspec.Struct, frozen=True):
    """A run that was claimed, and when: its fence."""

    run: Run
    at: int

    @property
    def member(self) -> str:
        return f"{self.run.due} {self.run.name}"


class Wanted(msgspec.Struct, frozen=True):
    """A run that is due, and the milliseconds until its entry's next one."""

    run: Run
    period: int


class Command(msgspec.Struct, frozen=True):
    """What puts one message on the broker."""

    verb: str
    key: str
    value: str | bytes | int


class Letter(msgspec.Struct, frozen=True):
    """A claimed run, and the commands that send it."""

    claim: Claim
    commands: tuple[Command, ...]


class Job(msgspec.Struct, frozen=True):
    """The latest job of an entry whose jobs must not overlap."""

    task_id: str
    sent_at: int


class Beat(msgspec.Struct, frozen=True):
    """A beat that looked in, and when."""

    at: int
    host: str
    pid: int
    entries: int


class Held(msgspec.Struct, frozen=True):
    """The schedule file that a beat runs, as it last read it."""

    file: str
    schedules: tuple[Schedule, ...]


class Runs:
    """The store as one beat sees it. Every change is one script, so that any number of beats may call at once."""

    def __init__(self, store: redis.Redis, clock: Clock) -> None:
        self.store = store
        self.clock = clock
        self._told = 0
        self._namespace = ""
        self._scripts = {name: store.register_script(source(name)) for name in SCRIPTS}

    def register(self, timings: dict[str, str], known: dict[str, int]) -> dict[str, int]:
        """From which instant on the runs of these entries count. `known` stands in where the store lost its memory."""
        counted: dict[str, int] = {}
        names = list(timings)
        for start in range(0, len(names), AT_ONCE):
            some = names[start : start + AT_ONCE]
            told = (some, [timings[name] for name in some], [known.get(name, 0) for name in some])
            answer = self._ask("register", REGISTERED, msgspec.json.encode(told))
            counted.update(zip(some, msgspec.json.decode(answer, type=list[int]), strict=True))
        return counted

    def claim(self, wanted: Sequence[Wanted]) -> list[Claim]:
        """Those of the due runs that nobody had claimed or paused: they are this beat's to send now."""
        words = [word for each in wanted for word in (each.run.name, each.run.due, each.period)]
        mine = self._ask("claim", [LAST, PENDING, PAUSED], *words) if words else []
        return [Claim(wanted[number].run, self._told) for number in mine]

    def look(self, beat: str, about: dict[str, Any]) -> list[Claim]:
        """Notes that this beat is at work, and finds the runs that were claimed and not sent."""
        stale = self._ask("look", [PENDING, SEEN, HELD], beat, msgspec.json.encode(about), STALE)
        return [_claim(member, score) for member, score in zip(stale[::2], stale[1::2], strict=True)]

    def take(self, stale: Sequence[Claim]) -> list[Claim]:
        """Those of the stale claims that are this beat's now."""
        mine = self._ask("take", [PENDING], *_fenced(stale)) if stale else []
        return [Claim(stale[number].run, self._told) for number in mine]

    def done(self, claims: Sequence[Claim]) -> None:
        """They are sent, or will never be: nobody takes them over."""
        if claims:
            self._ask("leave", [PENDING], "", *_fenced(claims))

    def give_back(self, claims: Sequence[Claim]) -> None:
        """They could not be sent: any beat may try at its next look."""
        if claims:
            self._ask("leave", [PENDING], ANYTIME, *_fenced(claims))

    def commit(self, letters: Sequence[Letter], database: int) -> list[str]:
        """Sends and notes as sent in one step what is still this beat's: "sent", "taken" or what went wrong, each."""
        if not letters:
            return []
        here = self.store.connection_pool.connection_kwargs.get("db") or 0
        words: list[Any] = [here, database]
        for letter in letters:
            words += [letter.claim.member, letter.claim.at, len(letter.commands)]
            words += [word for command in letter.commands for word in (command.verb, command.key, command.value)]
        return list(self._ask("commit", [PENDING], *words))

    def fresh(self, claim: Claim) -> bool:
        """Whether no other beat can have taken it over yet."""
        return self.clock.now() - claim.at < FRESH

    def running(self, name: str) -> Job | None:
        found = self.store.hget(RUNNING, name)
        if not found:
            return None
        task_id, _, sent_at = str(found).rpartition(" ")
        return Job(task_id, int(sent_at))

    def begin(self, name: str, before: Job | None, task_id: str) -> bool:
        """Notes the job that an entry gets, unless another beat has given it one since."""
        had = f"{before.task_id} {before.sent_at}" if before else ""
        return bool(self._ask("begin", [RUNNING], name, had, task_id))

    def task_id(self, run: Run) -> str:
        """The same for every beat of this store, and for no run of another one."""
        if not self._namespace:
            self.store.set(NAMESPACE, str(uuid4()), nx=True)
            self._namespace = str(self.store.get(NAMESPACE))
        return _task_id(self._namespace, run)

    def leave(self, beat: str) -> None:
        """This beat stops in order."""
        self.store.hdel(SEEN, beat)
        self.store.hdel(HELD, beat)

    def hold(self, beat: str, schedule: Held) -> None:
        """Tells whoever asks which schedule file this beat runs."""
        self.store.hset(HELD, beat, msgspec.json.encode(schedule))

    def _ask(self, script: str, keys: list[str], *words: Any) -> Any:
        asked_at = self.clock.monotonic()
        self._told, answer = self._scripts[script](keys=keys, args=[self.clock.stamp(), *words])
        self.clock.heard(self._told, asked_at)
        return answer


def last_runs(store: redis.Redis) -> dict[str, Run]:
    """The last run of each entry, by its name."""
    return {name: Run(name, int(due)) for name, due in _hash(store, LAST)}


def seen(store: redis.Redis) -> dict[str, Beat]:
    """The beats that looked in within the last minute."""
    return {name: msgspec.json.decode(about, type=Beat) for name, about in _hash(store, SEEN)}


def task_ids(store: redis.Redis, wanted: Iterable[Run]) -> dict[Run, str]:
    """The ids of the jobs that these runs were sent as."""
    found = store.get(NAMESPACE)
    return {run: _task_id(str(found), run) for run in wanted} if found else {}


def held(store: redis.Redis) -> dict[str, Held]:
    """What each beat runs."""
    return {name: msgspec.json.decode(said, type=Held) for name, said in _hash(store, HELD)}


def _hash(store: redis.Redis, key: str) -> list[tuple[str, str]]:
    return [(str(name), str(value)) for name, value in store.hgetall(key).items()]


def source(name: str) -> str:
    """A script of ours, with the time in front."""
    folder = resources.files("livectl.ops.beat") / "lua"
    return "\n".join((folder / f"{part}.lua").read_text(encoding="utf-8") for part in ("time", name))


def _task_id(namespace: str, run: Run) -> str:
    return str(uuid5(NAMESPACE_OID, f"{namespace} {run.due} {run.name}"))


def _claim(member: str, score: Any) -> Claim:
    due, _, name = member.partition(" ")
    return Claim(Run(name, int(due)), int(float(score)))


def _fenced(claims: Sequence[Claim]) -> list[str | int]:
    return [word for claim in claims for word in (claim.member, claim.at)]
