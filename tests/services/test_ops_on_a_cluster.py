"""What beats, workers and commands keep in a store that is a cluster, with the broker on a Redis of its own."""

from __future__ import annotations

from collections import Counter
from contextlib import suppress
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import pytest

from livectl import audit, redis_client, replicas
from livectl.address import Address
from livectl.audit import AuditEntry
from livectl.ops.beat import backfill, check_ins, pauses, run_store, store_entries, views
from livectl.ops.beat.backfill import Backfill, BackfillStore
from livectl.ops.beat.publisher import SequentialPublisher
from livectl.ops.beat.run_store import RunStore
from livectl.ops.deployment import Deployment
from livectl.ops.jobs import canvas, dead_letters, history, job_log, numbers
from livectl.ops.jobs.history import JobHistory, JobNote
from livectl.ops.jobs.job_log import FailureNote, NoteBatch, NoteWriter
from livectl.ops.jobs.status import StatusLookup
from livectl.ops.limits import slots
from livectl.ops.limits.duplicates import UniqueClaim
from livectl.ops.limits.slots import Limit, LimitKeys, LimitStore, Woken
from livectl.ops.protocol import keys
from livectl.ops.services.pulse import JobPulse
from livectl.settings import History
from livectl.web import job_data
from tests.services.test_backfill import DAILY, YEAR, days_of_a_year, nothing
from tests.services.test_dead_letters import LETTER
from tests.support.beats import FakeClock, World, end_job, entries

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tests.support.redis_cluster import RedisCluster


class KilledError(BaseException):
    """What kill -9 is here."""


@pytest.fixture
def world(tmp_path: Path, cluster: RedisCluster, store_url: str) -> Iterator[World]:
    world = World(tmp_path, cluster.url, broker_url=store_url)
    yield world
    world.close()


@pytest.fixture
def deployment(cluster: RedisCluster, store_url: str) -> Deployment:
    broker = Address.parse(store_url)
    store = Address.parse_store(cluster.url)
    return Deployment(broker=broker, results=broker, store=store, layout=keys.layout_from_settings({}))


def test_beats_send_each_run_once_and_the_policies_hold(world: World) -> None:
    world.write(
        often={"every": "10s"},
        alone={"every": "10s", "overlap": "skip"},
        bad={"every": "10s", "pause_on_failure": 2},
        once={"every": "10s", "count": 1},
    )
    store_entries.add(world.store, "stored", {"task": "t.note", "args": ["stored"], "every": "20s"})
    store_entries.add(world.store, "behind", {"task": "t.note", "args": ["behind"], "after": "stored"})
    world.beat(), world.beat()
    sent = world.tick()
    assert all(isinstance(beat._publisher, SequentialPublisher) for beat in world.beats)
    for _ in range(6):
        for message in (each for each in sent if each.entry != "alone"):
            end_job(world, message.task_id, "FAILURE" if message.entry == "bad" else "SUCCESS")
        sent = world.run(10)
    counted = Counter(message.entry for message in world.sent)
    assert len({message.task_id for message in world.sent}) == len(world.sent)
    assert (counted["often"], counted["alone"], counted["stored"], counted["once"], counted["bad"]) == (6, 1, 3, 1, 2)
    assert counted["behind"] == 2
    assert "(pause_on_failure)" in pauses.read_pauses(world.store)["bad"].reason
    assert [run.outcome for run in JobHistory.of_client(world.store).runs("once")] == ["sent"]
    assert len(world.heartbeats()) == 2
    assert store_entries.remove(world.store, ["stored", "none"]) == [True, False]


