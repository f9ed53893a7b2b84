"""livectl store: what is in it, whether it fits together, older stores, and copies."""

from __future__ import annotations

import json
import os
import socket
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any, cast

import pytest
import redis

from livectl.errors import ServerError
from livectl.live import collecting, fence, old_keys, store_copies, store_follows, store_moving, store_upkeep
from livectl.live.cells import KEYS_VERSION, Cells
from livectl.live.fence import Fence
from livectl.live.store import Store
from livectl.models import Observation, PollingLimits, State, Streamer, UnresolvedFollow
from tests.services.test_live_commands import run
from tests.support import cells

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from livectl.live.lua_scripts import ScriptCall

START = 1_800_000_000.0
LIMITS = PollingLimits(platform="demo", batch=50, rate=10.0)
OLD_ROW = '{"state":"offline","seen":1800000001,"since":1800000001,"first":1800000001,"ended":1800000000}'


@pytest.fixture
def store(client: redis.Redis, monkeypatch: pytest.MonkeyPatch) -> Store:
    """Six streamers: one live, one who was, one in trouble, the others offline; a line that leads to nobody."""
    monkeypatch.setattr(store_copies, "PIECE", 2)
    monkeypatch.setattr(store_follows, "PIECE", 2)
    made = Store(client)
    made.prepare()
    lost = UnresolvedFollow(streamer=Streamer(platform="demo", id="nobody"), state=State.UNKNOWN, problem="no")
    made.set_followed([Streamer(platform="demo", id=name, tags=("a",)) for name in "abcdef"], START, [lost])
    for name, state, after in (
        *((name, "offline", 1) for name in "abcde"),
        *(("a", "live", 50), ("b", "live", 60), ("b", "offline", 300), ("b", "offline", 500), ("c", "blocked", 9)),
    ):
        seen = Observation(
            platform="demo", id=name, state=State(state), at=START + after, title="Tea", session=f"{name}1", viewers=3
        )
        made.record(LIMITS, [seen])
    made.save_aliases("demo", {"Ada": "a"})
    client.hset("livectl:{-}:targets", "phone", "here\nmark")
    client.hset(
        "livectl:{target:phone}:state", mapping={"cursor": "1-0", "token": "mine", "held_until": "9", "sent": "2"}
    )
    client.zadd("livectl:{target:phone}:told", {"demo/b/b1/live": START})
    return made


def known(store: Store) -> list[Any]:
    """All that readers see."""
    sessions = store.sessions("demo", list("abcdef"))
    return [
        sorted(store.all_streamers(), key=lambda record: record.id),
        sessions,
        store.viewer_curves("demo", list("abcdef")),
        store.changes(),
        list(store.unresolved()),
        store.aliases("demo", ["Ada"]),
        store.newest(9),
    ]


def test_a_copy_holds_all_that_is_known(store: Store, client: redis.Redis, tmp_path: Path, store_url: str) -> None:
    before = known(store)
    assert run(tmp_path, store_url, "store", "export", "copy.jsonl")[0] == 0
    lines = (tmp_path / "copy.jsonl").read_text().splitlines()
    assert json.loads(lines[0])["version"] == 1
    assert not any("held_until" in line for line in lines)
    assert run(tmp_path, store_url, "store", "import", "copy.jsonl")[0] == 4  # it knows streamers already
    client.flushdb()
    code, out, err = run(tmp_path, store_url, "store", "import", "copy.jsonl", named="LIVECTL_STORE")  # and no broker
    assert (code, err) == (0, "")
    assert "6 streamers" in out
    assert known(store) == before
    assert client.hgetall("livectl:{target:phone}:state") == {"cursor": "1-0", "sent": "2"}
    assert client.zscore("livectl:{target:phone}:told", "demo/b/b1/live") == START
    assert store_upkeep.check(client, START) == []


class Ended(Exception):  # noqa: N818
    """The process ends here."""


def end_after(patch: pytest.MonkeyPatch, calls: int) -> None:
    """Lets the process end before it changes the store once more than so often, as whoever moves it does."""
    real, left = Fence.run, [calls]

    def run(self: Fence, calls: Sequence[ScriptCall]) -> None:
        left[0] -= bool(calls)
        if left[0] < 0:
            raise Ended
        real(self, calls)

    patch.setattr(Fence, "run", run)


@pytest.fixture
def copy(store: Store, client: redis.Redis, tmp_path: Path) -> Path:
    """What the store knows, as a file."""
    assert store.platforms()
    path = tmp_path / "copy.jsonl"
    path.write_text("".join(f"{line}\n" for line in store_copies.export_lines(client, START)))
    return path


