"""Watches runs, workers, queues and beats, and reports each trouble once: whichever of several beats sees it first.

    livectl:watch         hash  name -> what was told of it (`WatchState`): of entries as `run NAME`, of tasks as `task
                                NAME` (`TaskState`)
    livectl:watch:looked        when some beat last looked, in UTC milliseconds

A report is added to a stream in the same step in which it is noted that it was told, so that a beat that dies in
between tells nothing twice and loses nothing.
"""

from __future__ import annotations

import heapq
from bisect import bisect_right
from collections import Counter
from functools import partial
from typing import TYPE_CHECKING, Any, NamedTuple

import msgspec

from livectl.errors import LivectlError
from livectl.models import Expectation, JobState
from livectl.ops.beat import check_ins, expectations, heartbeats, pauses, reports, run_store
from livectl.ops.beat.expectations import CountedTask, EntryFacts, QueueWaits, TaskCounts, TaskState, WatchState
from livectl.ops.cluster import presence, queues
from livectl.ops.cluster.presence import QueueReaders
from livectl.ops.jobs import dead_letters, history, job_log, numbers
from livectl.ops.jobs.dead_letters import DEAD_LETTERS_KEY
from livectl.ops.jobs.history import JobHistory
from livectl.task_settings import expected_of
from livectl.units import MS_PER_SECOND, format_names

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterator, Mapping, Sequence

    from redis import Redis

    from livectl.models import Run
    from livectl.ops.beat.entries import BeatEntry
    from livectl.ops.beat.reports import Report
    from livectl.ops.cluster.presence import LastReaders
    from livectl.ops.cluster.queues import Queue, QueueDepths
    from livectl.ops.deployment import Deployment
    from livectl.settings import CheckIn
    from livectl.task_settings import TaskSettings

WATCH_KEY, LOOKED_KEY = "livectl:watch", "livectl:watch:looked"
LOOK_INTERVAL_S = 5.0
TASKS_INTERVAL_S = 10.0  # between two looks at what was counted of tasks
MAX_FAILURES_READ = 200  # of all tasks, for the reason of one
CLUSTER_INTERVAL_S = 30.0  # between two questions to workers and queues
MAX_ENTRIES_A_LOOK = 500
AWAY_MS = 300_000  # without any look: a deployment takes less
SILENT_BEAT_S = 20.0  # a beat says each second that it lives
NO_WORKER_S, NO_WORKER_AT_START_S = 60.0, 180.0
DEAD_LETTERS_AGAIN_MS = 3_600_000
NOTHING_SPECIAL = Expectation()

# KEYS: the hash, the stream of reports. ARGV: name, its state as it was read, its state from now on (empty: none), then
# the fields of the report, if there is one. Whoever comes second changes nothing.
NOTE_SCRIPT = """
if (redis.call('HGET', KEYS[1], ARGV[1]) or '') ~= ARGV[2] then return 0 end
if ARGV[3] == '' then redis.call('HDEL', KEYS[1], ARGV[1]) else redis.call('HSET', KEYS[1], ARGV[1], ARGV[3]) end
if #ARGV > 3 then redis.call('XADD', KEYS[2], '*', unpack(ARGV, 4)) end
return 1
"""


class ReportStream(NamedTuple):
    """Where reports go: a stream, and how a report becomes fields of an entry there."""

    key: str
    encode: Callable[[Report, float], Sequence[str]]


class BeatAtWork(NamedTuple):
    """What a beat has at this moment."""

    entries: Mapping[str, BeatEntry]
    now: int  # of the store's clock, in UTC milliseconds
    beat_id: str
    queue_wait_s: float  # of the first message of a queue: longer is told
    checks: Mapping[str, CheckIn] = {}  # what runs elsewhere and checks in
    tasks: Mapping[str, TaskSettings] = {}  # what is expected of jobs by their task
    zone: str = "UTC"  # in which times are told


