"""Events: one reading for all who listen, news alone is told, and nothing runs when nobody listens."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING

from livectl.errors import ServerError
from livectl.web import events
from livectl.web.events import EventHub
from tests.support.waiting import wait_for

if TYPE_CHECKING:
    from collections.abc import Callable


class Browser:
    """Keeps what it was sent, until it is gone."""

    def __init__(self) -> None:
        self.sent = b""
        self.is_gone = False

    def send(self, data: bytes) -> bool:
        self.sent += b"" if self.is_gone else data
        return not self.is_gone


class Clockwork:
    """Lets the hub take one step at a time."""

    def __init__(self) -> None:
        self._may_go, self._has_come = threading.Semaphore(0), threading.Semaphore(0)

    def pause(self, _: float) -> None:
        self._has_come.release()
        self._may_go.acquire()

    def step(self, times: int = 1) -> None:
        """Returns when the hub has looked so often."""
        for _ in range(times):
            self._may_go.release()
            self._has_come.acquire()

    def start(self) -> None:
        self._has_come.acquire()

    def end(self) -> None:
        self._may_go.release()


def threads() -> int:
    return sum(thread.name == "livectl-events" for thread in threading.enumerate())


def test_everybody_is_told_what_one_reading_found() -> None:
    readings: list[int] = []
    answer: list[Callable[[], str]] = [lambda: "one"]

    def read() -> str:
        readings.append(1)
        return answer[0]()

    clock = Clockwork()
    hub = EventHub({"streamers": read, "jobs": lambda: "7"}, clock.pause)
    assert threads() == 0
    browsers = [Browser() for _ in range(50)]
    for browser in browsers:
        hub.add(browser)
    clock.start()
    assert (threads(), len(readings)) == (1, 1)
    first = b"event: streamers\ndata: one\n\nevent: jobs\ndata: 7\n\n"
    late = Browser()
    hub.add(late)
    clock.step()
    assert {browser.sent for browser in [*browsers, late]} == {first}, "nothing is new"
    answer[0] = lambda: "two"
    clock.step()
    assert {browser.sent for browser in [*browsers, late]} == {first + b"event: streamers\ndata: two\n\n"}
    late.is_gone = True
    assert len(readings) == 3

    def fail() -> str:
        raise ServerError("away")

    answer[0] = fail
    clock.step(int(events.NEWS_PAUSE_SECONDS))
    assert browsers[0].sent.count(b"event: streamers") == 3, "that it cannot be read is news once"
    clock.step(int(events.SIGN_OF_LIFE_SECONDS))
    assert browsers[0].sent.count(b"\n:\n\n") == 1
    for browser in browsers[1:]:
        browser.is_gone = True
    answer[0] = lambda: "three"
    clock.step(int(events.NEWS_PAUSE_SECONDS))
    assert hub.has_room
    assert hub._listeners == [browsers[0]]
    browsers[0].is_gone = True
    answer[0] = lambda: "four"
    clock.step(int(events.NEWS_PAUSE_SECONDS) - 1)
    clock.end()
    wait_for(lambda: threads() == 0)
    hub.add(Browser())
    clock.start()
    assert threads() == 1, "it begins anew"
    hub._listeners.clear()
    clock.end()
    wait_for(lambda: threads() == 0)
