"""The follow list in force: what a changed file does, and what never unfollows anybody."""

from __future__ import annotations

import os
import tempfile
import time
from typing import TYPE_CHECKING

import pytest
import redis

from livectl.live import list_spool, views
from livectl.live.checker import Checker
from livectl.live.follows import follow_list
from livectl.live.follows.sync import FollowSync
from livectl.live.polling import LimitsByPlatform
from livectl.live.store import Store
from livectl.models import Observation, PollingLimits, State, Streamer
from livectl.settings import Network, Settings
from tests.support.fake_platforms import Fakes
from tests.support.waiting import wait_for

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

LATER = 10.0  # seconds after the file was written: it lies still


@pytest.fixture
def store(store_url: str) -> Iterator[Store]:
    with redis.Redis.from_url(store_url, decode_responses=True) as client:
        yield Store(client)


def settings(folder: Path, **more: object) -> Settings:
    return Settings(**{"home": folder, "folder": folder, "follows": folder / "follows.yaml", **more})  # type: ignore[arg-type]


def make_sync(folder: Path, store: Store, **more: object) -> FollowSync:
    sync_settings = settings(folder, **more)
    fetcher = Checker(sync_settings, store).fetcher
    return FollowSync(sync_settings, store, fetcher, LimitsByPlatform(sync_settings))


def write(folder: Path, *addresses: str) -> None:
    (folder / "follows.yaml").write_text("follows:\n" + "".join(f"  - {address}\n" for address in addresses))


def followed(store: Store) -> list[str]:
    return sorted(f"{record.platform}/{record.id}" for record in store.all_streamers() if not record.unresolved)


def later() -> float:
    return time.time() + LATER


def test_a_new_list_is_followed_and_a_changed_one_again(tmp_path: Path, store: Store) -> None:
    sync = make_sync(tmp_path, store)
    write(tmp_path, "demo/ada", "demo/bob")
    assert sync.refresh(later()) == (2, 0)
    assert sync.refresh(later()) is None
    write(tmp_path, "demo/ada", "demo/eve", "demo/dan")
    assert sync.refresh(later()) == (2, 1)
    assert followed(store) == ["demo/ada", "demo/dan", "demo/eve"]


def test_an_older_file_counts_once_the_settings_name_it(tmp_path: Path, store: Store) -> None:
    write(tmp_path, "demo/bob")
    (tmp_path / "follows.yaml").rename(tmp_path / "older.yaml")
    write(tmp_path, "demo/ada")
    assert make_sync(tmp_path, store).refresh(later()) == (1, 0)
    changed = settings(tmp_path, follows=tmp_path / "older.yaml")
    checker = Checker(changed, store)
    sync = FollowSync(changed, store, checker.fetcher, LimitsByPlatform(changed), named_at=later())
    assert sync.refresh(later()) == (1, 1)
    assert followed(store) == ["demo/bob"]
    assert sync.refresh(later()) is None


def test_a_file_that_was_only_touched_changes_nothing(tmp_path: Path, store: Store) -> None:
    sync = make_sync(tmp_path, store)
    write(tmp_path, "demo/ada")
    sync.refresh(later())
    os.utime(tmp_path / "follows.yaml")
    assert sync.refresh(later()) is None


def test_a_file_being_written_is_left_alone(tmp_path: Path, store: Store) -> None:
    write(tmp_path, "demo/ada")
    assert make_sync(tmp_path, store).refresh(time.time()) is None


