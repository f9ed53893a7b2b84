"""Keeps what became of jobs in the store: runs and jobs by age and number, whatever the result backend.

    livectl:jobs         hash    id -> record: the names, times and outcome of a job, packed
    livectl:jobs:order   stream  the ids, in the order in which they were first noted, some with each entry: the first
                                 are dropped first
    livectl:runs         zset    id -> due instant of the runs of schedules, in milliseconds
    livectl:runs:NAME    zset    the same of one schedule

A job takes about 150 bytes. Who writes notes many jobs with one call of one script, which drops what is too old or too
many as well. A note of an earlier try of a job never replaces one of a later try, in whichever order they are written.
"""

from __future__ import annotations

import re
import struct
from typing import TYPE_CHECKING, Any, NamedTuple

import msgspec

from livectl.models import JobState
from livectl.ops.protocol.message import parse_time
from livectl.units import MS_PER_SECOND

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
    from datetime import datetime

    from redis import Redis

    from livectl.redis_client import RedisConnection

    Fact = str | float | None
    Command = tuple[str | float | bytes, ...]


JOBS_KEY, ORDER_KEY, RUNS_KEY = "livectl:jobs", "livectl:jobs:order", "livectl:runs"
KEPT_SECONDS = 7 * 86_400.0  # unless the settings say otherwise
MAX_RUNS_KEPT = 10_000  # of one schedule, and of all together: a week of a minutely one
PAGE_SIZE = 1000  # jobs read with one call
ENTRIES_READ = 100  # of the order, with one call; each has one job or some
MAX_ERROR_CHARS = 120  # of the line that says what went wrong; the log of the job has more
MAX_RETRIES_KNOWN = 255

DEAD, MISSED, LEFT_OUT = "dead", "missed", "left out"
# A state is kept as its place in here: new ones go to the end. Empty is sent, taken or running.
STATES = (
    "",
    JobState.SUCCEEDED,
    JobState.FAILED,
    JobState.RETRYING,
    JobState.REVOKED,
    DEAD,  # set aside as a dead letter
    MISSED,  # a run that no beat sent in time
    LEFT_OUT,  # a run that was not sent because the job before it ran
)
STATE_NUMBERS = {state: number for number, state in enumerate(STATES)}
BAD_STATES = frozenset({JobState.FAILED, DEAD, MISSED})
UNSENT_STATES = frozenset({MISSED, LEFT_OUT})  # of runs that were never a job
TIMES = ("sent", "taken", "started", "finished", "due", "eta")
NAMES = ("app", "task", "queue", "worker", "error", "schedule")
UUID_PATTERN = re.compile(r"[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}")
UUID_BYTES = 16
RETRIES = [bytes((count,)) for count in range(MAX_RETRIES_KNOWN + 1)]
encode_row = msgspec.msgpack.Encoder().encode
NOTE_HEAD, RECORD_HEAD, RUN_END = struct.Struct("<BH").pack, struct.Struct("<I").pack, struct.Struct("<dH").pack
IF_NEW, OF_RUN = 1, 2  # kinds of notes, added up

