"""Settings that change while `livectl up` runs: taken over by worker and page, or named where they need a restart."""

from __future__ import annotations

import json
import signal
import time
from typing import TYPE_CHECKING, Any
from urllib.request import urlopen

import pytest

from livectl.live.platforms import demo
from tests.support.alerts import receiver, titles
from tests.support.processes import answer, livectl
from tests.support.waiting import HANG_SECONDS, wait_for

if TYPE_CHECKING:
    from pathlib import Path

    from tests.support.alerts import Receiver
    from tests.support.processes import Running

__all__ = ["receiver"]  # a fixture

pytestmark = pytest.mark.acceptance

SCHEDULE = """\
schedules:
  sweep: {task: livectl.sweep, every: 500ms, options: {expires: 10s}}
  deliver: {task: livectl.deliver, every: 500ms, options: {expires: 10s}}
"""
SOON_SECONDS = 120.0  # long enough for a test, in which nobody shall go live or leave by themselves


def find_live(count: int) -> list[str]:
    """Demo streamers who went live a while ago, and stay."""
    now = time.time()
    elapsed = {name: now - demo.last_start(name, now) for name in demo.ROSTER}
    stay = [name for name, seconds in elapsed.items() if seconds < demo.RETITLE_AFTER_SECONDS - SOON_SECONDS]
    return stay[:count]


def follow(folder: Path, names: list[str]) -> None:
    (folder / "follows.yaml").write_text(json.dumps({"follows": [f"demo/{name}" for name in names]}))


def hook(receiver: Receiver) -> str:
    return f"{{webhook: '{receiver.url}', allow_private: true}}"


def read_page(up: Running, path: str) -> Any:
    page = json.loads(wait_for(lambda: up.lines)[0])["page"]
    try:
        with urlopen(f"{page}{path}", timeout=HANG_SECONDS) as answered:
            return json.load(answered)
    except OSError:  # it has not begun
        return None


def is_live(up: Running, name: str) -> bool:
    answered = read_page(up, "api/live")
    return answered is not None and name in {streamer["id"] for streamer in answered["live"]}


def targets_on_page(up: Running) -> list[str]:
    return [target["name"] for target in read_page(up, "api/jobs")["alerts"]]


@pytest.fixture
def environ(tmp_path: Path) -> dict[str, str]:
    (tmp_path / "schedules.yaml").write_text(SCHEDULE)
    (tmp_path / "livectl.yaml").write_text("polling: {fastest: 1s, slowest: 1s}\n")
    return {"LIVECTL_HOME": str(tmp_path / "home")}


def add_first_target(up: Running, folder: Path, receiver: Receiver, before: str, after: str) -> None:
    """A target comes while one streamer is live; it is told of the next one."""
    wait_for(lambda: is_live(up, before))
    (folder / "livectl.yaml").write_text(f"alerts: {{first: {hook(receiver)}}}\n")
    wait_for_worker(up, "livectl.yaml read again: added alerts.first; changed polling.fastest, polling.slowest")
    up.wait_for("first is new")
    follow(folder, [before, after])
    wait_for(lambda: receiver.taken)
    assert titles(receiver) == [f"{after.title()} is live"]


def wait_for_worker(up: Running, words: str) -> None:
    """`up` says so too, and may do so first."""
    wait_for(lambda: said_by_worker(up, words), what=words)


def said_by_worker(up: Running, words: str) -> int:
    return sum(line.startswith("worker") and words in line for line in up.lines)


@pytest.mark.parametrize("pool", ["threads", pytest.param("solo", marks=pytest.mark.soak)])
def test_a_worker_takes_over_a_new_target(
    tmp_path: Path, environ: dict[str, str], receiver: Receiver, pool: str
) -> None:
    before, after = find_live(2)
    follow(tmp_path, [before])
    with livectl("-v", "--json", "up", "-P", pool, "-c", "2", cwd=tmp_path, environ=environ) as up:
        add_first_target(up, tmp_path, receiver, before, after)
        up.send(signal.SIGTERM)
        assert up.wait() == 0
    assert said_by_worker(up, "livectl.yaml read again") == 1


def test_all_processes_of_up_take_over_what_changes_or_are_named(
    tmp_path: Path, environ: dict[str, str], receiver: Receiver
) -> None:
    before, after, last = find_live(3)
    follow(tmp_path, [before])
    with livectl("-v", "--json", "up", "-P", "prefork", "-c", "2", cwd=tmp_path, environ=environ) as up:
        add_first_target(up, tmp_path, receiver, before, after)
        wait_for(lambda: targets_on_page(up) == ["first"])

        broken = f"alerts: {{second: {hook(receiver)}}}\nnetwork: {{alow: [x]}}\n"
        (tmp_path / "livectl.yaml").write_text(broken)
        wait_for_worker(up, "the settings cannot be used, those before go on: livectl.yaml:2:11:")
        (tmp_path / "livectl.yaml").write_text(f"{broken}web: {{port: 1}}\n".replace("alow", "allow"))
        wait_for_worker(
            up, "added alerts.second; changed network.allow; removed alerts.first; only after a restart: web.port"
        )
        up.wait_for("first is gone: nothing waited for it")
        follow(tmp_path, [before, after, last])
        wait_for(lambda: len(receiver.taken) > 1)

        doctor = answer("doctor", cwd=tmp_path, environ=environ).stdout
        up.send(signal.SIGTERM)
        assert up.wait() == 0
    assert [(sent["target"], sent["title"]) for sent in receiver.taken] == [
        ("first", f"{after.title()} is live"),
        ("second", f"{last.title()} is live"),
    ]
    assert said_by_worker(up, "the settings cannot be used") == 1
    assert said_by_worker(up, "livectl.yaml read again") == 2
    assert "[restart-needed]" in doctor
    assert "web.port is still 8787; livectl.yaml:3 now says 1 " in " ".join(doctor.split())  # however it is wrapped
    assert not list((tmp_path / "home" / "run" / "settings").iterdir())
