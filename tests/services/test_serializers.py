"""Apps that write in another way than JSON: their workers are asked, and their results listed, in their own words."""

from __future__ import annotations

import threading
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any
from uuid import uuid4

import msgspec
import pytest
from celery import Celery
from celery.result import denied_join_result

from livectl import settings as livectl_settings
from livectl.address import Address
from livectl.models import JobState
from livectl.ops import deployment
from livectl.ops.cluster import broadcast
from livectl.ops.jobs import results
from livectl.ops.jobs.results import ResultFilter
from livectl.ops.protocol.keys import KeyLayout
from livectl.ops.protocol.remote_control import ControlCommand
from livectl.ops.services import health
from tests.support.waiting import HANG_SECONDS, wait_for

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

pytestmark = pytest.mark.filterwarnings("ignore:Call to deprecated setex")  # Celery's own

NODE = "w1@h"
PING = ControlCommand(method="ping")
SECONDS = 0.5  # for a reply of which a test needs one, and asks again
PICKLE = {"task_serializer": "pickle", "result_serializer": "pickle", "accept_content": ["pickle"]}
BOTH = {"task_serializer": "pickle", "accept_content": ["json", "application/x-python-serialize"]}
YAML = {"task_serializer": "yaml", "result_serializer": "yaml", "accept_content": ["yaml"]}
ONLY_JSON = {"task_serializer": "json", "result_serializer": "pickle", "accept_content": ["json"]}

brought_back: list[str] = []  # what was unpickled


def bring_back(name: str) -> str:
    brought_back.append(name)
    return name


class Tattling:
    """Notes that it was unpickled."""

    def __reduce__(self) -> tuple[Any, ...]:
        return bring_back, ("tattling",)


def make_app(store_url: str, options: dict[str, Any]) -> Celery:
    url = Address.parse(store_url).celery_url
    app = Celery("words", broker=url, backend=url, set_as_current=False)
    app.conf.update(options)
    return app


@pytest.fixture(autouse=True)
def no_listening() -> Iterator[None]:
    with denied_join_result():
        yield


@contextmanager
def answering(app: Celery) -> Iterator[None]:
    """The mailbox of a worker, as Celery's workers have it."""
    ended = threading.Event()
    with app.connection_for_read() as connection, connection.channel() as channel:
        node = app.control.mailbox(connection).Node(NODE, channel=channel)
        node.handler(ping)
        node.handler(active_queues)
        node.listen()

        def listen() -> None:
            while not ended.is_set():
                try:
                    connection.drain_events(timeout=0.1)
                except TimeoutError:
                    continue

        listener = threading.Thread(target=listen)
        listener.start()
        try:
            yield
        finally:
            ended.set()
            listener.join(HANG_SECONDS)


def ping(state: Any, **_: Any) -> dict[str, str]:
    return {"ok": "pong"}


def active_queues(state: Any, **_: Any) -> list[dict[str, str]]:
    return [{"name": "celery"}]


@pytest.mark.parametrize("options", [PICKLE, BOTH, YAML], ids=["pickle alone", "pickle beside JSON", "yaml"])
def test_workers_are_asked_in_the_words_of_their_app(store_url: str, tmp_path: Path, options: dict[str, Any]) -> None:
    app = make_app(store_url, options)
    target = deployment.from_app(app, livectl_settings.load({"HOME": str(tmp_path)}, tmp_path))
    with answering(app), broadcast.connect(target) as connection:
        replies = wait_for(lambda: broadcast.ask(target, connection, PING, SECONDS).by_worker)
    assert replies == {NODE: {"ok": "pong"}}


def test_a_probe_that_did_not_import_the_app_asks_again_in_its_words(store_url: str, tmp_path: Path) -> None:
    app = make_app(store_url, PICKLE)
    loaded = deployment.from_app(app, livectl_settings.load({"HOME": str(tmp_path)}, tmp_path))
    asked = msgspec.structs.replace(loaded, app=None, layout=KeyLayout())
    probe = health.Probe(part="worker", host="h", timeout=SECONDS)
    with answering(app):
        assert not health.run_probe(probe, asked.broker, asked.store, asked.layout).healthy
        assert wait_for(lambda: (again := health.probe_silent_worker(probe, asked, loaded)) and again.healthy)
    assert health.probe_silent_worker(probe, loaded, loaded) is None