# ARGV: milliseconds and jobs to keep, runs of a schedule to keep, 1 for a reply, then the notes, packed: one argument
# is sent and read faster than many. Of each job they have its kind, id and record; of a run also which of the keys its
# schedule has, and when it is due. Replies for each job whether it was new. KEYS are jobs, order, runs, and the runs of
# each schedule here; what is dropped of other schedules goes out of their runs when the next one is noted.
NOTE_SCRIPT = """
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
local keep, most, most_runs, fresh = tonumber(ARGV[1]), tonumber(ARGV[2]), tonumber(ARGV[3]), {}

local function note_run(id, place, due)
  for _, key in ipairs({KEYS[3], KEYS[place]}) do
    for _, oldest in ipairs(redis.call('ZRANGE', key, 0, 1)) do -- two go where one comes
      if redis.call('HEXISTS', KEYS[1], oldest) == 0 then redis.call('ZREM', key, oldest) end
    end
    redis.call('ZADD', key, due, id)
    redis.call('ZREMRANGEBYRANK', key, 0, -1 - most_runs)
    redis.call('PEXPIRE', key, keep)
  end
end

local AT_ONCE = 2000 -- so many that no call takes long
local per_entry = math.max(1, math.min(50, math.floor(most / 100))) -- what is dropped together is little of all
local ids, records, kinds, runs = {}, {}, {}, {}
local function write()
  local changed, born, new = {}, {}, {}
  for i, old in ipairs(redis.call('HMGET', KEYS[1], unpack(ids))) do
    if not old then
      born[#born + 1], born[#born + 2] = ids[i], ''
      if runs[i] then new[#new + 1] = i end
    end
    if not old or (kinds[i] % 2 == 0 and string.byte(old) <= string.byte(records[i])) then
      changed[#changed + 1], changed[#changed + 2] = ids[i], records[i]
    end
    if ARGV[4] == '1' then fresh[#fresh + 1] = old and 0 or 1 end
  end
  for i = 1, #born, 2 * per_entry do
    redis.call('XADD', KEYS[2], '*', unpack(born, i, math.min(#born, i + 2 * per_entry - 1)))
  end
  if #changed > 0 then redis.call('HSET', KEYS[1], unpack(changed)) end
  for _, i in ipairs(new) do note_run(ids[i], unpack(runs[i])) end
  ids, records, kinds, runs = {}, {}, {}, {}
end

local at, notes = 1, ARGV[5]
while at <= #notes do
  local n = #ids + 1
  kinds[n], ids[n], records[n], at = struct.unpack('<BHc0I4c0', notes, at) -- c0 is as long as the number before it says
  if kinds[n] > 1 then
    local due, place
    due, place, at = struct.unpack('<dH', notes, at)
    runs[n] = {place, string.format('%.0f', due)}
  end
  if n == AT_ONCE or at > #notes then write() end
end

if most == 0 then return fresh end -- whoever knows no limits leaves what there is to others
local excess = redis.call('HLEN', KEYS[1]) - most
local gone, last = {}, nil
while #gone < AT_ONCE do
  local entry = redis.call('XRANGE', KEYS[2], last and '(' .. last or '-', '+', 'COUNT', 1)[1]
  local is_old = entry and tonumber(string.match(entry[1], '%d+')) <= now - keep
  if not (is_old or entry and #gone + #entry[2] / 2 <= excess) then break end
  last = entry[1]
  for i = 1, #entry[2], 2 do gone[#gone + 1] = entry[2][i] ~= '' and entry[2][i] or entry[2][i + 1] end
end
if last then
  redis.call('ZREM', KEYS[3], unpack(gone))
  redis.call('HDEL', KEYS[1], unpack(gone))
  redis.call('XTRIM', KEYS[2], 'MINID', '=', string.gsub(last, '%d+$', function(n) return n + 1 end) .. '')
end
for i = 1, 2 do redis.call('PEXPIRE', KEYS[i], keep) end
return fresh
"""


class JobLogEntry(msgspec.Struct, frozen=True, kw_only=True):
    """One job, as logged. Empty is not known."""

    id: str = ""
    app: str = ""  # the name of the app that ran it: apps may share a store
    task: str = ""
    queue: str = ""
    worker: str = ""
    state: str = ""  # of STATES, if the job has ended or waits for another try
    error: str = ""  # the class of what was raised, and the beginning of its words
    retries: int | None = None
    sent: datetime | None = None
    eta: datetime | None = None
    taken: datetime | None = None  # when a worker had it from the broker
    started: datetime | None = None  # the last try
    finished: datetime | None = None
    schedule: str = ""  # whose run it is
    due: datetime | None = None  # the due instant of that run
    message: bytes = b""  # the request of a job that failed, as JSON, for another try

    @property
    def ran(self) -> float | None:
        """The seconds for which it ran."""
        return (self.finished - self.started).total_seconds() if self.started and self.finished else None

    @property
    def late(self) -> float | None:
        """The seconds from the due instant of its run until it began."""
        return (self.started - self.due).total_seconds() if self.started and self.due else None

    @property
    def heard_of(self) -> datetime | None:
        """When it was heard of last."""
        return self.finished or self.started or self.taken or self.sent or self.due

    @property
    def outcome(self) -> str:
        """How it ended, or how far it has come: sent, taken, running."""
        return self.state or ("running" if self.started else "taken" if self.taken else "sent")


def pack_id(job_id: str) -> bytes:
    if UUID_PATTERN.fullmatch(job_id):
        return bytes.fromhex(job_id.replace("-", ""))
    raw = b"\0" + job_id.encode()
    return raw if len(raw) != UUID_BYTES else raw + b"\0"


def unpack_id(raw: bytes) -> str:
    if len(raw) != UUID_BYTES:
        return raw.strip(b"\0").decode(errors="replace")
    digits = raw.hex()
    return f"{digits[:8]}-{digits[8:12]}-{digits[12:16]}-{digits[16:20]}-{digits[20:]}"


