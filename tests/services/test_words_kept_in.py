"""Arguments, errors and tracebacks of jobs hold secrets: wherever livectl stores or shows them, they do not."""

from __future__ import annotations

import base64
import json
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import msgspec
import pytest
import redis
from celery import Celery

from livectl import celeryapp, settings
from livectl.address import Address
from livectl.ops import deployment as deployments
from livectl.ops.deployment import Deployment
from livectl.ops.jobs import dead_letters, job_recorder, results, sender, status, views
from livectl.ops.jobs.job_log import FailureNote
from livectl.ops.jobs.job_request import JobRequest
from livectl.ops.protocol import keys
from livectl.ops.protocol.dead_letter import DeadLetter
from livectl.render import as_text
from livectl.web import server

LOGIN, HOOK = "redis://:hush-1@host:6379/0", "https://hooks.slack.com/services/T0HUSH111/B0HUSH111/hush2hush2hush2hush2"
ERROR = f"no answer of {LOGIN} nor of {HOOK}"
TRACEBACK = f'Traceback (most recent call last):\n  File "a.py", line 1, in f\nConnectionError: {ERROR}\n'


@pytest.fixture
def deployment(store_url: str) -> Deployment:
    address = Address.parse(store_url)
    return Deployment(broker=address, results=address, store=address, layout=keys.layout_from_settings({}))


def client(url: str) -> Any:
    return redis.Redis.from_url(url, decode_responses=True)


def store_failed_job(url: str) -> None:
    """As any Celery app with result_extended does."""
    meta = {
        "task_id": "j1",
        "status": "FAILURE",
        "result": {"exc_type": "ConnectionError", "exc_message": [ERROR], "exc_module": "builtins"},
        "traceback": TRACEBACK,
        "date_done": datetime.now(UTC).isoformat(),
        "name": "proj.fetch",
        "args": [LOGIN, HOOK],
        "kwargs": {"password": "hush-3", "headers": [["Authorization", "Bearer hush-4"]]},
    }
    succeeded = meta | {
        "task_id": "j2",
        "status": "SUCCESS",
        "result": {"sent_to": HOOK, "token": "hush-5"},
        "traceback": None,
    }
    client(url).mset({f"celery-task-meta-{job['task_id']}": json.dumps(job) for job in (meta, succeeded)})


def test_status_and_results_show_none(store_url: str, deployment: Deployment) -> None:
    store_failed_job(store_url)
    with status.StatusLookup(deployment) as lookup:
        shown = [
            views.job_details(lookup.status(job_id), full=full) for job_id in ("j1", "j2") for full in (False, True)
        ]
    texts = [as_text(view, colour=False) for view in shown] + [str(msgspec.json.encode(view.data)) for view in shown]
    texts.append(str(results.list_recent(deployment, results.ResultFilter())))
    assert not [text for text in texts if "hush" in text.lower()]
    assert "redis://:***@host:6379/0" in texts[0]
    assert 'File "a.py", line 1' in texts[1]


def test_the_page_and_its_json_show_none(store_url: str, deployment: Deployment, tmp_path: Path) -> None:
    store_failed_job(store_url)
    add_dead_letters(store_url)
    own = settings.load({"LIVECTL_HOME": str(tmp_path)}, tmp_path)
    page = server.create_app(lambda: deployment, lambda: own).test_client()
    for path in ("/jobs", "/api/jobs"):
        text = page.get(path, base_url="http://localhost/").text
        assert "hush" not in text.lower()
        assert "redis://:***@host:6379/0" in text


def add_dead_letters(url: str) -> JobRequest:
    request = JobRequest(task="proj.fetch", args=(LOGIN, HOOK), kwargs={"password": "hush-3"})
    envelope = {
        "headers": {"task": "proj.fetch", "id": "m1", "argsrepr": f"({LOGIN!r},)"},
        "body": "aHVzaC02IGlzIG5vIEpTT04=",
        "content-type": "application/x-python-serialize",
        "properties": {"body_encoding": "base64"},
    }
    for letter in (
        DeadLetter(id="d1", kind="job", reason=ERROR, at=datetime.now(UTC), payload=msgspec.to_builtins(request)),
        DeadLetter(
            id="d2", kind="message", reason=ERROR, at=datetime.now(UTC), payload={"queue": "q", "message": envelope}
        ),
    ):
        dead_letters.add(client(url), letter)
    return request


