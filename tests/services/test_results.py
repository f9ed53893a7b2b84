"""Results and job log together: what is known of a job, and what is said of those that nobody named."""

from __future__ import annotations

import os
import time
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any
from uuid import uuid4

import pytest
from celery import Celery
from redis import Redis

from livectl import redis_client
from livectl import settings as livectl_settings
from livectl.address import Address
from livectl.errors import LivectlError
from livectl.models import JobState
from livectl.ops import deployment
from livectl.ops.jobs import job_log, job_recorder, results, views
from livectl.ops.jobs.history import JobNote
from livectl.ops.jobs.job_recorder import JobEventRecorder
from livectl.ops.jobs.results import ResultFilter
from livectl.render import as_text

if TYPE_CHECKING:
    from pathlib import Path

    from livectl.ops.deployment import Deployment


def make_app(store_url: str, name: str | None = "proj", **conf: Any) -> Celery:
    url = Address.parse(store_url).celery_url
    app = Celery(name, broker=url, backend=conf.pop("backend", url), set_as_current=False)
    app.conf.update({"result_expires": None, **conf})  # with an expiry, the backend makes a call that redis-py warns of
    return app


def deployment_of(app: Celery, folder: Path) -> Deployment:
    return deployment.from_app(app, livectl_settings.load({"HOME": str(folder)}, folder))


def run_a_job(app: Celery, store_url: str, job_id: str, task: str = "proj.add", **request: Any) -> None:
    """As the signals of a worker tell it."""
    recorder = JobEventRecorder(Address.parse(store_url), app.main)
    context = SimpleNamespace(delivery_info={"routing_key": "q"}, hostname="w1@h", retries=0, **request)
    sender = SimpleNamespace(name=task, app=app, request=context, ignore_result=app.conf.task_ignore_result)
    recorder.record_start(sender, job_id)
    recorder.record_end(sender, job_id, "SUCCESS")
    recorder.flush()


def test_what_a_worker_of_any_app_logged_names_its_job(store_url: str, tmp_path: Path) -> None:
    app, ids = make_app(store_url), [str(uuid4()) for _ in range(3)]
    target = deployment_of(app, tmp_path)
    app.backend.store_result(ids[0], 5, "SUCCESS")
    run_a_job(app, store_url, ids[0], sent=time.time() - 2)
    app.backend.store_result(ids[1], 6, "SUCCESS")  # run by a plain worker, and sent by nobody we know
    app.backend.store_result(ids[2], 7, "SUCCESS")
    job_log.write(target, ids[2], task="proj.sub", sent=time.time())  # sent by livectl, run by a plain worker
    (job,) = results.list_recent(target, ResultFilter(task="proj.add"))
    assert (job.id, job.worker, job.queue, job.result) == (ids[0], "w1@h", "q", 5)
    assert (job.waited == pytest.approx(2, abs=1), job.ran is not None) == (True, True)
    assert [job.id for job in results.list_recent(target, ResultFilter(task="proj.sub"))] == [ids[2]]


def test_jobs_that_nobody_named_are_counted_with_the_cure(store_url: str, tmp_path: Path) -> None:
    app = make_app(store_url)
    target = deployment_of(app, tmp_path)
    app.backend.store_result(str(uuid4()), 5, "SUCCESS")
    jobs = results.list_recent(target, ResultFilter(task="proj.add"))
    assert (jobs, jobs.nameless) == ([], 1)
    text = as_text(views.job_table(jobs, nameless=jobs.nameless), colour=False, width=80)
    assert "1 more job that says neither task nor worker" in text
    assert "result_extended = True" in " ".join(text.split())
    assert results.list_recent(target, ResultFilter(task="proj.add", state=JobState.FAILED)).nameless == 0
    assert results.list_recent(target, ResultFilter()).nameless == 0


def test_apps_that_share_a_store_see_their_own_jobs_alone(store_url: str, tmp_path: Path) -> None:
    first, second = make_app(store_url, "first"), make_app(store_url, None)
    run_a_job(first, store_url, "a", "first.job")
    run_a_job(second, store_url, "b", "second.job")
    assert [job.id for job in results.list_recent(deployment_of(first, tmp_path), ResultFilter())] == ["a"]
    assert [job.id for job in results.list_recent(deployment_of(second, tmp_path), ResultFilter())] == ["b"]


