"""How the follow list comes into the store: in pieces, and never for half."""

from __future__ import annotations

from random import Random
from typing import TYPE_CHECKING, Any

import pytest

from livectl.live import list_spool, lua_scripts, store_follows
from livectl.live.list_spool import SpooledList
from livectl.live.store import Store
from livectl.models import Observation, PollingLimits, State, Streamer, UnresolvedFollow
from tests.support import cells

if TYPE_CHECKING:
    from collections.abc import Sequence

    import redis

START = 1_800_000_000.0
LIMITS = PollingLimits(platform="demo", batch=50, rate=10.0)


class EndedError(Exception):
    """The process ends here."""


@pytest.fixture
def store(client: redis.Redis, monkeypatch: pytest.MonkeyPatch) -> Store:
    monkeypatch.setattr(store_follows, "PIECE", 3)
    monkeypatch.setattr(store_follows, "GONE_PIECE", 2)
    made = Store(client)
    made.prepare()
    return made


def people(names: Sequence[str], **more: Any) -> list[Streamer]:
    return [Streamer(platform="demo", id=name, **more) for name in names]


def line(name: str) -> UnresolvedFollow:
    return UnresolvedFollow(streamer=Streamer(platform="demo", id=name), state=State.UNKNOWN, problem="no")


def followed(store: Store) -> list[str]:
    return sorted(record.id for record in store.all_streamers() if record.streamer)


def end_at(monkeypatch: pytest.MonkeyPatch, script: str, calls: int) -> None:
    """Lets the process end when it calls this script once more than so often."""
    real, left = lua_scripts.lua_script, [calls]

    def ending_script(client: Any, name: str) -> Any:
        if name == script:
            left[0] -= 1
            if left[0] < 0:
                raise EndedError
        return real(client, name)

    monkeypatch.setattr(store_follows, "lua_script", ending_script)


OLD, NEW = list("abcdefgh"), list("efghijklmnop")
ENDS = {
    "while it is staged: the old list stays in force": ("commit", 0, OLD),
    "in force and not applied: whoever comes next goes on": ("apply", 0, NEW),
    "applied for half: whoever comes next goes on": ("apply", 3, NEW),
}


@pytest.mark.parametrize("case", ENDS)
def test_a_process_that_ends_in_the_middle(store: Store, client: redis.Redis, case: str) -> None:
    script, calls, expected = ENDS[case]
    store.set_followed(people(OLD), START)
    with pytest.MonkeyPatch.context() as patch:
        end_at(patch, script, calls)
        with pytest.raises(EndedError):
            store.set_followed(people(NEW), START + 1)
    store.finish_following()
    assert followed(store) == expected
    assert [len(cells.scores(client, kind, "demo")) for kind in ("due", "others")] == [len(expected)] * 2
    store.set_followed(people(NEW), START + 2)
    assert followed(store) == NEW


def test_only_what_differs_is_staged_and_applied(store: Store, client: redis.Redis) -> None:
    store.set_followed(people(OLD), START)
    generation = client.get("livectl:{-}:generation")
    assert store.set_followed(people(OLD[::-1]), START + 1) == (0, 0)
    assert cells.scores(client, "due", "demo") == dict.fromkeys(OLD, START)
    assert store.set_followed([*people(OLD[:-1]), *people("h", weight=3.0)], START + 2) == (0, 0)
    (record,) = store.find_streamers("demo", ["h"])
    assert record.streamer
    assert record.streamer.weight == 3.0
    assert store.set_followed(people(OLD[1:] + ["z"]), START + 3) == (1, 2 - 1)
    assert client.get("livectl:{-}:generation") != generation
    assert client.keys("*}:staged:*") + client.keys("*}:applying") == []


def test_an_unchanged_list_looks_at_no_line(store: Store, client: redis.Redis) -> None:
    store.set_followed(people(OLD), START)
    before = client.info("commandstats")["cmdstat_hmget"]["calls"]
    assert store.set_followed(people(OLD), START + 1) == (0, 0)
    assert client.info("commandstats")["cmdstat_hmget"]["calls"] == before


def test_what_somebody_else_took_out_comes_back(store: Store, client: redis.Redis) -> None:
    """The digests of the buckets say nothing where their counts are not those of the store."""
    store.set_followed(people(OLD), START)
    cells.remove(client, "follows", "demo", "ab")
    assert store.set_followed(people(OLD), START + 1) == (2, 0)
    assert followed(store) == OLD


def test_a_list_that_comes_in_between_is_not_lost(store: Store, client: redis.Redis) -> None:
    """What was staged for another list than the one in force is compared again."""
    store.set_followed(people(OLD), START)
    real, other = store_follows.Stage.put_in_force, [people(NEW)]

    def put_in_force(*args: Any) -> bool:
        if other:
            Store(client).set_followed(other.pop(), START + 1)
        return real(*args)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(store_follows.Stage, "put_in_force", put_in_force)
        assert store.set_followed(people(OLD), START + 2) == (4, 8)
    assert followed(store) == OLD
    assert client.keys("*}:staged:*") == []


