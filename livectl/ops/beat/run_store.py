"""The one clock of all beats: the store's, carried on between its answers by this machine's monotonic clock."""

from __future__ import annotations

import time
from importlib import resources
from typing import TYPE_CHECKING, Any
from uuid import NAMESPACE_OID, uuid4, uuid5

import msgspec

from livectl.models import Run, Schedule

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    import redis

    from livectl.ops.protocol.capturing_channel import RedisCommand


MIN_JUMP_MS = 2_000  # milliseconds that cannot be a slow answer or a drift any more: somebody set the store's clock


class StoreClock:
    """What time it is, in UTC milliseconds. This machine's own wall clock is never asked."""

    def __init__(self) -> None:
        self._store_ms = 0
        self._read_at: float | None = None
        self._jump_ms = 0

    def script_time(self) -> str:
        """What the scripts take for the time: nothing, so that they read the store's clock."""
        return ""

    def monotonic(self) -> float:
        return time.monotonic()

    def now(self) -> int:
        return self._store_time_at(self.monotonic())

    def sync(self, store_ms: int, asked_at: float) -> None:
        """Takes the time out of an answer; it was read somewhen between the question and now."""
        answered_at = self.monotonic()
        if self._read_at is not None:
            if store_ms > self._store_time_at(answered_at) + MIN_JUMP_MS:
                self._jump_ms += store_ms - self._store_time_at(answered_at)
            elif store_ms < self._store_time_at(asked_at) - MIN_JUMP_MS:
                self._jump_ms += store_ms - self._store_time_at(asked_at)
        self._store_ms, self._read_at = store_ms, answered_at

    def take_jump(self) -> int:
        """By how much the store's clock was set since the last time this was asked."""
        jump_ms, self._jump_ms = self._jump_ms, 0
        return jump_ms

    def _store_time_at(self, moment: float) -> int:
        elapsed = 0.0 if self._read_at is None else moment - self._read_at
        return self._store_ms + int(elapsed * 1_000)


KEY_PREFIX = "livectl:beat:"
LAST_RUN_KEY = KEY_PREFIX + "last"  # entry -> due instant of its last claimed run
SINCE_KEY = KEY_PREFIX + "since"  # entry -> instant from which on its runs count
TIMING_KEY = KEY_PREFIX + "timing"  # entry -> identity of its due times
NAMES_KEY = KEY_PREFIX + "names"  # entries, by when a beat last had them
PENDING_KEY = KEY_PREFIX + "pending"  # runs that are claimed and not sent, by when they were claimed
RUNNING_KEY = KEY_PREFIX + "running"  # entry -> its latest job, where jobs must not overlap
HEARTBEATS_KEY = KEY_PREFIX + "seen"  # beat -> its heartbeat
LOADED_SCHEDULES_KEY = KEY_PREFIX + "held"  # beat -> the schedule file that it runs
PAUSED_KEY = KEY_PREFIX + "paused"  # entry -> why and since when it is not sent
NAMESPACE_KEY = KEY_PREFIX + "namespace"  # of the task ids of this store
REGISTER_KEYS = [LAST_RUN_KEY, SINCE_KEY, TIMING_KEY, NAMES_KEY, RUNNING_KEY, PAUSED_KEY]
SCRIPT_NAMES = ("register", "claim", "look", "take", "leave", "commit", "begin")

STALE_CLAIM_MS = 3_500  # a claim this old is anybody's: with a look each second, a dead beat's run is sent within 5 s
FRESH_CLAIM_MS = (
    2_500  # a claim older than this is left alone by its claimer, so that it is not sent while another takes it
)
GIVEN_BACK_SCORE = 1  # the score of a claim that was given back: stale at once
REGISTER_BATCH_SIZE = 1_000  # entries in one call: the store answers others in between


class Claim(msgspec.Struct, frozen=True):
    """A run that was claimed, and when: its fence."""

    run: Run
    at: int

    @property
    def member(self) -> str:
        return f"{self.run.due} {self.run.name}"


class DueRun(msgspec.Struct, frozen=True):
    """A run that is due, and the milliseconds until its entry's next one."""

    run: Run
    period: int


