"""One process at a time moves the store: whoever stood still while another did it changes nothing when it wakes."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from typing import TYPE_CHECKING, Any

import pytest

from livectl.errors import ServerError
from livectl.live import store_copies, store_follows, store_moving, store_upkeep
from livectl.live.cells import Cell, lease_place
from livectl.live.fence import Fence
from livectl.live.store import Store
from livectl.models import Observation, PollingLimits, State, Streamer
from tests.support import cells
from tests.support.waiting import wait_for

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

    import redis

    from livectl.live.lua_scripts import ScriptCall

START = 1_800_000_000.0
LIMITS = PollingLimits(platform="demo", batch=50, rate=10.0)
NAMES = list("abcdef")


def people(names: str) -> list[Streamer]:
    return [Streamer(platform="demo", id=name) for name in names]


def see(store: Store, state: str, after: float, names: Sequence[str] = NAMES, session: str = "1") -> None:
    at = START + after
    some = [Observation(platform="demo", id=name, state=State(state), at=at, session=session) for name in names]
    store.record(LIMITS, some)


def lived(client: redis.Redis) -> Store:
    """Six streamers: all were live, three are."""
    store = Store(client)
    store.prepare()
    store.set_followed(people("abcdef"), START)
    see(store, "live", 50)
    for after in (300, 500):
        see(store, "offline", after, "abc")
    store.save_poll_weights("demo", dict.fromkeys("abcdef", "5" * 168))
    store.save_aliases("demo", {"Ada": "a"})
    client.hset("livectl:{-}:targets", "phone", "here\nmark")
    client.zadd("livectl:{target:phone}:told", {"demo/a/1/live": START})
    return store


def known(client: redis.Redis) -> list[Any]:
    """All that there is, but for leases and the fences themselves."""
    found = {str(key): client.dump(key) for key in client.keys("livectl:{*")}
    rest = {key: value for key, value in found.items() if not key.endswith((":fence", ":number", ":holder"))}
    return [sorted(rest.items()), store_upkeep.check(client, START + 2000)]


def before_each_change(patch: pytest.MonkeyPatch, act: Callable[[int], None]) -> None:
    """Lets something happen each time before a process that moves the store changes it."""
    real, done = Fence.run, [0]

    def run(self: Fence, calls: Sequence[ScriptCall]) -> None:
        if calls:
            with pytest.MonkeyPatch.context() as meanwhile:
                meanwhile.setattr(Fence, "run", real)
                act(done[0])
            done[0] += 1
        real(self, calls)

    patch.setattr(Fence, "run", run)


def stand_still(patch: pytest.MonkeyPatch, change: int, client: redis.Redis, meanwhile: Callable[[], None]) -> None:
    """Lets the process stand still before this change, for longer than its lease."""

    def act(number: int) -> None:
        if number == change:
            client.delete(f"{lease_place('migrate')}holder")
            meanwhile()

    before_each_change(patch, act)


def work_on(client: redis.Redis, shards: int) -> None:
    """Workers go on: one more is followed, one less, and all are seen anew."""
    store = Store(client)
    store.prepare(shards)
    store.set_followed(people("bcdefg"), START + 900)
    see(store, "live", 1000, "bcdefg")


@pytest.mark.parametrize("calls", [0, 1, 2, 3, 5, 8, 13, 21, 34, 47])
def test_a_migration_that_stood_still_writes_nothing_old(client: redis.Redis, calls: int) -> None:
    lived(client)
    after: list[Any] = []

    def meanwhile() -> None:
        store_moving.migrate(client, 3, wait=lambda _: None)
        store_moving.migrate(client, 5, wait=lambda _: None)
        work_on(client, 5)
        after.extend(known(client))

    with pytest.MonkeyPatch.context() as patch:
        stand_still(patch, calls, client, meanwhile)
        with pytest.raises(ServerError, match="Another process has gone on"):
            store_moving.migrate(client, 3, wait=lambda _: None)
    assert after[1] == []
    assert known(client) == after


@pytest.fixture
def bring_in(client: redis.Redis, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[], None]:
    """Brings a copy of those who have lived into the store, which is empty."""
    lived(client)
    monkeypatch.setattr(store_copies, "PIECE", 2)
    copy = tmp_path / "copy.jsonl"
    copy.write_text("".join(f"{line}\n" for line in store_copies.export_lines(client, START)))
    client.flushdb()

    def read_copy() -> None:
        with copy.open("rb") as file:
            assert store_copies.import_lines(client, file, "copy", START) == 6

    return read_copy


@pytest.mark.parametrize("calls", range(7))
def test_an_import_that_stood_still_writes_nothing_old(
    client: redis.Redis, bring_in: Callable[[], None], calls: int
) -> None:
    after: list[Any] = []

    def meanwhile() -> None:
        bring_in()
        work_on(client, 16)
        after.extend(known(client))

    with pytest.MonkeyPatch.context() as patch:
        stand_still(patch, calls, client, meanwhile)
        with pytest.raises(ServerError, match="Another process has gone on"):
            bring_in()
    assert after[1] == []
    assert known(client) == after


def test_a_copy_comes_in_while_workers_run(client: redis.Redis, bring_in: Callable[[], None]) -> None:
    """They are refused; what they had in hand already, such as a go-live that was pushed, is newer than the copy."""
    worker, inbox = Store(client), Store(client)
    worker.prepare()
    assert inbox.cells.shards == 16  # and it takes that as known for a while
    client.hset("livectl:{-}:targets", "mail", "there\nmark")  # of the settings here: the copy does not know it
    client.hset("livectl:{target:mail}:state", "cursor", "0-0")

    def work(number: int) -> None:
        if number == 0:
            return
        for refused in (worker.platforms, lambda: worker.claim([LIMITS], START, 60), lambda: work_on(client, 16)):
            with pytest.raises(ServerError, match="half filled from a copy"):
                refused()
        see(inbox, "live", 2000, "abc", session="2")
        if worker.changes():  # a worker that was about to deliver them sees which were told already
            assert client.exists("livectl:{target:phone}:told")

    with pytest.MonkeyPatch.context() as patch:
        before_each_change(patch, work)
        bring_in()
    found = {record.id: record.state for record in worker.all_streamers()}
    assert found == dict.fromkeys("abcdef", State.LIVE)
    assert len(worker.sessions("demo", ["a"])["a"]) == 2
    told = [(change.id, change.kind) for change in worker.changes()]
    assert (len(told), len(set(told[:9])), set(told[9:])) == (12, 9, {(name, "began") for name in "abc"})
    assert client.hget("livectl:{target:mail}:state", "cursor") == worker.changes()[8].number
    assert store_upkeep.check(client, START + 2000) == []


def test_a_list_that_comes_before_a_copy_keeps_it_out(client: redis.Redis, bring_in: Callable[[], None]) -> None:
    """A sweep had it in hand when the import began."""
    after: list[Any] = []

    def work(number: int) -> None:
        if number == 0:
            Store(client).set_followed(people("xyz"), START)
            after.extend(known(client))

    with pytest.MonkeyPatch.context() as patch:
        before_each_change(patch, work)
        with pytest.raises(ServerError, match="knows streamers already"):
            bring_in()
    assert known(client) == after


def test_counts_of_a_cell_that_is_no_more_are_dropped(client: redis.Redis) -> None:
    """A worker that recorded before the cells moved, and stood still, noted them afterwards."""
    lived(client)
    store_moving.migrate(client, 3, wait=lambda _: None)
    before = client.hgetall("livectl:{demo}:standing")
    client.hset("livectl:{demo}:standing", mapping={"9": "5000 4000 0 0", "12": "1 1 0 0"})
    Store(client).claim([LIMITS], START + 900, 60)
    assert client.hgetall("livectl:{demo}:standing") == before


STOPPING = """
import os, signal, sys
import redis
from livectl.live import fence, store_moving
real, left = fence.Fence.run, [21]

