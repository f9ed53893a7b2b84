"""The values that travel between stages; nothing that acts on them."""

from __future__ import annotations

from datetime import datetime  # noqa: TC003 - msgspec reads the annotations
from enum import StrEnum
from typing import Any, Literal

import msgspec


class Interval(msgspec.Struct, frozen=True, tag="every"):
    """Every so many seconds, on a grid anchored at the epoch."""

    seconds: float


class Cron(msgspec.Struct, frozen=True, tag="cron"):
    """Local times: the minutes, hours, days of month, months and weekdays (0 is Sunday) that match, each in order."""

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


class Schedule(msgspec.Struct, frozen=True, kw_only=True):
    """When a task is sent, and with what."""

    name: str
    task: str
    timing: Interval | Cron | Solar
    timezone: str = "UTC"
    args: tuple[Any, ...] = ()
    kwargs: dict[str, Any] = {}
    options: dict[str, Any] = {}
    enabled: bool = True
    catchup: Literal["once", "skip"] = "once"
    deadline: float | None = None  # seconds after its due instant beyond which a run is not worth sending
    overlap: Literal["allow", "skip"] = "allow"


class Run(msgspec.Struct, frozen=True):
    """One due time of a schedule: its name and the instant, in UTC milliseconds since the epoch."""

    name: str
    due: int


class State(StrEnum):
    """What a platform said of a streamer. Only the first three are positive readings and change what is known."""

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


class Streamer(msgspec.Struct, frozen=True, kw_only=True):
    """Someone followed: a platform and an id, and what the follow list says of them."""

    platform: str
    id: str
    name: str = ""
    url: str = ""
    tags: tuple[str, ...] = ()
    alerts: tuple[str, ...] | None = None  # names of targets; None: every target that listens
    weight: float = 1.0


class Request(msgspec.Struct, frozen=True, kw_only=True):
    """What a platform wants asked."""

    url: str
    method: Literal["GET", "POST"] = "GET"
    headers: dict[str, str] = {}
    body: bytes = b""
    limit: int = 1_000_000  # bytes of answer read at most
    seconds: float = 15.0  # for an answer, redirects included
    follow: bool = True  # where a redirect leads; otherwise the redirect is the answer
    until: bytes = b""  # reading may stop once this has been seen


class Response(msgspec.Struct, frozen=True, kw_only=True):
    """What came back. `status` 0 is no answer at all, and `error` says why."""

    status: int
    url: str = ""  # after redirects
    headers: dict[str, str] = {}  # names in lower case
    body: bytes = b""
    error: str = ""


class CacheGet(msgspec.Struct, frozen=True):
    """A platform asks for what it kept: a token, an alias."""

    key: str


class CacheSet(msgspec.Struct, frozen=True):
    """A platform keeps something for the next check, in any process, for so many seconds."""

    key: str
    value: str
    seconds: float


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
    viewers: int | None = None
    started_at: float | None = None
    problem: str = ""  # what went wrong, for a person
    retry_at: float | None = None  # no sooner than this, for the whole platform


class JobState(StrEnum):
    """The one honest word for where a job is."""

    SUCCEEDED = "succeeded"
    FAILED = "failed"
    RUNNING = "running"
    RECEIVED = "received"  # a worker has it and has not begun
    ETA = "eta"  # it waits for its time
    QUEUED = "queued"
    REDELIVERY = "redelivery"  # the worker that had it is gone: another will get it
    RETRYING = "retrying"
    REVOKED = "revoked"
    UNKNOWN = "unknown"  # never sent here, forgotten after result_expires, or lost


class ChildJob(msgspec.Struct, frozen=True):
    """A job that another one sent, or a member of a group."""

    id: str
    state: JobState


class Job(msgspec.Struct, frozen=True, kw_only=True):
    """One sending of a task: what and where it is, how long it took, what came of it. None is not known."""

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
    """How a platform may be asked: what it bears and what the settings want."""

    platform: str
    batch: int  # streamers a request
    rate: float  # requests a second
    keys: str = ""  # a fingerprint of the user's keys: after AUTH nothing is asked until it changes
    mode: Literal["learned", "uniform"] = "learned"
    fastest: float = 15.0  # seconds between two looks at one streamer, at least
    slowest: float = 900.0  # ... and at most, where the budget allows it
    merge: float = 600.0  # seconds within which the next session is still the same one


class StreamerRecord(msgspec.Struct, frozen=True, kw_only=True):
    """What is known of a streamer: the last positive reading, and what stands in the way of a newer one."""

    platform: str
    id: str
    state: State | None = None  # live, offline, replay; None: never read yet
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
    viewers: int | None = None
    trouble: State | None = None  # why there is no newer reading
    troubled_since: float | None = None
    problem: str = ""
    first: float | None = None  # when it was first asked
    streamer: Streamer | None = None  # as the follow list has it; None: no longer followed


class Session(msgspec.Struct, frozen=True, kw_only=True):
    """One broadcast. Older ones have lost key and title, and lengths beyond 68 hours."""

    started_at: float
    ended_at: float | None = None  # None: still live
    session: str = ""
    title: str = ""
    category: str = ""


class Change(msgspec.Struct, frozen=True, kw_only=True):
    """A session began, ended, was retitled or moved to another category. `number` orders changes.

    `troubled` is none of a session: `title` says what a person must mend on the platform, `before` how.
    """

    kind: Literal["began", "ended", "retitled", "recategorised", "troubled"]
    platform: str
    id: str
    session: str
    at: float
    number: str = ""
    started_at: float | None = None
    ended_at: float | None = None
    before: str = ""  # the title it had
    quiet: bool = False  # noted, not alerted: it began long before it was first seen
    title: str = ""
    category: str = ""
    name: str = ""
    url: str = ""
    cover: str = ""
    viewers: int | None = None


class PlatformHealth(msgspec.Struct, frozen=True, kw_only=True):
    """How a platform fares: who is followed there, and what keeps it from being asked. No time: all is well."""

    platform: str
    followed: int = 0
    live: int = 0
    due: int = 0
    claimed: int = 0
    tokens: float | None = None  # requests it bears right now; None: never asked
    read: float | None = None  # last positive answer
    step: int = 0  # of the open circuit; 0: closed
    open_until: float | None = None
    wait_until: float | None = None
    auth_since: float | None = None  # its keys are refused; nothing is asked until they change
    parser_broken: float | None = None  # most answers have a shape nobody knows
    all_gone: float | None = None  # everybody left at once, which nobody believes
    answers: dict[str, int] = {}  # state -> how often


class Finding(msgspec.Struct, frozen=True, kw_only=True):
    """One thing that doctor found: what shows it, and what cures it."""

    id: str
    level: Literal["bad", "warn", "ok"]
    title: str
    evidence: str = ""
    cure: str = ""

    @property
    def link(self) -> str:
        return f"docs/doctor.md#{self.id}"