def test_any_lists_in_a_row_are_what_they_should_be(
    store: Store, client: redis.Redis, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Lists at random, some by which nobody goes, and some who are found later; none looks at what did not change."""
    monkeypatch.setattr(list_spool, "MAX_HELD", 7)
    dice, names, expected = Random(11), [f"n{number}" for number in range(60)], dict[str, float]()
    for at in range(25):
        some = {name: float(dice.randint(1, 2)) for name in dice.sample(names, dice.randint(0, 40))}
        keep = dice.random() < 0.4
        with SpooledList() as wanted:
            for name, weight in some.items():
                wanted.add(Streamer(platform="demo", id=name, weight=weight))
                wanted.add_unresolved(line(f"x{name}"))
            applied = store.follow_list(wanted, START + at, keep=keep)
        after = {**expected, **some} if keep else some
        assert applied == (len(some.keys() - expected.keys()), len(expected.keys() - after.keys()), len(some))
        found = dict.fromkeys(dice.sample(names, 2), 5.0)
        lines = {f"demo/x{name}": Streamer(platform="demo", id=name, weight=5.0) for name in found}
        found = {name: 5.0 for name in found if name in some}
        assert store.follow_found(lines, [], START + at) == 0
        expected = after | found
        records = [record.streamer for record in store.all_streamers() if record.streamer and not record.unresolved]
        assert {streamer.id: streamer.weight for streamer in records} == expected
        assert {each.streamer.id[1:] for each in store.unresolved()} == some.keys() - found.keys()
        looks = client.info("commandstats")["cmdstat_hmget"]["calls"]
        assert store.set_followed(records, START + at) == (0, 0)
        assert client.info("commandstats")["cmdstat_hmget"]["calls"] == looks


def test_who_is_found_for_a_line_that_is_gone_is_not_followed(store: Store) -> None:
    store.set_followed(people("ab"), START, [line("x"), line("y")])
    store.set_followed(people("ab"), START, [line("y")])
    found = {f"demo/{name}": Streamer(platform="demo", id=name.upper()) for name in "xy"}
    assert store.follow_found(found, [line("x")], START) == 1
    assert followed(store) == ["Y", "a", "b"]
    assert list(store.unresolved()) == []


def test_two_lines_that_turn_out_to_be_of_one_are_taken_together(store: Store) -> None:
    store.set_followed(people("ab"), START, [line("x"), line("y")])
    found = {f"demo/{name}": Streamer(platform="demo", id="c", tags=(name,)) for name in "xy"}
    assert store.follow_found(found, [], START) == 1
    (record,) = store.find_streamers("demo", ["c"])
    assert record.streamer
    assert record.streamer.tags == ("x", "y")


def test_lines_that_lead_to_nobody_change_with_the_list(store: Store) -> None:
    lines = [line(f"no{number}") for number in range(7)]
    store.set_followed(people(OLD), START, lines)
    assert len(list(store.unresolved())) == 7
    store.set_followed(people(OLD), START, lines[5:])
    assert {follow.streamer.id for follow in store.unresolved()} == {"no5", "no6"}


def test_the_newest_are_the_first_of_everybody(store: Store) -> None:
    """Who is live, by start; then by the last end; then who was read; then who was not, among them lines."""
    store.set_followed(people(OLD), START, [line("fx")])

    def see(name: str, state: str, after: float) -> None:
        at = START + after
        store.record(LIMITS, [Observation(platform="demo", id=name, state=State(state), at=at, session=f"{name}1")])

    for name, start in (("a", 5), ("d", 40), ("b", 20), ("c", 30)):
        see(name, "live", start)
    for name in "ab":
        see(name, "offline", 100 + ord(name))
        see(name, "offline", 300 + ord(name))
    see("h", "offline", 500)
    newest = store.newest(100)
    assert newest
    assert (newest.total, newest.live) == (9, 2)
    assert [record.id for record in newest.streamers] == ["d", "c", "b", "a", "h", "e", "f", "fx", "g"]
    for count in range(1, 9):
        first = store.newest(count)
        assert first
        assert first.streamers == newest.streamers[:count]


def test_who_is_followed_again_has_their_place(store: Store) -> None:
    store.set_followed(people("ab"), START)
    store.record(LIMITS, [Observation(platform="demo", id="a", state=State.OFFLINE, at=START)])
    store.set_followed([], START)
    assert store.newest(9) == (0, 0, [])
    store.set_followed(people("ab"), START)
    newest = store.newest(9)
    assert newest
    assert [record.id for record in newest.streamers] == ["a", "b"]


def test_settings_that_ask_more_often_move_everybody_in_pieces(store: Store, client: redis.Redis) -> None:
    """A piece at each claim, and those who are due at one time in one piece."""
    names = [f"n{number:05}" for number in range(7000)]
    store.set_followed(people(names), START)
    lean = PollingLimits(platform="demo", batch=1, rate=1.0, slowest=60.0)
    assert store.claim([lean], START, 60)
    cells.set_due(client, "demo", {name: START + 1000 + number // 500 for number, name in enumerate(names)})
    ample = PollingLimits(platform="demo", batch=1, rate=10.0, slowest=60.0)
    for _ in range(6):
        store.claim([ample], START, 60)
    scores = cells.scores(client, "due", "demo")
    assert len(scores) == 7000
    assert {name: score - START for name, score in scores.items()} == pytest.approx(
        {name: (1000 + number // 500) / 10 for number, name in enumerate(names)}
    )
    assert "repace" not in client.hgetall("livectl:{demo}:health")