def test_dead_letters_show_none_and_are_sent_again_whole(store_url: str, deployment: Deployment) -> None:
    request = add_dead_letters(store_url)
    for letter_id in ("d1", "d2"):
        shown = as_text(views.dead_letter_details(dead_letters.read_redacted(deployment, letter_id)), colour=False)
        assert "hush" not in shown.lower()
        assert "aHVzaC02" not in shown, "what is no JSON could not be redacted"
    assert "hush" not in str(dead_letters.list_summaries(deployment)).lower()
    assert "redis://:***@host" in json.loads(client(store_url).hget(dead_letters.DEAD_LETTERS_KEY, "d1"))["reason"]
    assert dead_letters.find_request(deployment, "d1") == request
    dead_letters.requeue(deployment, "d2")
    assert json.loads(client(store_url).lindex("q", 0))["body"] == "aHVzaC02IGlzIG5vIEpTT04="


@pytest.mark.parametrize(
    ("args", "kwargs", "kept"),
    [
        (("twitch", ["ada"]), {"due": 1.5}, True),
        ((LOGIN,), {}, False),
        ((), {"token": "hush-3"}, False),
        (({1, 2},), {}, True),
        ((object(),), {}, False),
    ],
)
def test_the_job_log_keeps_for_a_retry_what_holds_no_secret(args: Any, kwargs: Any, *, kept: bool) -> None:
    assert (job_recorder._encode_request("livectl.check", args, kwargs) is not None) is kept
    failure = FailureNote(job_id="j", app="", task="t", error=f"ConnectionError: {ERROR}", message=None, ttl=60)
    assert "hush" not in str(failure.commands()).lower()


@pytest.mark.filterwarnings("ignore:Call to deprecated setex:DeprecationWarning")
def test_results_of_livectls_own_app_keep_none(store_url: str, tmp_path: Path) -> None:
    own = settings.load({"LIVECTL_HOME": str(tmp_path), "LIVECTL_BROKER": store_url}, tmp_path)
    backend = celeryapp.create_app(own).backend
    backend.store_result("j1", ConnectionError(ERROR, 7), "FAILURE", traceback=TRACEBACK)
    backend.store_result("j2", [{"cover": "https://h.example/c.jpg?sign=0a1b"}], "SUCCESS")
    failed = json.loads(client(store_url).get("celery-task-meta-j1"))
    assert "hush" not in str(failed).lower()
    assert failed["result"]["exc_message"][1] == 7
    assert failed["result"]["exc_type"] == "ConnectionError"
    assert "redis://:***@host" in failed["traceback"]
    assert backend.get_result("j2") == [{"cover": "https://h.example/c.jpg?sign=0a1b"}], (
        "what a page shows to all stays whole"
    )


@pytest.mark.parametrize(
    ("args", "kwargs", "header"),
    [
        ((LOGIN,), {"password": "hush-3"}, ("['redis://:***@host:6379/0']", "{'password': '***'}")),
        ((1, "two"), {}, ("[1, 'two']", "{}")),
    ],
)
def test_what_events_show_of_a_job_that_is_sent(
    store_url: str, args: Any, kwargs: Any, header: tuple[str, str]
) -> None:
    with Celery("proj", broker=Address.parse(store_url).celery_url, set_as_current=False) as app:
        job_sender = sender.JobSender(deployments.from_app(app, settings.Settings(home=Path(), folder=Path())), app, {})
        job_sender.send(JobRequest(task="proj.fetch", args=args, kwargs=kwargs))
    message = json.loads(client(store_url).lindex("celery", 0))
    assert (message["headers"]["argsrepr"], message["headers"]["kwargsrepr"]) == header
    body = json.loads(base64.b64decode(message["body"]))
    assert body[:2] == [list(args), kwargs]
