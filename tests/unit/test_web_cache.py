"""A crowd of visitors costs one reading, and waits only when there is nothing yet."""

from __future__ import annotations

import threading
from typing import Any

import pytest
from markupsafe import Markup

from livectl.errors import ServerError
from livectl.web import cache as caches
from livectl.web.cache import DETAILS_KEEP_SECONDS, BodyCache, FragmentCache, ResponseBody, TimedCache
from tests.support.waiting import HANG_SECONDS, wait_for


class Readings:
    """Counts what it is asked for; a reading can be held up, or fail."""

    def __init__(self) -> None:
        self.count = 0
        self.now = 0.0
        self.away = False
        self.go = threading.Event()
        self.go.set()

    def make(self) -> int:
        self.count += 1
        self.go.wait(HANG_SECONDS)
        if self.away:
            raise ServerError("away")
        return self.count

    def clock(self) -> float:
        return self.now


def test_a_reading_is_kept_for_its_seconds() -> None:
    readings = Readings()
    cache = TimedCache(readings.make, 1.0, readings.clock)
    assert [cache.get(), cache.get()] == [1, 1]
    readings.now = 1.0
    assert cache.get() == 2


def test_a_crowd_that_finds_nothing_waits_for_one_reading() -> None:
    readings = Readings()
    readings.go.clear()
    cache = TimedCache(readings.make, 1.0, readings.clock)
    values: list[int] = []
    crowd = [threading.Thread(target=lambda: values.append(cache.get())) for _ in range(20)]
    for visitor in crowd:
        visitor.start()
    readings.go.set()
    for visitor in crowd:
        visitor.join(HANG_SECONDS)
    assert (values, readings.count) == ([1] * 20, 1)


def test_while_one_reads_anew_the_others_get_the_old_one_unless_it_is_too_old() -> None:
    readings = Readings()
    cache = TimedCache(readings.make, 1.0, readings.clock)
    assert cache.get() == 1
    readings.now = 1.5
    readings.go.clear()
    first = threading.Thread(target=cache.get)
    first.start()
    wait_for(lambda: readings.count == 2)
    assert cache.get() == 1
    readings.now = 60.0
    late: list[int] = []
    other = threading.Thread(target=lambda: late.append(cache.get()))
    other.start()
    readings.go.set()
    first.join(HANG_SECONDS)
    other.join(HANG_SECONDS)
    assert late[0] >= 2


def test_an_outage_is_kept_too_and_ends() -> None:
    readings = Readings()
    readings.away = True
    cache = TimedCache(readings.make, 1.0, readings.clock)
    for _ in range(2):
        with pytest.raises(ServerError):
            cache.get()
    assert readings.count == 1
    readings.away, readings.now = False, 1.0
    assert cache.get() == 2


def test_a_body_is_made_once_for_each_reading() -> None:
    readings = Readings()
    bodies = BodyCache(readings.clock)

    def make() -> ResponseBody:
        return ResponseBody(b"%d" % readings.make(), "mark")

    assert bodies.get("key", "one", make) == bodies.get("key", "one", make)
    assert readings.count == 1
    assert bodies.get("key", "two", make).data == b"2"
    assert bodies.get("other", "two", make).data == b"3"


def test_other_details_alone_wait_a_while() -> None:
    readings = Readings()
    bodies = BodyCache(readings.clock)

    def make() -> ResponseBody:
        return ResponseBody(b"%d" % readings.make(), "mark")

    assert bodies.get("key", "news", make, "12 viewers").data == b"1"
    readings.now = DETAILS_KEEP_SECONDS - 1
    assert bodies.get("key", "news", make, "13 viewers").data == b"1"
    assert bodies.get("key", "other news", make, "13 viewers").data == b"2"
    readings.now *= 3
    assert bodies.get("key", "other news", make, "14 viewers").data == b"3"


def test_only_so_many_bodies_are_kept() -> None:
    bodies = BodyCache()
    for number in range(1000):
        bodies.get(number, "reading", lambda: ResponseBody(b"", ""))
    readings = Readings()

    def make() -> ResponseBody:
        return ResponseBody(b"%d" % readings.make(), "")

    bodies.get(999, "reading", make)
    assert readings.count == 0
    bodies.get(0, "reading", make)
    assert readings.count == 1


def test_a_card_that_no_page_shows_any_more_is_dropped(monkeypatch: pytest.MonkeyPatch) -> None:
    readings, rendered = Readings(), []

    def render(macro: str, card: Any, translate: Any) -> Markup:
        rendered.append(card)
        return Markup(card)

    monkeypatch.setattr(caches, "_render_fragment", render)
    fragments: Any = FragmentCache(readings.clock)
    for now, cards in ((0.0, "ab"), (40.0, "a"), (80.0, "a"), (120.0, "ab")):
        readings.now = now
        assert "".join(fragments.render("card", card, None) for card in cards) == cards
    assert rendered == ["a", "b", "b"]
    assert len(fragments._young) + len(fragments._old) <= 3
