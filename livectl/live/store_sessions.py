"""Reads what the store keeps of the sessions of streamers: when, with which titles, watched by how many."""

from __future__ import annotations

from functools import lru_cache

import msgspec

from livectl.live.store_records import DIGITS, StoredPage, decode_reading
from livectl.models import Session, State, ViewerCurve

DIGIT_VALUES = {digit: value for value, digit in enumerate(DIGITS)}

# A session in the log is packed as in session.lua: four digits for the start and two for the length, both in minutes.
LOG_EPOCH_S = 1_577_836_800  # 2020-01-01
LOG_START_CHARS, LOG_ENTRY_CHARS = 4, 6
LOG_UNIT_S = 60.0
LONGEST_LOGGED_S = 64**2 * LOG_UNIT_S
MAX_CURVES = 2_048  # of viewers, kept decoded: the page reads the same ones each second
COUNT_CHARS, NO_COUNT = 4, "----"  # of viewers, after the first minute and the step

# One of the last sessions, as session.lua notes it: start, end, title, category, key; with names in older stores.
RecentSession = Session | tuple[float, float, str, str, str]


def decode_sessions(
    log: str | None, recent_json: str | None, reading_json: str | None, page_json: str | None, since: float = 0.0
) -> list[Session]:
    """All sessions that are kept of a streamer and went on after `since`, the oldest first.

    The log has all that ended, the recent ones among them have titles; a session that is on now has the page's.
    """
    recent = [_recent_session(each) for each in msgspec.json.decode(recent_json or "[]", type=list[RecentSession])]
    logged = _unpack_log((log or "")[: len(log or "") - len(recent) * LOG_ENTRY_CHARS], since)
    sessions = [session for session in (*logged, *recent) if session.ended_at is None or session.ended_at > since]
    reading = decode_reading(reading_json or "{}")
    if reading.state is State.LIVE and reading.started is not None:
        page = msgspec.json.decode(page_json or "{}", type=StoredPage)
        sessions.append(
            Session(started_at=reading.started, session=reading.session, title=page.title, category=page.category)
        )
    return sessions


@lru_cache(MAX_CURVES)
def decode_viewers(text: str) -> ViewerCurve:
    """Reads what session.lua notes of the viewers of a session."""
    starts = range(LOG_ENTRY_CHARS, len(text), COUNT_CHARS)
    counts = (text[start : start + COUNT_CHARS] for start in starts)
    return ViewerCurve(
        LOG_EPOCH_S + LOG_UNIT_S * _unpack_number(text[:LOG_START_CHARS]),
        LOG_UNIT_S * _unpack_number(text[LOG_START_CHARS:LOG_ENTRY_CHARS]),
        tuple(None if count == NO_COUNT else _unpack_number(count) for count in counts),
    )


def _recent_session(kept: RecentSession) -> Session:
    if isinstance(kept, Session):
        return kept
    return Session(started_at=kept[0], ended_at=kept[1], title=kept[2], category=kept[3], session=kept[4])


def _unpack_log(log: str, since: float) -> list[Session]:
    """Reads starts and lengths, to the minute, from the last entry back to the first that may matter."""
    sessions: list[Session] = []
    for offset in range(len(log) - LOG_ENTRY_CHARS, -1, -LOG_ENTRY_CHARS):
        session = _unpack_session(log[offset : offset + LOG_ENTRY_CHARS])
        if session.started_at + LONGEST_LOGGED_S < since:
            break
        sessions.append(session)
    return sessions[::-1]


def _unpack_session(entry: str) -> Session:
    started_at = LOG_EPOCH_S + LOG_UNIT_S * _unpack_number(entry[:LOG_START_CHARS])
    return Session(started_at=started_at, ended_at=started_at + LOG_UNIT_S * _unpack_number(entry[LOG_START_CHARS:]))


def _unpack_number(digits: str) -> int:
    number = 0
    for digit in digits:
        number = number * len(DIGITS) + DIGIT_VALUES[digit]
    return number
