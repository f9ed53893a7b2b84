"""Who is live, by real workers and a real beat: a thousand lives over five sites; a fresh folder without a network."""

from __future__ import annotations

import itertools
import json
import os
import signal
import sys
import time
from collections import Counter
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import redis

from livectl import redis_client, settings
from livectl.celeryapp import create_app
from livectl.live.store import Store
from livectl.models import State
from tests.support.fake_platforms import Fakes
from tests.support.planned_lives import Clock, Outage, World, lives
from tests.support.processes import Running, answer, livectl
from tests.support.waiting import HANG_SECONDS, wait_for

if TYPE_CHECKING:
    from celery import Celery

    from livectl.models import Change

pytestmark = pytest.mark.acceptance

ROOT = Path(__file__).parents[2]
STEP = 10  # seconds of the world from sweep to sweep
LENGTH, AFTER = 600, 400  # seconds of the plan, and those after it in which everything comes to rest
NUMBERS = [str(1000 + number) for number in range(200)]
IDS = {
    "twitch": NUMBERS,
    "bilibili": NUMBERS,
    "douyu": NUMBERS,
    "huya": NUMBERS,
    "chzzk": [f"{int(number):032x}" for number in NUMBERS],
}
SETTINGS = """
follows: follows.txt
polling: {{mode: uniform, fastest: 45s, slowest: 60s, merge: 60s}}
platforms: {{{budgets}}}
network: {{connect_to: {{{hosts}}}}}
"""
OUTAGES = (
    Outage("douyu", "blocked", 100, 130, silent=300),  # a refusal leaves a site alone for five minutes
    Outage("chzzk", "broken", 150, 210),
    Outage("huya", "down", 200, 260),
    Outage("bilibili", "reset", 250, 280),
    Outage("twitch", "rate_limited", 300, 340, silent=30),
)


def write(folder: Path, fakes: Fakes, ids: dict[str, list[str]]) -> None:
    hosts = ", ".join(f"{host}: {url}" for host, url in fakes.connect_to.items())
    budgets = ", ".join(f"{platform}: {{budget: 600/m}}" for platform in ids)
    (folder / "livectl.yaml").write_text(SETTINGS.format(budgets=budgets, hosts=hosts))
    (folder / "schedules.yaml").write_text("schedules: {sweep: {task: livectl.sweep, every: 1s}}\n")
    (folder / "follows.txt").write_text(
        "".join(f"{platform}/{streamer_id}\n" for platform in ids for streamer_id in ids[platform])
    )


def worker(folder: Path, environ: dict[str, str], *pool: str) -> Running:
    words = (
        "-m",
        "celery",
        "-A",
        "tests.support.fast_worker",
        "worker",
        "--loglevel",
        "WARNING",
        "-n",
        f"{pool[1]}@%h",
        *pool,
    )
    return Running(sys.executable, *words, cwd=folder, environ=environ)


def sweep(app: Celery, client: redis.Redis) -> None:
    """A sweep like those of beat, and what it makes others do, to its end."""
    app.send_task("livectl.sweep", ignore_result=False).get(timeout=HANG_SECONDS)
    wait_for(lambda: not (client.llen("livectl") or client.hlen("livectl:unacked")), what="all jobs to end")


SOAKED = [pytest.param(seed, 200, marks=pytest.mark.soak) for seed in range(1, 11)]


@pytest.mark.parametrize(("seed", "each"), [(1, 80), *SOAKED])
def test_a_thousand_lives_end_as_planned(tmp_path: Path, store_url: str, seed: int, each: int) -> None:
    """Sites flap, refuse, break and fall silent: no end is false, and each session is noted once.

    A thousand in a soak; four hundred of them do all of that as well.
    """
    clock = Clock(tmp_path / "clock", time.time())
    ids = {platform: of_all[:each] for platform, of_all in IDS.items()}
    world = World(lives(seed, ids, LENGTH), OUTAGES, clock.began)
    environ = {
        "LIVECTL_HOME": str(tmp_path / "home"),
        "LIVECTL_BROKER": store_url,
        "PYTHONPATH": f"{ROOT}{os.pathsep}{os.environ['PYTHONPATH']}",
        "TESTS_CLOCK": str(clock.path),
    }
    with ExitStack() as running, Fakes() as fakes:
        write(tmp_path, fakes, ids)
        world.play(fakes.plan, 0)
        workers = [
            running.enter_context(worker(tmp_path, environ, "-P", "threads", "-c", "4")),
            running.enter_context(worker(tmp_path, environ, "-P", "prefork", "-c", "2")),
            running.enter_context(livectl("beat", cwd=tmp_path, environ=environ)),
        ]
        app = running.enter_context(create_app(settings.load(environ, tmp_path)))
        client = running.enter_context(redis.Redis.from_url(store_url))
        for at in range(0, LENGTH + AFTER, STEP):
            world.play(fakes.plan, min(at, LENGTH))
            clock.set(at)
            sweep(app, client)
        output = "\n".join(process.text for process in workers)
    store = Store(redis_client.open_store(store_url))
    judge(world, store.changes(limit=100_000), output)
    expected = {(life.platform, life.id): life.now(LENGTH) is not None for life in world.lives}
    live_by_key = {(known.platform, known.id): known.state is State.LIVE for known in store.all_streamers()}
    assert live_by_key == expected, output[-3000:]