class PreparedRun(msgspec.Struct, frozen=True):
    """A claimed run, and the commands that send it."""

    claim: Claim
    commands: tuple[RedisCommand, ...]


class LatestJob(msgspec.Struct, frozen=True):
    """The latest job of an entry whose jobs must not overlap."""

    task_id: str
    sent_at: int


class LoadedSchedule(msgspec.Struct, frozen=True):
    """The schedule file that a beat runs, as it last read it."""

    file: str
    schedules: tuple[Schedule, ...]


class RunStore:
    """The store as one beat sees it. Every change is one script, so that any number of beats may call at once."""

    def __init__(self, store: redis.Redis, clock: StoreClock) -> None:
        self.store = store
        self.clock = clock
        self._store_ms = 0
        self._namespace = ""
        self._scripts = {name: store.register_script(script_source(name)) for name in SCRIPT_NAMES}

    def register(self, timings: dict[str, str], last_claimed: dict[str, int]) -> dict[str, int]:
        """From which instant on the runs of these entries count. `known` stands in where the store lost its memory."""
        since: dict[str, int] = {}
        names = list(timings)
        for start in range(0, len(names), REGISTER_BATCH_SIZE):
            batch = names[start : start + REGISTER_BATCH_SIZE]
            payload = (batch, [timings[name] for name in batch], [last_claimed.get(name, 0) for name in batch])
            reply = self._run_script("register", REGISTER_KEYS, msgspec.json.encode(payload))
            since.update(zip(batch, msgspec.json.decode(reply, type=list[int]), strict=True))
        return since

    def claim(self, due_runs: Sequence[DueRun]) -> list[Claim]:
        """Those of the due runs that nobody had claimed or paused: they are this beat's to send now."""
        arguments = [
            argument for due_run in due_runs for argument in (due_run.run.name, due_run.run.due, due_run.period)
        ]
        indices = self._run_script("claim", [LAST_RUN_KEY, PENDING_KEY, PAUSED_KEY], *arguments) if arguments else []
        return [Claim(due_runs[index].run, self._store_ms) for index in indices]

    def record_heartbeat(self, beat: str, heartbeat: dict[str, Any]) -> list[Claim]:
        """Notes that this beat is at work, and finds the runs that were claimed and not sent."""
        stale = self._run_script(
            "look",
            [PENDING_KEY, HEARTBEATS_KEY, LOADED_SCHEDULES_KEY],
            beat,
            msgspec.json.encode(heartbeat),
            STALE_CLAIM_MS,
        )
        return [parse_claim(member, score) for member, score in zip(stale[::2], stale[1::2], strict=True)]

    def take_over(self, stale: Sequence[Claim]) -> list[Claim]:
        """Those of the stale claims that are this beat's now."""
        indices = self._run_script("take", [PENDING_KEY], *_claim_arguments(stale)) if stale else []
        return [Claim(stale[index].run, self._store_ms) for index in indices]

    def mark_done(self, claims: Sequence[Claim]) -> None:
        """They are sent, or will never be: nobody takes them over."""
        if claims:
            self._run_script("leave", [PENDING_KEY], "", *_claim_arguments(claims))

    def give_back(self, claims: Sequence[Claim]) -> None:
        """They could not be sent: any beat may try at its next look."""
        if claims:
            self._run_script("leave", [PENDING_KEY], GIVEN_BACK_SCORE, *_claim_arguments(claims))

    def commit(self, prepared_runs: Sequence[PreparedRun], database: int) -> list[str]:
        """Sends and notes as sent in one step what is still this beat's: "sent", "taken" or what went wrong, each."""
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
        """Whether no other beat can have taken it over yet."""
        return self.clock.now() - claim.at < FRESH_CLAIM_MS

    def read_latest_job(self, name: str) -> LatestJob | None:
        value = self.store.hget(RUNNING_KEY, name)
        if not value:
            return None
        task_id, _, sent_at = str(value).rpartition(" ")
        return LatestJob(task_id, int(sent_at))

    def record_latest_job(self, name: str, previous_job: LatestJob | None, task_id: str) -> bool:
        """Notes the job that an entry gets, unless another beat has given it one since."""
        expected = f"{previous_job.task_id} {previous_job.sent_at}" if previous_job else ""
        return bool(self._run_script("begin", [RUNNING_KEY], name, expected, task_id))

    def task_id(self, run: Run) -> str:
        """The same for every beat of this store, and for no run of another one."""
        if not self._namespace:
            self.store.set(NAMESPACE_KEY, str(uuid4()), nx=True)
            self._namespace = str(self.store.get(NAMESPACE_KEY))
        return _make_task_id(self._namespace, run)

    def remove_beat(self, beat: str) -> None:
        """This beat stops in order."""
        self.store.hdel(HEARTBEATS_KEY, beat)
        self.store.hdel(LOADED_SCHEDULES_KEY, beat)

    def save_loaded_schedule(self, beat: str, schedule: LoadedSchedule) -> None:
        """Tells whoever asks which schedule file this beat runs."""
        self.store.hset(LOADED_SCHEDULES_KEY, beat, msgspec.json.encode(schedule))

    def _run_script(self, script: str, keys: list[str], *arguments: Any) -> Any:
        asked_at = self.clock.monotonic()
        self._store_ms, reply = self._scripts[script](keys=keys, args=[self.clock.script_time(), *arguments])
        self.clock.sync(self._store_ms, asked_at)
        return reply


