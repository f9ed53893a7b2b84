"""The claims of runs in the store: who sends which run, and which have been sent.

    livectl:beat:last       hash  entry -> due instant of the last run that was claimed
    livectl:beat:since      hash  entry -> the instant from which on its runs count: when it was first seen
    livectl:beat:timing     hash  entry -> what its timing was; another one makes it count anew
    livectl:beat:names      zset  entry -> when a beat last had it
    livectl:beat:pending    zset  "due entry" -> when it was claimed; gone once it is sent
    livectl:beat:counts     hash  entry -> how many of its runs were claimed, where there is a most
    livectl:beat:running    hash  entry -> "task-id sent-at" of its latest job, where jobs must not overlap
    livectl:beat:waiting    hash  entry -> due instants of the runs that wait for its running job
    livectl:beat:followed   hash  "due entry" -> "task-id sent-at" of its job, whose end matters to an entry
    livectl:beat:failures   hash  entry -> how many of its runs have failed in a row, where that pauses it
    livectl:beat:seen       hash  beat -> its heartbeat: {"at", "host", "pid", "entries"}
    livectl:beat:held       hash  beat -> the schedule file that it runs, as it last read it
    livectl:beat:paused     hash  entry -> why and since when nobody sends it
    livectl:beat:namespace  of the task ids made for this store

A claim is its claimer's for as long as the score in `pending` is the one it was claimed with. A beat that takes a stale
claim over changes the score: that is the fence against a beat that slept and wakes up. Each script answers the store's
time first; every instant is in UTC milliseconds.
"""

from __future__ import annotations

import time
from collections.abc import Sequence  # noqa: TC003 - msgspec reads the annotations
from importlib import resources
from typing import TYPE_CHECKING, Any
from uuid import NAMESPACE_OID, uuid4, uuid5

import msgspec

from livectl import redis_client, replicas
from livectl.models import Run, Schedule
from livectl.ops.jobs.history import note_command
from livectl.settings import History
from livectl.units import MS_PER_SECOND

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    import redis

    from livectl.ops.jobs.history import JobNote
    from livectl.ops.jobs.numbers import JobNumbers
    from livectl.ops.protocol.capturing_channel import RedisCommand


KEY_PREFIX = "livectl:beat:"
LAST_RUN_KEY = KEY_PREFIX + "last"
SINCE_KEY = KEY_PREFIX + "since"
TIMING_KEY = KEY_PREFIX + "timing"
NAMES_KEY = KEY_PREFIX + "names"
PENDING_KEY = KEY_PREFIX + "pending"
COUNTS_KEY = KEY_PREFIX + "counts"
RUNNING_KEY = KEY_PREFIX + "running"
WAITING_KEY = KEY_PREFIX + "waiting"
FOLLOWED_KEY = KEY_PREFIX + "followed"
FAILURES_KEY = KEY_PREFIX + "failures"
HEARTBEATS_KEY = KEY_PREFIX + "seen"
LOADED_SCHEDULES_KEY = KEY_PREFIX + "held"
PAUSED_KEY = KEY_PREFIX + "paused"
ENTRIES_KEY = KEY_PREFIX + "entries"  # of store_entries.py
NAMESPACE_KEY = KEY_PREFIX + "namespace"
FORGOTTEN_KEYS = [PAUSED_KEY, COUNTS_KEY, WAITING_KEY, FAILURES_KEY]  # an entry's, until it is forgotten
REGISTER_KEYS = [LAST_RUN_KEY, SINCE_KEY, TIMING_KEY, NAMES_KEY, RUNNING_KEY, *FORGOTTEN_KEYS]
CLAIM_KEYS = [LAST_RUN_KEY, PENDING_KEY, PAUSED_KEY, COUNTS_KEY]
SETTLE_KEYS = [FOLLOWED_KEY, PENDING_KEY, FAILURES_KEY, PAUSED_KEY, LAST_RUN_KEY, COUNTS_KEY]
SCRIPT_NAMES = (
    *("register", "claim", "look", "take", "leave", "drop", "commit", "begin", "wait", "release"),
    *("follow", "settle"),
)
SENDING_SCRIPTS = frozenset({"commit", "backfill_send"})
PAUSED_BY_FAILURE = "(pause_on_failure)"  # ends the reason of a pause that an entry made itself
STALE_CLAIM_MS = 3_500  # a claim this old is anybody's: with a look each second, a dead beat's run is sent within 5 s
FRESH_CLAIM_MS = 2_500  # a claim older than this is not sent by its beat, since another may be taking it over
GIVEN_BACK_SCORE = 1  # the score of a claim that was given back: stale at once
REGISTER_BATCH_SIZE = 1_000  # entries in one call, so that none keeps others from the store for long
MIN_JUMP_MS = 2_000  # more than a slow reply or a drift: the store's clock was set