def bring_in(client: redis.Redis, path: Path) -> int:
    with path.open("rb") as file:
        return store_copies.import_lines(client, file, "copy", START)


@pytest.mark.parametrize("ends", [1, 2, 4, 6])
def test_an_import_goes_on_where_it_ended(store: Store, client: redis.Redis, copy: Path, ends: int) -> None:
    """With the same file: another one would leave a store of two halves."""
    before = known(store)
    client.flushdb()
    with pytest.MonkeyPatch.context() as patch:
        end_after(patch, ends)
        with pytest.raises(Ended):
            bring_in(client, copy)
    other = copy.with_name("other.jsonl")
    *lines, _, end = copy.read_text().splitlines()
    other.write_text("\n".join([*lines, end.replace(str(len(lines)), str(len(lines) - 1))]))
    for refused in (
        lambda: Store(client).newest(9),
        lambda: store_moving.migrate(client, 4),
        lambda: bring_in(client, other),
    ):
        with pytest.raises(ServerError, match=r"half filled from a copy, copy\."):
            refused()
    assert bring_in(client, copy) == 6
    assert known(store) == before
    assert store_upkeep.check(client, START) == []


BAD_COPIES = {
    "no copy": ("demo/ada\n", "copy.jsonl:1:1: this is no copy of a store"),
    "nothing": ("", "copy.jsonl:1:1: this is no copy of a store"),
    "a newer one": ('{"livectl":"store","version":9,"at":1}\n', "a copy of version 9"),
    "no end": ('{"livectl":"store","version":1,"at":1}\n', "copy.jsonl:1:1: the copy is cut off behind this line"),
    "an end that comes too soon": (
        '{"livectl":"store","version":1,"at":1}\n{"kind":"end","lines":3}\n',
        "copy.jsonl:2:1: not a line of a copy: 3 lines should be before it",
    ),
    "lines behind the end": (
        '{"livectl":"store","version":1,"at":1}\n{"kind":"end","lines":0}\n{"kind":"end","lines":1}\n',
        "copy.jsonl:3:1: not a line of a copy: it stands behind the end",
    ),
    "a line that is cut": ('{"livectl":"store","version":1,"at":1}\n{"kind":"str', "copy.jsonl:2:1: not a line"),
    "a key of others": (
        '{"livectl":"store","version":1,"at":1}\n{"kind":"fields","key":"celery","fields":{"a":"b"}}\n',
        "celery is not in a copy",
    ),
    "what is known cannot be read": (
        '{"livectl":"store","version":1,"at":1}\n{"kind":"streamer","platform":"demo","id":"a","now":"{\\"state\\":7}"}\n',
        "copy.jsonl:2:1: not a line",
    ),
}


@pytest.mark.parametrize("case", BAD_COPIES)
def test_of_a_bad_copy_nothing_is_written(client: redis.Redis, tmp_path: Path, store_url: str, case: str) -> None:
    text, problem = BAD_COPIES[case]
    (tmp_path / "copy.jsonl").write_text(text)
    code, _, err = run(tmp_path, store_url, "store", "import", "copy.jsonl")
    assert code == 3
    assert problem in err
    assert client.keys("livectl:*") == []


def test_of_a_copy_that_was_cut_off_nothing_is_written(
    store: Store, client: redis.Redis, copy: Path, store_url: str
) -> None:
    """Between two lines as well: what targets took stands near the end."""
    client.flushdb()
    copy.write_text("".join(copy.read_text().splitlines(keepends=True)[:-3]))
    code, _, err = run(copy.parent, store_url, "store", "import", copy.name)
    assert code == 3
    assert "the copy is cut off behind this line (export the store again)" in err
    assert client.keys("livectl:*") == []


def test_an_export_writes_into_a_pipe_and_keeps_what_a_link_names(store: Store, tmp_path: Path, store_url: str) -> None:
    (tmp_path / "old.jsonl").write_text("old")
    (tmp_path / "link.jsonl").symlink_to("old.jsonl")
    assert run(tmp_path, store_url, "store", "export", "link.jsonl")[0] == 0
    assert (tmp_path / "link.jsonl").is_symlink()
    whole = (tmp_path / "old.jsonl").read_text()
    os.mkfifo(tmp_path / "pipe")
    with ThreadPoolExecutor(1) as pool:
        read = pool.submit((tmp_path / "pipe").read_text)
        assert run(tmp_path, store_url, "store", "export", "pipe")[0] == 0
        assert read.result().splitlines()[1:] == whole.splitlines()[1:]
    assert (tmp_path / "pipe").is_fifo()


