"""From a platform to the page: everything started with one command, seen in a real browser."""

from __future__ import annotations

import re
import signal
import time
from typing import TYPE_CHECKING

import pytest

from livectl.live.platforms.demo import ROSTER
from tests.support.managed_page import store_jobs
from tests.support.processes import livectl
from tests.support.waiting import wait_for

if TYPE_CHECKING:
    from pathlib import Path

    from selenium.webdriver import Chrome

pytestmark = pytest.mark.acceptance

MINUTE = 60  # seconds: with each of them somebody of the roster goes live
CARDS = "return [...document.querySelectorAll('#cards > li')].map((one) => one.id)"


def test_somebody_goes_live_on_a_platform_and_the_card_appears(chromium: Chrome, tmp_path: Path) -> None:
    (tmp_path / "follows.yaml").write_text("follows:\n" + "".join(f"  - demo/{name}\n" for name in ROSTER))
    (tmp_path / "schedules.yaml").write_text("schedules:\n  sweep: {task: livectl.sweep, every: 2s}\n")
    (tmp_path / "livectl.yaml").write_text("polling: {fastest: 5s, slowest: 10s}\n")
    with livectl("up", cwd=tmp_path, environ={"LIVECTL_HOME": str(tmp_path / "home")}) as up:
        wait_for(lambda: re.search(r"http://127\.0\.0\.1:\d+/", up.text))
        match = re.search(r"http://127\.0\.0\.1:\d+/", up.text)
        assert match
        wait_for(lambda: _opens(chromium, match[0]))
        up.wait_for("at work")  # the page is there before the worker, without which a job is not sent again
        _retry_a_job(chromium, match[0], tmp_path / "home" / "run" / "broker.sock")
        chromium.get(match[0])
        chromium.execute_script("window.same = true")
        before = set(chromium.execute_script(CARDS))
        minute = time.time() // MINUTE
        wait_for(lambda: time.time() // MINUTE > minute or set(chromium.execute_script(CARDS)) - before)
        wait_for(lambda: set(chromium.execute_script(CARDS)) - before)  # they are asked, recorded and shown by then
        assert chromium.execute_script("return window.same"), "the page was never loaded anew"
        up.send(signal.SIGTERM)
        up.wait()


def _retry_a_job(chromium: Chrome, url: str, broker: Path) -> None:
    """By its button; the page of the new job says how it went."""
    ping = {"task_id": "ping-1", "name": "livectl.ping", "args": [], "kwargs": {}, "status": "FAILURE"}
    store_jobs(f"unix://{broker}", ping)
    chromium.get(f"{url}jobs/ping-1")
    chromium.find_element("css selector", "#acts button").click()
    wait_for(lambda: "pong" in chromium.execute_script("return document.getElementById('result')?.textContent ?? ''"))
    assert "/jobs/ping-1" not in chromium.current_url


def _opens(chromium: Chrome, url: str) -> bool:
    """Whether the page is served yet."""
    from selenium.common.exceptions import WebDriverException

    try:
        chromium.get(url)
    except WebDriverException:
        return False
    return "livectl" in chromium.title