class EntryLooks:
    """Which entries are worth a look: those that had something due since the last, and those that are not done."""

    def __init__(self) -> None:
        self._upcoming: list[tuple[int, str]] = []  # a heap of the next due instants
        self._latest: dict[str, int] = {}  # entry -> its latest due instant so far
        self._next_due: dict[str, int] = {}
        self._identities: dict[str, str] = {}
        self.open: set[str] = set()  # whose last run may not have ended, or of which somebody was told
        self._last_taken = ""

    def take(self, entries: Mapping[str, BeatEntry], now: int) -> list[str]:
        self._follow(entries, now)
        while self._upcoming and self._upcoming[0][0] <= now:
            due, name = heapq.heappop(self._upcoming)
            if self._next_due.get(name) != due:  # it is gone, or due at other times since
                continue
            latest = entries[name].due_times.latest(due, now)
            self._latest[name] = latest
            self.open.add(name)
            self._push(name, entries[name], latest)
        self.open &= entries.keys()
        return self._next_in_turn(sorted(self.open))

    def _next_in_turn(self, names: list[str]) -> list[str]:
        """As many as one look bears, from where the last one stopped: nobody's turn never comes."""
        start = bisect_right(names, self._last_taken)
        taken = [*names[start:], *names[:start]][:MAX_ENTRIES_A_LOOK]
        self._last_taken = taken[-1] if taken else ""
        return taken

    def latest_due(self, name: str) -> int | None:
        return self._latest.get(name)

    def _follow(self, entries: Mapping[str, BeatEntry], now: int) -> None:
        """Takes over what is new or due at other times; forgets what is gone."""
        for name in self._identities.keys() - entries.keys():
            del self._identities[name]
            self._latest.pop(name, None)
            self._next_due.pop(name, None)
        for name, entry in entries.items():
            identity = entry.due_times.identity
            if self._identities.get(name) != identity:
                self._identities[name] = identity
                self._latest.pop(name, None)
                self._push(name, entry, now)

    def _push(self, name: str, entry: BeatEntry, moment: int) -> None:
        self._next_due.pop(name, None)
        if (due := entry.due_times.after(moment)) is not None:
            self._next_due[name] = due
            heapq.heappush(self._upcoming, (due, name))