def test_an_export_that_cannot_be_written_says_where_and_leaves_nothing(
    store: Store, tmp_path: Path, store_url: str
) -> None:
    code, _, err = run(tmp_path, store_url, "store", "export", "nowhere/copy.jsonl")
    assert code == 3
    assert "nowhere/copy.jsonl cannot be written: no such file or directory" in err
    assert list(tmp_path.glob("*copy*")) == []


def make_old(client: redis.Redis, version: int) -> None:
    """Puts what the cells have where a store without cells had it."""
    for kind in (*store_moving.HASHES, "pull"):
        if rows := cells.fields(client, kind, "demo"):
            client.hset(f"livectl:{kind}:demo", mapping=dict[Any, Any](rows))
    for kind in store_moving.SCORED:
        if scores := cells.scores(client, kind, "demo"):
            client.zadd(f"livectl:{kind}:demo", dict[Any, Any](scores))
    client.sadd("livectl:platforms", "demo")
    for kind in ("outbox", "unresolved"):
        client.rename(f"livectl:{{-}}:{kind}", f"livectl:{kind}")
    client.rename("livectl:{demo}:health", "livectl:platform:demo")
    client.delete(*client.keys("livectl:{demo*"), *client.keys("livectl:{-}:*"))
    client.set("livectl:version", version)


@pytest.mark.parametrize("ends", [2, 3, 9, 12])
def test_an_older_store_is_brought_over_piece_by_piece(store: Store, client: redis.Redis, ends: int) -> None:
    """Whoever reads is refused until it is done; a process that ends in between costs nothing."""
    before = known(store)
    make_old(client, 3)
    with pytest.raises(ServerError, match="by an older livectl: its keys are version 3"):
        Store(client).newest(9)
    with pytest.MonkeyPatch.context() as patch:
        end_after(patch, ends)
        with pytest.raises(Ended):
            Store(client).prepare()
    with pytest.raises(ServerError, match="half brought over"):
        Store(client).newest(9)
    Store(client).prepare()
    assert known(store) == before
    assert store_upkeep.check(client, START + 1000) == []
    assert (client.get("livectl:version"), client.get("livectl:{-}:version")) == (str(KEYS_VERSION),) * 2
    left = {key.split(":")[1] for key in cast("list[str]", client.keys("livectl:*")) if not key.startswith("livectl:{")}
    assert left == {"version", "applying", "platforms"}
    for refused in (lambda: client.lindex("livectl:applying", 0), lambda: client.sadd("livectl:platforms", "demo")):
        with pytest.raises(redis.ResponseError, match="WRONGTYPE"):  # an older livectl that runs still does nothing
            refused()


def test_the_first_version_is_brought_over_with_an_order_of_those_who_are_not_live(
    store: Store, client: redis.Redis
) -> None:
    """As 0.1 left it: nothing packed, no order of those who are not live."""
    before = store.newest(9)
    make_old(client, 1)
    for key in ("livectl:others:demo", "livectl:listed:demo"):
        client.delete(key)
    client.hset("livectl:now:demo", "d", OLD_ROW)
    Store(client).prepare()
    newest = store.newest(9)
    assert before
    assert newest
    assert (newest.total, newest.live) == (before.total, before.live)
    assert [record.id for record in newest.streamers] == ["a", "b", "d", "c", "e", "f", "nobody"]
    store.record(LIMITS, [Observation(platform="demo", id="d", state=State.OFFLINE, at=START + 900)])
    (record,) = store.find_streamers("demo", ["d"])
    assert (record.state, record.seen, record.ended_at) == (State.OFFLINE, START + 900, START)
    assert cells.fields(client, "now", "demo")["d"].startswith("o")