def pack(facts: Mapping[str, Any]) -> bytes:
    """The record of a job, by the facts about it: names, a state, `retries` and times in seconds since the epoch."""
    get, base = facts.get, 0
    offsets: list[int | None] = []
    for name in TIMES:
        time = get(name)
        if time is None:
            offsets.append(None)
            continue
        moment = round(time * MS_PER_SECOND)
        base = base or moment
        offsets.append(moment - base)
    while offsets and offsets[-1] is None:
        offsets.pop()
    row: list[Any] = [STATE_NUMBERS.get(get("state") or "", 0), base, offsets, *[get(name) or None for name in NAMES]]
    while row[-1] is None:
        row.pop()
    retries = get("retries")
    return (RETRIES[min(int(retries), MAX_RETRIES_KNOWN)] if retries else RETRIES[0]) + encode_row(row)


def unpack(raw: bytes) -> dict[str, Any]:
    """The facts of a record; none for what is no record."""
    try:
        state, base, offsets, *names = msgspec.msgpack.decode(raw[1:])
        times = {
            name: (base + offset) / MS_PER_SECOND
            for name, offset in zip(TIMES, offsets, strict=False)
            if offset is not None
        }
        facts: dict[str, Any] = {name: text for name, text in zip(NAMES, names, strict=False) if text}
        return facts | times | {"state": str(STATES[state]), "retries": raw[0]}
    except (msgspec.DecodeError, ValueError, TypeError, IndexError):
        return {}


def to_entry(job_id: str, facts: Mapping[str, Any]) -> JobLogEntry:
    times = {name: parse_time(facts[name]) for name in TIMES if name in facts}
    return JobLogEntry(id=job_id, **{**facts, **times})


class JobNote(msgspec.Struct, kw_only=True):
    """What is to be noted of a job.

    `set`: in the place of what is known of it; `new`: only if nothing is; `add`: beside it.
    """

    facts: dict[str, Any]
    mode: str = "set"


def note_call(
    notes: Mapping[str, JobNote], keep_s: float = KEPT_SECONDS, most: int = 0, *, replies: bool = True
) -> tuple[list[str], list[str | int | bytes]]:
    """Keys and arguments of the script that writes these notes, by the ids of their jobs."""
    keys, parts = {JOBS_KEY: 1, ORDER_KEY: 2, RUNS_KEY: 3}, list[bytes]()
    for job_id, note in notes.items():
        facts, kind, ending = note.facts, IF_NEW if note.mode == "new" else 0, b""
        due, schedule = facts.get("due"), facts.get("schedule")
        if due and schedule:
            place = keys.setdefault(f"{RUNS_KEY}:{schedule}", len(keys) + 1)
            kind, ending = kind + OF_RUN, RUN_END(round(due * MS_PER_SECOND), place)
        raw_id, record = pack_id(job_id), pack(facts)
        parts += (NOTE_HEAD(kind, len(raw_id)), raw_id, RECORD_HEAD(len(record)), record, ending)
    return [*keys], [int(keep_s * MS_PER_SECOND), most, MAX_RUNS_KEPT, int(replies), b"".join(parts)]


def note_command(notes: Mapping[str, JobNote], keep_s: float = KEPT_SECONDS, most: int = 0) -> Command:
    """The Redis command that writes these notes; without a `most`, nothing is dropped."""
    keys, arguments = note_call(notes, keep_s, most)
    return ("EVAL", NOTE_SCRIPT, len(keys), *keys, *arguments)


class KeptRun(NamedTuple):
    """A run of a schedule, if it is kept; and whether older ones of that schedule are."""

    run: JobLogEntry | None
    has_older: bool


