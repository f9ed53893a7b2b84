"""What concerns targets of alerts on a real cluster, where each of them is in a slot of its own."""

from __future__ import annotations

import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec
import pytest
import redis

from livectl import redis_client, replicas
from livectl.address import Address
from livectl.live import cells, collecting
from livectl.live.alerts import delivery, outbox
from livectl.live.alerts.message import Alert, DeliveryOutcome
from livectl.live.alerts.outbox import Lane, Outbox
from livectl.live.push.push_store import PushStore
from livectl.live.store import Store
from livectl.models import Change, Observation, PollingLimits, State, Streamer
from livectl.settings import Settings, Target

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.support.redis_cluster import RedisCluster

LIMITS = PollingLimits(platform="demo", batch=10, rate=1000.0)
NOW = 1_800_000_000.0
SLOW_FAILOVER_S = 20.0  # with the 15 s after which a node counts as dead, unless it is set otherwise
CHANGE = Change(kind="began", platform="demo", id="ada", session="s", at=NOW)


@pytest.fixture
def client(cluster: RedisCluster) -> Iterator[Any]:
    with redis_client.store_client(Address.parse_store(cluster.url)) as opened:
        yield opened


def alert(target: str, number: str) -> Alert:
    change = msgspec.structs.replace(CHANGE, session=number)
    return Alert(target=target, kind="live", title="t", body="", first=number, last=number, changes=(change,))


def test_targets_come_are_told_fail_and_go(client: Any) -> None:
    names = [f"hook {number}" for number in range(6)]
    settings = Settings(home=Path(), folder=Path(), alerts={name: Target(command=("x",)) for name in names})
    first, second = Outbox(client, "one"), Outbox(client, "two")
    assert first.note_targets(Settings(home=Path(), folder=Path()), "here", (), NOW).added == []
    assert first.add_troubles([("sick", 0.0, CHANGE)], NOW) == 1
    (change,) = Store(client).changes()
    assert first.note_targets(settings, "here", (), NOW).added == names
    for name in names:
        state = first.lease(name, NOW, 60.0, "1-0")
        assert state
        assert state.cursor == change.number
        assert second.lease(name, NOW, 60.0, "1-0") is None
        assert first.begin_send(alert(name, "8-0"), NOW, 60.0, None) == "go"
        assert first.mark_sent(alert(name, "8-0"), NOW, judged=[(CHANGE, None)])
        assert first.begin_send(alert(name, "8-0"), NOW, 60.0, None) == "told"
        assert not second.mark_failed(alert(name, "9-0"), NOW, "no", NOW)
        first.release(name)
        assert second.lease(name, NOW, 60.0, "1-0")
        lane = Lane(id="9-0", streamers=(("demo", "ada"),), problem="ill", failing_since=NOW)
        assert second.put_aside(alert(name, "9-0"), NOW, lane, NOW + 5)
        assert [each.id for each in second.lanes(name)] == ["9-0"]
        assert second.give_up(alert(name, "10-0"), NOW, "gone")
        assert first.told_at(alert(name, "8-0")) == NOW
    states, notes = first.target_states(names), first.notes(names, "demo", "ada")
    assert {(state.sent, state.failures, state.dead) for state in states.values()} == {(1, 1, 1)}
    assert {each.notes["live"].rule for each in notes.values()} == {outbox.GIVEN_UP}
    gone = first.note_targets(Settings(home=Path(), folder=Path()), "here", names, NOW).gone
    assert set(gone) == set(names)
    assert all({*client.hgetall(f"{cells.target_place(name)}state")} == {"cursor", "step"} for name in names)


def test_a_target_stays_with_its_worker_for_longer_than_a_failover_takes(client: Any) -> None:
    """Whoever took it over meanwhile would tell it once more."""
    now, held = time.time(), list[float]()

    def send(_: Alert) -> DeliveryOutcome:
        held.append(float(client.hget(f"{cells.target_place('hook')}state", "held_until")) - now)
        return DeliveryOutcome(sent=True)

    settings = Settings(home=Path(), folder=Path(), alerts={"hook": Target(command=("x",))})
    hooks = delivery.DispatchHooks(lambda: now, lambda *_: None)
    store = Store(client)
    store.set_followed([Streamer(platform="demo", id="ada")], now - 9)
    for at, state in ((now - 2, State.OFFLINE), (now - 1, State.LIVE)):
        store.record(LIMITS, [Observation(platform="demo", id="ada", state=state, at=at)])
    delivery.AlertDispatcher(settings, store, client, {"hook": send}, hooks).deliver()
    assert held
    assert min(held) > SLOW_FAILOVER_S


def test_the_changes_of_all_cells_come_into_one_outbox(client: Any) -> None:
    places = [cells.cell_place(platform, shard) for platform in ("demo", "soop") for shard in range(16)]
    for _ in range(2):
        for place in places:
            client.xadd(f"{place}outbox", {"change": place, "page": "{}"})
        assert collecting.collect(client, places) == len(places)
        assert collecting.collect(client, places) == 0
    assert client.xlen(f"{cells.COMMON}outbox") == 2 * len(places)
    collecting.trim(client, places, NOW + 1e9)
    assert {client.xlen(f"{place}outbox") for place in places} == {1}  # the last that was taken


def test_what_a_server_that_takes_over_does_not_have_is_not_relied_on(
    client: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    place, target = cells.cell_place("demo", 0), cells.target_place("hook")
    first, _ = (client.xadd(f"{place}outbox", {"change": number, "page": "{}"}) for number in "ab")
    monkeypatch.setattr(replicas, "confirm", lambda *_: client.xdel(f"{place}outbox", first))
    assert collecting.collect(client, [place]) == 1
    assert [fields["change"] for _, fields in client.xrange(f"{cells.COMMON}outbox")] == ["b"]
    worker = Outbox(client, "one")
    assert worker.lease("hook", NOW, 60.0, "1-0")
    monkeypatch.setattr(replicas, "confirm", lambda *_: client.hset(f"{target}state", "token", "two"))
    assert worker.begin_send(alert("hook", "8-0"), NOW, 60.0, None) == "lost"
    client.hset(f"{target}state", "token", "one")
    monkeypatch.setattr(replicas, "confirm", lambda *_: client.delete(f"{target}told"))
    with pytest.raises(redis.ConnectionError, match="another server"):
        worker.mark_sent(alert("hook", "8-0"), NOW)


def test_lists_and_pushes_have_one_holder_each(client: Any) -> None:
    store, pushed = Store(client), PushStore(client)
    for platform in ("soop", "twitch", "kick"):
        assert store.hold_listing(platform, "one", 60.0)
        assert not store.hold_listing(platform, "two", 60.0)
        assert not store.save_listing(platform, "two", "2", {"a": 1}, release=True)
        assert store.save_listing(platform, "one", "1", {"a": 1}, release=True)
        assert store.hold_listing(platform, "two", 60.0)
        assert pushed.hold(platform, "one", 60.0)
        pushed.release(platform, "two")
        assert not pushed.hold(platform, "two", 60.0)
        pushed.release(platform, "one")
        assert pushed.hold(platform, "two", 60.0)
        pushed.note_problem(platform, "no", "do", NOW)
        pushed.note_seen(platform, "message", 60.0)
        assert pushed.was_seen(platform, "message")
        assert pushed.health(platform).problem == "no"
    assert store.listings(["soop", "chzzk", "kick"]) == {"soop": "1", "kick": "1"}
    assert pushed.secret() == pushed.secret()