def test_a_run_sent_in_the_moment_of_a_kill_is_sent_again_with_its_id(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As on RabbitMQ: to send, and to note that, are two steps; who gets the second message can tell by its id."""
    world.write(a={"every": "60s"})
    killed = world.beat()

    def die(*_: Any) -> None:
        raise KilledError

    with monkeypatch.context() as patched:
        patched.setattr(RunStore, "mark_done", die)
        with suppress(KilledError):
            world.run(60)
    world.drop(killed)
    sent = world.collect()
    world.beat()
    sent += world.run(10)
    assert [message.entry for message in sent] == ["a", "a"]
    assert len({message.task_id for message in sent}) == 1


@pytest.mark.parametrize("beats", [1, 2])
def test_what_was_claimed_of_a_server_that_is_replaced_is_claimed_again(
    world: World, monkeypatch: pytest.MonkeyPatch, beats: int
) -> None:
    """The one that takes over has not heard of it: another beat would claim and send it as well."""
    world.write(often={"every": "10s"})
    for _ in range(beats):
        world.beat()
    lost: list[Any] = []

    def lose(*_: Any) -> None:
        if not lost:
            lost.append(world.store.delete(run_store.LAST_RUN_KEY, run_store.PENDING_KEY))

    monkeypatch.setattr(replicas, "confirm", lose)
    world.run(30)
    assert lost == [2]
    assert entries(world.sent) == ["often"] * 3
    assert len({message.task_id for message in world.sent}) == 3


def test_a_backfill_that_is_killed_goes_on(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    def make() -> Backfill:
        return Backfill(world.app, BackfillStore(world.store, FakeClock(world.clock), "a"), DAILY, YEAR)

    monkeypatch.setattr("livectl.ops.beat.backfill.time.sleep", world.clock.wait)
    monkeypatch.setattr(backfill, "BATCH_SIZE", 100)
    killed, calls = make(), iter(range(100))
    send = killed._store.mark_done

    def die_later(*arguments: Any) -> Any:
        if next(calls) == 150:
            raise KilledError
        return send(*arguments)

    monkeypatch.setattr(killed._store, "mark_done", die_later)
    with suppress(KilledError, StopIteration):
        killed.send(nothing)
    assert make().send(nothing).status == "done"
    sent = world.collect()
    assert sorted({message.message["headers"]["due"] for message in sent}) == days_of_a_year()
    assert len(sent) - 1 <= len({message.task_id for message in sent}) == 365


def test_limits_hold_and_who_waits_is_called(deployment: Deployment) -> None:
    assert deployment.store is not None
    client = redis_client.store_client(deployment.store)
    limit, of_seven = Limit(name="mail", most=2), Limit(name="mail", partition='{"user": 7}', most=1)
    first, second = (LimitStore(client, LimitKeys.of_deployment(deployment), name, wakes=True) for name in ("w1", "w2"))
    assert [first.enter(limit, f"j{number}", "q") for number in range(4)] == [None, None, 0, 1]
    assert second.enter(of_seven, "k0", "q") is None
    assert second.leave(limit, "j0") == []
    assert first.leave(limit, "j0") == [Woken("j2", "q")]
    first.renew([(limit, ["j1"])])
    assert first.is_waiting(limit, "j3")
    states = {state.label: (state.running, state.waiting) for state in slots.read_states_of(deployment)}
    assert states == {"mail": (1, 2), 'mail for {"user": 7}': (1, 0)}
    with redis_client.connect(deployment.store) as connection:
        assert slots.find_waiting(connection, LimitKeys.of_deployment(deployment), ["j3"])["j3"].before == 0
    claim = UniqueClaim("t.mail", '["{a}"]', "drop", 60.0, until_end=True)
    assert first.claim(claim, "u1")[0] != second.claim(claim, "u2")[0]
    assert first.mark(claim, "u1", "ended", 60.0)[0]
    assert first.pump(limit)[0] == []
    assert first.look()[1] == []
    client.close()


def test_the_history_of_jobs_is_written_and_read(deployment: Deployment, tmp_path: Path) -> None:
    assert deployment.store is not None
    now = datetime.now(UTC).timestamp()
    facts = {"app": "livectl", "task": "t.x", "queue": "celery", "started": now, "finished": now + 1}
    batch = NoteBatch()
    for number, schedule in enumerate(("nightly", "{odd}", "nightly")):
        run = {**facts, "schedule": schedule, "due": now + number, "state": "failed", "error": "ValueError: no"}
        batch.add(f"job{number}", JobNote(facts=run))
        batch.count(run, 1.0, now + 2)
    batch.count({**facts}, 1.0)
    failure = FailureNote(job_id="job0", app="livectl", task="t.x", error="ValueError: no", message=b"{}", ttl=60)
    batch.failures.append(failure)
    batch.ended = 3
    NoteWriter(deployment.store, "livectl", History()).write(batch, [("HSET", numbers.LONG_KEY, "a", "b")])
    canvas.note_ahead(deployment, {"later": ["job0"]})
    job_log.write(deployment, "sent", task="t.x", queue="celery", sent=now)
    job_log.amend(deployment, "sent", state="revoked")
    with redis_client.connect(deployment.store) as connection:
        entries = job_log.read_entries(connection, ["job0", "sent"])
        assert [entries[job_id].state for job_id in ("job0", "sent")] == ["failed", "revoked"]
        assert entries["job0"].message == b"{}"
        runs = JobHistory.over(connection)
        assert [run.id for run in runs.runs("nightly")] == ["job2", "job0"]
        assert [[run.id for run in each] for each in runs.last_runs(["{odd}"], 3).values()] == [["job1"]]
        assert [job.id for job in runs.recent()] == ["sent", "job2", "job1", "job0"]
    (series,) = numbers.read_series(deployment, "livectl")["job"]
    assert (series.fields["started"], series.fields["failed"]) == (1, 3)
    with StatusLookup(deployment) as lookup:
        status = lookup.status("later")
    assert "job0, which it follows, failed" in status.note
    pulse = JobPulse(lambda: deployment, lambda: tmp_path / "none.yaml", 0.0).read(now)
    assert [event.details["job"] for event in pulse.events if event.details.get("job")] == ["job0"]


def test_what_is_too_much_of_the_history_is_dropped(deployment: Deployment) -> None:
    assert deployment.store is not None
    with redis_client.connect(deployment.store) as connection:
        for number in range(4):
            note = JobNote(facts={"task": "t", "schedule": "nightly", "due": 1_000.0 + number, "state": "failed"})
            connection.execute(*history.note_command({f"job{number}": note}, most=2))
        assert [run.id for run in JobHistory.over(connection).runs()] == ["job3", "job2"]
        assert connection.execute("EXISTS", "livectl:{jobs}:runs:nightly", "livectl:jobs", "livectl:runs") == 3


def test_dead_letters_go_back_to_their_queue(deployment: Deployment) -> None:
    assert deployment.store is not None
    with redis_client.open_store(deployment.store) as store:
        dead_letters.add(store, LETTER)
        dead_letters.StoreKeeper(store).note_start("j1", is_repeat=True)
        assert dead_letters.StoreKeeper(store).note_start("j1", is_repeat=True) == 3
        assert [letter.id for letter in dead_letters.list_summaries(deployment)] == ["j1"]
        assert dead_letters.requeue(deployment, "j1") == "celery"
        assert dead_letters.StoreKeeper(store).starts("j1") == 0
        dead_letters.add(store, LETTER)
        assert dead_letters.drop_expired(store, LETTER.at.timestamp() + 1) == 0
        assert dead_letters.drop(deployment, []) == 1
        assert dead_letters.list_summaries(deployment) == []


def test_notes_of_people_checks_and_queues(deployment: Deployment) -> None:
    assert deployment.store is not None
    audit.note(deployment.store, AuditEntry(change="follow", subject="demo/ada", outcome="done"))
    assert [entry.subject for entry in audit.read(deployment.store, 10)] == ["demo/ada"]
    job_data.sample_depths(deployment, 1_000_000.0)
    assert list(job_data.read_depths(deployment, 1_000_000.0)) == ["celery"]
    with redis_client.open_store(deployment.store) as store:
        check_ins.expect(store, "backup", 1_000)
        check_ins.note(store, "backup", "start", "", 2_000)
        check_ins.note(store, "backup", "fail", "no room", 3_000)
        (run,) = JobHistory.of_client(store).runs("check:backup")
    assert (run.state, run.error) == ("failed", "no room")
    assert views.read(deployment.store, deployment).counts == {}
