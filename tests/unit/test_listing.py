"""When a list is read, how far, and what becomes of it when it fails, ends too early, never ends, or hides people."""

from __future__ import annotations

from random import Random
from typing import TYPE_CHECKING, Any

import msgspec
import pytest

from livectl.live import listing_plan, platforms, polling
from livectl.live.listing import Lister
from livectl.live.listing_plan import ListingState
from livectl.live.store_records import EMPTY_PAGE, StoredPage
from livectl.models import Observation, PlatformHealth, PollingLimits
from livectl.settings import PlatformSettings
from tests.support.played_list import NAME, Faults, PlayedSite
from tests.support.played_sweeps import SETTINGS

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

START = 1_790_000_000.0
KICK = {"batch": 100, "rate": 0.333, "offline_batch": 20, "offline_seconds": 900.0}


class Notes:
    """What a lister needs of a store, in memory. Every tenth streamer is followed."""

    def __init__(self, site: PlayedSite) -> None:
        self.site = site
        self.text, self.token, self.health_fields = "", "", {"listed_until": 0.0}
        self.tokens = 5.0
        self.shown: set[str] = set()
        self.sources: set[str] = set()

    @property
    def state(self) -> ListingState:
        return msgspec.json.decode(self.text, type=ListingState)

    def platforms(self) -> list[str]:
        return [NAME]

    def listings(self, _: Sequence[str]) -> dict[str, str]:
        return {NAME: self.text} if self.text else {}

    def hold_listing(self, _: str, token: str, seconds: float) -> bool:
        assert seconds > 0
        self.token = self.token or token
        return self.token == token

    def save_listing(self, _: str, token: str, text: str, health: Mapping[str, Any], *, release: bool) -> bool:
        if token != self.token:
            return False
        self.text, self.health_fields = text, dict(health)
        self.token = "" if release else token
        return True

    def spend(self, _: PollingLimits, requests: int, now: float) -> float:
        assert now >= START
        self.tokens -= requests
        return self.tokens

    def health(self, _: float) -> list[PlatformHealth]:
        live = sum(int(name) % 10 == 0 for name in self.site.starts)
        return [PlatformHealth(platform=NAME, followed=self.site.population // 10, live=live)]

    def followed(self, _: str, ids: Sequence[str]) -> dict[str, StoredPage]:
        return {each: EMPTY_PAGE for each in ids if each.isdecimal() and int(each) % 10 == 0}

    def record(self, limits: PollingLimits, observations: Sequence[Observation]) -> None:
        self.shown |= {observation.id for observation in observations}
        self.sources.add(limits.source)


class Reader:
    """A lister on a played site, which is swept every five seconds."""

    def __init__(self, patch: pytest.MonkeyPatch, faults: Faults, settings: Any, given: dict[str, Any]) -> None:
        given = dict[str, Any](live=300, page_size=100, hours=1.0, budget="30/m") | given
        self.site = PlayedSite(given["live"] * 10, faults=faults, dice=Random(4), began=START, **given)
        platform, get = self.site.platform, platforms.get
        patch.setattr(platforms, "get", lambda name: platform if name == NAME else get(name))
        self.notes = Notes(self.site)
        limits = polling.LimitsByPlatform(settings)
        store: Any = self.notes
        fetcher: Any = self.site
        self.lister = Lister(settings, store, limits, fetcher, lambda: self.site.now)

    def sweep(self, seconds: float) -> None:
        for _ in range(int(seconds / 5)):
            self.site.play(self.site.now + 5)
            self.notes.tokens = min(5.0, self.notes.tokens + 2.5)
            for job in self.lister.claim(self.site.now):
                self.lister.read(*job)


def pages_read(notes: Notes) -> int:
    """Of the whole pass that is under way."""
    assert notes.state.whole
    return notes.state.whole.page


@pytest.fixture
def reader(monkeypatch: pytest.MonkeyPatch) -> Any:
    def make(faults: Faults = Faults(), settings: Any = SETTINGS, **given: Any) -> Reader:  # noqa: B008
        return Reader(monkeypatch, faults, settings, given)

    return make


def limits(**changed: Any) -> PollingLimits:
    given: dict[str, Any] = {"platform": "soop", "batch": 1, "rate": 2.0}
    return PollingLimits(**given | changed)


@pytest.mark.parametrize(
    ("followed", "pages", "changed", "is_listed"),
    [
        pytest.param(20_000, 41, {}, True, id="SOOP, many"),
        pytest.param(50, 41, {}, False, id="SOOP, few"),
        pytest.param(20_000, 163, {}, True, id="CHZZK, many"),
        pytest.param(20_000, 12, KICK, True, id="Kick, many"),
        pytest.param(200, 12, KICK, False, id="Kick, few"),
        pytest.param(5_000, 12, KICK, True, id="Kick, so many that most requests only confirm who is not live"),
        pytest.param(5_000, 12, {"batch": 100, "rate": 0.333}, False, id="as many, of whom absence says enough"),
        pytest.param(20_000, 1_000, {"batch": 100, "rate": 10.0}, False, id="Twitch, many"),
        pytest.param(1_000_000, 1_000, {"batch": 100, "rate": 10.0}, True, id="Twitch, a million"),
        pytest.param(20_000, 100_000, {}, False, id="a list of millions"),
    ],
)
def test_the_cheaper_way_is_taken(followed: int, pages: int, changed: dict[str, Any], is_listed: bool) -> None:
    assert listing_plan.is_worth_it(limits(**changed), ListingState(), pages, followed, followed // 10) is is_listed


def test_what_a_list_hides_counts_against_it_and_what_is_close_stays() -> None:
    worth = [
        listing_plan.is_worth_it(limits(), ListingState(coverage=share), 41, 20_000, 2_000) for share in (1.0, 0.2)
    ]
    assert worth == [True, False]
    close = next(n for n in range(10, 20_000) if listing_plan.is_worth_it(limits(), ListingState(), 41, n, n // 10))
    assert listing_plan.is_worth_it(limits(), ListingState(listed=True), 41, close - 5, close // 10)


def test_most_passes_read_the_newest_and_some_the_whole(reader: Any) -> None:
    read = reader()
    read.sweep(1200)
    assert read.notes.state.newest_first
    assert read.notes.health_fields["listed_until"] > read.site.now
    live = {name for name, start in read.site.starts.items() if int(name) % 10 == 0 and start < read.site.now - 60}
    assert live <= read.notes.shown
    assert 1200 / 35 <= read.site.list_requests <= 1200 / 30 * 2 + 5 * read.notes.state.pages
    assert read.notes.sources == {"list"}


def test_a_site_that_changes_its_order_is_read_whole(reader: Any) -> None:
    read = reader()
    read.sweep(100)
    assert read.notes.state.newest_first
    read.site.newest_first = False
    read.sweep(200)
    assert not read.notes.state.newest_first
    asked = read.site.list_requests
    read.sweep(300)
    assert read.site.list_requests - asked >= 300 / 35 * 3
    read.site.newest_first = True
    read.sweep(100)
    assert read.notes.state.newest_first


def test_a_page_that_fails_is_tried_again_and_then_the_pass_is_given_up(reader: Any) -> None:
    read = reader()
    read.sweep(100)
    until, asked = read.notes.state.until, read.site.list_requests
    read.site.faults = Faults(failures=1.0)
    read.sweep(1500)
    assert read.notes.state.until == until < read.site.now, "everybody is asked by then"
    assert read.notes.health_fields["list_problem"]
    assert read.site.list_requests - asked <= 8
    read.site.faults = Faults()
    read.sweep(2400)
    assert read.notes.state.until > read.site.now
    assert not read.notes.health_fields["list_problem"]


def test_an_empty_list_is_none_and_one_that_is_cut_off_says_nothing_at_first(reader: Any) -> None:
    read = reader()
    read.sweep(100)
    pages, until = read.notes.state.pages, read.notes.state.until
    read.site.newest_first, read.site.faults = False, Faults(cuts=1.0)
    while not read.notes.state.cuts:
        read.sweep(5)
        assert read.site.now < START + 1000
    assert (read.notes.state.pages, read.notes.state.cuts) == (pages, 1)
    assert read.notes.state.until == until
    read.sweep(200)
    assert read.notes.state.pages == 1, "that is how long it is now"
    read = reader(Faults(holes=1.0))
    read.sweep(20)
    assert read.notes.state.problem == "the list is empty"


def test_a_list_without_end_that_shows_nobody_who_is_followed_is_given_up(reader: Any) -> None:
    read = reader(endless=True)
    read.sweep(1200)
    assert not read.notes.state.listed
    assert read.notes.state.until == 0
    asked = read.site.list_requests
    assert asked <= read.notes.state.most + 3
    read.sweep(600)
    assert read.site.list_requests == asked, "it is tried again in an hour"


@pytest.mark.parametrize("circle", [2, 3, 7])
def test_pages_that_lead_in_a_circle_are_an_end(reader: Any, circle: int) -> None:
    read = reader(endless=True, circle=circle)
    read.sweep(100)
    assert circle <= read.notes.state.pages <= 3 * circle
    assert not read.notes.state.problem


def test_a_next_page_whose_name_is_endless_is_none(reader: Any) -> None:
    read = reader(endless=True, long_cursor=100_000)
    read.sweep(100)
    assert read.notes.state.problem == "the next page has a name of 100,001 characters"
    assert len(read.notes.text) < 2_000, "nothing of it is kept"


def test_a_list_that_hides_many_gives_way_to_asking(reader: Any) -> None:
    read = reader()
    read.site.hidden = set(map(str, range(0, 3000, 20)))
    read.sweep(2400)
    assert read.notes.state.coverage < 0.9
    assert not read.notes.state.listed


def test_one_at_a_time_reads_a_list_and_another_goes_on_where_a_reader_died(reader: Any) -> None:
    read = reader(page_size=20)
    site, lister, notes = read.site, read.lister, read.notes
    site.play(START + 5)
    (job,) = lister.claim(site.now)
    assert list(lister.claim(site.now)) == []
    lister.read(NAME, "somebody else", 3)
    assert site.list_requests == 0, "who does not hold it reads nothing"
    lister.read(*job)
    assert pages_read(notes) == job.pages == site.list_requests > 1
    notes.tokens = 5.0
    (lost,) = lister.claim(site.now)
    notes.token = ""  # as it lapses after a minute
    notes.tokens = 5.0
    (job,) = lister.claim(site.now + 60)
    lister.read(*lost)
    lister.read(*job)
    assert pages_read(notes) == site.list_requests == 2 * job.pages, "who is late reads nothing"


def test_only_pages_that_are_read_are_paid_for(reader: Any) -> None:
    read = reader()
    read.site.play(START + 5)
    (job,) = read.lister.claim(read.site.now)
    assert read.notes.tokens == 5.0 - job.pages
    read.site.faults = Faults(failures=1.0)
    read.lister.read(*job)
    assert read.notes.tokens == 4.0


@pytest.mark.parametrize("problem", ["off", "no budget", "left alone"])
def test_nothing_is_read_where_that_is_forbidden(reader: Any, problem: str) -> None:
    off = msgspec.structs.replace(SETTINGS, platforms={NAME: PlatformSettings(listing="off")})
    read = reader(settings=off if problem == "off" else SETTINGS)
    if problem == "no budget":
        read.notes.spend = lambda *_: 0.5
    if problem == "left alone":
        health = msgspec.structs.replace(read.notes.health(START)[0], wait_until=START + 900)
        read.notes.health = lambda _: [health]
    read.sweep(60)
    assert read.site.list_requests == 0
    assert not read.notes.token


def test_a_pass_over_the_whole_list_holds_up_no_news(reader: Any) -> None:
    read = reader(live=3_000, page_size=30)  # a hundred pages, at a page in three seconds
    read.sweep(600)
    while not (read.notes.state.newest_first and read.notes.state.whole):
        read.sweep(5)
        assert read.site.now < START + 3_000
    began, whole = read.site.now, read.notes.state.whole.began
    read.sweep(120)
    assert read.notes.state.whole.began == whole, "it goes on meanwhile"
    new = {name for name, at in read.site.starts.items() if began < at < read.site.now - 60 and int(name) % 10 == 0}
    assert new
    assert new <= read.notes.shown