def test_of_an_app_without_remote_control_nobody_can_tell(store_url: str, tmp_path: Path) -> None:
    app = make_app(store_url, {"worker_enable_remote_control": False})
    silent = deployment.from_app(app, livectl_settings.load({"HOME": str(tmp_path)}, tmp_path))
    result = health.probe_silent_worker(health.Probe(part="worker", host="h"), silent, silent)
    assert result is not None
    assert (result.exit_code, result.reason) == (2, health.NO_REMOTE_CONTROL)
    liveness = health.LivenessProbe(lambda: silent, "h", print)
    assert liveness.is_worker_alive(NODE) is None  # so `up` does not start it again and again
    assert liveness.problem == health.NO_REMOTE_CONTROL
    assert not liveness.can_ask_workers()


@pytest.mark.parametrize("options", [PICKLE, YAML], ids=["pickle", "yaml"])
def test_results_in_other_words_are_listed(store_url: str, tmp_path: Path, options: dict[str, Any]) -> None:
    app = make_app(store_url, options)
    target = deployment.from_app(app, livectl_settings.load({"HOME": str(tmp_path)}, tmp_path))
    ids = [str(uuid4()) for _ in range(3)]
    for job_id in ids[:2]:
        app.backend.store_result(job_id, {"sum": 5}, "SUCCESS")
    app.backend.store_result(ids[2], ValueError("out of luck"), "FAILURE")
    jobs = results.list_recent(target, ResultFilter())
    assert [job.id for job in jobs] == list(reversed(ids))
    assert [(job.state, job.result, job.error) for job in jobs] == [
        (JobState.FAILED, None, "ValueError: out of luck"),
        (JobState.SUCCEEDED, {"sum": 5}, None),
        (JobState.SUCCEEDED, {"sum": 5}, None),
    ]
    assert len(results.list_recent(target, ResultFilter(state=JobState.FAILED))) == 1


def test_nothing_is_unpickled_unless_the_app_accepts_it(store_url: str, tmp_path: Path) -> None:
    job_id = str(uuid4())
    make_app(store_url, PICKLE).backend.store_result(job_id, Tattling(), "SUCCESS")
    target = deployment.from_app(
        make_app(store_url, ONLY_JSON), livectl_settings.load({"HOME": str(tmp_path)}, tmp_path)
    )
    (job,) = results.list_recent(target, ResultFilter())
    assert (job.id, job.state) == (job_id, JobState.UNKNOWN)
    assert "ContentDisallowed" in str(job.error)
    assert not brought_back


def test_a_reply_in_pickle_is_left_where_the_app_takes_json_alone(store_url: str, tmp_path: Path) -> None:
    app = make_app(store_url, {"task_serializer": "pickle", "accept_content": ["json"]})
    target = deployment.from_app(app, livectl_settings.load({"HOME": str(tmp_path)}, tmp_path))
    app.control.mailbox.accept = ["json"]
    with answering(app), broadcast.connect(target) as connection:
        wait_for(lambda: broadcast.ask(target, connection, PING, SECONDS).silent)
        assert broadcast.ask(target, connection, PING, SECONDS).by_worker == {}


def test_where_livectl_cannot_ask_the_broker_the_app_asks_its_workers(store_url: str, tmp_path: Path) -> None:
    app = make_app(store_url, {})
    loaded = deployment.from_app(app, livectl_settings.load({"HOME": str(tmp_path)}, tmp_path))
    behind_sentinel = msgspec.structs.replace(loaded, broker=None)
    probe = health.Probe(part="worker", host="h", timeout=SECONDS)
    with answering(app):
        assert wait_for(lambda: health.probe_worker_through_celery(probe, behind_sentinel).healthy)
