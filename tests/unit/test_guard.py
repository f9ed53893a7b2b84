"""What the guard changes of an app before its worker runs."""

from __future__ import annotations

from datetime import UTC, datetime
from functools import partial
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import pytest
from billiard.exceptions import WorkerLostError
from celery import Celery, signals

from livectl.ops import apps, guard
from livectl.ops.guarded_request import guarded_request
from livectl.ops.processes import running_settings
from livectl.ops.protocol.dead_letter import DeadLetter
from livectl.settings import Settings

if TYPE_CHECKING:
    from pathlib import Path


@pytest.mark.parametrize(
    ("namespace", "names", "called_old"),
    [
        ("CELERY", ["CELERY_RESULT_BACKEND", "CELERY_TIMEZONE"], set()),
        ("CELERY", ["CELERY_TIMEZONE", "CELERYD_CONCURRENCY"], {"CELERYD_CONCURRENCY"}),  # not read behind CELERY
        ("", ["CELERY_TIMEZONE"], {"CELERY_TIMEZONE"}),
        ("SHOP", ["CELERY_TIMEZONE"], {"CELERY_TIMEZONE"}),
        ("CELERY", ["CELERY_TASK_RESULT_EXPIRES"], {"CELERY_TASK_RESULT_EXPIRES"}),  # no setting without CELERY_
    ],
)
def test_a_name_is_called_old_only_where_it_is(namespace: str, names: list[str], called_old: set[str]) -> None:
    app = Celery("names", set_as_current=False)
    app.config_from_object(dict.fromkeys(names), namespace=namespace or None)
    assert set(app.conf.deprecated_settings or ()) == set(names)
    apps.drop_false_deprecations(app)
    assert set(app.conf.deprecated_settings or ()) == called_old
    app.close()


def test_a_store_that_is_away_is_no_reason_to_end(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("LIVECTL_STORE", raising=False)
    app = Celery("away", broker="redis://127.0.0.1:1/0", set_as_current=False)
    letter = DeadLetter(id="j", kind="message", reason="bad", at=datetime.now(UTC), task="t", payload={})
    assert not guard.create_guard(app).add(letter)
    app.close()


def test_what_a_worker_holds_on_to_is_noted_until_it_ends(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    running_settings.note_worker(Settings(home=tmp_path / "home", folder=tmp_path), tmp_path, "w1")
    (note,) = (tmp_path / "home" / "run" / "settings").iterdir()
    assert '"w1"' in note.read_text()
    signals.worker_shutdown.send(None)
    assert not note.exists()
    signals.worker_shutdown.disconnect(dispatch_uid="livectl.forget_start")


class FakeRequest:
    """Of Celery's request what the guard's stands on."""

    id = "j"

    def __init__(self) -> None:
        self.requeued = 0

    def cancel(self, pool: Any) -> None: ...

    def on_accepted(self, pid: int, time_accepted: float) -> None: ...

    def on_failure(self, exc_info: Any) -> None: ...

    def reject(self, requeue: bool) -> None:
        self.requeued += requeue


@pytest.mark.parametrize("is_told", [True, False])
def test_a_job_that_its_worker_was_told_to_end_has_killed_nobody(is_told: bool) -> None:
    counted: list[str] = []

    def note_start(job: str) -> int:
        counted.append(job)
        return len(counted)

    counter = SimpleNamespace(max_starts=3, note_start=note_start, note_end=counted.remove)
    request: Any = guarded_request(FakeRequest, SimpleNamespace(guard=counter))()
    if is_told:
        counted.append("j")
        request._is_counted = True
        request.cancel(None)
    request.on_failure(SimpleNamespace(exception=WorkerLostError()))
    request.reject(requeue=True)
    assert (counted, request.requeued) == ([] if is_told else ["j"], 1)


def test_a_job_goes_back_also_where_its_failure_cannot_be_told() -> None:
    class Failing(FakeRequest):
        acknowledged = False
        task = SimpleNamespace(acks_late=True)

        def on_failure(self, exc_info: Any) -> None:
            raise RuntimeError

    request: Any = guarded_request(Failing, SimpleNamespace())()
    with pytest.raises(RuntimeError):
        request.on_failure(SimpleNamespace(exception=WorkerLostError()))
    assert request.requeued == 1


@pytest.mark.parametrize(
    ("pool", "store", "had_one"),
    [("prefork", True, True), ("threads", True, False), ("threads", False, True)],
)
def test_what_a_worker_held_and_never_began_counts_as_no_start(pool: str, store: bool, had_one: bool) -> None:
    """Where it is known: a pool that counts first starts has none in the store."""
    counted: list[bool] = []

    def note_start(job: str, *, is_repeat: bool) -> int:
        counted.append(is_repeat)
        return 1

    counter = SimpleNamespace(counts_first_starts=store, note_start=note_start)
    its_pool = SimpleNamespace(uses_semaphore=pool == "prefork")
    consumer: Any = SimpleNamespace(guard=counter, pool=its_pool, may_begin=lambda request: True)
    request: Any = guarded_request(FakeRequest, consumer)()
    request.task = SimpleNamespace(acks_late=True)
    request.message = SimpleNamespace(headers={}, delivery_info={"redelivered": True})
    request.on_accepted(1, 0.0)
    assert counted == [had_one]


@pytest.mark.parametrize(("max_starts", "waits_at"), [(3, 2), (2, 1), (1, None)])
def test_others_go_before_the_last_start_of_a_job_once(max_starts: int, waits_at: int | None) -> None:
    put_back: list[bool] = []
    message = SimpleNamespace(
        headers={"id": "j", "task": "t"}, reject_log_error=lambda *_, requeue: put_back.append(requeue)
    )
    counter = SimpleNamespace(max_starts=max_starts)
    consumer: Any = SimpleNamespace(puts_back_at_end=True, guard=counter, _last_starts=set(), connection_errors=())
    lets = partial(guard.GuardedConsumer._lets_others_first, consumer, message)
    for starts in range(max_starts + 1):
        assert [lets(starts), lets(starts)] == [starts == waits_at, False]
    assert put_back == [True] * (waits_at is not None)
    consumer.puts_back_at_end = False
    assert not any(map(lets, range(4)))


@pytest.mark.parametrize(("chosen", "tries"), [({}, True), ({"result_backend_always_retry": False}, False)])
def test_an_app_tries_again_to_keep_its_results_unless_it_says_otherwise(chosen: dict[str, bool], tries: bool) -> None:
    app = Celery("results", backend="redis://127.0.0.1:1/0", set_as_current=False)
    app.conf.update(chosen)
    assert app.backend.always_retry is False
    guard.keep_results(app)
    assert app.backend.always_retry is tries
    assert app.conf.result_backend_always_retry is tries
    app.close()
