"""Half a day of a hundred streamers, seen through errors, flaps and two workers at once: what is told is the truth."""

from __future__ import annotations

from random import Random
from typing import NamedTuple

import pytest
import redis

from livectl.live.store import Store
from livectl.models import Change, Observation, PollingLimits, State, Streamer

START = 1_800_000_000.0
MINUTE, HOUR = 60.0, 3600.0
LASTING = 12 * HOUR
LOOK, TICK = 90.0, 30.0  # seconds between two looks at one streamer; between two batches
SETTLED = 10 * MINUTE  # an end is sure by then, whatever came between
LIMITS = PollingLimits(platform="demo", batch=50, rate=100.0)
TROUBLE = [State.NETWORK, State.PARSE_ERROR, State.UNKNOWN, State.RATE_LIMITED, State.NOT_FOUND, State.UPCOMING]


class Session(NamedTuple):
    key: str
    start: float
    end: float


def life(dice: Random, name: str) -> list[Session]:
    sessions: list[Session] = []
    at = START + dice.uniform(5 * MINUTE, 3 * HOUR)
    while at < START + LASTING - HOUR:
        end = at + dice.uniform(20 * MINUTE, 4 * HOUR)
        sessions.append(Session(f"{name}-{len(sessions)}", at, end))
        at = end + dice.uniform(30 * MINUTE, 3 * HOUR)
    return sessions


def seen(dice: Random, name: str, sessions: list[Session], at: float, *, flapped: bool) -> Observation:
    now = next((session for session in sessions if session.start <= at < session.end), None)
    chance = dice.random()
    state = State.LIVE if now else State.OFFLINE
    if chance < 0.15:
        state = dice.choice(TROUBLE)
    elif now and chance < 0.2 and not flapped:
        state = State.OFFLINE  # the platform errs now and then, never twice in a row
    live = now if state is State.LIVE else None
    return Observation(
        platform="demo",
        id=name,
        state=state,
        at=at,
        session=live.key if live else "",
        started_at=live.start if live and dice.random() < 0.9 else None,
        title="On air" if live else "",
    )


def watch(store: Store, again: Store, lives: dict[str, list[Session]], dice: Random) -> list[Change]:
    """Looks at everyone as they are due. Now and then a batch is recorded twice, by the other worker or too late."""
    names, changes, flapped = list(lives), list[Change](), set[str]()
    late: list[Observation] = []
    for step in range(int(LASTING / TICK)):
        at = START + step * TICK
        some = names[step % 3 :: 3]  # each is looked at every 90 s
        looks = [seen(dice, name, lives[name], at, flapped=name in flapped) for name in some]
        for look in looks:
            if look.state is State.OFFLINE:
                flapped.add(look.id)
            elif look.state is State.LIVE:
                flapped.discard(look.id)
        changes += store.record(LIMITS, looks)
        changes += again.record(LIMITS, dice.choice(([], looks, late)))
        late = looks
    return changes


@pytest.mark.parametrize("seed", [0, *(pytest.param(seed, marks=pytest.mark.soak) for seed in (1, 2))])
def test_every_session_is_told_once_and_no_end_is_false(store_url: str, seed: int) -> None:
    dice = Random(seed)
    lives = {f"n{number:03}": life(dice, f"n{number:03}") for number in range(100)}
    clients = [redis.Redis.from_url(store_url, decode_responses=True) for _ in range(2)]
    store, again = (Store(client) for client in clients)
    store.set_followed([Streamer(platform="demo", id=name) for name in lives], START)
    changes = watch(store, again, lives, dice)
    end = START + LASTING
    begun = [change.session for change in changes if change.kind == "began"]
    ended = {change.session: change for change in changes if change.kind == "ended"}
    sessions = {session.key: session for some in lives.values() for session in some}
    assert len(begun) == len(set(begun))
    assert set(begun) == set(sessions)
    assert all(change.at > sessions[key].end for key, change in ended.items())
    assert set(ended) >= {session.key for session in sessions.values() if session.end < end - SETTLED}
    live = {known.session for known in store.live_streamers()}
    assert live >= {session.key for session in sessions.values() if session.end >= end}
    told = [(change.kind, change.session) for change in store.changes(limit=100_000)]
    assert told == [(change.kind, change.session) for change in changes]
    for client in clients:
        client.close()