class RunWatch:
    """Looks again and again, over a connection of its own. Raises RedisError, OSError or LivectlError."""

    def __init__(self, store: Redis, deployment: Deployment, stream: ReportStream) -> None:
        self._store: Any = store
        self._deployment = deployment
        self._stream = stream
        self._looks = EntryLooks()
        self._since: int | None = None  # when this watch began, or could look again
        self._looked_at: int | None = None
        self._cluster_at = self._tasks_at = 0
        self._readers, self._waits = QueueReaders(), QueueWaits()

    def look(self, watched: BeatAtWork) -> list[Report]:
        """Looks at everything that is worth it now. Returns what was reported by this call."""
        now = watched.now
        told: list[Report | None] = []
        before = self._store.set(LOOKED_KEY, now, get=True)
        if self._since is None or now - (self._looked_at or now) > AWAY_MS:
            self._since = now
            told.append(self._report_absence(int(before), now) if before else None)
        self._looked_at = now
        states = {str(name): str(text) for name, text in self._store.hgetall(WATCH_KEY).items()}
        told += self._look_at_entries(watched, states)
        told += self._look_at_check_ins(watched, states)
        told += self._look_at_beats(watched, states)
        if now - self._tasks_at >= TASKS_INTERVAL_S * MS_PER_SECOND:
            self._tasks_at = now
            told += self._look_at_tasks(watched, states)
        if now - self._cluster_at >= CLUSTER_INTERVAL_S * MS_PER_SECOND:
            self._cluster_at = now
            told += self._look_at_cluster(watched, states)
        return [report for report in told if report]

    def _report_absence(self, looked: int, now: int) -> Report | None:
        """Says after the start of a beat that none was there for a while."""
        if now - looked <= AWAY_MS:
            return None
        report = reports.no_beat((now - looked) / MS_PER_SECOND)
        words = self._stream.encode(report, now / MS_PER_SECOND)
        self._store.xadd(self._stream.key, dict(zip(words[::2], words[1::2], strict=True)))
        return report

    # Entries

    def _look_at_entries(self, watched: BeatAtWork, states: Mapping[str, str]) -> Iterator[Report | None]:
        """Judges some entries; those that are gone or paused are forgotten."""
        paused = pauses.read_pauses(self._store)
        self._forget_others("run", watched.entries.keys() - paused.keys(), states, watched.now)
        self._looks.open |= {key.partition(" ")[2] for key in states if key.startswith("run ")}
        names = self._looks.take(watched.entries, watched.now)
        if not names:
            return
        runs = JobHistory.of_client(self._store).last_runs(names, expectations.RUNS_READ)
        claims = run_store.read_last_runs(self._store)
        counts = run_store.read_counts(self._store)
        for name in names:
            entry = watched.entries[name]
            if name in paused or (entry.count and counts.get(name, 0) >= entry.count):
                self._looks.open.discard(name)
                continue
            facts = EntryFacts(
                name=name,
                expect=entry.expect or NOTHING_SPECIAL,
                now=watched.now,
                watched_since=self._since or watched.now,
                owed=self._find_owed(entry, claims),
                runs=runs.get(name, ()),
                zone=watched.zone,
            )
            yield self._judge(facts, states, f"run {name}")

    def _find_owed(self, entry: BeatEntry, claims: Mapping[str, Run]) -> int | None:
        """The first due instant that has come since somebody looks, and that no beat has claimed."""
        latest = self._looks.latest_due(entry.name)
        claimed = claims[entry.name].due if entry.name in claims else 0
        if latest is None or claimed >= latest:
            return None
        return entry.due_times.after(max(claimed, (self._since or latest) - 1))

    def _judge(self, facts: EntryFacts, states: Mapping[str, str], key: str) -> Report | None:
        text = states.get(key, "")
        state, report = expectations.judge(facts, _decode(text))
        if not state.trouble and _is_settled(facts):
            self._looks.open.discard(facts.name)
        return self._note(key, text, state, report, facts.now)

    # Others

    def _look_at_check_ins(self, watched: BeatAtWork, states: Mapping[str, str]) -> Iterator[Report | None]:
        """Those that run elsewhere: their runs are judged as those of entries are."""
        names = [check_ins.PREFIX + name for name in watched.checks]
        runs = JobHistory.of_client(self._store).last_runs(names, expectations.RUNS_READ) if names else {}
        for name, check in watched.checks.items():
            known = runs.get(check_ins.PREFIX + name, ())
            since = check_ins.expect(self._store, name, watched.now).since
            last = max([since, *(int(run.due.timestamp() * MS_PER_SECOND) for run in known[:1] if run.due)])
            owed = last + int(check.every * MS_PER_SECOND)
            facts = EntryFacts(
                name=name,
                expect=Expectation(start_within=check.grace, end_within=check.end_within),
                now=watched.now,
                watched_since=self._since or watched.now,
                owed=owed if owed <= watched.now else None,
                runs=known,
                checks_in=True,
                zone=watched.zone,
            )
            yield self._judge(facts, states, f"check {name}")
        self._forget_others("check", watched.checks.keys(), states, watched.now)

    def _look_at_tasks(self, watched: BeatAtWork, states: Mapping[str, str]) -> Iterator[Report | None]:
        """Judges the tasks of which something is expected, by what their workers have counted."""
        if not any(entry.expect for entry in watched.tasks.values()):
            self._forget_others("task", (), states, watched.now)
            return
        app, expects = self._deployment.app_name, expected_of(lambda: watched.tasks)
        counted = numbers.parse_tasks(self._store.hgetall(numbers.NUMBERS_KEY), app)
        running = numbers.read_long(self._store, app, watched.now)
        names = {task: expect for task in counted if (expect := expects(task))}
        for name, expect in sorted(names.items()):
            counts, longest_s = _sum_of(counted[name])
            facts = CountedTask(
                name=name,
                expect=expect,
                now=watched.now,
                counts=counts,
                longest_s=longest_s,
                running=running.get(name),
                read_error=partial(self._read_error, app, name),
                zone=watched.zone,
            )
            key = f"task {name}"
            text = states.get(key, "")
            old = msgspec.json.decode(text, type=TaskState) if text else TaskState()
            state, report = expectations.judge_task(facts, old)
            yield self._note(key, text, state, report, watched.now)
        self._forget_others("task", names, states, watched.now)

    def _read_error(self, app: str, task: str) -> str:
        """Why a job of a task failed last, if that is among the last failures of all."""
        for _, fields in self._store.xrevrange(job_log.FAILED_KEY, count=MAX_FAILURES_READ):
            if (fields.get("app"), fields.get("task")) == (app, task):
                return str(fields.get("error", ""))[: history.MAX_ERROR_CHARS]
        return ""

    def _look_at_beats(self, watched: BeatAtWork, states: Mapping[str, str]) -> Iterator[Report | None]:
        """A beat that ends in order takes itself off the list; one that is killed falls silent there."""
        beats = {
            str(name): msgspec.json.decode(text, type=heartbeats.Heartbeat)
            for name, text in self._store.hgetall(run_store.HEARTBEATS_KEY).items()
        }
        for beat_id, beat in beats.items():
            silent_s = (watched.now - beat.at) / MS_PER_SECOND
            if beat_id != watched.beat_id and silent_s > SILENT_BEAT_S:
                yield self._tell(f"beat {beat_id}", states, "silent", reports.silent_beat(beat, silent_s), watched.now)
        self._forget_others("beat", beats.keys(), states, watched.now)

    def _look_at_cluster(self, watched: BeatAtWork, states: Mapping[str, str]) -> Iterator[Report | None]:
        yield self._look_at_dead_letters(states, watched.now)
        try:
            depths = queues.measure(self._deployment)
        except LivectlError:
            return  # the broker is away: beat says so in its log, and runs that are late are told
        readers = self._readers.note(self._store, depths, watched.now)
        yield self._look_at_workers(depths, readers, states, watched.now)
        yield from self._look_at_each_worker(depths, states, watched.now)
        for queue in depths.queues:
            yield self._look_at_queue(queue, readers if depths.reads else None, watched, states)

    def _look_at_queue(
        self, queue: Queue, readers: Mapping[str, LastReaders] | None, watched: BeatAtWork, states: Mapping[str, str]
    ) -> Report | None:
        """A queue is in trouble when its readers are gone and something waits, or when what waits there waits long."""
        key, now = f"queue {queue.name}", watched.now
        old = _decode(states.get(key, ""))
        last = readers.get(queue.name) if readers else None
        if last and queue.ready and self._is_gone(last.at, now):
            report = reports.unread_queue(queue, (now - last.at) / MS_PER_SECOND, format_names(last.workers))
            return self._tell(key, states, "unread", report, now)
        trouble = self._waits.find_trouble(queue, watched.queue_wait_s, now, old.trouble)
        if trouble == "waiting":
            return self._tell(key, states, "waiting", reports.waiting_queue(queue, watched.queue_wait_s), now)
        if trouble == "":
            return self._tell(key, states, "", reports.queue_again(queue), now)
        return None

    def _is_gone(self, seen_at: int, now: int) -> bool:
        """Whether who was last seen then is away for longer than a restart takes; after that of beat itself, which may
        have been that of everything, a little longer."""
        wait_s = NO_WORKER_S if seen_at >= (self._since or now) else NO_WORKER_AT_START_S
        return now - max(seen_at, self._since or now) >= wait_s * MS_PER_SECOND

    def _look_at_workers(
        self, depths: QueueDepths, readers: Mapping[str, LastReaders], states: Mapping[str, str], now: int
    ) -> Report | None:
        """Once workers have answered, their silence is told."""
        if depths.reads:
            return self._tell("workers", states, "", reports.workers_again(), now)
        seen_at = max((last.at for last in readers.values()), default=None)
        if seen_at is None or not self._is_gone(seen_at, now):
            return None
        workers = {worker for last in readers.values() if last.at == seen_at for worker in last.workers}
        report = reports.no_worker((now - seen_at) / MS_PER_SECOND, format_names(workers))
        return self._tell("workers", states, "down", report, now)

    def _look_at_each_worker(self, depths: QueueDepths, states: Mapping[str, str], now: int) -> Iterator[Report | None]:
        """Of livectl's workers it is known which have ended in order: who falls silent without that is told, several in
        one report; that none answers is told already."""
        heard = presence.read(self._store, self._deployment.app_name, now)
        limit = NO_WORKER_S * MS_PER_SECOND
        silent = {name for name, at in heard.items() if now - max(at, self._since or now) > limit}
        known = {name for name in heard if _decode(states.get(f"worker {name}", "")).trouble}
        for names, trouble in ((silent - known, "silent"), (known - silent, "")):
            report = reports.workers_changed(sorted(names), trouble) if names and depths.reads else None
            for number, name in enumerate(sorted(names)):
                key, state = f"worker {name}", WatchState(trouble=trouble, due=now if trouble else 0)
                yield self._note(key, states.get(key, ""), state, None if number else report, now)
        self._forget_others("worker", heard.keys(), states, now)

    def _look_at_dead_letters(self, states: Mapping[str, str], now: int) -> Report | None:
        """New dead letters are told at once, and more of them an hour later. What was told is kept as `failures`."""
        text = states.get("dead letters", "")
        state, count = _decode(text), int(self._store.hlen(DEAD_LETTERS_KEY))
        if count <= state.failures:
            smaller = msgspec.structs.replace(state, failures=count)
            return self._note("dead letters", text, smaller, None, now) if count < state.failures else None
        if state.due and now - state.due < DEAD_LETTERS_AGAIN_MS and state.failures:
            return None
        report = reports.new_dead_letters(count - state.failures, dead_letters.describe_one(self._store))
        return self._note("dead letters", text, WatchState(trouble="dead", due=now, failures=count), report, now)

    # Telling

    def _tell(self, key: str, states: Mapping[str, str], trouble: str, report: Report, now: int) -> Report | None:
        """Reports what has changed about something: that it is in trouble, or no longer."""
        text = states.get(key, "")
        old = _decode(text)
        if trouble == old.trouble:
            return None
        return self._note(key, text, WatchState(trouble=trouble, due=now if trouble else 0), report, now)

    def _forget_others(self, kind: str, kept: Collection[str], states: Mapping[str, str], now: int) -> None:
        """Forgets what was told of a kind of things, but of those that are there yet. Nobody is told."""
        for key in states:
            of_kind, _, name = key.partition(" ")
            if of_kind == kind and name not in kept:
                self._note(key, states[key], WatchState(), None, now)

    def _note(
        self, key: str, old: str, state: WatchState | TaskState, report: Report | None, now: int
    ) -> Report | None:
        """Remembers what was told, and adds the report, unless another beat did so meanwhile."""
        new = "" if state == WatchState() else msgspec.json.encode(state).decode()
        if new == old and report is None:
            return None
        fields = self._stream.encode(report, now / MS_PER_SECOND) if report else ()
        noted = self._store.eval(NOTE_SCRIPT, 2, WATCH_KEY, self._stream.key, key, old, new, *fields)
        return report if noted and report else None


