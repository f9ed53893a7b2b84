"""Lists of everybody who is live, read beside the checks on a played site: nothing false, and at most later."""

from __future__ import annotations

from dataclasses import replace
from random import Random
from typing import TYPE_CHECKING, Any

import msgspec
import pytest
import redis

from livectl.live.listing import ListingState
from livectl.live.store import Store
from livectl.settings import PlatformSettings
from tests.support.played_list import NAME, Faults, PlayedSite
from tests.support.played_sweeps import SETTINGS, Followed

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

START = 1_790_000_000.0
FINE = Faults()
ROUGH = Faults(holes=0.02, doubles=0.05, failures=0.01, cuts=0.001, failed_checks=0.02, late_rows=0.3)


@pytest.fixture
def store(store_url: str) -> Iterator[Store]:
    with redis.Redis.from_url(store_url, decode_responses=True) as client:
        made = Store(client)
        made.prepare()
        yield made


@pytest.fixture
def follow(store: Store, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Followed]:
    """Follows every tenth streamer of a played site."""

    def follow(faults: Faults = FINE, live: int = 300, settings: Any = SETTINGS, **site: Any) -> Followed:
        given = {"page_size": 100, "hours": 1.0, "budget": "30/m"} | site
        played = PlayedSite(live * 10, live, faults=faults, dice=Random(4), began=START, **given)
        return Followed(played, store, range(0, live * 10, 10), monkeypatch, settings)

    return follow


def state(store: Store) -> ListingState:
    return msgspec.json.decode(store.listings([NAME])[NAME], type=ListingState)


def test_shifting_pages_with_holes_failures_and_rows_of_those_who_left_say_nothing_false(
    store: Store, follow: Callable[..., Followed]
) -> None:
    followed = follow(ROUGH, live=400)
    followed.sweep(600)
    began = followed.site.list_requests
    followed.result.delays.clear()
    followed.sweep(1500)
    told, site = followed.result, followed.site
    assert (told.false_begins, told.doubled, told.false_ends) == (0, 0, 0)
    assert len(told.delays) > 10
    cycle = 30 + 5  # from pass to pass, and to the next sweep
    assert told.late(0.75) <= cycle
    asking_each = 400 * 1500 / cycle
    assert site.list_requests - began <= 0.02 * asking_each
    assert state(store).newest_first


def test_a_site_that_changes_its_order_is_read_whole(store: Store, follow: Callable[..., Followed]) -> None:
    followed = follow()
    followed.sweep(400)
    assert state(store).newest_first
    followed.site.newest_first = False
    followed.sweep(400)
    assert not state(store).newest_first
    followed.site.newest_first = True
    followed.sweep(400)
    assert state(store).newest_first
    assert followed.result[1:] == (0, 0, 0)


def test_where_a_row_may_be_a_recording_each_is_asked_before_it_counts(
    store: Store, follow: Callable[..., Followed]
) -> None:
    followed = follow(hint=True, newest_first=False)
    followed.sweep(900)
    told, site = followed.result, followed.site
    assert told[1:] == (0, 0, 0)
    assert told.delays
    assert told.late(0.75) <= 60
    for name in [record.id for record in store.live_streamers()]:
        site.recordings.add(name)
    followed.sweep(1300)
    still_live = {record.id for record in store.live_streamers()}
    assert still_live.isdisjoint(site.recordings), "a recording does not stay live"


def test_a_broadcast_that_has_ended_is_not_taken_up_again_for_an_old_row(
    store: Store, follow: Callable[..., Followed]
) -> None:
    followed = follow(replace(FINE, late_rows=1.0))
    followed.sweep(1800)
    ends = [(change.id, change.session) for change in store.changes() if change.kind == "ended"]
    assert len(ends) > 3
    assert len(ends) == len(set(ends))
    assert followed.result[1:] == (0, 0, 0)


@pytest.mark.parametrize("faults", [Faults(failures=1.0), Faults(holes=1.0)], ids=["it fails", "it is empty"])
def test_everybody_is_asked_again_once_a_list_does_not_work(
    store: Store, follow: Callable[..., Followed], faults: Faults
) -> None:
    followed = follow()
    followed.sweep(600)
    (health,) = store.health(followed.site.now)
    assert health.listed_until > followed.site.now
    followed.site.faults = faults
    asked = followed.site.check_requests
    followed.sweep(1500)
    (health,) = store.health(followed.site.now)
    assert health.listed_until <= followed.site.now
    assert health.list_problem
    assert followed.site.check_requests - asked >= 300
    assert followed.result[1:] == (0, 0, 0)


def test_a_list_without_end_that_shows_nobody_who_is_followed_is_given_up(
    store: Store, follow: Callable[..., Followed]
) -> None:
    followed = follow(endless=True)
    followed.sweep(1200)
    assert not state(store).listed
    assert followed.site.list_requests <= state(store).most + 3
    assert len(store.live_streamers()) > 10
    asked = followed.site.list_requests
    followed.sweep(600)
    assert followed.site.list_requests == asked, "it is tried again in an hour"


def test_a_list_that_hides_many_gives_way_to_asking(store: Store, follow: Callable[..., Followed]) -> None:
    followed = follow()
    followed.sweep(60)
    followed.site.hidden = set(map(str, range(0, 3000, 20)))
    store.record(followed.limits, [observed for observed in followed.site.truth() if observed.id in followed.ids])
    followed.sweep(900)
    assert state(store).coverage < 0.9
    assert not state(store).listed
    assert followed.result[1:] == (0, 0, 0)


def test_one_at_a_time_reads_a_list_and_another_goes_on_where_a_reader_died(
    store: Store, store_url: str, follow: Callable[..., Followed]
) -> None:
    followed = follow(newest_first=False, page_size=20)
    site, lister = followed.site, followed.lister
    (job,) = lister.claim(site.now)
    assert list(lister.claim(site.now)) == []
    lister.read(NAME, "somebody else", 3)
    assert site.list_requests == 0, "who does not hold it reads nothing"
    lister.read(*job)
    assert state(store).page == job.pages == site.list_requests
    site.play(site.now + 5)
    (lost,) = lister.claim(site.now)
    with redis.Redis.from_url(store_url) as client:
        client.delete(f"livectl:reading:{NAME}")  # as it lapses a minute later
    site.play(site.now + 60)
    (job,) = lister.claim(site.now)
    lister.read(*lost)
    assert state(store).page == site.list_requests, "who is late reads nothing"
    lister.read(*job)
    assert state(store).page == site.list_requests > job.pages


def test_a_setting_forbids_lists(store: Store, follow: Callable[..., Followed]) -> None:
    off = msgspec.structs.replace(SETTINGS, platforms={NAME: PlatformSettings(listing="off")})
    followed = follow(settings=off)
    followed.sweep(100)
    assert followed.site.list_requests == 0
    assert followed.site.check_requests > 0