class Claim(msgspec.Struct, frozen=True):
    """A claimed run, and when it was claimed: its fence."""

    run: Run
    at: int

    @property
    def member(self) -> str:
        """The run as it stands in the store."""
        return f"{self.run.due} {self.run.name}"


class DueRun(msgspec.Struct, frozen=True):
    """A run that is due, the milliseconds until the next run of its entry, and how many runs that may have."""

    run: Run
    period: int
    most: int = 0  # 0 is any number


class PreparedRun(msgspec.Struct, frozen=True):
    """A claimed run, and the commands that send it."""

    claim: Claim
    commands: tuple[RedisCommand, ...]


class LatestJob(msgspec.Struct, frozen=True):
    """The latest job of an entry whose jobs must not overlap."""

    task_id: str
    sent_at: int


class RunEnd(msgspec.Struct, frozen=True):
    """How a run has ended, how many failed ones pause its entry (0: none), and which runs follow it."""

    outcome: str
    most_failures: int
    followers: Sequence[tuple[str, int]]  # entries, and how many runs each may have (0: any number)


class Settled(msgspec.Struct, frozen=True):
    """What the end of a run has led to."""

    failures: int  # in a row
    paused: bool
    claims: list[Claim]


class LoadedSchedule(msgspec.Struct, frozen=True):
    """The schedule file that a beat runs, as it last read it."""

    file: str
    schedules: tuple[Schedule, ...]


class Pause(msgspec.Struct, frozen=True):
    """Why and since when (UTC milliseconds) an entry is not sent."""

    reason: str
    at: int