def run(self, calls):
    left[0] -= bool(calls)
    if left[0] == -1:
        os.kill(os.getpid(), signal.SIGSTOP)
    real(self, calls)

fence.Fence.run, fence.LEASE_SECONDS = run, 0.5
client = redis.Redis.from_url(sys.argv[1], decode_responses=True)
store_moving.migrate(client, 3, wait=lambda _: None)
"""


def test_a_process_that_is_stopped_and_woken_writes_nothing_old(client: redis.Redis, store_url: str) -> None:
    """Its lease ends by itself, and another takes it over."""
    lived(client)
    command = [sys.executable, "-c", STOPPING, store_url]
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as stopped:
        try:
            wait_for(lambda: os.waitpid(stopped.pid, os.WUNTRACED | os.WNOHANG)[1] or None, what="it to stop")
            assert client.hgetall("livectl:{-}:migrating") == {"from": "16", "to": "3"}
            store_moving.migrate(client)
            work_on(client, 3)
            after = known(client)
            stopped.send_signal(signal.SIGCONT)
            _, said = stopped.communicate()
        finally:
            stopped.kill()
    assert "Another process has gone on with this" in said
    assert after[1] == []
    assert known(client) == after


def test_a_list_that_was_compared_before_its_cells_moved_is_compared_again(client: redis.Redis) -> None:
    """The process stood still between comparing it and the step that puts it in force."""
    store, real, moves = lived(client), store_follows.Stage.put_in_force, [3]

    def put_in_force(*args: Any) -> bool:
        if moves:
            store_moving.migrate(client, moves.pop(), wait=lambda _: None)
        return real(*args)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(store_follows.Stage, "put_in_force", put_in_force)
        assert store.set_followed(people("abxyz"), START + 900) == (3, 4)
    assert sorted(record.id for record in store.all_streamers()) == list("abxyz")
    assert known(client)[1] == []


def test_what_is_in_the_wrong_cell_is_named_and_brought_home(client: redis.Redis) -> None:
    """What is known at home is newer; who is only elsewhere comes home with all that is known."""
    store = lived(client)
    before, elsewhere = {record.id: record for record in store.all_streamers()}, [Cell("demo", 5), Cell("demo", 700)]
    client.hset("livectl:{-}:platforms", "demo", "0 3 5 9 10 12 15")
    left, lost = (store.cells.find("demo", name) for name in "de")
    for kind in store_moving.MOVED:
        client.copy(f"{left.place}{kind}", f"{elsewhere[0].place}{kind}")
        if client.exists(f"{lost.place}{kind}"):
            client.rename(f"{lost.place}{kind}", f"{elsewhere[1].place}{kind}")
    for after in (600, 800):
        see(store, "offline", after, "d")
    (finding, *_) = store_upkeep.check(client, START + 900)
    assert (finding.what, finding.names) == ("of demo in a cell that is not theirs", ("d", "e"))
    store_upkeep.check(client, START + 900, mend=True)
    assert store_upkeep.check(client, START + 900) == []
    found = {record.id: record for record in store.all_streamers()}
    assert found["d"].ended_at == START + 600
    assert found | {"d": before["d"]} == before
    assert len(cells.fields(client, "pull", "demo")) == 6
    assert store.set_followed(people("abcdef"), START + 900) == (0, 0)


def test_a_newer_version_is_noticed_by_those_who_run(client: redis.Redis) -> None:
    store = lived(client)
    client.set("livectl:{-}:version", 99)
    for refused in (lambda: store.claim([LIMITS], START, 60), store.platforms, lambda: store.set_followed([], START)):
        with pytest.raises(ServerError, match="by a newer livectl: its keys are version 99"):
            refused()
