"""What the store remembers of jobs and runs: how much, for how long, and whose word counts."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any
from uuid import uuid4

import pytest
from celery import Celery

from livectl import redis_client
from livectl.address import Address
from livectl.ops.jobs import history, job_log, numbers, outcomes
from livectl.ops.jobs.history import JobHistory, JobNote
from livectl.ops.jobs.job_recorder import JobEventRecorder
from livectl.render import as_text
from livectl.settings import History

if TYPE_CHECKING:
    from collections.abc import Iterator

    from redis import Redis

NOW = 1_800_000_000.0
A_UUID = "4d8b1acf-a016-41e6-8665-3744226476b9"
FULL: dict[str, Any] = {
    "app": "proj",
    "task": "proj.tasks.send_mail",
    "queue": "celery",
    "worker": "celery@mail-7f9c",
    "state": "succeeded",
    "retries": 1,
    "sent": NOW,
    "taken": NOW + 0.004,
    "started": NOW + 0.005,
    "finished": NOW + 1.25,
}


@pytest.fixture
def store(store_url: str) -> Iterator[Redis]:
    with redis_client.using_store(Address.parse(store_url)) as client:
        yield client


def note(store: Redis, *notes: tuple[str, dict[str, Any]], mode: str = "set", **kept: Any) -> list[int]:
    rows = {job_id: JobNote(facts=facts, mode=mode) for job_id, facts in notes}
    fresh: list[int] = store.execute_command(*history.note_command(rows, **kept))  # type: ignore[no-untyped-call]
    return fresh


@pytest.mark.parametrize("job_id", [A_UUID, "a", "x" * 15, "x" * 16, A_UUID.upper(), "größe"])
def test_a_record_says_what_was_noted_under_the_id_that_it_was_noted(store: Redis, job_id: str) -> None:
    note(store, (job_id, FULL | {"error": "ValueError: no", "schedule": "nightly", "due": NOW - 2, "eta": NOW}))
    (entry,) = JobHistory.of_client(store).jobs([job_id]).values()
    assert (entry.id, entry.task, entry.worker, entry.outcome) == (job_id, FULL["task"], FULL["worker"], "succeeded")
    assert (entry.retries, entry.error, entry.schedule) == (1, "ValueError: no", "nightly")
    assert [entry.ran, entry.late] == pytest.approx([1.245, 2.005])


def test_a_job_takes_about_150_bytes(store: Redis) -> None:
    before = store.info("memory")["used_memory"]
    for _ in range(10):
        note(store, *((str(uuid4()), FULL) for _ in range(1000)))
    each = (store.info("memory")["used_memory"] - before) / 10_000
    print(f"{each:.0f} bytes a job")
    assert each < 200


def test_the_first_are_forgotten_when_there_are_too_many_or_they_are_too_old(store: Redis) -> None:
    jobs = JobHistory.of_client(store)
    note(store, *((f"job-{number}", FULL) for number in range(5)), most=3)
    assert [entry.id for entry in jobs.recent()] == ["job-4", "job-3", "job-2"]
    note(store, ("job-5", FULL), most=3)
    assert [entry.id for entry in jobs.recent()] == ["job-5", "job-4", "job-3"]
    time.sleep(0.03)
    with store.pipeline() as pipe:
        pipe.execute_command(*history.note_command({"job-6": JobNote(facts=FULL)}, 0.01, 9))  # type: ignore[no-untyped-call]
        for key in (history.JOBS_KEY, history.ORDER_KEY):
            pipe.persist(key)  # else all is forgotten 10 ms later
        pipe.execute()
    assert [entry.id for entry in jobs.recent()] == ["job-6"]
    assert (store.hlen(history.JOBS_KEY), store.xlen(history.ORDER_KEY)) == (1, 1)


def test_what_is_noted_together_is_kept_in_its_order_and_forgotten_a_piece_at_a_time(store: Redis) -> None:
    jobs = JobHistory.of_client(store)
    note(store, ("old", FULL))
    store.delete(history.ORDER_KEY)
    store.xadd(history.ORDER_KEY, {"": history.pack_id("old")})  # as it was once
    note(store, *((f"job-{number}", FULL) for number in range(450)), most=500)
    assert [entry.id for entry in jobs.recent(500)] == [*(f"job-{number}" for number in reversed(range(450))), "old"]
    note(store, *((f"more-{number}", FULL) for number in range(58)), most=500)
    assert [entry.id for entry in jobs.recent(600)][-1] == "job-5", "of five together, none is dropped before its time"
    assert len(jobs.recent(600)) == store.hlen(history.JOBS_KEY) == 503
    assert store.xlen(history.ORDER_KEY) == 101


def test_an_earlier_try_that_is_written_late_does_not_hide_a_later_one(store: Redis) -> None:
    note(store, ("a", {"state": "succeeded", "retries": 1, "started": NOW, "finished": NOW + 1}))
    note(store, ("a", {"state": "retrying", "retries": 0, "started": NOW - 9}))
    assert note(store, ("a", {"task": "t", "sent": NOW - 10}), mode="new") == [0]
    assert JobHistory.of_client(store).jobs(["a"])["a"].state == "succeeded"
    note(store, ("a", {"retries": 1, "started": NOW + 5}))  # its worker died, and another has it
    assert JobHistory.of_client(store).jobs(["a"])["a"].outcome == "running"


def test_runs_are_found_by_their_schedule_the_newest_first(store: Redis, store_url: str) -> None:
    now = time.time()
    for number, state in enumerate(("succeeded", "failed", "missed", "succeeded")):
        facts = {"schedule": "nightly", "due": now - 100 + number, "state": state}
        note(store, (f"run-{number}", facts), ("other", {"schedule": "hourly", "due": now}), (str(uuid4()), FULL))
    jobs = JobHistory.of_client(store)
    assert [run.id for run in jobs.runs("nightly")] == ["run-3", "run-2", "run-1", "run-0"]
    assert [run.id for run in jobs.runs("nightly", 1, failed=True)] == ["run-2"]
    assert [run.schedule for run in jobs.runs(limit=2)] == ["hourly", "nightly"]
    assert {name: [run.id for run in runs] for name, runs in jobs.last_runs(["hourly", "nightly", "x"], 2).items()} == {
        "hourly": ["other"],
        "nightly": ["run-3", "run-2"],
        "x": [],
    }
    with redis_client.connect(Address.parse(store_url)) as connection:
        plain = JobHistory.over(connection)
        assert plain.runs("nightly") == jobs.runs("nightly")
        assert plain.recent(state="missed") == jobs.recent(state="missed") != []
        assert len(plain.recent(task=FULL["task"], app="proj")) == 4


def test_what_is_no_record_is_passed_over(store: Redis) -> None:
    note(store, ("a", FULL), ("b", FULL))
    store.hset(history.JOBS_KEY, "\0a", b"\0nonsense")
    assert set(JobHistory.of_client(store).jobs(["a", "b", "c"])) == {"b"}


def test_runs_are_forgotten_with_their_jobs(store: Redis) -> None:
    """Those of their schedule a run later: the key of a schedule is known where one of its runs is noted."""
    rows = [(f"run-{number}", {"schedule": "nightly", "due": NOW + number, "app": "proj"}) for number in range(20)]
    note(store, *rows[:8], most=2)
    assert [run.id for run in JobHistory.of_client(store).runs("nightly")] == ["run-7", "run-6"]
    for row in rows[8:]:
        note(store, row, most=2)
    assert [run.id for run in JobHistory.of_client(store).runs("nightly")] == ["run-19", "run-18"]
    assert (store.zcard(f"{history.RUNS_KEY}:nightly"), store.zcard(history.RUNS_KEY)) == (3, 2)


def test_runs_are_listed_with_their_outcomes_and_as_a_bar() -> None:
    runs = [
        history.to_entry("a", FULL | {"schedule": "nightly", "due": NOW - 1}),
        history.to_entry("b", {"schedule": "nightly", "due": NOW - 60, "state": "missed"}),
    ]
    text = as_text(outcomes.run_table(runs, "UTC", "nightly"), colour=False, width=80)
    assert [line.split()[2:] for line in text.splitlines()[2:]] == [
        ["1.00", "s", "1.25", "s", "succeeded", "2"],
        ["missed"],
    ]
    assert outcomes.outcome_bar([run.outcome for run in runs]) == "M."
    assert outcomes.run_fields(runs[0])["duration"] == pytest.approx(1.245)


def work_off() -> None:
    """What a task does here."""


def test_a_worker_notes_what_runs_and_how_it_ends_and_counts_where_nothing_is_kept(
    store: Redis, store_url: str
) -> None:
    task = Celery("shop", broker="memory://", set_as_current=False).task(name="shop.mail", shared=False)(work_off)
    kept, counted = (JobEventRecorder(Address.parse(store_url), "shop", History(jobs=jobs)) for jobs in (9, 0))
    kept.record_start(task, "a")
    assert kept.flush()
    jobs = JobHistory.of_client(store)
    assert jobs.jobs(["a"])["a"].outcome == "running"
    kept.record_end(task, "a", "SUCCESS")
    for job_id, state in (("b", "SUCCESS"), ("c", "FAILURE")):
        kept.record_start(task, job_id)
        if state == "FAILURE":
            kept.record_failure(task, job_id, ValueError("no"), (), {})
        kept.record_end(task, job_id, state)
    store.script_flush()  # a server that has started again knows no script
    assert kept.flush()
    found = jobs.jobs(["a", "b", "c"]).values()
    assert [(job.outcome, job.started is not None) for job in found] == [
        ("succeeded", True),
        ("succeeded", True),
        ("failed", True),
    ]
    counted.record_start(task, "d")
    counted.record_failure(task, "d", ValueError("no"), (), {})
    counted.record_end(task, "d", "FAILURE")
    assert counted.flush()
    assert jobs.jobs(["d"]) == {}
    assert not store.exists(job_log.entry_key("d"))
    (series,) = numbers.parse_series(store.hgetall(numbers.NUMBERS_KEY), "shop")["job"]
    assert (series.fields["started"], series.fields["succeeded"], series.fields["failed"]) == (4, 2, 2)
