"""A streamer's sessions, as the store packs them: six characters each, the last few with their titles."""

from __future__ import annotations

import msgspec

from livectl.live.rows import Now
from livectl.model import Session, State

DIGITS = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZ_abcdefghijklmnopqrstuvwxyz~"
VALUE = {digit: value for value, digit in enumerate(DIGITS)}
EPOCH = 1_577_836_800  # 2020-01-01, as in session.lua
START, ENTRY = 4, 6  # characters of the start, and of start and length together
MINUTE = 60.0


def unpack_log(log: str) -> list[Session]:
    """Starts and lengths, to the minute."""
    return [_session(log[at : at + ENTRY]) for at in range(0, len(log), ENTRY)]


def unpack(log: str, recent: str, now: str) -> list[Session]:
    """Every session that is kept, oldest first: the log, its end with titles, and the one that is on."""
    titled = msgspec.json.decode(recent, type=list[Session])
    older = unpack_log(log)
    sessions = older[: len(older) - len(titled)] + titled
    current = msgspec.json.decode(now, type=Now)
    if current.state is State.LIVE and current.started is not None:
        sessions.append(Session(started_at=current.started, session=current.session))
    return sessions


def _session(entry: str) -> Session:
    start = EPOCH + MINUTE * _number(entry[:START])
    return Session(started_at=start, ended_at=start + MINUTE * _number(entry[START:]))


def _number(digits: str) -> int:
    number = 0
    for digit in digits:
        number = number * len(DIGITS) + VALUE[digit]
    return number
