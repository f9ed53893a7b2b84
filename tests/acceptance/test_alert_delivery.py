"""Alerts with real workers: killed while they deliver, and started again."""

from __future__ import annotations

import itertools
import os
import signal
import sys
import time
from functools import partial
from pathlib import Path

import pytest

from tests.support.alerts import Receiver, World, client, receiver, titles, world
from tests.support.planned_lives import Clock
from tests.support.processes import Running
from tests.support.waiting import wait_for

__all__ = ["client", "receiver", "world"]  # fixtures

NAMES = [f"s{number:02}" for number in range(60)]
KILLS = 3
ROOT = Path(__file__).parents[2]
LEASE = 11.0  # seconds: a second of timeout, and the margin


def has_taken(receiver: Receiver, count: int) -> bool:
    return len(receiver.taken) >= count


@pytest.mark.acceptance
def test_everybody_is_told_in_order_though_workers_are_killed(
    world: World, receiver: Receiver, store_url: str, tmp_path: Path
) -> None:
    clock = Clock(tmp_path / "clock", time.time())
    world.now = clock.now
    world.follow(*NAMES)
    (tmp_path / "schedules.yaml").write_text("schedules: {deliver: {task: livectl.deliver, every: 1s}}")
    hook = f"{{webhook: '{receiver.url}', allow_private: true, timeout: 1s, on: [live, end]}}"
    (tmp_path / "livectl.yaml").write_text(f"alerts: {{hook: {hook}}}")
    receiver.mood = lambda: "take" if not receiver.closing.wait(0.05) else "down"

    def start() -> Running:
        environ = {
            "LIVECTL_BROKER": store_url,
            "LIVECTL_HOME": str(tmp_path),
            "PYTHONPATH": f"{ROOT}{os.pathsep}{os.environ['PYTHONPATH']}",
            "TESTS_CLOCK": str(clock.path),
        }
        worker = ("-m", "celery", "-A", "tests.support.fast_worker", "worker", "-P", "threads", "-c", "2", "-B")
        return Running(sys.executable, *worker, cwd=tmp_path, environ=environ)

    for name in NAMES:
        world.see("live", name)
    for kill in range(KILLS):
        with start() as worker:
            wait_for(partial(has_taken, receiver, 8 * (kill + 1)), what="the next few")
            os.killpg(worker.process.pid, signal.SIGKILL)
        clock.set((kill + 1) * LEASE)  # what it held is free for the next one
    with start() as worker:
        wait_for(lambda: len(set(titles(receiver))) == len(NAMES))
        worker.send(signal.SIGTERM)
        assert worker.wait() == 0
    sent = [(payload["changes"][0]["id"], payload["key"]) for payload in receiver.taken]
    assert [name for name, _ in itertools.groupby(name for name, _ in sent)] == NAMES
    assert len(set(sent)) == len(NAMES), "one alert with two keys"
    assert len(sent) <= len(NAMES) + KILLS
