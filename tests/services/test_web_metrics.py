"""The metrics that Prometheus reads, and the dashboard over it."""

from __future__ import annotations

import json
import re
import time
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from prometheus_client.parser import text_string_to_metric_families

from livectl.models import Observation, State
from livectl.ops.deployment import OWN_APP_NAME
from livectl.ops.jobs import dead_letters
from livectl.ops.jobs.numbers import MAX_NAMES, NUMBERS_KEY, JobNumbers, parse_tasks
from livectl.ops.limits.slots import Limit, LimitKeys, LimitStore
from livectl.ops.protocol.dead_letter import DeadLetter
from livectl.task_settings import Expect
from livectl.units import format_instant
from tests.support.web_pages import (
    follow,
    go_live,
    go_offline,
    limits,
    make_streamer,
    observe,
    page_client,
    prepared_store,
)

if TYPE_CHECKING:
    from livectl.live.store import Store

DASHBOARD = Path(__file__).parents[2] / "docs" / "grafana.json"
Numbers = dict[tuple[str, frozenset[tuple[str, str]]], float]


@pytest.fixture
def store(store_url: str) -> Store:
    store = prepared_store(store_url)
    follow(store, *(make_streamer(name) for name in ("ada", "grace", "tim")))
    go_offline(store, "ada", 700)
    seen_at = time.time() - 100
    ada = Observation(platform="demo", id="ada", state=State.LIVE, at=seen_at, session="a", started_at=seen_at - 12)
    store.record(limits("demo"), [ada])
    go_offline(store, "grace", 50)
    observe(store, "tim", State.BLOCKED, 40)
    return store


def numbers(url: str) -> Numbers:
    return _parsed(page_client(url).get("/metrics").text)


def _parsed(text: str) -> Numbers:
    return {
        (sample.name, frozenset(sample.labels.items())): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }


def labelled(**labels: str) -> frozenset[tuple[str, str]]:
    return frozenset(labels.items())


def test_streamers_checks_and_circuits_are_counted(store: Store, store_url: str) -> None:
    metrics = numbers(store_url)
    assert metrics["livectl_store_up", labelled()] == 1
    assert metrics["livectl_streamers", labelled(platform="demo", state="live")] == 1
    assert metrics["livectl_streamers", labelled(platform="demo", state="offline")] == 1
    assert metrics["livectl_streamers", labelled(platform="demo", state="unknown")] == 1
    assert metrics["livectl_streamers_troubled", labelled(platform="demo", trouble="blocked")] == 1
    assert metrics["livectl_checks_total", labelled(platform="demo", outcome="blocked")] == 1
    assert metrics["livectl_checks_total", labelled(platform="demo", outcome="offline")] == 4
    assert metrics["livectl_circuit_open", labelled(platform="demo")] == 1
    assert metrics["livectl_workers", labelled()] == 0
    assert metrics["livectl_beats", labelled()] == 0


def test_what_is_at_nought_is_told_as_nought(store: Store, store_url: str) -> None:
    import redis

    client = redis.Redis.from_url(store_url)
    client.sadd("_kombu.binding.mail", "mail\x06\x16\x06\x16mail")
    empty = numbers(store_url)
    assert empty["livectl_queue_depth", labelled(queue="mail", kind="ready")] == 0
    assert empty["livectl_queue_oldest_seconds", labelled(queue="mail")] == 0
    assert empty["livectl_streamers", labelled(platform="demo", state="replay")] == 0
    assert empty["livectl_dead_letters", labelled()] == 0
    client.lpush("mail", json.dumps({"headers": {"sent": time.time() - 50}}), "of unknown age")
    full = numbers(store_url)
    assert full["livectl_queue_depth", labelled(queue="mail", kind="ready")] == 2
    assert full["livectl_queue_oldest_seconds", labelled(queue="mail")] == pytest.approx(50, abs=10)


def test_how_late_a_go_live_was_seen_is_counted_once(store: Store, store_url: str) -> None:
    page = page_client(store_url)
    for _ in range(2):
        metrics = _parsed(page.get("/metrics").text)
        assert metrics["livectl_detection_seconds_count", labelled(platform="demo")] == 1
        assert metrics["livectl_detection_seconds_sum", labelled(platform="demo")] == pytest.approx(12, abs=0.01)
    go_offline(store, "ada")
    go_live(store, "grace", 0, session="g")
    assert _parsed(page.get("/metrics").text)["livectl_detection_seconds_count", labelled(platform="demo")] == 2


def test_who_was_live_before_anybody_looked_was_not_noticed_late(store: Store, store_url: str) -> None:
    follow(store, *(make_streamer(name) for name in ("ada", "grace", "tim", "zoe")))
    seen_at = time.time() - 5
    zoe = Observation(platform="demo", id="zoe", state=State.LIVE, at=seen_at, session="z", started_at=seen_at - 300)
    store.record(limits("demo"), [zoe])
    assert numbers(store_url)["livectl_detection_seconds_count", labelled(platform="demo")] == 1