class RunStore:
    """The store as one beat uses it. Every change is one script, so that any number of beats may call at once."""

    def __init__(self, store: redis.Redis, clock: StoreClock, kept: History | None = None) -> None:
        self.store = store
        self._kept = kept or History()
        self.clock = clock
        self._store_ms = 0
        self._namespace = ""
        self._scripts = {name: store.register_script(script_source(name)) for name in SCRIPT_NAMES}

    def register(self, timings: dict[str, str], last_claimed: dict[str, int]) -> dict[str, int]:
        """The instant from which on the runs of each entry count.

        `timings` are the identities of due times; an entry with another one than before begins anew. `last_claimed`
        stands in for the last runs when the store has lost them.
        """
        since: dict[str, int] = {}
        names = list(timings)
        for start in range(0, len(names), REGISTER_BATCH_SIZE):
            batch = names[start : start + REGISTER_BATCH_SIZE]
            payload = (batch, [timings[name] for name in batch], [last_claimed.get(name, 0) for name in batch])
            reply = self._run_script("register", REGISTER_KEYS, msgspec.json.encode(payload))
            since.update(zip(batch, msgspec.json.decode(reply, type=list[int]), strict=True))
        return since

    def claim(self, due_runs: Sequence[DueRun]) -> list[Claim]:
        """Claims of those due runs that no beat has claimed, no pause and no `most` forbids. This beat sends them."""
        arguments = [
            argument
            for due_run in due_runs
            for argument in (due_run.run.name, due_run.run.due, due_run.period, due_run.most)
        ]
        indices = self._run_script("claim", CLAIM_KEYS, *arguments) if arguments else []
        return [Claim(due_runs[index].run, self._store_ms) for index in indices]

    def confirm(self, claims: Sequence[Claim]) -> None:
        """Returns when a replica has these claims, where one may take over. RedisError where one has, without them:
        what is sent then would be claimed and sent by another beat as well.
        """
        if not claims or redis_client.is_one_server(self.store):
            return
        replicas.confirm(self.store, [KEY_PREFIX])
        pipe = self.store.pipeline(transaction=False)
        for claim in claims:
            pipe.zscore(PENDING_KEY, claim.member)
        if pipe.execute() != [float(claim.at) for claim in claims]:
            raise replicas.lost_error()

    def record_heartbeat(self, beat: str, heartbeat: dict[str, Any]) -> list[Claim]:
        """Notes that this beat is at work. Returns the claims of runs that were not sent in time."""
        stale = self._run_script(
            "look",
            [PENDING_KEY, HEARTBEATS_KEY, LOADED_SCHEDULES_KEY],
            beat,
            msgspec.json.encode(heartbeat),
            STALE_CLAIM_MS,
        )
        return [parse_claim(member, score) for member, score in zip(stale[::2], stale[1::2], strict=True)]

    def take_over(self, stale: Sequence[Claim]) -> list[Claim]:
        """New claims of runs that were not sent in time; without those that another beat was first to take over."""
        indices = self._run_script("take", [PENDING_KEY], *_claim_arguments(stale)) if stale else []
        return [Claim(stale[index].run, self._store_ms) for index in indices]

    def mark_done(self, claims: Sequence[Claim]) -> None:
        """Ends claims whose runs are sent."""
        if claims:
            self._run_script("leave", [PENDING_KEY], "", *_claim_arguments(claims))

    def drop(self, claims: Sequence[Claim]) -> None:
        """Ends claims whose runs will never be sent, and do not count."""
        arguments = [argument for claim in claims for argument in (claim.run.name, claim.member, claim.at)]
        if arguments:
            self._run_script("drop", [PENDING_KEY, COUNTS_KEY, FOLLOWED_KEY], *arguments)

    def give_back(self, claims: Sequence[Claim]) -> None:
        """Lets any beat take over these runs at once."""
        if claims:
            self._run_script("leave", [PENDING_KEY], GIVEN_BACK_SCORE, *_claim_arguments(claims))

    def commit(self, prepared_runs: Sequence[PreparedRun], database: int) -> list[str]:
        """Sends runs and ends their claims in one step: for each "sent", "taken" by another beat, or the error."""
        if not prepared_runs:
            return []
        store_database = self.store.connection_pool.connection_kwargs.get("db") or 0
        arguments: list[Any] = [store_database, database]
        for prepared_run in prepared_runs:
            arguments += [prepared_run.claim.member, prepared_run.claim.at, len(prepared_run.commands)]
            arguments += [
                argument for command in prepared_run.commands for argument in (command.verb, command.key, command.value)
            ]
        return list(self._run_script("commit", [PENDING_KEY], *arguments))

    def is_fresh(self, claim: Claim) -> bool:
        """Whether no other beat can have taken the run over yet."""
        return self.clock.now() - claim.at < FRESH_CLAIM_MS

    def read_latest_job(self, name: str) -> LatestJob | None:
        value = self.store.hget(RUNNING_KEY, name)
        if not value:
            return None
        return _parse_job(str(value))

    def record_latest_job(self, name: str, previous_job: LatestJob | None, task_id: str) -> bool:
        """Notes the latest job of an entry. False when another beat noted one since `previous_job` was read."""
        expected = f"{previous_job.task_id} {previous_job.sent_at}" if previous_job else ""
        return bool(self._run_script("begin", [RUNNING_KEY], name, expected, task_id))

    def wait(self, claim: Claim, most: int) -> bool:
        """Lets a claimed run wait for the running job of its entry. False when so many of it wait already."""
        arguments = (claim.run.name, claim.member, claim.at, claim.run.due, most)
        return bool(self._run_script("wait", [PENDING_KEY, WAITING_KEY, COUNTS_KEY], *arguments))

    def release(self, name: str, due: int) -> Claim | None:
        """A claim of the run of an entry that waits first; None when another beat was first, or it is paused."""
        if not self._run_script("release", [PENDING_KEY, WAITING_KEY, PAUSED_KEY], name, due):
            return None
        return Claim(Run(name, due), self._store_ms)

    def read_waiting(self, name: str) -> list[int]:
        """The due instants of the runs of an entry that wait, in order."""
        return [int(due) for due in str(self.store.hget(WAITING_KEY, name) or "").split()]

    def follow(self, jobs: Sequence[tuple[Claim, str]]) -> None:
        """Notes the jobs of claimed runs whose end matters, before they are sent."""
        arguments = [argument for claim, task_id in jobs for argument in (claim.member, claim.at, task_id)]
        if arguments:
            self._run_script("follow", [PENDING_KEY, FOLLOWED_KEY], *arguments)

    def read_followed(self) -> dict[Run, LatestJob]:
        """The runs whose end matters and is not known yet, with their jobs."""
        return {parse_claim(member, 0).run: _parse_job(value) for member, value in _read_hash(self.store, FOLLOWED_KEY)}

    def unfollow(self, run: Run) -> None:
        self.store.hdel(FOLLOWED_KEY, Claim(run, 0).member)

    def settle(self, run: Run, end: RunEnd) -> Settled | None:
        """Notes how a run has ended, and claims the runs that follow it. None when another beat was first."""
        pause = msgspec.json.encode(Pause(f"{end.most_failures} failed in a row {PAUSED_BY_FAILURE}", self.clock.now()))
        followers = [argument for follower in end.followers for argument in follower]
        arguments = (Claim(run, 0).member, run.name, end.outcome, end.most_failures, pause, *followers)
        failures, paused, *dues = self._run_script("settle", SETTLE_KEYS, *arguments)
        if failures < 0:
            return None
        runs = [Run(name, int(due)) for (name, _), due in zip(end.followers, dues, strict=True) if due]
        return Settled(failures, bool(paused), [Claim(each, self._store_ms) for each in runs])

    def read_all_waiting(self) -> dict[str, list[int]]:
        return read_waiting(self.store)

    def task_id(self, run: Run) -> str:
        """The id of a run's job: the same for every beat of this store, and for no run in another store."""
        if not self._namespace:
            self.store.set(NAMESPACE_KEY, str(uuid4()), nx=True)
            self._namespace = str(self.store.get(NAMESPACE_KEY))
        return _make_task_id(self._namespace, run)

    def note(self, notes: Mapping[str, JobNote], numbers: JobNumbers, app: str) -> list[bool]:
        """Notes runs in the history of jobs, and counts them. Tells of each whether it was not known before."""
        fresh = [False] * len(notes)
        if notes and self._kept.jobs:
            command = note_command(notes, self._kept.keep, self._kept.jobs)
            fresh = self.store.execute_command(*command)  # type: ignore[no-untyped-call]
        if numbers:
            self.store.execute_command(*numbers.command(app))  # type: ignore[no-untyped-call]
        return [bool(is_new) for is_new in fresh]

    def remove_beat(self, beat: str) -> None:
        """Forgets a beat that stops in order."""
        self.store.hdel(HEARTBEATS_KEY, beat)
        self.store.hdel(LOADED_SCHEDULES_KEY, beat)

    def save_loaded_schedule(self, beat: str, schedule: LoadedSchedule) -> None:
        """Keeps the schedule that this beat runs, for `schedules diff` and the page."""
        self.store.hset(LOADED_SCHEDULES_KEY, beat, msgspec.json.encode(schedule))

    def _run_script(self, script: str, keys: list[str], *arguments: Any) -> Any:
        asked_at = self.clock.monotonic()
        self._store_ms, reply = self._scripts[script](keys=keys, args=[self.clock.script_time(), *arguments])
        self.clock.sync(self._store_ms, asked_at)
        return reply