def test_an_app_without_results_has_those_of_the_log(store_url: str, tmp_path: Path) -> None:
    app = make_app(store_url, backend="disabled://")
    target = deployment_of(app, tmp_path)
    with pytest.raises(LivectlError, match="keeps no results"):
        results.list_recent(target, ResultFilter())
    run_a_job(app, store_url, "a")
    (job,) = results.list_recent(target, ResultFilter())
    assert (job.id, job.state, job.task) == ("a", JobState.SUCCEEDED, "proj.add")


@pytest.mark.parametrize(
    ("expires", "ignore_result", "seconds"),
    [(None, False, 86_400), (60, False, 3600), (7200, False, 7200), (864_000, False, 86_400), (7200, True, 3600)],
)
def test_what_it_takes_to_send_a_failed_job_again_is_kept_as_long_as_its_result(
    store_url: str, expires: int | None, ignore_result: bool, seconds: int
) -> None:
    app = make_app(store_url, result_expires=expires, task_ignore_result=ignore_result)
    recorder = JobEventRecorder(Address.parse(store_url), app.main)
    sender = SimpleNamespace(name="proj.add", app=app, ignore_result=ignore_result)
    recorder.record_failure(sender, "a", ValueError("no"), (), {})
    recorder.flush()
    with redis_client.connect(Address.parse(store_url)) as connection:
        assert connection.execute("TTL", job_log.entry_key("a")) == pytest.approx(seconds, abs=60)


def test_what_is_noted_while_the_store_is_away_is_written_in_order_when_it_is_back(
    store_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    recorder = JobEventRecorder(Address.parse(store_url), "proj")
    request = SimpleNamespace(delivery_info={}, hostname="w1@h", retries=1)
    sender = SimpleNamespace(name="proj.add", app=make_app(store_url), request=request, ignore_result=True)
    with monkeypatch.context() as patched:
        patched.setattr(recorder._notes, "open_store", lambda: Redis(port=1))
        recorder.record_failure(sender, "a", ValueError("once"), (), {})
        recorder.record_failure(sender, "b", ValueError("for good"), (), {})
        recorder.record_start(sender, "a")
        recorder.record_end(sender, "a", "SUCCESS")
        assert not recorder.flush()
    assert recorder.flush()
    with redis_client.connect(Address.parse(store_url)) as connection:
        entries = job_log.read_entries(connection, ["a", "b"])
        assert connection.execute("HGET", job_log.ENDED_KEY, "proj") == b"3"
        assert connection.execute("XLEN", job_log.FAILED_KEY) == 2
    assert [(entries[key].state, entries[key].error) for key in "ab"] == [
        ("succeeded", ""),
        ("failed", "ValueError: for good"),
    ]


def test_a_forked_process_writes_its_own_notes_alone(store_url: str) -> None:
    recorder = JobEventRecorder(Address.parse(store_url), "proj")
    recorder._batch.add("parent", JobNote(facts={"task": "t"}))
    recorder._is_writing.acquire()  # by a thread that the child does not have
    child = os.fork()
    if child == 0:
        sender = SimpleNamespace(name="proj.add", app=make_app(store_url), ignore_result=True)
        recorder.record_end(sender, "child", "SUCCESS")
        recorder.flush()
        os._exit(0)
    os.waitpid(child, 0)
    with redis_client.connect(Address.parse(store_url)) as connection:
        assert set(job_log.read_entries(connection, ["parent", "child"])) == {"child"}


def test_a_job_says_when_it_was_sent_unless_it_does_already() -> None:
    fresh: dict[str, Any] = {}
    told = {"sent": 5.0}
    job_recorder.note_sent(headers=fresh)
    job_recorder.note_sent(headers=told)
    job_recorder.note_sent(headers=None)
    assert (fresh["sent"] > 0, told) == (True, {"sent": 5.0})