def test_dead_letters_are_counted(store: Store, store_url: str) -> None:
    import redis

    at = format_instant(time.time())
    raw = json.dumps({"id": "x", "kind": "alert", "reason": "gone", "at": at})
    redis.Redis.from_url(store_url).hset(dead_letters.DEAD_LETTERS_KEY, "x", raw)
    assert DeadLetter.__struct_fields__[:4] == ("id", "kind", "reason", "at")
    assert numbers(store_url)["livectl_dead_letters", labelled()] == 1


def test_the_dashboard_shows_only_what_there_is(store: Store, store_url: str) -> None:
    count_jobs_and_runs(store_url)
    present = {name for name, _ in numbers(store_url)} | {
        "livectl_detection_seconds_bucket",
        "livectl_budget_left",  # nothing was claimed here
        "livectl_worker_up",
        "livectl_beat_lag_seconds",
        "livectl_queue_oldest_seconds",
    }
    shown = re.findall(r"livectl_\w+", DASHBOARD.read_text())
    assert shown
    assert set(shown) <= present


def count_jobs_and_runs(store_url: str) -> None:
    """As two processes would."""
    import redis

    client = redis.Redis.from_url(store_url)
    for _ in range(2):
        counted = JobNumbers()
        for wait in (0.02, 700.0):
            counted.job_started("proj.mail", "mail", wait)
            counted.job_ended("proj.mail", "mail", "retrying", 0.3)
        counted.job_ended("proj.mail", "mail", "dead", None)
        counted.run_sent("nightly", 3.0)
        counted.runs_missed("nightly", 2)
        client.execute_command(*counted.command("livectl"))  # type: ignore[no-untyped-call]


def test_jobs_and_runs_are_counted_over_all_workers_and_beats(store: Store, store_url: str) -> None:
    count_jobs_and_runs(store_url)
    metrics, mail = numbers(store_url), {"task": "proj.mail", "queue": "mail"}
    assert metrics["livectl_jobs_started_total", labelled(**mail)] == 4
    assert metrics["livectl_jobs_ended_total", labelled(**mail, outcome="retried")] == 4
    assert metrics["livectl_jobs_ended_total", labelled(**mail, outcome="dead")] == 2
    assert metrics["livectl_job_wait_seconds_bucket", labelled(**mail, le="0.05")] == 2
    assert metrics["livectl_job_wait_seconds_bucket", labelled(**mail, le="+Inf")] == 4
    assert metrics["livectl_job_run_seconds_sum", labelled(**mail)] == pytest.approx(1.2)
    assert metrics["livectl_schedule_missed_total", labelled(schedule="nightly")] == 4
    assert metrics["livectl_schedule_late_seconds_bucket", labelled(schedule="nightly", le="2.5")] == 0


def test_who_has_a_slot_and_who_waits_for_one_is_counted_by_limit_and_told_on_the_page(
    store: Store, store_url: str
) -> None:
    import redis

    with redis.Redis.from_url(store_url, decode_responses=True) as client:
        worker = LimitStore(client, LimitKeys("", OWN_APP_NAME), "w1", wakes=True)
        for customer, jobs in (("ada", 3), ("bob", 2)):
            for number in range(jobs):
                worker.enter(Limit(name="mail", partition=customer, most=1), f"{customer}-{number}", "q")
        worker.enter(Limit(name="report", most=5), "r")
    metrics = numbers(store_url)
    counts = {
        limit: tuple(metrics[f"livectl_limit_{kind}", labelled(limit=limit)] for kind in ("running", "waiting"))
        for limit in ("mail", "report")
    }
    assert counts == {"mail": (2, 3), "report": (1, 0)}, "a limit is one, however many values its `per` has"
    html = page_client(store_url).get("/queues").text
    assert "2 wait for a slot of mail for ada, 1 runs" in html
    assert "1 waits for a slot of mail for bob, 1 runs" in html
    assert "slot of report" not in html


def test_names_beyond_the_most_are_other(store: Store, store_url: str) -> None:
    import redis

    counted = JobNumbers()
    for number in range(MAX_NAMES + 50):
        counted.job_started(f"t{number:03}", "q", None)
    counted.job_started("watched", "q", 3.0, Expect(start_within=1))
    client = redis.Redis.from_url(store_url)
    client.execute_command(*counted.command("livectl"))  # type: ignore[no-untyped-call]
    started = {
        labels: value for (name, labels), value in numbers(store_url).items() if name.endswith("jobs_started_total")
    }
    assert len(started) == MAX_NAMES + 1
    assert started[labelled(task="other", queue="other")] == 51
    by_task = parse_tasks(client.hgetall(NUMBERS_KEY), "livectl")
    assert by_task["watched"]["started"] == by_task["watched"]["late"] == 1, (
        "what is expected of it is watched all the same"
    )