class JobHistory:
    """Reads the history, over a plain connection or a client of redis-py."""

    def __init__(self, execute_all: Callable[[Sequence[Command]], list[Any]]) -> None:
        self._execute_all = execute_all

    @classmethod
    def over(cls, connection: RedisConnection) -> JobHistory:
        return cls(connection.execute_all)

    @classmethod
    def of_client(cls, store: Redis) -> JobHistory:
        return cls(lambda commands: [_execute(store, command) for command in commands])

    def jobs(self, ids: Iterable[str]) -> dict[str, JobLogEntry]:
        """The jobs of these ids; those that the history does not have are left out."""
        return {entry.id: entry for page in _paged(list(map(pack_id, ids))) for entry in self._read(page)}

    def facts(self, ids: Iterable[str]) -> dict[str, dict[str, Any]]:
        """What is known of these jobs, as it was noted."""
        raw_ids = list(map(pack_id, ids))
        known = [self._read_facts(page) for page in _paged(raw_ids)]
        return {unpack_id(raw_id): facts for page in known for raw_id, facts in page}

    def runs(self, schedule: str = "", limit: int = PAGE_SIZE, *, failed: bool = False) -> list[JobLogEntry]:
        """The runs of a schedule, or of all, the newest first."""
        return self._pick(self._runs(schedule), limit, lambda run: not failed or run.state in BAD_STATES)

    def last_runs(self, schedules: Sequence[str], limit: int) -> dict[str, list[JobLogEntry]]:
        """The last runs of each of these schedules, the newest first."""
        keys = [f"{RUNS_KEY}:{name}" for name in schedules]
        replies = self._execute_all([("ZREVRANGE", key, 0, limit - 1) for key in keys])
        ids = dict(zip(schedules, replies, strict=True))
        jobs = self.jobs({unpack_id(raw) for found in replies for raw in found})
        known = {name: [jobs.get(unpack_id(raw)) for raw in found] for name, found in ids.items()}
        return {name: [run for run in runs if run] for name, runs in known.items()}

    def run_at(self, schedule: str, due_ms: int) -> KeptRun:
        """What is kept of the run of a schedule that was due at this instant."""
        key = f"{RUNS_KEY}:{schedule}"
        there = ("ZRANGEBYSCORE", key, due_ms, due_ms, "WITHSCORES", "LIMIT", 0, 1)
        pair, older = self._execute_all([there, ("ZCOUNT", key, "-inf", f"({due_ms}")])
        return KeptRun(next(iter(self._read(pair[:1])), None), bool(older))

    def recent(
        self, limit: int = PAGE_SIZE, *, app: str | None = None, task: str | None = None, state: str | None = None
    ) -> list[JobLogEntry]:
        """The newest jobs of an app, of a task, with an outcome, by when they were first noted."""

        def matches(job: JobLogEntry) -> bool:
            return app in (None, job.app) and task in (None, job.task) and state in (None, job.outcome)

        return self._pick(self.newest_first(), limit, matches)

    def newest_first(self) -> Iterator[JobLogEntry]:
        """All jobs, by when they were first noted."""
        last = "+"
        while True:
            (rows,) = self._execute_all([("XREVRANGE", ORDER_KEY, last, "-", "COUNT", ENTRIES_READ)])
            for page in _paged([raw_id for _, fields in rows for raw_id in _ids_of_entry(fields)]):
                yield from self._read(page)
            if len(rows) < ENTRIES_READ:
                return
            last = f"({rows[-1][0].decode()}"

    def _runs(self, schedule: str) -> Iterator[JobLogEntry]:
        key = f"{RUNS_KEY}:{schedule}" if schedule else RUNS_KEY
        for first in range(0, MAX_RUNS_KEPT, PAGE_SIZE):
            (page,) = self._execute_all([("ZREVRANGE", key, first, first + PAGE_SIZE - 1)])
            yield from self._read(page)
            if len(page) < PAGE_SIZE:
                return

    def _read(self, ids: Sequence[bytes]) -> list[JobLogEntry]:
        return [to_entry(unpack_id(raw_id), facts) for raw_id, facts in self._read_facts(ids)]

    def _read_facts(self, ids: Sequence[bytes]) -> list[tuple[bytes, dict[str, Any]]]:
        if not ids:
            return []
        (records,) = self._execute_all([("HMGET", JOBS_KEY, *ids)])
        known = zip(ids, records, strict=True)
        return [(raw_id, facts) for raw_id, record in known if record and (facts := unpack(record))]

    @staticmethod
    def _pick(entries: Iterable[JobLogEntry], limit: int, matches: Callable[[JobLogEntry], bool]) -> list[JobLogEntry]:
        found: list[JobLogEntry] = []
        for entry in entries:
            if matches(entry):
                found.append(entry)
                if len(found) == limit:
                    break
        return found


def _execute(store: Redis, command: Command) -> Any:
    """What redis-py replies, with the bytes of a record as they are."""
    return store.execute_command(*command, NEVER_DECODE=True)  # type: ignore[no-untyped-call]


def _ids_of_entry(fields: Any) -> list[bytes]:
    """The ids that are the fields of an entry of the order, the newest first; older entries have one, as a value."""
    pairs = fields.items() if isinstance(fields, dict) else zip(fields[::2], fields[1::2], strict=True)
    return [field or value for field, value in pairs][::-1]


def _paged(ids: Sequence[bytes]) -> Iterator[Sequence[bytes]]:
    for first in range(0, len(ids), PAGE_SIZE):
        yield ids[first : first + PAGE_SIZE]
