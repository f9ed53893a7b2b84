"""The history of workers that livectl did not start: one beat hears what they tell, and nothing is left behind."""

from __future__ import annotations

from contextlib import ExitStack
from typing import TYPE_CHECKING

import pytest
import redis
from celery import Celery

from livectl import redis_client, settings
from livectl.address import Address
from livectl.ops import deployment
from livectl.ops.jobs import event_history, numbers
from livectl.ops.jobs.history import JobHistory
from tests.support.celery_project import Project
from tests.support.processes import livectl
from tests.support.waiting import wait_for

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from livectl.ops.jobs.event_history import EventReader
    from livectl.ops.jobs.history import JobLogEntry
    from tests.support.rabbitmq import RabbitMQ

pytestmark = pytest.mark.acceptance


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("SETTLE_S", "READ_S"):
        monkeypatch.setattr(event_history, name, 0.1)
    monkeypatch.setattr(event_history, "WORKERS_LOOK_S", 1.0)


@pytest.fixture(params=["redis", "rabbitmq"])
def project(request: pytest.FixtureRequest, tmp_path: Path, rabbitmq: RabbitMQ, store_url: str) -> Iterator[Project]:
    on_redis = request.param == "redis"
    made = Project(tmp_path, store_url.replace("db=0", "db=1") if on_redis else rabbitmq.vhost(), store_url)
    yield made
    made.close()


class Beats:
    """Two beats of the project's app, as far as they hear events."""

    def __init__(self, project: Project) -> None:
        self.app = Celery("proj", broker=project.environ["PROJ_BROKER"], set_as_current=False)
        for name in ("proj.add", "proj.fail"):
            self.app.task(name=name, shared=False)(_task)
        self.settings = settings.load(project.environ, project.folder)
        self.first, self.second = self.make("first"), self.make("second")

    def make(self, name: str) -> EventReader:
        reader = event_history.make_reader(self.app, self.settings, name)
        assert reader is not None
        return reader

    def known(self, job: str) -> JobLogEntry | None:
        address = deployment.from_app(self.app, self.settings).store_to_read
        with redis_client.connect(address) as connection:
            return JobHistory.over(connection).jobs([job]).get(job)


def _task() -> None: ...


def heard(beats: Beats, job: str) -> Callable[[], JobLogEntry | None]:
    def look() -> JobLogEntry | None:
        beats.first.step()
        known = beats.known(job)
        return known if known and known.finished else None

    return look


def test_jobs_of_stock_workers_are_in_the_history_once(project: Project) -> None:
    beats = Beats(project)
    on_redis = beats.first._deployment.on_redis
    assert beats.first.step() == event_history.LOOK_S, "listens where there is nobody to be heard"
    with ExitStack() as workers:
        workers.enter_context(project.worker("w1", "-E", "-P", "solo"))
        wait_for(lambda: not beats.first.step(), what="the first beat to listen")
        assert beats.second.step() == event_history.LOOK_S, "both listen"
        job, failing = project.send("add", 2, 3), project.send("fail", kwargs={"password": "hush"})
        entry, failed = wait_for(heard(beats, job)), wait_for(heard(beats, failing))
        assert (entry.task, entry.app, entry.worker, entry.state) == ("proj.add", "proj", "w1@h", "succeeded")
        assert None not in (entry.taken, entry.started, entry.ran)
        assert (failed.state, failed.error) == ("failed", "ValueError: no such thing")
        if on_redis:  # and jobs of a worker of livectl's, which tells of them too, count once
            words = ("worker", "-E", "-P", "solo", "-n", "w2@h", "-Q", "own")
            own = workers.enter_context(livectl("-A", "proj", *words, cwd=project.folder, environ=project.environ))
            own.wait_for("ready.")
            wait_for(heard(beats, project.send("add", 4, queue="own")))
            wait_for(heard(beats, project.send("add", 5)))
    counts = numbers.read_series(project.deployment, "proj")["job"]
    added = [row.fields for row in counts if row.first == "proj.add"]
    assert sum(row["started"] for row in added) == sum(row["succeeded"] for row in added) == (3 if on_redis else 1)
    beats.first.close()
    wait_for(
        lambda: (
            beats.second.step() == event_history.LOOK_S
            and not event_history.has_other_workers(beats.second._deployment)
        )
    )
    beats.second.close()
    with redis.Redis.from_url(project.environ["LIVECTL_STORE"]) as store:
        assert not list(store.scan_iter("livectl:events:*"))


def test_a_killed_listener_leaves_nothing_on_rabbitmq_and_another_takes_its_place(
    project: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(event_history, "LEASE_S", 0.5)
    monkeypatch.setattr(event_history, "has_other_workers", lambda _: True)
    beats = Beats(project)
    beats.first.step()
    assert beats.first._source is not None
    beats.first._source.close()  # as when its process is killed
    wait_for(lambda: not beats.second.step(), what="the second beat to take over")
    with beats.app.connection_for_write() as connection, connection.channel() as channel:
        dispatcher = beats.app.events.Dispatcher(channel=channel, hostname="w@h")
        dispatcher.send("task-received", uuid="a", name="proj.add", retries=0, eta=None)
    beats.first = beats.second
    wait_for(lambda: beats.second.step() == 0.0 and beats.known("a"))
    beats.second.close()
    if beats.first._deployment.on_redis:
        broker = Address.parse(project.environ["PROJ_BROKER"])
        with redis_client.connect(broker) as connection:
            assert not [key for key in connection.execute("KEYS", "*") if b"celeryev" in key]
            assert connection.execute("PUBSUB", "NUMPAT") == 0


@pytest.mark.parametrize("said", [{"events": False}, {"jobs": 0}])
def test_nobody_listens_where_the_settings_say_so(project: Project, said: dict[str, object]) -> None:
    (project.folder / "livectl.yaml").write_text(f"history: {said}".lower())
    found = settings.load(project.environ, project.folder)
    assert event_history.make_reader(Celery("proj", broker=project.environ["PROJ_BROKER"]), found, "one") is None