class StoreClock:
    """The clock of all beats, in UTC milliseconds: the store's, carried on by this machine's monotonic clock.

    The wall clock of this machine is never read.
    """

    def __init__(self) -> None:
        self._store_ms = 0
        self._read_at: float | None = None
        self._jump_ms = 0

    def script_time(self) -> str:
        """The time that scripts are given: none, so that they read the store's clock."""
        return ""

    def monotonic(self) -> float:
        return time.monotonic()

    def now(self) -> int:
        return self._store_time_at(self.monotonic())

    def sync(self, store_ms: int, asked_at: float) -> None:
        """Sets the clock by the time in a reply, which the store read between `asked_at` and now."""
        answered_at = self.monotonic()
        if self._read_at is not None:
            if store_ms > self._store_time_at(answered_at) + MIN_JUMP_MS:
                self._jump_ms += store_ms - self._store_time_at(answered_at)
            elif store_ms < self._store_time_at(asked_at) - MIN_JUMP_MS:
                self._jump_ms += store_ms - self._store_time_at(asked_at)
        self._store_ms, self._read_at = store_ms, answered_at

    def take_jump(self) -> int:
        """The milliseconds by which the store's clock was set since the last call."""
        jump_ms, self._jump_ms = self._jump_ms, 0
        return jump_ms

    def _store_time_at(self, moment: float) -> int:
        elapsed = 0.0 if self._read_at is None else moment - self._read_at
        return self._store_ms + int(elapsed * MS_PER_SECOND)


