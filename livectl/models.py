"""Defines the values that travel between the parts of livectl."""

from __future__ import annotations

from collections.abc import Mapping  # noqa: TC003
from datetime import date, datetime  # noqa: TC003 - msgspec reads the annotations
from enum import StrEnum
from typing import Any, Literal

import msgspec


class Interval(msgspec.Struct, frozen=True, tag="every"):
    """Every so many seconds, on a grid anchored at the epoch."""

    seconds: float


class Cron(msgspec.Struct, frozen=True, tag="cron"):
    """A crontab line: the minutes, hours, days, months and weekdays (0 is Sunday) of its local times, each in order."""

    text: str
    minute: tuple[int, ...]
    hour: tuple[int, ...]
    day: tuple[int, ...]
    month: tuple[int, ...]
    weekday: tuple[int, ...]
    either_day: bool  # crontab(5): a day matches by date or by weekday when both are restricted; Celery wants both
    stepping: bool  # minute or hour is `*` or `*/n`: it runs through a repeated hour twice


class Solar(msgspec.Struct, frozen=True, tag="solar"):
    """A sunrise, sunset or the like, seen from a place."""

    event: str
    lat: float
    lon: float


class At(msgspec.Struct, frozen=True, tag="at"):
    """Once, at an instant in UTC milliseconds."""

    instant: int


class After(msgspec.Struct, frozen=True, tag="after"):
    """When a run of another entry has ended so."""

    entry: str
    when: Literal["succeeded", "failed", "ended"] = "succeeded"


class ExcludedDays(msgspec.Struct, frozen=True):
    """Local days without a run: as the file words them, and which they are."""

    text: str
    weekdays: tuple[int, ...] = ()  # 0 is Sunday
    ranges: tuple[tuple[date, date], ...] = ()  # first and last day of each, in order, none touching another
    yearly: tuple[tuple[int, int], ...] = ()  # month and day