def test_a_big_older_store_waits_for_its_command(
    store: Store, client: redis.Redis, tmp_path: Path, store_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = known(store)
    make_old(client, 2)
    monkeypatch.setattr(store_moving, "SMALL", 5)
    code, _, err = run(tmp_path, store_url, "live")
    assert code == 4
    assert "livectl store migrate" in err
    with pytest.raises(ServerError, match="by an older livectl"):
        Store(client).prepare()
    assert run(tmp_path, store_url, "store", "migrate")[0] == 0
    assert known(store) == before


@pytest.mark.parametrize("ends", [2, 9, 40])
@pytest.mark.parametrize("shards", [1, 5, 40])
def test_the_number_of_shards_changes_piece_by_piece(store: Store, client: redis.Redis, shards: int, ends: int) -> None:
    store.save_poll_weights("demo", dict.fromkeys("abcdef", "5" * 168))
    before, totals = known(store), client.hget("livectl:{demo}:standing", "totals")
    with pytest.MonkeyPatch.context() as patch:
        end_after(patch, ends)
        with pytest.raises(Ended):
            store_moving.migrate(client, shards, wait=lambda _: None)
    with pytest.raises(ServerError, match=f"half brought over to {shards} shards"):
        Store(client).prepare()
    with pytest.raises(ServerError, match=f"half brought over to {shards} shards"):
        store_moving.migrate(client, 7, wait=lambda _: None)
    store_moving.migrate(client, wait=lambda _: None)
    again = Store(client)
    again.prepare(shards)
    assert known(again) == before
    assert client.hget("livectl:{demo}:standing", "totals") == totals
    assert store_upkeep.check(client, START + 1000) == []
    assert len(again.cells.of("demo")) <= min(shards, 7)
    assert sorted(again.claim([LIMITS], START + 10_000, 60)[0][1]) == list("abcdef")
    with pytest.raises(ServerError, match=f"in {shards} shards, and polling.shards is 16"):
        again.prepare(16)


def test_a_list_is_shown_without_states_while_the_store_is_half_brought_over(
    client: redis.Redis, tmp_path: Path, store_url: str
) -> None:
    client.hset("livectl:{-}:migrating", mapping={"from": "16", "to": "40"})
    (tmp_path / "follows.yaml").write_text("follows: [demo/ada]\n")
    code, out, err = run(tmp_path, store_url, "follow", "list")
    assert (code, "demo/ada" in out) == (0, True)
    assert err == "States are not shown: The store is half brought over to 40 shards.\n"


def not_collected(store: Store, client: redis.Redis, monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, str]]:
    """Leaves all changes in their cells, more than are collected at once, as killed workers do; returns them."""
    changes = sorted((change.id, str(change.kind)) for change in store.changes())
    client.delete("livectl:{-}:outbox", "livectl:{-}:taken")
    monkeypatch.setattr(collecting, "MAX_TAKEN", 1)
    monkeypatch.setattr(collecting, "MAX_ROUNDS", 1)
    return changes


def test_changes_that_nobody_has_collected_outlive_their_cells(
    store: Store, client: redis.Redis, monkeypatch: pytest.MonkeyPatch
) -> None:
    changes = not_collected(store, client, monkeypatch)
    store_moving.migrate(client, 1, wait=lambda _: None)
    assert sorted((change.id, change.kind) for change in Store(client).changes()) == changes