def judge(world: World, changes: list[Change], output: str) -> None:
    assert "Traceback" not in output, output[-3000:]
    alerted = Counter((change.platform, change.id, change.session) for change in changes if change.kind == "began")
    assert [change for change, times in alerted.items() if times > 1] == []
    sessions = {
        (life.platform, life.id, str(int(world.began) + change.start)): change
        for life in world.lives
        for change in life.broadcasts
    }
    assert set(alerted) <= set(sessions)
    wanted = {
        (life.platform, life.id, str(int(world.began) + start))
        for life in world.lives
        for start in world.must_be_noted(life, LENGTH)
    }
    assert wanted - set(alerted) == set()
    false_ends = [
        change
        for change in changes
        if change.kind == "ended" and change.at - world.began < sessions[change.platform, change.id, change.session].end
    ]
    assert false_ends == []


def test_a_killed_worker_costs_a_look_and_nobody(tmp_path: Path, store_url: str) -> None:
    """It dies with jobs in its hands, at a site that lets it wait; the next one finds everybody."""
    clock = Clock(tmp_path / "clock", time.time())
    environ = {
        "LIVECTL_HOME": str(tmp_path / "home"),
        "LIVECTL_BROKER": store_url,
        "PYTHONPATH": f"{ROOT}{os.pathsep}{os.environ['PYTHONPATH']}",
        "TESTS_CLOCK": str(clock.path),
    }
    some = {"douyu": IDS["douyu"]}
    store = Store(redis_client.open_store(store_url))
    with ExitStack() as running, Fakes() as fakes:
        write(tmp_path, fakes, some)
        for change in some["douyu"]:
            fakes.plan.show("douyu", change, "live")
        fakes.plan.trouble["douyu"] = "slow"
        running.enter_context(livectl("beat", cwd=tmp_path, environ=environ))
        with worker(tmp_path, environ, "-P", "prefork", "-c", "2") as dying:
            wait_for(lambda: fakes.requests_to("douyu"))
            os.killpg(dying.process.pid, signal.SIGKILL)
        fakes.plan.trouble.clear()
        assert store.live_streamers() == []
        moments = itertools.count(1)

        def began() -> Counter[str]:
            return Counter(change.id for change in store.changes() if change.kind == "began")

        def all_told() -> bool:
            # A step after their state: whoever records somebody collects the changes of all once that is done.
            clock.set(next(moments))
            return len(began()) == len(some["douyu"])

        with worker(tmp_path, environ, "-P", "threads", "-c", "2"):
            wait_for(all_told)
    assert len(store.live_streamers()) == len(some["douyu"])
    assert began() == Counter(some["douyu"])


def test_a_fresh_folder_shows_somebody_live_within_a_minute(tmp_path: Path) -> None:
    environ = {"LIVECTL_HOME": str(tmp_path / "home")}
    assert answer("init", cwd=tmp_path, environ=environ).returncode == 0
    (tmp_path / "follows.yaml").write_text((ROOT / "follows.yaml").read_text())
    with livectl("up", cwd=tmp_path, environ=environ):

        def shown() -> list[dict[str, Any]]:
            run = answer("live", "--json", cwd=tmp_path, environ=environ)
            return json.loads(run.stdout) if run.returncode == 0 else []

        wait_for(lambda: shown())
        assert {streamer["platform"] for streamer in shown()} == {"demo"}
        checked = answer("check", "demo/ada", "--json", cwd=tmp_path, environ=environ)
        (ada,) = json.loads(checked.stdout)
        assert checked.returncode == {"live": 0, "offline": 1}[ada["state"]]
        assert "through the workers" in checked.stderr