class Expectation(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What is expected of each run of an entry. None: what its own history says is usual."""

    start_within: float | None = None  # seconds from its due instant
    end_within: float | None = None  # seconds from its start
    succeed: bool = True
    slower_than: float | None = None  # times as long as usual is too slow


class Schedule(msgspec.Struct, frozen=True, kw_only=True):
    """When a task is sent, with which arguments and options."""

    name: str
    task: str
    timing: Interval | Cron | Solar | At | After
    timezone: str = "UTC"
    args: tuple[Any, ...] = ()
    kwargs: dict[str, Any] = {}
    options: dict[str, Any] = {}
    enabled: bool = True
    catchup: Literal["once", "skip", "all"] = "once"
    window: float | None = None  # seconds back from now in which missed runs are caught up with
    deadline: float | None = None  # seconds after its due instant beyond which a run is not worth sending
    overlap: Literal["allow", "skip", "queue", "queue-all", "cancel"] = "allow"
    description: str = ""
    owner: str = ""
    tags: tuple[str, ...] = ()
    group: str = ""  # of entries that are paused and resumed together
    start: int | None = None  # no run before it; UTC milliseconds
    end: int | None = None  # no run after it
    count: int | None = None  # runs at most
    pause_on_failure: int | None = None  # failed runs in a row after which it pauses itself
    jitter: float | None = None  # seconds by which a run may be moved, each by its own part of them
    excluded: tuple[ExcludedDays, ...] = ()
    expect: Expectation | None = None  # of its runs: what else somebody is told of


class Run(msgspec.Struct, frozen=True):
    """One due time of a schedule: its name and the instant, in UTC milliseconds since the epoch."""

    name: str
    due: int


class State(StrEnum):
    """What a platform said of a streamer. Only the first three are positive readings and change the record."""

    LIVE = "live"
    OFFLINE = "offline"
    REPLAY = "replay"
    UPCOMING = "upcoming"
    RESTRICTED = "restricted"
    NOT_FOUND = "not_found"
    BANNED = "banned"
    BLOCKED = "blocked"
    RATE_LIMITED = "rate_limited"
    AUTH = "auth"
    PARSE_ERROR = "parse_error"
    NETWORK = "network"
    UNKNOWN = "unknown"

    @property
    def words(self) -> str:
        """The state as people read it, the same everywhere; programs get the value."""
        return STATE_WORDS.get(self, str(self))


STATE_WORDS = {
    State.NOT_FOUND: "not found",
    State.RATE_LIMITED: "rate limited",
    State.AUTH: "no valid key",
    State.PARSE_ERROR: "not understood",
    State.NETWORK: "not reached",
}


class Streamer(msgspec.Struct, frozen=True, kw_only=True):
    """Someone followed: a platform and an id, and the fields of their entry in the follow list."""

    platform: str
    id: str
    name: str = ""
    url: str = ""
    tags: tuple[str, ...] = ()
    alerts: tuple[str, ...] | None = None  # names of targets; None: every target that listens
    weight: float = 1.0

    @property
    def key(self) -> tuple[str, str]:
        return self.platform, self.id


class Request(msgspec.Struct, frozen=True, kw_only=True):
    """An HTTP request that a platform wants sent."""

    url: str
    method: Literal["GET", "POST", "PATCH", "DELETE"] = "GET"
    headers: dict[str, str] = {}
    body: bytes = b""
    limit: int = 1_000_000  # bytes of the body that are read at most
    seconds: float = 15.0  # for the whole response, redirects included
    follow: bool = True  # redirects; otherwise a redirect is the response
    until: bytes = b""  # reading may stop after these bytes of the body
    beyond: int = 0  # ... and so many more


class Response(msgspec.Struct, frozen=True, kw_only=True):
    """The response to a request. `status` 0 means that there was none, and `error` says why."""

    status: int
    url: str = ""  # after redirects
    headers: Mapping[str, str] = {}  # names in lower case
    body: bytes = b""
    error: str = ""
    unreached: bool = False  # there was no connection, so that nothing can have been sent


class Observation(msgspec.Struct, frozen=True, kw_only=True):
    """What a platform said of a streamer, and when (seconds since the epoch)."""

    platform: str
    id: str
    state: State
    at: float
    session: str = ""
    title: str = ""
    category: str = ""
    name: str = ""
    url: str = ""
    cover: str = ""
    avatar: str = ""
    viewers: int | None = None
    started_at: float | None = None
    problem: str = ""  # what went wrong, for a person
    retry_at: float | None = None  # no sooner than this, for the whole platform


class JobState(StrEnum):
    """Where a job is."""

    SUCCEEDED = "succeeded"
    FAILED = "failed"
    RUNNING = "running"
    RECEIVED = "received"  # a worker has it and has not started it
    ETA = "eta"  # it waits for its ETA
    QUEUED = "queued"
    REDELIVERY = "redelivery"  # its worker is gone: another will get it
    RETRYING = "retrying"
    REVOKED = "revoked"
    UNKNOWN = "unknown"  # never sent here, forgotten after result_expires, or lost


class ChildJob(msgspec.Struct, frozen=True):
    """A job that another job sent, or a member of a group."""

    id: str
    state: JobState


class Job(msgspec.Struct, frozen=True, kw_only=True):
    """One sending of a task: its message, its state, its times and its result. None is not known."""

    id: str
    state: JobState
    task: str | None = None
    args: Any = None  # redacted
    kwargs: Any = None
    queue: str | None = None
    position: int | None = None  # 1 is taken next
    worker: str | None = None
    eta: datetime | None = None
    sent_at: datetime | None = None
    started_at: datetime | None = None
    finished_at: datetime | None = None
    waited: float | None = None
    ran: float | None = None
    retries: int | None = None
    result: Any = None
    error: str | None = None
    children: tuple[ChildJob, ...] = ()


class PollingLimits(msgspec.Struct, frozen=True, kw_only=True):
    """How often a platform may be asked: its own limits and those of the settings."""

    platform: str
    batch: int  # streamers per request
    rate: float  # requests per second
    keys: str = ""  # a fingerprint of the user's keys: after AUTH the platform is not asked until it changes
    mode: Literal["learned", "uniform"] = "learned"
    fastest: float = 15.0  # seconds between two checks of one streamer, at least
    slowest: float = 900.0  # ... and at most, where the budget allows it
    merge: float = 600.0  # seconds after its end within which a session goes on
    listed: bool = False  # its list of who is live is read: everybody is asked rarely
    shown_for: float = 0.0  # seconds until who was listed, and is no longer, is asked; 0: as if there were no list
    source: Literal["check", "list", "hint"] = "check"  # where observations come from; a hint may be a recording
    exit: str = ""  # of network.exits, with a budget and a circuit of its own; the others are asked by other exits
    exit_number: int = 0  # it serves the cells whose number leaves this rest
    exits: int = 1  # ... divided by how many there are
    offline_batch: int = 0  # streamers who are not live in one more request; 0: their absence says enough
    offline_seconds: float = 0.0  # ... which is sent about each of them once in so long
    capacity: float = 0.0  # whole batches a second, by all exits together; 0: as many as the rate has requests

    @property
    def account(self) -> str:
        """The key with this budget and circuit."""
        return f"exit:{self.exit}" if self.exit else "health"


class StreamerRecord(msgspec.Struct, frozen=True, kw_only=True):
    """What the store has of a streamer: the last positive reading, and what prevents a newer one."""

    platform: str
    id: str
    state: State | None = None  # live, offline, replay; None: never read
    since: float | None = None
    seen: float | None = None  # when it was last read positively
    session: str = ""  # of the current or the last session
    started_at: float | None = None
    ended_at: float | None = None
    title: str = ""
    category: str = ""
    name: str = ""
    url: str = ""
    cover: str = ""
    avatar: str = ""
    viewers: int | None = None
    trouble: State | None = None  # what prevents a newer reading
    troubled_since: float | None = None
    problem: str = ""
    first: float | None = None  # when it was first asked
    announced_at: float | None = None  # when the platform says that they will stream
    resumed_at: float | None = None  # when the session last went on after a break that was too short to end it
    streamer: Streamer | None = None  # as the follow list has it; None: no longer followed
    unresolved: bool = False  # it is a line of the follow list that leads to nobody, and `trouble` says why

    @property
    def key(self) -> tuple[str, str]:
        return self.platform, self.id


class UnresolvedFollow(msgspec.Struct, frozen=True, kw_only=True):
    """A line of the follow list that leads to nobody, and why. It is looked up again from time to time."""

    streamer: Streamer  # by the name that was written; without a platform where the line names none
    state: State
    problem: str
    since: float | None = None
    looked_up: float | None = None  # when it was last tried; None: not yet, or there is nowhere to ask

    def as_record(self) -> StreamerRecord:
        return StreamerRecord(
            platform=self.streamer.platform,
            id=self.streamer.id,
            name=self.streamer.name,
            url=self.streamer.url,
            trouble=self.state,
            troubled_since=self.since,
            problem=self.problem,
            streamer=self.streamer,
            unresolved=True,
        )


class Session(msgspec.Struct, frozen=True, kw_only=True):
    """One broadcast. Older ones are kept without key and title, and with 68 hours of length at most."""

    started_at: float
    ended_at: float | None = None  # None: still live
    session: str = ""
    title: str = ""
    category: str = ""


class ViewerCurve(msgspec.Struct, frozen=True):
    """How many watched a session, `step` seconds apart from the first look on; None where nobody looked."""

    started_at: float
    step: float
    counts: tuple[int | None, ...]


class Change(msgspec.Struct, frozen=True, kw_only=True):
    """A session began, ended, was retitled or moved to another category; or livectl has something to tell."""

    # `troubled`: a person must mend something on a platform (`title` says what, `before` how); `reported`: runs, queues
    kind: Literal["began", "ended", "retitled", "recategorised", "troubled", "reported"]
    platform: str
    id: str
    session: str
    at: float
    number: str = ""  # orders the changes of the outbox; empty where it was not read from there
    started_at: float | None = None
    ended_at: float | None = None
    before: str = ""  # the title it had
    quiet: bool = False  # recorded without an alert: it began long before it was first seen
    earlier: bool = False  # it began before livectl first looked: that it was noticed late says nothing
    title: str = ""
    category: str = ""
    name: str = ""
    url: str = ""
    cover: str = ""
    avatar: str = ""
    viewers: int | None = None

    @property
    def is_of_stream(self) -> bool:
        """Whether it is about a session; otherwise its words are livectl's own."""
        return self.kind not in {"troubled", "reported"}


class PlatformHealth(msgspec.Struct, frozen=True, kw_only=True):
    """How a platform fares: how many are followed there, and what keeps it from being asked. None: nothing does."""

    platform: str
    followed: int = 0
    live: int = 0
    due: int = 0
    due_since: float | None = None  # when the first of those who are asked next is due
    claimed: int = 0
    tokens: float | None = None  # requests it may get right now; None: never asked
    read: float | None = None  # the last positive reading
    step: int = 0  # of the open circuit; 0: closed
    open_until: float | None = None
    blocked: float | None = None  # since when it blocks
    unreached: float | None = None  # since when no request has reached it
    wait_until: float | None = None
    auth_since: float | None = None  # it refuses the keys, and is not asked until they change
    parser_broken: float | None = None  # most responses have a shape that livectl does not know
    all_gone: float | None = None  # all of its streamers went offline at once, which is not believed
    listed_until: float = 0.0  # its list of who is live stands in for asking until then
    list_problem: str = ""  # why that could not be read just now
    list_troubled: float = 0.0  # since when it could not; 0: it can
    answers: dict[str, int] = {}  # state -> how often
    exit: str = ""  # of network.exits: that is how it fares there
    exits: tuple[PlatformHealth, ...] = ()

    @property
    def ways(self) -> tuple[PlatformHealth, ...]:
        return self, *self.exits

    @property
    def name(self) -> str:
        return f"{self.platform} (exit {self.exit})" if self.exit else self.platform


class Finding(msgspec.Struct, frozen=True, kw_only=True):
    """One thing that doctor found: its evidence and its cure."""

    id: str
    level: Literal["bad", "warn", "ok"]
    title: str
    evidence: str = ""
    cure: str = ""

    @property
    def link(self) -> str:
        """The section about it, for programs; `more` is the command that shows it to people."""
        return f"docs/doctor.md#{self.id}"

    @property
    def more(self) -> str:
        return f"livectl docs doctor {self.id}"


class BoardEvent(msgspec.Struct, frozen=True, kw_only=True):
    """Something that the board of `livectl up` tells in one line. `details` are further fields of its JSON."""

    at: float
    event: str  # live, ended, told, failed, member, file, problem, mended …
    text: str
    details: dict[str, Any] = {}


class StatusPart(msgspec.Struct, frozen=True):
    """A part of the board's status line, in words from the most to the fewest; `""` at the end lets it be left out."""

    words: tuple[str, ...]
    rank: int  # the part of the highest rank is shortened first
    style: str = ""


class BoardReading(msgspec.Struct, frozen=True, kw_only=True):
    """What has happened since the last reading, how things stand, and what is wrong."""

    events: tuple[BoardEvent, ...] = ()
    parts: tuple[StatusPart, ...] = ()
    problems: tuple[str, ...] = ()
    facts: dict[str, Any] = {}  # the same for programs, where somebody looks once