def _sum_of(fields: Counter[str]) -> tuple[TaskCounts, float]:
    """What was counted of a task, and how long a job of it took at most."""
    buckets: dict[str, Counter[int]] = {"wait": Counter(), "ran": Counter()}
    for name, count in fields.items():
        measure, _, number = name.partition(":")
        if number.isdigit() and measure in buckets:
            buckets[measure][int(number)] += count
    counts = TaskCounts(
        started=fields["started"],
        ended=sum(fields[state] for state in (JobState.SUCCEEDED, JobState.FAILED, history.DEAD)),
        failed=fields[JobState.FAILED] + fields[history.DEAD],
        late=fields[numbers.LATE],
        overlong=fields[numbers.OVERLONG],
        waits=buckets["wait"].total(),
        wait_ms=fields["wait_ms"],
        rans=buckets["ran"].total(),
        ran_ms=fields["ran_ms"],
    )
    longest = max(buckets["ran"], default=0)
    return counts, numbers.BUCKETS_S[longest] if longest < len(numbers.BUCKETS_S) else float("inf")


def _is_settled(facts: EntryFacts) -> bool:
    """Whether nothing can become wrong before something is due again."""
    if facts.owed is not None:
        return False
    if not facts.runs:
        return True
    return bool(facts.runs[0].state) and facts.runs[0].state != JobState.RETRYING


def _decode(text: str) -> WatchState:
    return msgspec.json.decode(text, type=WatchState) if text else WatchState()
