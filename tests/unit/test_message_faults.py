"""What is wrong with a message, and nothing with those that Celery sends."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from celery import Celery, chord

from livectl.ops.guard import Guard, GuardedConsumer
from livectl.ops.protocol import message_faults
from livectl.settings import Settings
from tests.support import bad_messages

SOON = datetime.now(UTC) + timedelta(hours=1)
app = Celery("messages", set_as_current=False)


@app.task(name="messages.add", shared=False)  # type: ignore[untyped-decorator]
def add(x: int, y: int = 0) -> int:
    return x + y


def envelope_fault(raw: bytes) -> str:
    return message_faults.envelope_fault(json.loads(raw))


def job_fault(headers: Any, body: Any) -> str:
    return message_faults.headers_fault(headers) or message_faults.body_fault(body)


@pytest.mark.parametrize(
    ("name", "fault"),
    [
        ("null", "the message is null, not an object"),
        ("a number", "the message is a number, not an object"),
        ("no properties", "the message has no properties"),
        ("a delivery tag of objects", "the message has no delivery tag"),
        ("empty delivery info", "the message has no exchange and routing key"),
        ("a list for a routing key", "exchange and routing key are no text"),
        ("headers are a list", "the headers are a list, not an object"),
        ("a body of numbers", "the body is a number, not text"),
        ("an encoding of numbers", "body_encoding is 5, not text"),
    ],
)
def test_an_envelope_says_what_kombu_would_stumble_over(name: str, fault: str) -> None:
    assert envelope_fault(bad_messages.NO_MESSAGES[name]) == fault


@pytest.mark.parametrize("name", bad_messages.NO_JOBS)
def test_kombu_makes_a_message_of_what_is_no_job(name: str) -> None:
    assert envelope_fault(bad_messages.NO_JOBS[name]) == ""


@pytest.mark.parametrize(
    ("headers", "fault"),
    [
        ({}, "the job has no id"),
        ({"id": {"a": 1}}, "its id is an object, not text"),
        ({"id": "1"}, "the task is null, not text"),
        ({"id": "1", "task": "a", "timelimit": "soon"}, "the time limit 'soon' is not two numbers"),
        ({"id": "1", "task": "a", "timelimit": [1]}, "the time limit [1] is not two numbers"),
        ({"id": "1", "task": "a", "timelimit": {}}, "the time limit {} is not two numbers"),
        ({"id": "1", "task": "a", "eta": 5}, "eta is 5, not text"),
        ({"id": "1", "task": "a", "retries": True}, "retries are True, not a number"),
        ({"id": "1", "task": "a", "group": ["x" * 100]}, f"group is ['{'x' * 37}…, not text"),
        ({"id": "1", "task": "a", "stamped_headers": "x"}, "stamped_headers are no list"),
        ({"id": "1", "task": "a", "stamps": []}, "stamps are no object"),
    ],
)
def test_headers_say_what_celery_would_stumble_over(headers: dict[str, Any], fault: str) -> None:
    assert job_fault(headers, [[], {}, {}]) == fault


@pytest.mark.parametrize(
    ("body", "fault"),
    [
        (None, "the body is null, not [args, kwargs, embed]"),
        ([[], {}], "the body is a list, not [args, kwargs, embed]"),
        ([5, {}, {}], "the arguments are a number, not a list"),
        ([[], [], {}], "the keyword arguments are a list, not an object"),
        ([[], {}, "x"], "the third part of the body is text, not an object"),
        ({"args": "x"}, "the arguments are text, not a list"),
    ],
)
def test_a_body_says_what_celery_would_stumble_over(body: Any, fault: str) -> None:
    assert job_fault({"id": "1", "task": "a"}, body) == fault


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"countdown": 5, "expires": 60},
        {"eta": SOON, "expires": SOON},
        {"time_limit": 5, "soft_time_limit": 2.5},
        {"group_id": "g", "root_id": "r", "parent_id": "p", "shadow": "other", "retries": 3},
        {"callbacks": [add.s(1)], "errbacks": [add.s(1)], "chain": [add.s(1)], "chord": chord([add.s(1)], add.s(1))},
        {"stamped_headers": ["a"], "a": ["1"], "origin": "gen1@h", "argsrepr": "(1, 2)"},
    ],
)
def test_nothing_is_wrong_with_what_celery_sends(options: dict[str, Any]) -> None:
    for make in (app.amqp.as_task_v1, app.amqp.as_task_v2):
        known = {key: value for key, value in options.items() if make == app.amqp.as_task_v2 or key in PROTOCOL_1}
        message = make("id", "messages.add", (1, 2), {"y": 1}, **known)
        headers = message.headers or message.body
        assert job_fault(headers, message.body) == ""


PROTOCOL_1 = {"countdown", "eta", "expires", "time_limit", "soft_time_limit", "group_id", "retries", "chord"}


def test_a_guarded_connection_can_be_described_to_whom_asks_a_worker_for_its_statistics() -> None:
    consumer = object.__new__(GuardedConsumer)
    consumer.app = Celery("proj", broker="memory://", set_as_current=False)
    consumer.guard = Guard(Settings(home=Path("/nowhere"), folder=Path("/nowhere")), None)
    consumer._lease_keeper, consumer._set_aside_unreadable = None, lambda *_: None
    connection = consumer.connection_for_read()
    assert json.loads(json.dumps(connection.info()))["transport"] == "memory"
    connection.release()