def test_changes_that_nobody_has_collected_are_in_a_copy(
    store: Store, client: redis.Redis, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    changes, path = not_collected(store, client, monkeypatch), tmp_path / "copy.jsonl"
    path.write_text("".join(f"{line}\n" for line in store_copies.export_lines(client, START)))
    client.flushdb()
    bring_in(client, path)
    assert sorted((change.id, change.kind) for change in Store(client).changes()) == changes


OLD_KEYS = {
    "outbox": "{-}:outbox", "targets": "{-}:targets", "troubles": "{-}:troubles", "push-secret": "{-}:push-secret",
    "target:a b": "{target:a b}:state", "lanes:a b": "{target:a b}:lanes", "told:a b": "{target:a b}:told",
    "pace:a b": "{target:a b}:pace", "notes:a b": "{target:a b}:notes", "push": "{target:web-push}:subscriptions",
    "push:told:k": "{target:web-push}:took:k", "push:twitch": "{twitch}:push",
    "push-leases:youtube": "{youtube}:push-leases", "push-seen:kick:a:b": "{kick}:push-seen:a:b",
    "listing:soop": "{soop}:listing", "job:1": "job:1", "unresolved": "{-}:unresolved", "generation": "{-}:generation",
    "kept:kick:a:b": "{kick}:kept:a:b", "platform:soop": "{soop}:health",
}  # fmt: skip


def test_keys_of_an_older_store_are_moved_once(client: redis.Redis) -> None:
    for name in OLD_KEYS:
        client.set(f"livectl:{name}", name)
    client.set("livectl:{twitch}:push", "newer")  # a process of this version was here before
    client.set("livectl:version", 2)
    Store(client).prepare()
    for name, by_now in OLD_KEYS.items():
        assert client.get(f"livectl:{by_now}") == ("newer" if name == "push:twitch" else name)
    assert old_keys.rename_keys(client) == 0


def test_what_does_not_fit_is_named_and_mended(
    store: Store, client: redis.Redis, tmp_path: Path, store_url: str
) -> None:
    assert run(tmp_path, store_url, "store", "check")[:2] == (0, "All of it fits together.\n")
    cells.remove(client, "due", "demo", "af")
    cells.remove(client, "claimed", "demo", "af")
    cells.remove(client, "live", "demo", "a")
    cells.set_due(client, "demo", {"stranger": 1.0})
    code, out, _ = run(tmp_path, store_url, "store", "check", "--json")
    assert code == 1
    assert {row["what"]: row["names"] for row in json.loads(out)} == {
        "followed on demo and out of place": ["a", "f"],
        "asked on demo and not followed": ["stranger"],
    }
    assert run(tmp_path, store_url, "store", "migrate")[0] == 0
    assert run(tmp_path, store_url, "store", "check")[0] == 0
    assert {record.id for record in store.live_streamers()} == {"a"}


def test_info_counts_what_is_there(store: Store, tmp_path: Path, store_url: str) -> None:
    code, out, _ = run(tmp_path, store_url, "store", "info", "--json")
    facts = json.loads(out)
    assert code == 0
    assert {name: facts[name] for name in ("followed", "live", "known", "unresolved", "version")} == {
        "followed": 6, "live": 1, "known": 5, "unresolved": 1, "version": KEYS_VERSION,
    }  # fmt: skip
    assert "6: 6 on demo" in run(tmp_path, store_url, "store")[1]


def test_a_server_that_throws_keys_away_is_refused(client: redis.Redis, tmp_path: Path, store_url: str) -> None:
    client.config_set("maxmemory-policy", "allkeys-lru")
    try:
        code, _, err = run(tmp_path, store_url, "store", "check")
    finally:
        client.config_set("maxmemory-policy", "noeviction")
    assert code == 4
    assert "allkeys-lru" in err
    assert "noeviction" in err


def test_a_new_store_gets_the_shards_of_the_settings_and_another_number_is_said(
    client: redis.Redis, tmp_path: Path, store_url: str
) -> None:
    (tmp_path / "livectl.yaml").write_text("polling: {shards: 4}\n")
    assert run(tmp_path, store_url, "store", "migrate")[0] == 0
    assert json.loads(run(tmp_path, store_url, "store", "info", "--json")[1])["shards"] == 4
    (tmp_path / "livectl.yaml").write_text("polling: {shards: 8}\n")
    code, _, err = run(tmp_path, store_url, "store", "check")
    assert code == 4
    assert "The store keeps each platform in 4 shards, and polling.shards is 8." in err
    code, _, err = run(tmp_path, store_url, "store", "migrate")
    assert code == 0
    assert "polling.shards in the settings is 8: write 4, or nothing starts." in err
    (finding,) = json.loads(run(tmp_path, store_url, "doctor", "--json")[1])[:1]
    assert finding["id"] == "store-unfit"


CLUSTER_WORDS = {
    "slots are missing": (b"-CLUSTERDOWN Hash slot not served\r\n", "is a cluster that does not work"),
    "the key is elsewhere": (b"-MOVED 1234 127.0.0.1:7001\r\n", "is a node of a cluster"),
}


@pytest.mark.parametrize("case", CLUSTER_WORDS)
def test_a_node_of_a_cluster_is_said_to_be_one(tmp_path: Path, case: str) -> None:
    from threading import Thread

    words, said = CLUSTER_WORDS[case]
    with socket.create_server(("127.0.0.1", 0)) as server:

        def answer() -> None:
            connection, _ = server.accept()
            with connection:
                connection.recv(4096)
                connection.sendall(b"+PONG\r\n" + words)
                connection.recv(4096)

        thread = Thread(target=answer)
        thread.start()
        code, _, err = run(tmp_path, f"redis://127.0.0.1:{server.getsockname()[1]}/0", "store", "info")
        thread.join()
    assert code == 4
    assert said in err


def test_who_waits_for_a_migration_that_was_killed_says_so(
    store: Store, client: redis.Redis, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    with monkeypatch.context() as patched:
        patched.setattr(fence, "LEASE_SECONDS", 0.9)
        assert Fence(client, "4321@elsewhere token").take()
    store_moving.change_shards(client, 8, wait=lambda _: None)
    assert Cells(client).shards == 8
    (said,) = [record.getMessage() for record in caplog.records]
    assert said == "waiting for process 4321@elsewhere, which moves the store: until it is done, or 1 s if it died"
    caplog.clear()
    store_moving.change_shards(client, 16, wait=lambda _: None)
    assert not caplog.records