def test_a_long_list_is_read_and_held_in_pieces(
    tmp_path: Path, store: Store, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Lines of one streamer may lie far apart, and a folder without room for the rest keeps the old list in force."""
    monkeypatch.setattr("livectl.live.follows.sync.LINES_AT_ONCE", 3)
    monkeypatch.setattr(list_spool, "MAX_HELD", 4)
    sync = make_sync(tmp_path, store)
    write(tmp_path, "demo/old")
    sync.refresh(later())
    write(tmp_path, "{url: demo/n7, tags: [one]}", *(f"demo/n{number}" for number in range(12)), "demo bob", "gone/eve")
    with monkeypatch.context() as patch:
        patch.setattr(tempfile, "tempdir", str(tmp_path / "nowhere"))
        assert sync.refresh(later()) is None
    assert followed(store) == ["demo/old"]
    assert sync.refresh(later()) is None
    assert sync.refresh(later() + 60) == (12, 0)
    stays = "the list stays as it was:"
    assert [record.message for record in caplog.records if record.levelname != "INFO"] == [
        f"follows.yaml cannot be used, {stays} no room for its lines in temporary files: no such file or directory",
        "follows.yaml:15:5: not the address of a streamer: 'demo bob' (write platform/id, or paste a URL)",
        "follows.yaml:16:5: there is no platform gone (`livectl platforms` lists them)",
        "follows.yaml:10:5: warning: demo/n7 is followed by line 2 already (the two are taken together)",
    ]
    assert [record.streamer.tags for record in store.find_streamers("demo", ["n7"]) if record.streamer] == [("one",)]


def test_one_at_a_time_reads_a_long_list(tmp_path: Path, store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(follow_list, "LONG_BYTES", 30)
    sync = make_sync(tmp_path, store)
    write(tmp_path, "demo/ada", "demo/bob")
    assert store.hold_list("another", 30.0)
    assert sync.refresh(later()) is None
    write(tmp_path, "demo/ada")
    assert sync.refresh(later()) == (1, 0)
    write(tmp_path, "demo/ada", "demo/bob")
    assert store.hold_list("another", 0.001), "nobody holds on to it who has applied it"
    wait_for(lambda: sync.refresh(later()) == (1, 0))


def test_a_missing_file_unfollows_nobody(tmp_path: Path, store: Store) -> None:
    sync = make_sync(tmp_path, store)
    write(tmp_path, "demo/ada")
    sync.refresh(later())
    (tmp_path / "follows.yaml").unlink()
    assert sync.refresh(later()) is None
    assert followed(store) == ["demo/ada"]


@pytest.mark.parametrize("broken", ["follows: [", "follows: 7", "\xff", "other: []"])
def test_a_broken_file_leaves_the_list_as_it_was_and_is_told_once(
    tmp_path: Path, store: Store, caplog: pytest.LogCaptureFixture, broken: str
) -> None:
    sync = make_sync(tmp_path, store)
    write(tmp_path, "demo/ada")
    sync.refresh(later())
    (tmp_path / "follows.yaml").write_bytes(broken.encode("latin-1"))
    assert sync.refresh(later()) is None
    assert sync.refresh(later()) is None
    assert followed(store) == ["demo/ada"]
    assert [record.message.partition(":")[0] for record in caplog.records] == [
        "follows.yaml cannot be used, the list stays as it was"
    ]


def test_a_line_that_cannot_be_read_unfollows_nobody(tmp_path: Path, store: Store) -> None:
    """It may be somebody who is followed, misspelt: who is new comes, nobody goes."""
    sync = make_sync(tmp_path, store)
    write(tmp_path, "demo/ada", "demo/bob")
    sync.refresh(later())
    write(tmp_path, "demo/ada", "demo bob", "demo/eve")
    assert sync.refresh(later()) == (1, 0)
    write(tmp_path, "demo/ada", "demo/eve")
    assert sync.refresh(later()) == (0, 1)


def test_a_platform_that_is_gone_unfollows_nobody(
    tmp_path: Path, store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    from livectl.live import platforms
    from livectl.live.platforms.base import NotAStreamer

    sync = make_sync(tmp_path, store)
    write(tmp_path, "demo/ada", "douyu/1")
    sync.refresh(later())
    get = platforms.get

    def without_douyu(name: str) -> object:
        if name == "douyu":
            raise NotAStreamer("no platform is called 'douyu'")
        return get(name)

    monkeypatch.setattr(platforms, "get", without_douyu)
    write(tmp_path, "demo/ada", "douyu/1", "demo/eve")
    sync.refresh(later())
    assert followed(store) == ["demo/ada", "demo/eve", "douyu/1"]


def states(store: Store) -> dict[str, tuple[str, str]]:
    """What everybody sees of each line: its state, and why."""
    shown = map(views.from_record, store.all_streamers())
    return {views.address_text(streamer): (streamer.state, streamer.problem or "") for streamer in shown}


def test_each_line_is_there_with_its_own_state(tmp_path: Path, store: Store) -> None:
    """Names that lead nowhere, a platform that nobody has, an address of nothing, a field that is wrong."""
    sync = make_sync(tmp_path, store)
    write(tmp_path, "demo/ada", "douyu/nobody", "gone/eve", "http://[", "{url: demo/bob, weight: -1}")
    sync.refresh(later())
    assert sorted(states(store)) == ["demo/ada", "demo/bob", "douyu/nobody", "gone/eve", "http://["]
    assert states(store)["demo/ada"] == ("unknown", "not asked yet")
    assert states(store)["gone/eve"] == ("unknown", "follows.yaml:4: there is no platform gone")
    assert states(store)["demo/bob"][1].startswith("follows.yaml:6: a weight is a number")
    assert [record.unresolved for record in store.all_streamers() if record.id == "ada"] == [False]
    write(tmp_path, "demo/ada")
    sync.refresh(later())
    assert list(states(store)) == ["demo/ada"]


def test_whose_platform_is_gone_shows_so_and_keeps_the_last_state(tmp_path: Path, store: Store) -> None:
    sync = make_sync(tmp_path, store)
    store.set_followed([Streamer(platform="gone", id="eve")], 1.0)
    limits = PollingLimits(platform="gone", batch=1, rate=1.0)
    store.record(limits, [Observation(platform="gone", id="eve", state=State.OFFLINE, at=2.0)])
    write(tmp_path, "gone/eve")
    sync.refresh(later())
    assert states(store) == {"gone/eve": ("offline", "follows.yaml:2: there is no platform gone")}
    assert [streamer.unresolved for streamer in store.find_streamers("gone", ["eve"])] == [False]


def test_since_when_a_line_leads_nowhere_is_kept_and_it_is_asked_again_ever_more_rarely(
    tmp_path: Path, store: Store
) -> None:
    with Fakes() as fakes:
        network = Network(connect_to=fakes.connect_to)
        sync, start = make_sync(tmp_path, store, network=network), later()
        write(tmp_path, "douyu/nobody")
        lookups, applied = [], 0
        for seconds in range(0, 3600, 5):
            applied += sync.refresh(start + seconds) is not None
            lookups.append(fakes.requests_to("douyu"))
        (follow,) = store.unresolved()
        assert follow.state is State.NOT_FOUND
        assert follow.since == pytest.approx(start, abs=0.01)
        assert 8 <= lookups[-1] <= 12  # after 5 s, 10 s, 20 s ..., not every five
        assert applied == lookups[-1], "nor is the whole list taken over every five seconds"


def test_an_older_file_of_another_machine_takes_nothing_back(tmp_path: Path, store: Store) -> None:
    old, new = tmp_path / "old", tmp_path / "new"
    old.mkdir()
    new.mkdir()
    write(old, "demo/ada")

    def written_later() -> bool:
        """The clock of files ticks in some milliseconds, and nobody can set it."""
        write(new, "demo/bob")
        return (new / "follows.yaml").stat().st_ctime > (old / "follows.yaml").stat().st_ctime

    wait_for(written_later)
    make_sync(old, store).refresh(later())
    make_sync(new, store).refresh(later())
    assert make_sync(old, store).refresh(later()) is None
    assert followed(store) == ["demo/bob"]


def test_names_are_led_home_as_the_budget_allows(tmp_path: Path, store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    """A list of names is followed bit by bit, and looked at again until all are."""
    from livectl.settings import Network

    with Fakes() as fakes:
        for number in range(30):
            fakes.plan.show("douyu", str(100 + number), "offline", alias=f"name{number}")
        sync = make_sync(tmp_path, store, network=Network(connect_to=fakes.connect_to))
        write(tmp_path, *(f"https://www.douyu.com/name{number}" for number in range(30)))
        at = later()
        sync.refresh(at)
        some = len(followed(store))
        assert 0 < some < 30
        monkeypatch.setattr(follow_list, "read_lines", None)  # the list is read once
        for step in range(1, 20):
            sync.refresh(at + 10 * step)
        assert followed(store) == [f"douyu/{100 + number}" for number in range(30)]
        assert sync.refresh(at + 300) is None
        assert follow_list.read_applied(store).whole
        assert fakes.requests_to("douyu") == 30


def test_names_that_one_request_looks_up_cost_one_of_the_budget(tmp_path: Path, store: Store) -> None:
    from livectl.settings import Network

    with Fakes() as fakes:
        for number in range(60):
            fakes.plan.show("bilibili", str(100 + number), "offline", alias=str(number + 1))
        sync = make_sync(tmp_path, store, network=Network(connect_to=fakes.connect_to))
        write(tmp_path, *(f"https://live.bilibili.com/{number + 1}" for number in range(60)))
        sync.refresh(later())
        assert followed(store) == sorted(f"bilibili/{100 + number}" for number in range(60))
        assert fakes.requests_to("bilibili") == 2
