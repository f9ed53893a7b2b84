"""Whatever shows some of many says how many it leaves out, or that there are others."""

from __future__ import annotations

import io
import json
import re
from datetime import UTC, datetime
from typing import TYPE_CHECKING

import pytest
import redis

from livectl import celeryapp, cli, settings
from livectl.context import CommandContext
from livectl.live.alerts import views
from livectl.live.alerts.outbox import TargetState, TargetStatus
from livectl.ops.jobs import dead_letters
from livectl.ops.jobs import views as job_views
from livectl.ops.jobs.publish_many import BatchSummary
from livectl.render import as_text
from livectl.settings import Target
from tests.support.web_pages import follow, go_live, go_offline, make_streamer, page_client, prepared_store

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

NOW = "2026-11-28T09:00:00Z"


@pytest.fixture
def client(store_url: str) -> Iterator[redis.Redis]:
    with redis.Redis.from_url(store_url) as connection:
        yield connection


def run(folder: Path, url: str, *argv: str) -> str:
    out = io.StringIO()
    cli.main(argv, CommandContext({"HOME": str(folder), "LIVECTL_BROKER": url}, folder, out, io.StringIO()))
    return out.getvalue()


def keep_results(client: redis.Redis, count: int) -> None:
    done: dict[str, object] = {
        "status": "SUCCESS",
        "result": None,
        "date_done": datetime.now(UTC).isoformat(),
        "children": [],
    }
    for number in range(count):
        job_id = f"00000000-0000-4000-8000-{number:012}"
        client.set(f"celery-task-meta-{job_id}", json.dumps({**done, "task_id": job_id}))


@pytest.mark.parametrize(("limit", "said"), [(3, "and older ones: -n 30 shows more"), (5, ""), (9, "")])
def test_results(tmp_path: Path, store_url: str, client: redis.Redis, limit: int, said: str) -> None:
    keep_results(client, 5)
    out = run(tmp_path, store_url, "results", "-n", str(limit))
    assert out.count("succeeded") == min(limit, 5)
    assert ("older" in out, said in out) == (bool(said), True)
    assert len(json.loads(run(tmp_path, store_url, "--json", "results", "-n", str(limit)))) == min(limit, 5)


def test_messages_of_a_queue(tmp_path: Path, store_url: str) -> None:
    app = celeryapp.create_app(settings.load({"LIVECTL_BROKER": store_url, "HOME": str(tmp_path)}, tmp_path))
    for _ in range(4):
        app.send_task("livectl.ping")
    queue = app.conf.task_default_queue
    assert "and others behind them: -n 30 shows more" in run(tmp_path, store_url, "queues", "peek", queue, "-n", "3")
    assert "others" not in run(tmp_path, store_url, "queues", "peek", queue, "-n", "4")


def test_jobs_and_dead_letters_of_the_page(store_url: str, client: redis.Redis) -> None:
    prepared_store(store_url)
    keep_results(client, 51)
    for number in range(52):
        letter = {"id": str(number), "kind": "alert", "reason": "gone", "at": NOW}
        client.hset(dead_letters.DEAD_LETTERS_KEY, str(number), json.dumps(letter))
    page = page_client(store_url)
    assert re.search(r'href="/jobs\?page=2">Older ', page.get("/jobs").text)
    assert page.get("/jobs?page=2").text.count('class="name" href="/jobs/') == 1
    assert "and 2 more: livectl dead list" in page.get("/dead").text
    assert "livectl_dead_letters 52.0" in page.get("/metrics").text
    assert len(page.get("/api/jobs").get_json()["jobs"]) == 25


def test_sessions_of_a_streamer(store_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    from livectl.web import views as page_views

    monkeypatch.setattr(page_views, "MAX_SESSIONS", 1)
    store = prepared_store(store_url)
    follow(store, make_streamer("ada"))
    for number in (2, 1):
        go_live(store, "ada", number * 9000, session=str(number))
        go_offline(store, "ada", number * 9000 - 5000)
    html = page_client(store_url).get("/streamers/demo/ada").text
    assert '<span class="count">2</span>' in html
    assert "and 1 older ones" in html


def test_what_waits_for_a_target() -> None:
    target, state = Target(command=("x",)), TargetState()
    statuses = [
        TargetStatus(name="few", target=target, state=state, backlog=7),
        TargetStatus(name="many", target=target, state=state, backlog=900, more=True),
    ]
    out = as_text(views.targets_view(statuses, "UTC", 0.0), colour=False, width=80)
    assert [line.split()[-2] for line in out.splitlines()[2:]] == ["7", "900+"]


def test_failures_of_a_list() -> None:
    summary = BatchSummary(sent=50, failed=30, failures=tuple(map(str, range(20))))
    lines = as_text(job_views.batch_summary(summary, 50), colour=False).splitlines()
    assert lines[-1] == "and 10 more that failed: livectl results --state failed"