def read_last_runs(store: redis.Redis) -> dict[str, Run]:
    """The last run of each entry, by entry."""
    return {name: Run(name, int(due)) for name, due in _read_hash(store, LAST_RUN_KEY)}


def read_loaded_schedules(store: redis.Redis) -> list[Schedule]:
    """The entries that running beats have from their files."""
    loaded = (msgspec.json.decode(data, type=LoadedSchedule) for _, data in _read_hash(store, LOADED_SCHEDULES_KEY))
    return list({each.name: each for schedule in loaded for each in schedule.schedules}.values())


def read_waiting(store: redis.Redis) -> dict[str, list[int]]:
    """The due instants of the runs that wait for the running job of their entry, by entry."""
    return {name: [int(due) for due in dues.split()] for name, dues in _read_hash(store, WAITING_KEY)}


def read_counts(store: redis.Redis) -> dict[str, int]:
    """How many runs each entry has had that may have only so many, by entry."""
    return {name: int(count) for name, count in _read_hash(store, COUNTS_KEY)}


def read_task_ids(store: redis.Redis, runs: Iterable[Run]) -> dict[Run, str]:
    """The ids of the jobs that these runs were sent as."""
    namespace = store.get(NAMESPACE_KEY)
    return {run: _make_task_id(str(namespace), run) for run in runs} if namespace else {}


def _read_hash(store: redis.Redis, key: str) -> list[tuple[str, str]]:
    return [(str(name), str(value)) for name, value in store.hgetall(key).items()]


def script_source(name: str) -> str:
    """The text of a script, after the lines that read the time, and those that send."""
    folder = resources.files("livectl.ops.beat") / "lua"
    parts = ("time", "send", name) if name in SENDING_SCRIPTS else ("time", name)
    return "\n".join((folder / f"{part}.lua").read_text(encoding="utf-8") for part in parts)


def _make_task_id(namespace: str, run: Run) -> str:
    return str(uuid5(NAMESPACE_OID, f"{namespace} {run.due} {run.name}"))


def _parse_job(text: str) -> LatestJob:
    task_id, _, sent_at = text.rpartition(" ")
    return LatestJob(task_id, int(sent_at))


def parse_claim(member: str, score: Any) -> Claim:
    due, _, name = member.partition(" ")
    return Claim(Run(name, int(due)), int(float(score)))


def _claim_arguments(claims: Sequence[Claim]) -> list[str | int]:
    return [argument for claim in claims for argument in (claim.member, claim.at)]
