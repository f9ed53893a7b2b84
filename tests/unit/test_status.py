"""What facts about a job amount to: a row for each case that one cannot make at will."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from livectl.models import Job, JobState
from livectl.ops.jobs import canvas, status, views
from livectl.ops.jobs.history import JobLogEntry
from livectl.ops.jobs.status import JobFacts
from livectl.ops.protocol.message import JobMessage
from livectl.ops.protocol.remote_control import WorkerJob
from livectl.ops.protocol.result import JobResult
from livectl.ops.protocol.search import MessageLocation
from livectl.render import as_text

NOW = datetime.now(UTC)
SOON = NOW + timedelta(days=1)  # after any run of these tests
VISIBILITY = 60.0


def message_at(*, tag: str = "", **fields: Any) -> MessageLocation:
    return MessageLocation(
        message=JobMessage(id="j", **fields), key="celery", raw=b"", queue="celery", tag=tag, delivered=1.0
    )


def job_with(state: Any, **fields: Any) -> WorkerJob:
    return WorkerJob(worker="w1", state=state, **fields)


@pytest.mark.parametrize(
    ("facts", "state"),
    [
        ({}, "unknown"),
        ({"job_result": JobResult(id="j", status="SUCCESS")}, "succeeded"),
        ({"job_result": JobResult(id="j", status="REJECTED")}, "failed"),
        ({"job_result": JobResult(id="j", status="PROGRESS"), "worker_job": job_with("active")}, "running"),
        ({"job_result": JobResult(id="j", status="STARTED")}, "unknown"),  # its worker died with it
        ({"job_result": JobResult(id="j", status="STARTED"), "silent": 1}, "running"),
        ({"job_result": JobResult(id="j", status="RETRY")}, "unknown"),  # handed back by nobody: lost
        ({"job_result": JobResult(id="j", status="RETRY"), "location": message_at(eta=SOON)}, "retrying"),
        (
            {"worker_job": job_with("active"), "log_entry": JobLogEntry(state="failed", finished=NOW)},
            "running",
        ),  # given out again
        ({"worker_job": job_with("ready"), "log_entry": JobLogEntry(state="succeeded", finished=NOW)}, "succeeded"),
        ({"worker_job": job_with("reserved", eta=SOON)}, "eta"),
        ({"worker_job": job_with("reserved")}, "received"),
        ({"worker_job": job_with("reserved"), "location": message_at(tag="t", retries=2)}, "retrying"),
        ({"location": message_at()}, "queued"),
        ({"location": message_at(eta=SOON)}, "eta"),
        ({"location": message_at(eta=NOW - timedelta(minutes=5))}, "queued"),
        ({"location": message_at(tag="t")}, "redelivery"),
        ({"location": message_at(tag="t", eta=SOON)}, "redelivery"),
        ({"location": message_at(tag="t"), "silent": 1}, "received"),
        ({"location": message_at(tag="t", eta=SOON), "silent": 1}, "eta"),
        ({"location": message_at(tag="t"), "silent": 1, "log_entry": JobLogEntry(started=NOW)}, "running"),
        ({"log_entry": JobLogEntry(sent=NOW)}, "unknown"),
        ({"log_entry": JobLogEntry(sent=NOW), "searched": False}, "queued"),
        ({"log_entry": JobLogEntry(sent=NOW), "searched": False, "no_results": "none are kept"}, "unknown"),
        ({"log_entry": JobLogEntry(state="revoked", finished=NOW)}, "revoked"),
        ({"log_entry": JobLogEntry(state="nonsense", finished=NOW)}, "unknown"),
    ],
    ids=lambda value: str(value)[:60],
)
def test_the_state_of_a_job(facts: dict[str, Any], state: str) -> None:
    job_status = status.job_status(JobFacts(id="j", **facts), VISIBILITY)
    assert job_status.job.state == state
    assert (job_status.note != "") == (
        (state == "succeeded" and "job_result" not in facts)
        or state in {"unknown", "redelivery"}
        or (state == "received" and not facts.get("worker_job"))
    )


@pytest.mark.parametrize(
    ("states", "state"),
    [
        ([], "succeeded"),
        (["succeeded", "succeeded"], "succeeded"),
        (["succeeded", "failed", "running"], "failed"),
        (["succeeded", "queued"], "running"),
        (["queued", "queued"], "queued"),
        (["eta", "unknown"], "eta"),
    ],
)
def test_the_state_of_a_group(states: list[str], state: str) -> None:
    assert status.group_state([JobState(state) for state in states]) == state


def test_what_a_server_with_a_fast_clock_told_is_never_ahead() -> None:
    ahead = datetime.now(UTC) + timedelta(minutes=2)
    job = Job(id="j", state=JobState.SUCCEEDED, sent_at=ahead, started_at=ahead, finished_at=ahead)
    assert "in " not in as_text(views.job_details(status.JobStatus(job)), colour=False)
    later = Job(id="j", state=JobState.ETA, eta=SOON)
    assert "(in 2" in as_text(views.job_details(status.JobStatus(later)), colour=False)


@pytest.mark.parametrize(
    ("facts", "note"),
    [
        ({"log_entry": JobLogEntry(sent=NOW)}, "it has ended, or is lost: no worker has it, it is in no queue"),
        ({"searched": False}, "or was never sent here: no worker has it, its queues could not be searched to the end"),
    ],
)
def test_of_a_job_whose_result_nobody_keeps_that_is_said(facts: dict[str, Any], note: str) -> None:
    kept_nowhere = JobFacts(id="j", no_results="its results go back to the sender alone", **facts)
    told = status.job_status(kept_nowhere, VISIBILITY).note
    assert note in told
    assert told.endswith("and its results go back to the sender alone")


def test_an_id_that_is_nowhere_may_be_that_of_what_follows_in_a_chain() -> None:
    told = status.job_status(JobFacts(id="j"), VISIBILITY)
    assert (told.job.state, "what follows a job of a chain is sent when that one ends" in told.note) == (
        "unknown",
        True,
    )


def test_the_word_of_a_state_is_the_same_everywhere() -> None:
    manual = (Path(__file__).parents[2] / "docs" / "jobs.md").read_text()
    for state in JobState:
        assert views.STATE_TEXTS[state].startswith(state)
        assert f"`{state}`" in manual


def test_a_job_that_has_ended_is_not_due_any_more() -> None:
    revoked = Job(id="j", state=JobState.REVOKED, eta=SOON, finished_at=NOW)
    assert "due" not in as_text(views.job_details(status.JobStatus(revoked)), colour=False)


def test_a_long_error_stands_beside_no_empty_column() -> None:
    error = "ValueError: " + "a very long text " * 20
    jobs = [Job(id="4ad10b96-99d3-4a0c-a589-dc36267200be", state=JobState.FAILED, finished_at=NOW, error=error)]
    text = as_text(views.job_table(jobs), colour=False, width=80)
    heading, _, row, hint = text.splitlines()
    assert heading.split() == ["id", "state", "ago", "result"]
    assert row.endswith("…")
    assert hint == "`livectl status ID` shows all of one"


@pytest.mark.parametrize(
    ("ended", "gone", "told"),
    [
        ({}, (), ("queued", "not sent yet: it follows a, and is sent when that has succeeded")),
        ({"a": "succeeded"}, (), ("queued", "not sent yet: it follows b, and is sent when that has succeeded")),
        ({"a": "succeeded", "b": "failed"}, (), ("failed", "never sent: b, which it follows, failed")),
        ({"a": "revoked"}, (), ("revoked", "never sent: a, which it follows, was revoked")),
        ({"a": "succeeded"}, ("b",), ("unknown", "not sent: it follows b, which is nowhere")),
        ({"a": "succeeded", "b": "succeeded"}, (), ("unknown", "")),
    ],
)
def test_what_follows_others_waits_for_the_first_that_has_not_ended(
    ended: dict[str, str], gone: tuple[str, ...], told: tuple[str, str]
) -> None:
    states = {job_id: JobState(state) for job_id, state in ended.items()}
    assert canvas.describe_behind(["a", "b"], states, lambda job_id: job_id not in gone) == told
