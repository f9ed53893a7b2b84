"""The watch on a real store: each trouble is told once, whichever beat sees it first, and lies in the outbox then."""

from __future__ import annotations

import time
from datetime import UTC, datetime
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any
from uuid import uuid4

import msgspec
import pytest
from celery import Celery

from livectl import settings
from livectl.address import Address
from livectl.errors import ServerError
from livectl.live.store import OUTBOX_KEY, Store
from livectl.models import Interval, Schedule
from livectl.ops.beat import check_ins, reports, run_store, watch
from livectl.ops.beat.entries import to_beat_entry
from livectl.ops.beat.heartbeats import Heartbeat
from livectl.ops.beat.watch import BeatAtWork, EntryLooks, ReportStream, RunWatch
from livectl.ops.cluster import presence, queues
from livectl.ops.cluster.presence import Presence
from livectl.ops.cluster.queues import Queue, QueueDepths
from livectl.ops.deployment import OWN_APP_NAME, Deployment, own_layout
from livectl.ops.jobs import dead_letters, history, numbers
from livectl.ops.jobs.history import JobNote
from livectl.ops.jobs.job_recorder import JobEventRecorder
from livectl.ops.protocol.dead_letter import DeadLetter
from livectl.ops.schedules import cron
from livectl.redis_client import using_store
from livectl.secret import Secret
from livectl.settings import CheckIn
from livectl.task_settings import Expect, TaskSettings, expected_of
from livectl.watching import HEARTBEAT_KEY, Watcher, _encode, name_command
from tests.support.http_site import serving
from tests.support.waiting import wait_for

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    import redis

MINUTE_MS = 60_000
STREAM = ReportStream(OUTBOX_KEY, _encode)


class Stage:
    """Two beats that watch one store; the clock is moved by hand."""

    def __init__(self, store: redis.Redis, monkeypatch: pytest.MonkeyPatch) -> None:
        self.store = store
        self.now = int(time.time() * 1000) // MINUTE_MS * MINUTE_MS
        self.depths: QueueDepths | None = QueueDepths(queues=())
        self.checks: dict[str, CheckIn] = {}
        self.tasks: dict[str, TaskSettings] = {}
        self.entries = {"nightly": to_beat_entry(Schedule(name="nightly", task="t.x", timing=Interval(60)))}
        monkeypatch.setattr(queues, "measure", lambda _: self._measure())
        deployment = Deployment(broker=None, results=None, store=None, layout=own_layout({}))
        self.watches = [RunWatch(store, deployment, STREAM) for _ in range(2)]

    def _measure(self) -> QueueDepths:
        if self.depths is None:
            raise ServerError("away")
        return self.depths

    def look(self, seconds: float = 0, beats: int = 2) -> list[str]:
        """What both reported, after so many seconds with a look each ten."""
        reports = []
        end = self.now + int(seconds * 1000)
        while True:
            for number, each in enumerate(self.watches[:beats]):
                reports += each.look(
                    BeatAtWork(self.entries, self.now, f"beat{number}", 600.0, self.checks, self.tasks)
                )
            if self.now >= end:
                return [f"{report.kind}: {report.title}" for report in reports]
            self.now += 10_000

    def claim(self) -> int:
        """A beat claims what is due now. Returns the due instant."""
        due = self.now // MINUTE_MS * MINUTE_MS
        self.store.hset(run_store.LAST_RUN_KEY, "nightly", due)
        return due

    def run(self, state: str, **facts: Any) -> None:
        due = self.claim() / 1000
        times = {"due": due, "sent": due, "started": due + 1, "finished": due + 3}
        note = JobNote(facts={"task": "t.x", "schedule": "nightly", "state": state, **times, **facts})
        self.store.execute_command(*history.note_command({str(uuid4()): note}))  # type: ignore[no-untyped-call]

    def outbox(self) -> list[str]:
        return [change.title for change in Store(self.store).changes()]


