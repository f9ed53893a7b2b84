"""What evidence about a job amounts to: a row for each case that one cannot make at will."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from livectl.models import JobState
from livectl.ops.jobs import status
from livectl.ops.jobs.job_log import JobLogEntry
from livectl.ops.jobs.status import JobFacts
from livectl.ops.protocol import message, result
from livectl.ops.protocol.message import JobMessage
from livectl.ops.protocol.remote_control import WorkerJob
from livectl.ops.protocol.result import JobResult
from livectl.ops.protocol.search import MessageLocation

NOW = datetime.now(UTC)
SOON = NOW + timedelta(days=1)  # after any run of these tests
VISIBILITY = 60.0


def found(*, tag: str = "", **said: Any) -> MessageLocation:
    return MessageLocation(
        message=JobMessage(id="j", **said), key="celery", raw=b"", queue="celery", tag=tag, delivered=1.0
    )


def held(holding: Any, **said: Any) -> WorkerJob:
    return WorkerJob(worker="w1", state=holding, **said)


@pytest.mark.parametrize(
    ("evidence", "state"),
    [
        ({}, "unknown"),
        ({"job_result": JobResult(id="j", status="SUCCESS")}, "succeeded"),
        ({"job_result": JobResult(id="j", status="REJECTED")}, "failed"),
        ({"job_result": JobResult(id="j", status="PROGRESS"), "worker_job": held("active")}, "running"),
        ({"job_result": JobResult(id="j", status="STARTED")}, "unknown"),  # its worker died with it
        ({"job_result": JobResult(id="j", status="STARTED"), "silent": 1}, "running"),
        ({"job_result": JobResult(id="j", status="RETRY")}, "unknown"),  # handed back by nobody: lost
        ({"job_result": JobResult(id="j", status="RETRY"), "location": found(eta=SOON)}, "retrying"),
        (
            {"worker_job": held("active"), "log_entry": JobLogEntry(state="failed", finished=NOW)},
            "running",
        ),  # given out again
        ({"worker_job": held("ready"), "log_entry": JobLogEntry(state="succeeded", finished=NOW)}, "succeeded"),
        ({"worker_job": held("reserved", eta=SOON)}, "eta"),
        ({"worker_job": held("reserved")}, "received"),
        ({"worker_job": held("reserved"), "location": found(tag="t", retries=2)}, "retrying"),
        ({"location": found()}, "queued"),
        ({"location": found(eta=SOON)}, "eta"),
        ({"location": found(eta=NOW - timedelta(minutes=5))}, "queued"),
        ({"location": found(tag="t")}, "redelivery"),
        ({"location": found(tag="t", eta=SOON)}, "redelivery"),
        ({"location": found(tag="t"), "silent": 1}, "received"),
        ({"location": found(tag="t", eta=SOON), "silent": 1}, "eta"),
        ({"location": found(tag="t"), "silent": 1, "log_entry": JobLogEntry(started=NOW)}, "running"),
        ({"log_entry": JobLogEntry(sent=NOW)}, "unknown"),
        ({"log_entry": JobLogEntry(sent=NOW), "searched": False}, "queued"),
        ({"log_entry": JobLogEntry(state="revoked", finished=NOW)}, "revoked"),
        ({"log_entry": JobLogEntry(state="nonsense", finished=NOW)}, "unknown"),
    ],
    ids=lambda value: str(value)[:60],
)
def test_the_word_for_it(evidence: dict[str, Any], state: str) -> None:
    judged = status.job_status(JobFacts(id="j", **evidence), VISIBILITY)
    assert judged.job.state == state
    assert (judged.note != "") == (
        state in {"unknown", "redelivery"} or (state == "received" and not evidence.get("worker_job"))
    )


@pytest.mark.parametrize(
    ("states", "word"),
    [
        ([], "succeeded"),
        (["succeeded", "succeeded"], "succeeded"),
        (["succeeded", "failed", "running"], "failed"),
        (["succeeded", "queued"], "running"),
        (["queued", "queued"], "queued"),
        (["eta", "unknown"], "eta"),
    ],
)
def test_one_word_for_a_group(states: list[str], word: str) -> None:
    assert status.group_state([JobState(state) for state in states]) == word


@pytest.mark.parametrize(
    "raw",
    [b"", b"[]", b"null", b"{}", b"\xff", b'{"headers": 5}', b'{"headers": {"eta": "x", "retries": "y", "id": 5}}',
     b'{"body": "!", "content-type": "application/json", "properties": {"body_encoding": "base64"}}'],
)  # fmt: skip
def test_a_malformed_message_is_read_as_far_as_it_goes(raw: bytes) -> None:
    assert message.read(raw) == JobMessage()


@pytest.mark.parametrize("raw", [b"", b"[]", b"5", b'{"status": 1}', b'{"task_id": "x"}', b"\x80\x04\x95"])
def test_a_malformed_result_is_none(raw: bytes) -> None:
    assert result.parse(raw) is None


def test_a_message_of_the_first_protocol_is_read_too() -> None:
    body = json.dumps({"task": "t", "id": "j", "args": [1], "kwargs": {}})
    raw = json.dumps({"body": body, "content-type": "application/json"}).encode()
    assert message.read(raw) == JobMessage(id="j", task="t", args=[1], kwargs={})
