"""A platform that never answers holds up no other: real workers, and a site that hangs."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest
import redis

from livectl.tasks import MAX_WAITING_JOBS
from tests.support.fake_platforms import Fakes
from tests.support.processes import answer, livectl
from tests.support.waiting import wait_for

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tests.support.processes import Running

pytestmark = pytest.mark.acceptance

SETTINGS = """
polling: {{fastest: 200ms, slowest: 200ms}}
platforms: {{huya: {{budget: 600/m}}, douyu: {{budget: 600/m{queue}}}}}
network: {{connect_to: {{{hosts}}}}}
"""
SCHEDULE = "schedules: {sweep: {task: livectl.sweep, every: 200ms, options: {expires: 10s}}}\n"
LOOKS = 3  # at the other platform, while the slow one has answered nothing


class Followed:
    """A folder that follows somebody on a site that hangs, and somebody else."""

    def __init__(self, folder: Path, fakes: Fakes, broker: str) -> None:
        self.folder, self.fakes = folder, fakes
        self.environ = {"LIVECTL_HOME": str(folder / "home"), "LIVECTL_BROKER": broker}
        (folder / "schedules.yaml").write_text(SCHEDULE)
        (folder / "follows.yaml").write_text("follows: [douyu/1001, douyu/1002, huya/660]\n")
        fakes.plan.trouble["douyu"] = "slow"
        fakes.plan.show("huya", "660", "offline")

    def write(self, queue: str = "") -> None:
        hosts = ", ".join(f"{host}: {url}" for host, url in self.fakes.connect_to.items())
        (self.folder / "livectl.yaml").write_text(SETTINGS.format(queue=queue, hosts=hosts))

    def worker(self, *words: str) -> Running:
        return livectl("worker", "-P", "threads", *words, cwd=self.folder, environ=self.environ)

    def is_asked(self, platform: str, times: int = 1) -> bool:
        return self.fakes.requests_to(platform) >= times


@pytest.fixture
def followed(tmp_path: Path, store_url: str) -> Iterator[Followed]:
    with Fakes() as fakes:
        yield Followed(tmp_path, fakes, store_url)


def test_without_any_setting(followed: Followed) -> None:
    """The worker that `up` starts on a machine of two processors."""
    followed.write()
    with followed.worker("-c", "16", "-B"):
        wait_for(lambda: followed.is_asked("douyu"))
        asked = followed.fakes.requests_to("huya")
        wait_for(lambda: followed.is_asked("huya", asked + LOOKS), what="looks at the platform that answers")


def test_with_a_queue_of_its_own_not_even_where_one_job_runs_at_a_time(followed: Followed, store_url: str) -> None:
    followed.write(", queue: slow")
    with redis.Redis.from_url(store_url) as broker:
        broker.lpush("slow", *["not read"] * (MAX_WAITING_JOBS + 1))
    with followed.worker("-c", "1", "-X", "slow", "-B"), redis.Redis.from_url(store_url) as broker:
        wait_for(lambda: followed.is_asked("huya", LOOKS), what="looks at the platform that answers")
        assert broker.llen("slow") == MAX_WAITING_JOBS + 1, "nothing more is sent where so much waits"
        broker.delete("slow")
        wait_for(lambda: broker.llen("slow"))
        doctor = answer("doctor", "--json", cwd=followed.folder, environ=followed.environ)
        titles = {finding["id"]: finding["title"] for finding in json.loads(doctor.stdout)}
        assert titles["queue-unread"] == "Nobody reads the queue slow"
        assert not followed.is_asked("douyu")
        with followed.worker("-c", "1"):
            wait_for(lambda: followed.is_asked("douyu"), what="a worker that reads all queues of the app")
