"""The store's rows: how observations go in and how what is known comes out."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import msgspec

from livectl.models import Change, Observation, PlatformHealth, Session, State, Streamer, StreamerRecord

if TYPE_CHECKING:
    from collections.abc import Sequence


# Characters kept, so that what is known of a streamer now stays below 1 KiB.
MAX_CHARS = {"title": 200, "category": 60, "name": 60, "url": 200, "cover": 300}
MAX_PROBLEM_CHARS = 200


class StoredFollow(msgspec.Struct, frozen=True, omit_defaults=True):
    """A streamer without its platform and id, which are the key."""

    name: str = ""
    url: str = ""
    tags: tuple[str, ...] = ()
    alerts: tuple[str, ...] | None = None
    weight: float = 1.0


class StoredPage(msgspec.Struct, frozen=True, omit_defaults=True):
    """What a streamer's page said: the last good answer."""

    title: str = ""
    category: str = ""
    name: str = ""
    url: str = ""
    cover: str = ""


class StoredReading(msgspec.Struct, frozen=True):
    """What is known now, under the names that the scripts use."""

    state: State | None = None
    since: float | None = None
    seen: float | None = None
    session: str = ""
    started: float | None = None
    ended: float | None = None
    viewers: int | None = None
    trouble: State | None = None
    troubled: float | None = None
    problem: str = ""
    first: float | None = None


def encode_json(value: Any) -> str:
    return msgspec.json.encode(value).decode()


def encode_follow(streamer: Streamer) -> str:
    return encode_json(StoredFollow(streamer.name, streamer.url, streamer.tags, streamer.alerts, streamer.weight))


def encode_observation(observation: Observation) -> tuple[Any, ...]:
    """An observation as record.lua takes it."""
    page = StoredPage(
        **{name: truncate(value, limit) for name, limit in MAX_CHARS.items() if (value := getattr(observation, name))}
    )
    return (
        observation.id,
        observation.state,
        round(observation.at, 3),
        observation.session,
        observation.started_at,
        observation.viewers,
        "" if page == EMPTY_PAGE else encode_json(page),
        truncate(observation.problem, MAX_PROBLEM_CHARS) if observation.problem else "",
        observation.retry_at,
    )


def truncate(text: str, limit: int) -> str:
    """Cut to size, and free of the half characters that no encoding holds."""
    return text[:limit].encode("utf-8", "ignore").decode()


def decode_record(row: Sequence[str]) -> StreamerRecord:
    platform, streamer_id, follow_json, now_json, page_json = row
    reading = msgspec.json.decode(now_json, type=StoredReading)
    page = msgspec.json.decode(page_json, type=StoredPage)
    streamer = _decode_streamer(platform, streamer_id, follow_json) if follow_json else None
    return StreamerRecord(
        platform=platform,
        id=streamer_id,
        state=reading.state,
        since=reading.since,
        seen=reading.seen,
        session=reading.session,
        started_at=reading.started,
        ended_at=reading.ended,
        title=page.title,
        category=page.category,
        name=(streamer.name if streamer else "") or page.name,
        url=page.url or (streamer.url if streamer else ""),
        cover=page.cover,
        viewers=reading.viewers,
        trouble=reading.trouble,
        troubled_since=reading.troubled,
        problem=reading.problem,
        first=reading.first,
        streamer=streamer,
    )


def decode_change(number: str, change_json: str, page_json: str) -> Change:
    fields = msgspec.json.decode(page_json) | msgspec.json.decode(change_json) | {"number": number}
    return msgspec.convert(fields, Change)


def decode_health(row: Sequence[Any]) -> PlatformHealth:
    platform, followed, live, due, claimed, flat = row
    fields = dict(zip(flat[::2], flat[1::2], strict=True))
    answers = {name.removeprefix("count:"): int(count) for name, count in fields.items() if name.startswith("count:")}
    counts = {"platform": platform, "followed": followed, "live": live, "due": due, "claimed": claimed}
    return msgspec.convert(fields | counts | {"answers": answers}, PlatformHealth, strict=False)


def _decode_streamer(platform: str, streamer_id: str, follow_json: str) -> Streamer:
    follow = msgspec.json.decode(follow_json, type=StoredFollow)
    return Streamer(
        platform=platform,
        id=streamer_id,
        name=follow.name,
        url=follow.url,
        tags=follow.tags,
        alerts=follow.alerts,
        weight=follow.weight,
    )


EMPTY_PAGE = StoredPage()


DIGITS = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZ_abcdefghijklmnopqrstuvwxyz~"
DIGIT_VALUES = {digit: value for value, digit in enumerate(DIGITS)}
EPOCH_SECONDS = 1_577_836_800  # 2020-01-01, as in session.lua
START_CHARS, ENTRY_CHARS = 4, 6  # characters of the start, and of start and length together
MINUTE_SECONDS = 60.0


def unpack_log(log: str) -> list[Session]:
    """Starts and lengths, to the minute."""
    return [_unpack_session(log[offset : offset + ENTRY_CHARS]) for offset in range(0, len(log), ENTRY_CHARS)]


def unpack_sessions(log: str, recent_json: str, now_json: str) -> list[Session]:
    """Every session that is kept, oldest first: the log, its end with titles, and the one that is on."""
    titled = msgspec.json.decode(recent_json, type=list[Session])
    older = unpack_log(log)
    sessions = older[: len(older) - len(titled)] + titled
    reading = msgspec.json.decode(now_json, type=StoredReading)
    if reading.state is State.LIVE and reading.started is not None:
        sessions.append(Session(started_at=reading.started, session=reading.session))
    return sessions


def _unpack_session(entry: str) -> Session:
    start = EPOCH_SECONDS + MINUTE_SECONDS * _parse_number(entry[:START_CHARS])
    return Session(started_at=start, ended_at=start + MINUTE_SECONDS * _parse_number(entry[START_CHARS:]))


def _parse_number(digits: str) -> int:
    number = 0
    for digit in digits:
        number = number * len(DIGITS) + DIGIT_VALUES[digit]
    return number
