"""What doctor reads of streamers out of a real store."""

from __future__ import annotations

from contextlib import ExitStack
from typing import TYPE_CHECKING

import redis

from livectl import settings
from livectl.address import Address
from livectl.doctor import collect_state, collect_streamers, report
from livectl.doctor.facts import Facts
from livectl.live.alerts.message import Alert
from livectl.live.alerts.outbox import Outbox
from livectl.live.store import Store
from livectl.models import Observation, PollingLimits, State, Streamer, UnresolvedFollow
from tests.support.beats import World

if TYPE_CHECKING:
    from pathlib import Path

    import pytest


def findings(store_url: str, folder: Path, now: float) -> list[tuple[str, str]]:
    """What doctor finds of streamers, and its evidence."""
    store, found_settings = Address.parse(store_url), settings.load({}, folder)
    platforms = collect_streamers.read_platforms(store, found_settings, now)
    alerts = collect_streamers.read_alerts(store, found_settings)
    found = report.run_checks(Facts(now=now, platforms=platforms, alerts=alerts))
    return sorted((finding.id, finding.evidence) for finding in found)


def test_each_trouble_is_named_with_since_when(store_url: str, tmp_path: Path) -> None:
    """A name that leads nowhere, a platform that is not reached, an open circuit, targets that take nothing."""
    (tmp_path / "livectl.yaml").write_text("alerts: {refuses: {command: [x]}, gives_up: {command: [x]}}\n")
    start = 1_800_000_000.0
    with redis.Redis.from_url(store_url, decode_responses=True) as client:
        store = Store(client)
        lost = UnresolvedFollow(
            streamer=Streamer(platform="douyu", id="eve"), state=State.NOT_FOUND, problem="no such room", since=start
        )
        store.set_followed([Streamer(platform=name, id="ada") for name in ("demo", "huya")], start, [lost])
        for seconds in (10, 20, 400):
            record(store, "demo", State.NETWORK, start + seconds)
            record(store, "huya", State.BLOCKED, start + seconds)
        for name in ("refuses", "gives_up"):
            alert = Alert(target=name, kind="live", title="t", body="", first="5-0", last="5-0")
            outbox = Outbox(client, "token")
            outbox.lease(name, start, 60.0, "1-0")
            if name == "refuses":
                outbox.mark_failed(alert, start + 30, "exit 1", start + 60)
                outbox.mark_failed(alert, start + 60, "exit 2", start + 90)
            else:
                outbox.give_up(alert, start + 40, "gone")
    blocked = "since 2027-01-15T08:00:10Z; nothing is asked before 2027-01-15T08:16:40Z; answers: 3 blocked"
    assert findings(store_url, tmp_path, start + 410) == [
        ("alerts-failing", "since 2027-01-15T08:00:30Z, 2 tries: exit 2"),
        ("alerts-failing", "since 2027-01-15T08:00:40Z, given up: gone"),
        ("follow-unresolved", "douyu/eve: not found since 2027-01-15T08:00:00Z: no such room"),
        ("platform-blocked", blocked),
        ("platform-unreached", "since 2027-01-15T08:00:10Z no request has reached it: network it is"),
    ]


def test_of_very_many_in_trouble_those_are_named_who_are_so_for_longest(
    store_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(collect_streamers, "MAX_TROUBLED_KEPT", 3)
    start, limits = 1_800_000_000.0, PollingLimits(platform="demo", batch=1, rate=1.0)
    lines = [
        UnresolvedFollow(
            streamer=Streamer(platform="huya", id=f"no{at}"), state=State.NOT_FOUND, problem="no room", since=start + at
        )
        for at in range(9, 0, -1)
    ]
    with redis.Redis.from_url(store_url, decode_responses=True) as client:
        store = Store(client)
        store.set_followed([Streamer(platform="demo", id=f"n{at}") for at in range(9)], start, lines)
        for at in range(8, 0, -1):
            seen = Observation(platform="demo", id=f"n{at}", state=State.NOT_FOUND, at=start + at, problem="gone")
            store.record(limits, [seen])
    platforms = collect_streamers.read_platforms(Address.parse(store_url), settings.load({}, tmp_path), start + 10_000)
    assert [record.id for record in platforms.unread] == ["n1", "n2", "n3"]
    found = {finding.id: finding for finding in report.run_checks(Facts(now=start + 10_000, platforms=platforms))}
    unread, lost = found["streamers-unread"], found["follow-unresolved"]
    assert unread.title == "More than 3 streamers could not be read for a while"
    assert lost.title == "9 lines of the follow list lead to nobody"
    assert lost.evidence.splitlines()[0] == "huya/no1: not found since 2027-01-15T08:00:01Z: no room"
    assert lost.evidence.splitlines()[3:] == ["and 6 more: livectl live --all shows each"]
    assert platforms.followed == 9


def record(store: Store, platform: str, state: State, at: float) -> None:
    limits = PollingLimits(platform=platform, batch=1, rate=1.0)
    store.record(limits, [Observation(platform=platform, id="ada", state=state, at=at, problem=f"{state} it is")])


def test_what_answers_again_is_no_trouble(store_url: str, tmp_path: Path) -> None:
    start = 1_800_000_000.0
    with redis.Redis.from_url(store_url, decode_responses=True) as client:
        store = Store(client)
        store.set_followed([Streamer(platform="demo", id="ada")], start)
        record(store, "demo", State.NETWORK, start + 10)
        assert [id_ for id_, _ in findings(store_url, tmp_path, start + 20)] == ["platform-unreached"]
        record(store, "demo", State.OFFLINE, start + 30)
    assert findings(store_url, tmp_path, start + 40) == []


def test_a_platform_that_needs_a_key_and_has_none(store_url: str, tmp_path: Path) -> None:
    def platforms_without_key() -> tuple[str, ...]:
        loaded = settings.load({"HOME": str(tmp_path)}, tmp_path)
        return collect_streamers.read_platforms(Address.parse(store_url), loaded, 1.0).without_key

    with redis.Redis.from_url(store_url, decode_responses=True) as client:
        Store(client).set_followed([Streamer(platform="kick", id="ada"), Streamer(platform="demo", id="ada")], 1.0)
    assert platforms_without_key() == ("kick",)
    (tmp_path / "livectl.yaml").write_text("platforms: {kick: {client_id: a, client_secret: b}}")
    assert platforms_without_key() == ()


def test_beats_of_two_apps_that_take_one_name_for_one_entry(store_url: str, tmp_path: Path) -> None:
    with ExitStack() as stack:
        worlds = [World(tmp_path / name, store_url) for name in ("ours", "theirs")]
        for world, task in zip(worlds, ("t.note", "u.note"), strict=True):
            stack.callback(world.close)
            world.folder.mkdir()
            world.write(digest={"task": task, "every": "10s"}, **{task: {"every": "10s"}})
            world.beat()
            world.tick()
        [(entry, senders)] = collect_state.read_beats(Address.parse(store_url)).shared_entries.items()
    assert entry == "digest"
    assert all(f"{task} by " in senders for task in ("t.note", "u.note"))


def test_a_follow_list_that_the_settings_name_and_that_is_not_there_is_named(store_url: str, tmp_path: Path) -> None:
    assert findings(store_url, tmp_path, 1.0) == []  # of a new user
    (tmp_path / "livectl.yaml").write_text("follows: lists/mine.txt\n")
    (finding,) = findings(store_url, tmp_path, 1.0)
    assert finding[0] == "follows-broken"
    assert f"{tmp_path}/lists/mine.txt: no such file" in finding[1]
