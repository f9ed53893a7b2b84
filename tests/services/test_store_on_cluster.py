"""The store on a real cluster: each cell in a slot of its own, on all nodes."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from livectl import redis_client
from livectl.address import Address
from livectl.live import store_copies, store_moving, store_reader, store_upkeep
from livectl.live.push.push_store import PushStore
from livectl.live.store import Store
from livectl.models import Observation, PollingLimits, State, Streamer, UnresolvedFollow
from tests.services.test_store_command import Ended, end_after

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tests.support.redis_cluster import RedisCluster

START = 1_800_000_000.0
LIMITS = PollingLimits(platform="demo", batch=10, rate=1000.0)
NAMES = [f"n{number:03}" for number in range(60)]
LOST = UnresolvedFollow(streamer=Streamer(platform="demo", id="nobody"), state=State.UNKNOWN, problem="no")


@pytest.fixture
def client(cluster: RedisCluster) -> Iterator[Any]:
    with redis_client.store_client(Address.parse_store(cluster.url)) as opened:
        yield opened


def lived(client: Any) -> Store:
    """Sixty who are followed: every third was live, every sixth is."""
    store = Store(client)
    store.prepare()
    assert store.set_followed([Streamer(platform="demo", id=name) for name in NAMES], START, [LOST]) == (60, 0)
    assert sorted(store.claim([LIMITS], START, 60)[0][1]) == NAMES
    see(store, NAMES, "offline", 1)
    see(store, NAMES[::3], "live", 50)
    see(store, NAMES[::6], "offline", 300)
    see(store, NAMES[::6], "offline", 500)
    return store


def see(store: Store, names: list[str], state: str, after: float) -> None:
    seen = [Observation(platform="demo", id=name, state=State(state), at=START + after, session=name) for name in names]
    store.record(LIMITS, seen)


def known(store: Store) -> list[Any]:
    return [
        sorted(store.all_streamers(), key=lambda record: record.id),
        [record.id for record in store.live_streamers()],
        store.newest(9),
        store.first_of_each(9),
        store.tally(),
        sorted(record.id for page in store.troubled() for record in page),
        store.sessions("demo", NAMES),
        [change.kind for change in store.changes()],
        list(store.unresolved()),
        store.aliases("demo", ["Ada"]),
    ]


def test_a_follow_list_claims_answers_and_readers(client: Any, cluster: RedisCluster) -> None:
    store = lived(client)
    assert len({cluster.owner(place) for place in store.cell_places()}) == 3
    assert [record.id for record in store.live_streamers()] == NAMES[3::6]
    assert [change.kind for change in store.changes()] == ["began"] * 20 + ["ended"] * 10
    (health,) = store.health(START + 10_000)
    assert (health.followed, health.live, health.due, health.answers) == (60, 10, 60, {"offline": 80, "live": 20})
    with store_reader.read_only_store(Address.parse_store(cluster.url)) as reader:
        assert reader.newest(9) == store.newest(9)
        assert reader.pulse("0", 3, 5).live == 10
    store.save_poll_weights("demo", dict.fromkeys(NAMES, "5" * 168))
    push_store = PushStore(client)
    push_store.set_covered("demo", NAMES[:9], START - 9)
    assert push_store.covered("demo") == set(NAMES[:9])
    assert push_store.put_off(LIMITS, START + 500, 10_000, START - 9) > 0
    assert store.set_followed([Streamer(platform="demo", id=name) for name in NAMES[:30]], START + 900) == (0, 30)
    assert store.prune(START + 500 * 86_400, START) == 30
    assert store_upkeep.check(client, START) == []


def test_copies_and_another_number_of_shards(client: Any, cluster: RedisCluster, tmp_path: Path) -> None:
    store = lived(client)
    store.save_aliases("demo", {"Ada": NAMES[0]})
    before = known(store)
    store_moving.migrate(client, 3, wait=lambda _: None)
    assert known(Store(client)) == before
    path = tmp_path / "copy.jsonl"
    path.write_text("".join(f"{line}\n" for line in store_copies.export_lines(client, START)))
    cluster.flush()
    Store(client).prepare(40)
    with path.open("rb") as file, pytest.MonkeyPatch.context() as patch:
        patch.setattr(store_copies, "PIECE", 20)
        end_after(patch, 4)
        with pytest.raises(Ended):
            store_copies.import_lines(client, file, "copy", START)
    with path.open("rb") as file:
        assert store_copies.import_lines(client, file, "copy", START) == 60
    assert known(Store(client)) == before
    assert store_upkeep.read_info(client).shards == 40
    assert store_upkeep.check(client, START) == []
