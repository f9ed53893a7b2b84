"""The values that travel between stages; nothing that acts on them."""

from __future__ import annotations

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
    until: bytes = b""  # reading may stop once this has been seen


class Response(msgspec.Struct, frozen=True, kw_only=True):
    """What came back. `status` 0 is no answer at all, and `error` says why."""

    status: int
    url: str = ""  # after redirects
    headers: dict[str, str] = {}  # names in lower case
    body: bytes = b""
    error: str = ""


class Recall(msgspec.Struct, frozen=True):
    """A platform asks for what it kept: a token, an alias."""

    key: str


class Keep(msgspec.Struct, frozen=True):
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
