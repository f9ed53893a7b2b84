"""What is to be otherwise in running workers, as a command line spells it, and what workers make of it."""

from __future__ import annotations

from typing import Any

import pytest

from livectl.errors import UsageError
from livectl.ops.cluster import workers
from livectl.ops.cluster.worker_changes import read_changes

NOTHING: dict[str, Any] = {
    "rates": (),
    "limits": (),
    "autoscale": None,
    "grow": None,
    "shrink": None,
    "consume": (),
    "cancel": (),
}


@pytest.mark.parametrize(
    ("options", "method", "arguments"),
    [
        ({"rates": ("proj.add=10/m",)}, "rate_limit", {"task_name": "proj.add", "rate_limit": "10/m"}),
        ({"rates": ("proj.add=none",)}, "rate_limit", {"task_name": "proj.add", "rate_limit": 0}),
        ({"limits": ("proj.add=1m,50",)}, "time_limit", {"task_name": "proj.add", "hard": 60.0, "soft": 50.0}),
        ({"limits": ("proj.add=none",)}, "time_limit", {"task_name": "proj.add", "hard": None, "soft": None}),
        ({"autoscale": "3,10"}, "autoscale", {"max": 10, "min": 3}),
        ({"grow": 2}, "pool_grow", {"n": 2}),
        ({"shrink": 1}, "pool_shrink", {"n": 1}),
        ({"consume": ("mail",)}, "add_consumer", {"queue": "mail"}),
        ({"cancel": ("mail",)}, "cancel_consumer", {"queue": "mail"}),
    ],
)
def test_each_change_is_one_command_of_celery(options: dict[str, Any], method: str, arguments: dict[str, Any]) -> None:
    (change,) = read_changes(NOTHING | options)
    assert (change.method, change.arguments) == (method, arguments)


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({}, "what is to be changed?"),
        ({"rates": ("proj.add",)}, "does not say of which task"),
        ({"rates": ("proj.add=fast",)}, "a rate is a number in a unit of time"),
        ({"rates": ("proj.add=10/d",)}, "Celery has rates in /s, /m and /h"),
        ({"limits": ("proj.add=50,60",)}, "the soft one is not before the hard one"),
        ({"limits": ("proj.add=soon",)}, "--task-time-limit proj.add=soon"),
        ({"autoscale": "many"}, "--autoscale 'many'"),
        ({"grow": 1, "shrink": 1}, "both --grow and --shrink"),
    ],
)
def test_a_change_that_cannot_be_is_refused(options: dict[str, Any], says: str) -> None:
    with pytest.raises(UsageError) as caught:
        read_changes(NOTHING | options)
    assert says in caught.value.message
    assert caught.value.hint


@pytest.mark.parametrize(
    ("reply", "done", "text"),
    [
        ({"ok": "new rate limit set successfully"}, True, "done"),
        ({"error": "ValueError('Autoscale not enabled')"}, False, "refuses: it was started without --autoscale"),
        ({"error": "unknown task"}, False, "refuses: it has no such task"),
        ({"error": "AttributeError(\"'TaskPool' object has no attribute 'grow'\")"}, False, "cannot grow and shrink"),
        (None, False, "did not answer. A busy solo pool does not"),
    ],
)
def test_each_worker_answers_for_itself(reply: Any, done: bool, text: str) -> None:
    answer = workers.read_answer("w1@h", workers.WorkerChange("autoscale", {}, "a change"), reply)
    assert (answer.worker, answer.done) == ("w1@h", done)
    assert text in answer.text