@pytest.fixture
def stage(store_url: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[Stage]:
    with using_store(Address.parse(store_url)) as client:
        yield Stage(client, monkeypatch)


def test_a_failed_run_and_its_recovery_are_told_once_by_two_beats(stage: Stage) -> None:
    stage.run("succeeded")
    assert stage.look(60) == []
    stage.run("failed", error="ValueError: no")
    assert stage.look(60) == ["failed: nightly failed"]
    stage.run("failed")
    assert stage.look(60) == []
    stage.run("succeeded")
    assert stage.look(60) == ["recovered: nightly is well again after 2 failed runs"]
    assert stage.outbox() == ["nightly failed", "nightly is well again after 2 failed runs"]
    (failed, _) = Store(stage.store).changes()
    assert "ValueError: no" in failed.before
    assert "livectl runs nightly" in failed.before


def test_a_run_that_no_beat_sends_is_missed_unless_it_is_paused(stage: Stage) -> None:
    stage.run("succeeded")
    stage.look()
    stage.store.hset(run_store.PAUSED_KEY, "nightly", msgspec.json.encode(run_store.Pause("", stage.now)))
    assert stage.look(300) == []
    stage.claim()
    stage.store.hdel(run_store.PAUSED_KEY, "nightly")
    assert stage.look(200) == ["missed: nightly was not sent"]
    stage.entries.clear()
    stage.look()
    assert stage.store.hgetall(watch.WATCH_KEY) == {}


def test_a_beat_that_is_killed_is_told_and_one_that_ends_is_not(stage: Stage) -> None:
    for name in ("beat0", "beat1", "third"):
        stage.store.hset(run_store.HEARTBEATS_KEY, name, msgspec.json.encode(Heartbeat(at=stage.now, host=name, pid=1)))
    assert stage.look() == []
    stage.now += 30_000
    stage.store.hset(run_store.HEARTBEATS_KEY, "beat0", msgspec.json.encode(Heartbeat(at=stage.now, host="a", pid=1)))
    stage.store.hdel(run_store.HEARTBEATS_KEY, "beat1")
    assert stage.look() == ["silent: the beat third:1 has been silent for 30 s"]
    assert stage.look() == []


def test_after_a_while_without_any_beat_that_is_said(stage: Stage) -> None:
    stage.look(60)
    stage.claim()
    stage.now += 3_600_000
    stage.watches = [RunWatch(stage.store, stage.watches[0]._deployment, STREAM)]
    assert stage.look() == ["away: no beat was at work for 1.0 h"]
    stage.claim()
    assert stage.look(30) == []


def test_workers_that_no_longer_answer_are_told_and_never_before_one_did(stage: Stage) -> None:
    stage.entries.clear()
    assert stage.look(120) == []
    stage.depths = QueueDepths(queues=(), reads={"w@h": ("celery",)})
    assert stage.look(40) == []
    stage.depths = QueueDepths(queues=())
    assert stage.look(120) == ["down: no worker has answered for 1 min"]
    stage.depths = None
    assert stage.look(120) == []
    stage.depths = QueueDepths(queues=(), reads={"w@h": ("celery",)})
    assert stage.look(60) == ["recovered: workers answer again"]


def test_a_worker_that_falls_silent_is_told_and_one_that_ends_is_not(stage: Stage) -> None:
    stage.entries.clear()
    key = presence.WORKERS_PREFIX + OWN_APP_NAME

    def hear(*names: str, seconds: float = 0) -> list[str]:
        """They say so now and after so many seconds; whatever else is there says nothing."""
        stage.depths = QueueDepths(queues=(), reads=dict.fromkeys(names, ("celery",)))
        said: list[str] = []
        for _ in range(int(seconds // 30) + 1):
            stage.store.zadd(key, dict.fromkeys(names, stage.now / 1000))
            said += stage.look(30)
        return said

    assert hear("a@h", "b@h", "c@h", seconds=60) == []
    stage.store.zrem(key, "c@h")
    assert hear("a@h", seconds=120) == ["silent: the worker b@h has fallen silent"]
    assert hear("a@h", "b@h", "d@h") == ["recovered: the worker b@h is at work again"]
    assert hear("a@h", seconds=120) == ["silent: 2 workers have fallen silent"]
    (change, *_) = reversed(list(Store(stage.store).changes()))
    assert change.before.startswith("b@h, d@h. Not told to end: killed, ")
    assert hear("a@h", seconds=3_700) == []
    assert stage.store.zrange(key, 0, -1) == ["a@h"], "the others are forgotten"
    stage.depths = QueueDepths(queues=())
    assert stage.look(180) == ["down: no worker has answered for 1 min"], "and not that it is silent, too"


def test_a_worker_says_that_it_is_there_until_it_ends(stage: Stage) -> None:
    said = Presence(lambda: stage.store, "proj")
    for _ in range(2):  # again after a lost connection
        said.begin(SimpleNamespace(hostname="a@h"))
    wait_for(lambda: presence.read(stage.store, "proj", stage.now).keys() == {"a@h"})
    said.end()
    assert presence.read(stage.store, "proj", stage.now) == {}


def test_a_beat_that_starts_anew_knows_who_read_a_queue_and_what_was_told(stage: Stage) -> None:
    stage.entries.clear()
    stage.checks = {"backup": CheckIn(token=Secret("t"), every=600.0, grace=60.0, end_within=120.0)}
    reads: dict[str, tuple[str, ...]] = {"a@h": ("celery", "mail"), "b@h": ("celery",)}
    mail = Queue(name="mail", ready=0, oldest=0.0)
    stage.depths = QueueDepths(queues=(mail,), reads=reads)
    check_ins.note(stage.store, "backup", "start", "", stage.now)
    assert stage.look(800) == ["overrun: backup has not ended", "missed: backup has not checked in"]

    def start_anew() -> None:
        stage.watches = [RunWatch(stage.store, each._deployment, STREAM) for each in stage.watches]

    start_anew()
    full = Queue(name="mail", ready=3, oldest=5.0)
    stage.depths = QueueDepths(queues=(full,), reads={"b@h": ("celery",)})
    assert stage.look(170) == [], "after a start it may be that workers start too; what was told is not told again"
    assert stage.look(60) == ["unread: no worker reads the queue mail any more"]
    (change, *_) = reversed(list(Store(stage.store).changes()))
    assert change.before == "For 3 min; 3 jobs wait. The last that did: a@h.\nlivectl workers"
    stage.depths = QueueDepths(queues=(full,), reads=reads)
    assert stage.look(60) == ["recovered: the queue mail is well again"]
    stage.depths = QueueDepths(queues=(full,))
    start_anew()
    assert stage.look(240) == ["down: no worker has answered for 3 min"]
    (change, *_) = reversed(list(Store(stage.store).changes()))
    assert change.before == "The last that did: a@h, b@h.\nlivectl workers"


@pytest.mark.parametrize("change", [datetime(2026, 3, 29, tzinfo=UTC), datetime(2026, 10, 25, tzinfo=UTC)])
@pytest.mark.parametrize("is_sent", [True, False])
def test_a_clock_that_is_changed_for_summer_or_winter_is_no_missed_run(
    stage: Stage, change: datetime, is_sent: bool
) -> None:
    """What is due comes after the gap, or the first time of two: sent then all is well, and else it is told once."""
    timing = cron.parse("30 2 * * *")
    entry = to_beat_entry(Schedule(name="nightly", task="t.x", timing=timing, timezone="Europe/Paris"))
    stage.entries = {"nightly": entry}
    stage.now = int(change.timestamp() * 1000) - 3_600_000
    told = []
    for _ in range(48):
        before, stage.now = stage.now, stage.now + 300_000
        due = entry.due_times.latest(before, stage.now)
        if is_sent and before < due <= stage.now:
            stage.store.hset(run_store.LAST_RUN_KEY, "nightly", due)
        told += stage.look(beats=1)
    assert told == ([] if is_sent else ["missed: nightly was not sent"])


def test_a_queue_whose_first_job_waits_too_long_is_told_until_it_is_emptied(stage: Stage) -> None:
    stage.entries.clear()
    stage.depths = QueueDepths(queues=(Queue(name="mail", ready=7, oldest=700.0),))
    assert stage.look(120) == ["queue: the queue mail: the first of 7 jobs has waited 12 min"]
    stage.depths = QueueDepths(queues=(Queue(name="mail", ready=7, oldest=400.0),))
    assert stage.look(60) == []
    stage.depths = QueueDepths(queues=(Queue(name="mail", ready=0),))
    assert stage.look(60) == ["recovered: the queue mail is well again"]


@pytest.mark.parametrize(
    ("argv", "text", "command"),
    [
        (["celery", "-A", "proj", "beat"], "", "livectl -A proj"),
        (["celery", "--app=proj.celery", "beat"], "", "livectl -A proj.celery"),
        (["celery", "-A", "proj", "beat"], "app: proj\n", "livectl"),
        (["celery", "-A", "livectl.celeryapp", "beat"], "", "livectl"),
        (["embedded"], "", "livectl"),
    ],
)
def test_what_is_told_names_the_command_as_it_is_typed(
    argv: list[str], text: str, command: str, tmp_path: Path
) -> None:
    (tmp_path / "livectl.yaml").write_text(text)
    assert name_command(argv, settings.load({}, tmp_path)) == command
    report = reports.workers_again()
    assert f"{command} workers" in "".join(_encode(report, 0.0, command))


def test_new_dead_letters_are_told_and_more_of_them_an_hour_later(stage: Stage) -> None:
    stage.entries.clear()
    stage.store.hset(dead_letters.DEAD_LETTERS_KEY, mapping={"a": "x", "b": "x"})
    assert stage.look(60) == ["dead: 2 new dead letters"]
    letter = DeadLetter(id="c", kind="message", reason="no such task", task="t.y", at=datetime.now(UTC))
    dead_letters.add(stage.store, letter)
    assert stage.look(600) == []
    assert stage.look(3_600) == ["dead: 1 new dead letter"]
    (change, *_) = reversed(list(Store(stage.store).changes()))
    assert change.before == "Such as: t.y: no such task\nlivectl dead"
    stage.store.delete(dead_letters.DEAD_LETTERS_KEY)
    assert stage.look(60) == []
    stage.store.hset(dead_letters.DEAD_LETTERS_KEY, "d", "x")
    assert stage.look(3_700) == ["dead: 1 new dead letter"]


def test_ten_thousand_entries_cost_a_look_only_where_something_was_due(stage: Stage) -> None:
    stage.entries = {
        f"e{number}": to_beat_entry(Schedule(name=f"e{number}", task="t.x", timing=Interval(86_400.0 + number)))
        for number in range(10_000)
    }
    assert stage.look() == []
    began = time.thread_time()
    assert stage.look(10, beats=1) == []
    assert len(stage.watches[0]._looks.open) < 10
    print(f"two looks at 10,000 entries: {time.thread_time() - began:.3f} s of CPU")


def test_each_of_many_open_entries_has_its_turn() -> None:
    entries = {
        f"e{number:04}": to_beat_entry(Schedule(name=f"e{number:04}", task="t.x", timing=Interval(60.0)))
        for number in range(1_200)
    }
    looks = EntryLooks()
    assert looks.take(entries, 0) == []
    taken = [name for _ in range(3) for name in looks.take(entries, 120_000)]
    assert set(taken) == set(entries)


def test_what_runs_elsewhere_is_told_when_it_does_not_check_in_fails_or_takes_too_long(stage: Stage) -> None:
    stage.entries.clear()
    stage.checks = {"backup": CheckIn(token=Secret("t"), every=3_600.0, grace=60.0, end_within=120.0)}
    assert stage.look(3_600) == []
    assert stage.look(120) == ["missed: backup has not checked in"]
    check_ins.note(stage.store, "backup", "success", "", stage.now)
    assert stage.look(60) == ["recovered: backup is well again"]
    check_ins.note(stage.store, "backup", "start", "", stage.now)
    assert stage.look(180) == ["overrun: backup has not ended"]
    check_ins.note(stage.store, "backup", "log", "the disk is full", stage.now)
    check_ins.note(stage.store, "backup", "fail", "", stage.now)
    assert stage.look(60) == ["failed: backup failed"], "it was late before, and did not fail"
    (change, *_) = reversed(list(Store(stage.store).changes()))
    assert "the disk is full" in change.before
    assert "livectl runs check:backup" in change.before
    stage.checks.clear()
    stage.look()
    assert "check backup" not in stage.store.hgetall(watch.WATCH_KEY)


def work_off() -> None:
    """What a task does here."""


def test_failed_jobs_of_a_task_and_one_that_goes_on_are_told_once_by_two_beats(stage: Stage, store_url: str) -> None:
    stage.entries = {}
    stage.tasks = {"shop.*": TaskSettings(expect=Expect(end_within=60.0)), "shop.quiet": TaskSettings(queue="q")}
    recorder = JobEventRecorder(Address.parse(store_url), OWN_APP_NAME)
    recorder.expects = expected_of(lambda: stage.tasks)
    app = Celery(OWN_APP_NAME, broker="memory://", set_as_current=False)
    mail, other = (app.task(name=name, shared=False)(work_off) for name in ("shop.mail", "other"))

    def work(task: Any, job_id: str, error: Exception | None = None) -> None:
        recorder.record_start(task, job_id)
        if error:
            recorder.record_failure(task, job_id, error, (), {})
        recorder.record_end(task, job_id, "FAILURE" if error else "SUCCESS")
        assert recorder.flush()

    work(mail, "first")
    work(other, "of no interest", ValueError("no"))
    assert stage.look(60) == []
    for number in range(2):
        work(mail, f"bad {number}", ValueError(f"no {number}"))
    work(other, "of no interest either", ValueError("other"))
    assert stage.look(20) == ["failed: shop.mail failed"]
    (change,) = Store(stage.store).changes()
    assert "2 of 2 jobs since" in change.before
    assert "ValueError: no 1" in change.before
    work(mail, "good")
    assert stage.look(70) == ["recovered: shop.mail is well again after 2 failed jobs"]
    recorder.record_start(mail, "long")
    assert recorder.flush()
    recorder._watched.begin("long", "shop.mail", time.time() - 2)
    assert recorder.flush()
    (field, text) = next(iter(stage.store.hgetall(numbers.LONG_KEY).items()))
    seen, _, job = str(text).split(" ")
    stage.store.hset(numbers.LONG_KEY, field, f"{stage.now} 61000 {job}")
    assert stage.look(10) == ["overrun: shop.mail has not ended"]
    assert abs(int(seen) / 1000 - time.time()) < 600, "by the clock of the store"
    stage.tasks = {}
    stage.look(10)
    assert stage.store.hkeys(watch.WATCH_KEY) == [], "nothing is expected any more"


def test_a_running_job_of_a_worker_that_died_is_dropped(stage: Stage) -> None:
    field = numbers.SEPARATOR.join(("livectl", "shop.mail", "host:1"))
    stage.store.hset(numbers.LONG_KEY, field, f"{stage.now} 90000 job")
    assert numbers.read_long(stage.store, "livectl", stage.now)["shop.mail"] == (stage.now - 90_000, "job")
    assert numbers.read_long(stage.store, "other", stage.now) == {}
    assert numbers.read_long(stage.store, "livectl", stage.now + 31_000) == {}
    assert not stage.store.exists(numbers.LONG_KEY)


def test_an_address_outside_is_asked_by_one_beat_each_minute_while_it_is_well(
    stage: Stage, store_url: str, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    app = Celery("proj", broker=Address.parse(store_url).celery_url, set_as_current=False)
    with serving() as site:
        text = f"watch: {{heartbeat: 'http://127.0.0.1:{site.server_port}/echo'}}\n"

        def settle(more: str) -> Any:
            (tmp_path / "livectl.yaml").write_text(text + more)
            return settings.load({"LIVECTL_STORE": store_url}, tmp_path)

        beat = SimpleNamespace(
            app=app, store_in_use=Address.parse(store_url), current_settings=settle("network: {allow: [127.0.0.1]}\n")
        )
        beat.watched = lambda _: BeatAtWork({}, stage.now, "one", 600.0)
        watchers = [Watcher(beat) for _ in range(2)]  # type: ignore[arg-type]

        def look() -> list[str]:
            stage.store.delete(HEARTBEAT_KEY)  # a minute is over
            for watcher in watchers:
                watcher.look()
            return [record.getMessage() for record in caplog.records if "heartbeat" in record.getMessage()]

        assert (look(), look(), site.hits) == ([], [], ["/echo"] * 2)
        beat.current_settings = settle("")
        refused = look()
        assert refused == look()
        (said,) = refused  # once
        assert "127.0.0.1 is not a public address; `network: {allow: [127.0.0.1]}` in livectl.yaml lets" in said
    app.close()
