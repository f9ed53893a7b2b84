"""What is noted of jobs by what workers tell of them: played events in, notes out."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from celery import Celery

from livectl.ops.jobs import event_history
from livectl.ops.jobs.event_history import HeardJobs, read_events
from livectl.ops.protocol.keys import KeyLayout

if TYPE_CHECKING:
    from collections.abc import Sequence

NOW = 1_800_000_000.0


@pytest.fixture
def app() -> Celery:
    made = Celery("heard", set_as_current=False)
    made.task(name="heard.add", shared=False)(_task)
    return made


def _task() -> None: ...


def event(kind: str, after: float = 0.0, job: str = "a", **fields: Any) -> dict[str, Any]:
    return {"type": f"task-{kind}", "uuid": job, "hostname": "w@h", "timestamp": NOW + after, "clock": 7, **fields}


RECEIVED = event("received", name="heard.add", args="()", retries=0, eta=None)
STARTED = event("started", 1)
SUCCEEDED = event("succeeded", 3, result="3", runtime=1.9)
FAILED = event("failed", 3, exception="ValueError('no such thing')", traceback="…")


def hear(app: Celery, *bodies: Any, known: dict[str, dict[str, Any]] | None = None) -> Any:
    jobs = HeardJobs(app, lambda ids: {job: facts for job, facts in (known or {}).items() if job in ids})
    return jobs.batch([each for body in bodies for each in read_events(body)])


def counted(batch: Any) -> dict[str, int]:
    arguments = batch.numbers.arguments("heard")[2:]
    names = iter(arguments[6:])
    return {name: number for name, number in zip(names, names, strict=False) if ":" not in name}


def test_a_job_is_noted_as_livectls_own_workers_note_it(app: Celery) -> None:
    sent = event("sent", -0.5, name="heard.add", queue="mail", retries=0)
    batch = hear(app, sent, [RECEIVED, STARTED, SUCCEEDED])
    (note,) = batch.notes.values()
    assert note.mode == "set"
    assert note.facts == {
        "app": "heard",
        "task": "heard.add",
        "queue": "mail",
        "worker": "w@h",
        "state": "succeeded",
        "retries": 0,
        "sent": NOW - 0.5,
        "taken": NOW,
        "started": NOW + 1,
        "finished": NOW + 3,
        "eta": None,
    }
    assert counted(batch) == {"started": 1, "wait_ms": 1500, "succeeded": 1, "ran_ms": 2000}
    assert batch.ended == 0


def test_what_its_sender_noted_of_a_run_stays(app: Celery) -> None:
    run = {"task": "heard.add", "schedule": "nightly", "due": NOW - 2, "sent": NOW - 1, "queue": "mail", "state": ""}
    (note,) = hear(app, [RECEIVED, STARTED], known={"a": run}).notes.values()
    assert {name: note.facts[name] for name in ("schedule", "due", "sent", "queue")} == {
        "schedule": "nightly",
        "due": NOW - 2,
        "sent": NOW - 1,
        "queue": "mail",
    }


def test_a_failure_is_kept_with_its_error_and_without_a_message_that_could_be_sent_again(app: Celery) -> None:
    batch = hear(app, [RECEIVED, STARTED, FAILED])
    (failure,) = batch.failures
    assert (failure.error, failure.message) == ("ValueError: no such thing", None)
    assert batch.notes["a"].facts["error"] == "ValueError: no such thing"


def test_a_job_that_is_tried_again_has_the_times_of_its_last_try(app: Celery) -> None:
    again = [{**RECEIVED, "timestamp": NOW + 9, "retries": 1}, {**STARTED, "timestamp": NOW + 10}]
    batch = hear(app, [RECEIVED, STARTED, event("retried", 2, exception="RuntimeError('x')")], again)
    facts = batch.notes["a"].facts
    assert (facts["retries"], facts["taken"], facts["started"]) == (1, NOW + 9, NOW + 10)
    assert not {"state", "finished", "error"} & facts.keys()
    assert counted(batch)["retrying"] == 1


@pytest.mark.parametrize(
    ("bodies", "known"),
    [
        ([{**RECEIVED, "name": "other.add"}, STARTED, SUCCEEDED], {}),  # of an app that shares the broker
        ([STARTED, SUCCEEDED], {}),  # begun before anybody listened: nobody knows its task
        ([event("rejected", requeue=False), event("odd"), {"type": "worker-heartbeat", "hostname": "w@h"}], {"a": {}}),
    ],
)
def test_nothing_is_noted_of_what_is_not_known(app: Celery, bodies: Sequence[Any], known: dict[str, Any]) -> None:
    batch = hear(app, *bodies, known=known)
    assert not batch


def test_a_job_begun_before_anybody_listened_is_noted_as_far_as_its_sender_noted_it(app: Celery) -> None:
    (note,) = hear(app, SUCCEEDED, known={"a": {"app": "heard", "task": "gone.task", "retries": 0}}).notes.values()
    assert (note.facts["task"], note.facts["started"]) == ("gone.task", NOW + 3 - 1.9)


@pytest.mark.parametrize(
    "body",
    [
        *(None, "text", 7, [None, []], {}, {"type": "task-started"}),
        *({**STARTED, name: None} for name in ("uuid", "hostname", "timestamp")),
        *({**STARTED, name: "x" * 300} for name in ("uuid", "hostname", "timestamp")),
        {**STARTED, "timestamp": -1.0},
        {**STARTED, "timestamp": 1e300},
        {**STARTED, "timestamp": "now"},
        {**STARTED, "uuid": ""},
        {**RECEIVED, "retries": -1},
        {**RECEIVED, "retries": "many"},
        {**SUCCEEDED, "runtime": 1e300},
    ],
)
def test_malformed_events_are_passed_over(app: Celery, body: Any) -> None:
    assert read_events([body, RECEIVED]) == read_events(RECEIVED)
    assert list(hear(app, body, RECEIVED).notes) == ["a"]


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("ValueError('no such thing')", "ValueError: no such thing"),
        ("ValueError('no such thing',)", "ValueError: no such thing"),
        ("KeyError('a')", "KeyError: 'a'"),
        ("OSError(2, 'No such file')", "OSError: (2, 'No such file')"),
        ("Odd()", "Odd: "),
        ("Odd(<object at 0x7f>)", "Odd(<object at 0x7f>)"),
        ("Odd(" + "[" * 9000 + ")", "Odd(" + "[" * 9000 + ")"),
        ("no exception", "no exception"),
    ],
)
def test_an_exception_reads_as_in_a_log(text: str, words: str) -> None:
    assert event_history.describe_exception(text) == words


def test_no_more_jobs_are_remembered_than_there_is_room_for(app: Celery, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(event_history, "MAX_KNOWN_JOBS", 3)
    jobs = HeardJobs(app, lambda _: {})
    jobs.batch(read_events([{**RECEIVED, "uuid": f"job-{number}"} for number in range(9)]))
    assert list(jobs._known) == ["job-6", "job-7", "job-8"]


def test_channels_are_those_of_the_prefix_as_it_is_written() -> None:
    layout = KeyLayout(prefix="a[b]*", fanout="/{db}.")
    assert layout.job_event_channels(2, "ev") == (r"a\[b\]\*/2.ev/task.*", "a[b]*/2.ev")