def read_last_runs(store: redis.Redis) -> dict[str, Run]:
    """The last run of each entry, by its name."""
    return {name: Run(name, int(due)) for name, due in _read_hash(store, LAST_RUN_KEY)}


def read_task_ids(store: redis.Redis, runs: Iterable[Run]) -> dict[Run, str]:
    """The ids of the jobs that these runs were sent as."""
    namespace = store.get(NAMESPACE_KEY)
    return {run: _make_task_id(str(namespace), run) for run in runs} if namespace else {}


def _read_hash(store: redis.Redis, key: str) -> list[tuple[str, str]]:
    return [(str(name), str(value)) for name, value in store.hgetall(key).items()]


def script_source(name: str) -> str:
    """A script of ours, with the time in front."""
    folder = resources.files("livectl.ops.beat") / "lua"
    return "\n".join((folder / f"{part}.lua").read_text(encoding="utf-8") for part in ("time", name))


def _make_task_id(namespace: str, run: Run) -> str:
    return str(uuid5(NAMESPACE_OID, f"{namespace} {run.due} {run.name}"))


def parse_claim(member: str, score: Any) -> Claim:
    due, _, name = member.partition(" ")
    return Claim(Run(name, int(due)), int(float(score)))


def _claim_arguments(claims: Sequence[Claim]) -> list[str | int]:
    return [argument for claim in claims for argument in (claim.member, claim.at)]


class Pause(msgspec.Struct, frozen=True):
    """Why and since when (UTC milliseconds) an entry is not sent."""

    reason: str
    at: int


def pause(store: redis.Redis, name: str, reason: str) -> bool:
    """From this moment on no beat claims a run of it. False when it was paused already; its reason is the new one."""
    seconds, microseconds = store.time()
    at = seconds * 1000 + microseconds // 1000
    return bool(store.hset(PAUSED_KEY, name, msgspec.json.encode(Pause(reason, at))))


def resume(store: redis.Redis, name: str, now: str = "") -> bool:
    """Its runs count again from now on, by the store's clock or a given one. False when it was not paused."""
    _, was_paused = store.eval(script_source("resume"), 2, PAUSED_KEY, SINCE_KEY, now, name)
    return bool(was_paused)


def read_pausable_names(store: redis.Redis, schedules: Iterable[Schedule]) -> set[str]:
    """The names that can be paused: of these schedules, and of whatever beats have run."""
    return {schedule.name for schedule in schedules} | {str(name) for name in store.zrange(NAMES_KEY, 0, -1)}


def read_pauses(store: redis.Redis) -> dict[str, Pause]:
    """Every pause there is, by entry."""
    return {str(name): msgspec.json.decode(data, type=Pause) for name, data in store.hgetall(PAUSED_KEY).items()}
