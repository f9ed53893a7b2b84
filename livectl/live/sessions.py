"""A streamer's sessions, as the store packs them: six characters each, the last few with their titles."""

from __future__ import annotations

import msgspec

from livectl.live.rows import StoredReading
from livectl.model import Session, State

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
