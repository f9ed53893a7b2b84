"""Sending, retrying and revoking jobs, and what is refused before it is sent."""

from __future__ import annotations

import json
import re
from datetime import UTC, datetime
from functools import partial
from itertools import islice
from typing import TYPE_CHECKING, Any

import msgspec
import pytest
import redis

from livectl import audit, redis_client
from livectl.address import Address
from livectl.errors import LivectlError, UsageError
from livectl.models import Job, JobState
from livectl.ops.cluster import events, purge, queues, worker_changes, workers
from livectl.ops.jobs import dead_letters, job_log, results, sender, wait
from livectl.ops.jobs.job_request import JobRequest
from livectl.ops.protocol import remote_control
from livectl.ops.protocol.dead_letter import DeadLetter
from livectl.ops.protocol.message import JobMessage
from livectl.ops.services.health import ProbeResult
from livectl.redaction import redact
from tests.support.celery_project import Project
from tests.support.processes import answer, livectl
from tests.support.waiting import HANG_SECONDS, wait_for

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

LONG = str(HANG_SECONDS)  # for what comes soon, however busy the machine is
NOWHERE = "8b0d1d2e-52d4-4d4f-8f0c-5a1c9c1ed3a1"


@pytest.fixture
def project(tmp_path: Path, store_url: str) -> Iterator[Project]:
    options = {"visibility_timeout": 3000}
    project = Project(tmp_path, store_url, store_url, broker_transport_options=options, result_extended=True)
    yield project
    project.close()


@pytest.mark.acceptance
@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["proj.ad", "1"], "did you mean proj.add?"),
        (["proj.add"], "proj.add(x, y=0): missing a required argument: 'x'"),
        (["proj.add", "1", "2", "3"], "too many positional arguments"),
        (["proj.add", "1", "-k", '{"z": 1}'], "unexpected keyword argument 'z'"),
        (["proj.add", "1"], "nobody reads the queue celery"),
        (["proj.add", "1", "-k", "[1]"], "--kwargs is no JSON object"),
        (["proj.add", "1", "--in", "5m", "--at", "2030-01-01"], "both --in and --at"),
        ([], "which task?"),
    ],
    ids=" ".join,
)
def test_what_cannot_come_to_anything_is_not_sent(
    project: Project, words: list[str], says: str, store_url: str
) -> None:
    ran = project.livectl("call", *words)
    assert ran.returncode == 2
    assert says in ran.stderr
    with redis.Redis.from_url(store_url) as broker:
        assert broker.llen("celery") == 0


@pytest.mark.acceptance
def test_force_sends_it_all_the_same(project: Project, store_url: str) -> None:
    ran = project.livectl("-q", "call", "no.such.task", "1", "--force", "-Q", "attic")
    assert ran.returncode == 0
    with redis.Redis.from_url(store_url) as broker:
        assert broker.llen("attic") == 1
    status = project.livectl("status", ran.stdout.strip(), "--json")
    job = json.loads(status.stdout)
    assert (status.returncode, job["state"], job["queue"], job["task"]) == (6, "queued", "attic", "no.such.task")
    assert job["sent_at"] is not None


@pytest.mark.acceptance
def test_a_job_is_sent_waited_for_listed_and_sent_again(project: Project) -> None:
    with project.worker("w1", "-c", "2"):
        done = project.livectl("call", "proj.add", "2", "3", "--wait", "--json")
        assert (done.returncode, json.loads(done.stdout)["result"]) == (0, 5)
        words = ("-A", "proj", "call", "proj.steps", "--wait", "--timeout", LONG)
        with livectl(*words, cwd=project.folder, environ=project.environ) as shown:
            shown.wait_for("sent ")
            for step in (1, 2, 3):
                (project.folder / f"step-{step}").touch()
            assert shown.wait() == 0
        failed = project.livectl("call", "proj.fail", "-k", '{"password": "hush"}', "--wait", "--json")
        job = json.loads(failed.stdout)
        assert (failed.returncode, job["error"], job["kwargs"]) == (1, "ValueError: no such thing", {"password": "***"})
        assert "Traceback" in project.livectl("status", job["id"], "--full").stdout
        late = project.livectl("call", "proj.nap", "30", "--wait", "--timeout", "1")
        assert late.returncode == 6
        listed = json.loads(project.livectl("results", "--json", "--state", "failed").stdout)
        assert [row["id"] for row in listed] == [job["id"]]
        again = project.livectl("-q", "retry", job["id"])
        assert again.returncode == 0
        project.wait_for_state(again.stdout.strip(), "FAILURE")
        assert "far" not in again.stderr
        assert "more than the visibility timeout" in project.livectl("call", "proj.add", "1", "--in", "1h").stderr
        _follow_others(project)


BY_KEY = ("--header", "tenant=ada", "--exchange", "celery", "--routing-key", "celery")


def _follow_others(project: Project) -> None:
    """A chain is followed to its last or to the one that failed, a canvas to what ends last; all ids are told."""
    chained = project.livectl("call", "proj.add", "2", "3", "--chain", "proj.add 10", "--wait", "--json", *BY_KEY)
    assert (chained.returncode, json.loads(chained.stdout)["result"]) == (0, 15)
    failed = project.livectl(
        "call", "proj.fail", "--chain", "proj.add 1", "--link-error", "proj.add 5 --immutable", "--wait"
    )
    assert (failed.returncode, re.findall(r"^task +(\S+)", failed.stdout, re.MULTILINE)) == (1, ["proj.fail"])
    last = project.livectl("-q", "call", "proj.nap", "1", "--chain", "proj.add 1 2 --immutable").stdout.strip()
    waited = project.livectl("status", last, "--wait", "--json")
    assert (waited.returncode, json.loads(waited.stdout)["result"]) == (0, 3), waited.stdout
    canvas = '{"chain": ["proj.add 1", {"group": ["proj.add 1", "proj.add 2"]}, {"task": "proj.note", "args": [0]}]}'
    sent = project.livectl("call", "--canvas", canvas, "--json")
    jobs = json.loads(sent.stdout)
    assert [job["task"] for job in jobs["jobs"]] == ["proj.add", "proj.add", "proj.add", "proj.note"]
    assert (jobs["id"], sent.stderr.count("queue celery")) == (jobs["jobs"][-1]["id"], 4)


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["--exchange", "nowhere"], "no queue of the app is bound to nowhere with no key"),
        (["--routing-key", "other"], "no queue of the app is bound to celery with other"),
        (["--serializer", "jsn"], "there is no serializer jsn"),
        (["--serializer", "pickle"], "the workers take json alone, and would refuse it"),
    ],
    ids=" ".join,
)
def test_what_would_get_lost_on_its_way_is_not_sent(project: Project, words: list[str], says: str) -> None:
    request = msgspec.convert({"task": "celery.ping", words[0].strip("-").replace("-", "_"): words[1]}, JobRequest)
    project.app.finalize()
    job_sender = sender.JobSender(project.deployment, project.app, {"celery.ping": project.app.tasks["celery.chain"]})
    with pytest.raises(UsageError, match=re.escape(says)):
        job_sender.validate(request)


@pytest.mark.acceptance
def test_a_file_of_jobs_is_worked_off_within_its_window(project: Project) -> None:
    lines = [json.dumps({"task": "proj.add", "args": [number]}) for number in range(60)]
    (project.folder / "orders.jsonl").write_text("\n".join([*lines, '{"task": "proj.fail"}', ""]))
    with project.worker("w1", "-c", "2"):
        ran = project.livectl("call", "--from", "orders.jsonl", "--window", "10", "--json")
    done = json.loads(ran.stdout)
    assert (ran.returncode, done["sent"], done["succeeded"], done["failed"]) == (1, 61, 60, 1)
    assert "61 of 61" not in ran.stderr  # progress is for terminals


@pytest.mark.acceptance
def test_five_hundred_jobs_of_a_file_and_their_sum(project: Project) -> None:
    lines = [json.dumps({"task": "proj.add", "args": [number]}) for number in range(500)]
    (project.folder / "orders.jsonl").write_text("\n".join(lines))
    with project.worker("w1", "-c", "2"):
        ran = project.livectl("call", "--from", "orders.jsonl")
    assert ran.returncode == 0, ran.stderr
    assert ran.stdout.startswith("500 succeeded, 0 failed, in ")
    assert ran.stderr == ""


@pytest.mark.acceptance
def test_a_worker_tells_how_far_its_clock_is_ahead_and_what_it_has_in_memory(project: Project) -> None:
    (project.folder / "ahead").mkdir()
    ahead = "import time; right = time.time; time.time = lambda: right() + 42"
    (project.folder / "ahead" / "sitecustomize.py").write_text(ahead)
    with project.worker("w1", "-c", "1"):
        project.environ["PYTHONPATH"] = str(project.folder / "ahead")
        with project.worker("w2", "-c", "1"), project.worker("w3", "-c", "1", "--without-heartbeat"):
            right, wrong, quiet = wait_for(
                partial(three_of_whom_two_tell, project), what="three workers and two clocks"
            )
            del project.environ["PYTHONPATH"]
            wait_for(lambda: re.search(r"\+4\d\.\d s", project.livectl("workers").stdout), what="the clock ahead")
    assert abs(right.skew or 0.0) < 5
    assert wrong.skew == pytest.approx(42, abs=5)
    assert quiet.skew is None
    assert 10_000_000 < (right.memory or 0) < 1_000_000_000


def three_of_whom_two_tell(project: Project) -> Sequence[remote_control.WorkerStatus]:
    with workers.WorkerControl(project.deployment, HANG_SECONDS) as control:
        found = control.list_workers().found
    return found if [each.skew is None for each in found] == [False, False, True] else ()


def test_a_job_that_is_a_dead_letter_is_sent_again_and_the_letter_gone(project: Project, store_url: str) -> None:
    now = datetime.now(UTC)
    with redis.Redis.from_url(store_url, decode_responses=True) as store:
        order = {"task": "proj.add", "args": [7], "kwargs": {}}
        dead_letters.add(store, DeadLetter(id="j1", kind="job", reason="failed", at=now, payload=order))
        dead_letters.add(store, DeadLetter(id="m1", kind="message", reason="poison", at=now, payload={}))
        again = project.livectl("-q", "retry", "j1", "--force")
        assert again.returncode == 0, again.stderr
        assert store.hkeys(dead_letters.DEAD_LETTERS_KEY) == ["m1"]
    assert project.livectl("status", again.stdout.strip(), "--json").returncode == 6
    assert "`livectl dead retry m1` puts it back" in project.livectl("retry", "m1").stderr


@pytest.mark.parametrize("words", [["results", "--since"], ["call", "proj.add", "1", "--in"]], ids=str)
def test_a_duration_that_is_none_is_a_mistake_of_the_command_line(project: Project, words: list[str]) -> None:
    ran = project.livectl(*words, "yesterday")
    assert (ran.returncode, f"{words[-1]} yesterday: " in ran.stderr) == (2, True)


@pytest.mark.acceptance
def test_revoking_says_what_was_done(project: Project, store_url: str, patient: None) -> None:
    waiting_job = project.send("add", 1)
    (removed,) = sender.revoke(project.deployment, [waiting_job], terminate=False)
    assert (removed.done, removed.state) == ("removed", JobState.QUEUED)
    with redis.Redis.from_url(store_url) as broker:
        assert broker.llen("celery") == 0
    assert wait.look_up(project.deployment, waiting_job).job.state is JobState.REVOKED
    with project.worker("w1", "-c", "1"):
        running = project.send("nap", 600)
        wait_for(lambda: wait.look_up(project.deployment, running).job.state is JobState.RUNNING)
        (left,) = sender.revoke(project.deployment, [running], terminate=False)
        assert (left.done, "goes on" in left.text) == ("nothing", True)
        later = project.send("add", 1, countdown=2000)
        wait_for(lambda: wait.look_up(project.deployment, later).job.state is JobState.ETA)
        (back, killed) = sender.revoke(project.deployment, [later, running], terminate=True)
        assert (back.done, killed.done) == ("removed", "terminated")
        for job in (later, running):
            wait_for(lambda job=job: wait.look_up(project.deployment, job).job.state is JobState.REVOKED)  # type: ignore[misc]
    assert sender.revoke(project.deployment, [NOWHERE], terminate=False)[0].done == "nothing"


def test_thirty_thousand_results_are_read_in_little_time_and_memory(project: Project, store_url: str) -> None:
    import tracemalloc

    with redis.Redis.from_url(store_url) as backend:
        pipe = backend.pipeline(transaction=False)
        for number in range(30_000):
            done = datetime.fromtimestamp(1_700_000_000 + number, UTC).isoformat()
            status = "FAILURE" if number % 10 == 0 else "SUCCESS"
            meta = {"task_id": f"id-{number}", "status": status, "result": number, "date_done": done}
            pipe.set(f"celery-task-meta-id-{number}", json.dumps(meta))
            if number % 1000 == 999:
                pipe.execute()
    tracemalloc.start()
    try:
        newest = results.list_recent(project.deployment, results.ResultFilter(limit=3))
        assert tracemalloc.get_traced_memory()[1] < 6_000_000
    finally:
        tracemalloc.stop()
    assert [job.id for job in newest] == ["id-29999", "id-29998", "id-29997"]
    failed = results.list_recent(project.deployment, results.ResultFilter(state=JobState.FAILED, limit=2))
    assert [job.id for job in failed] == ["id-29990", "id-29980"]


@pytest.mark.acceptance
def test_workers_are_listed_resized_drained_and_stopped(project: Project, patient: None) -> None:
    with project.worker("w1", "-c", "1") as worker:
        assert _events_of_a_job(project) == ["task-received", "task-started", "task-succeeded"]
        worker.wait_for("Events of group {task} disabled by remote")
        with workers.WorkerControl(project.deployment, HANG_SECONDS) as control:
            (listed,) = control.list_workers().found
            assert (listed.name, listed.pool, listed.concurrency, listed.queues) == ("w1@h", "prefork", 1, ("celery",))
            assert listed.version is not None
            assert (listed.memory or 0) > 1_000_000
            _show_and_change(control)
            control.resize(control.full_name("w1"), 2)
            wait_for(lambda: control.list_workers().found[0].concurrency == 3)  # the pool is looked after every 5 s
        job = project.send("nap", 3)
        wait_for(lambda: wait.look_up(project.deployment, job).job.state is JobState.RUNNING)
        drained = project.livectl("workers", "drain", "w1", "--timeout", LONG)
        assert (drained.returncode, "1 left" in drained.stderr) == (0, True)
        assert worker.wait() == 0
    assert project.livectl("workers").returncode == 1
    gone = project.livectl("workers", "stop", "w1")
    assert (gone.returncode, "no worker w1 answers" in gone.stderr) == (1, True)


def _events_of_a_job(project: Project) -> list[str]:
    """Of one that was sent while its worker was asked to send some; all of them know their task."""
    wanted = events.EventFilter(task="proj.a*", kind="task-*", worker="w1")

    def act() -> None:
        project.send("add", 1)

    with pytest.MonkeyPatch.context() as patched:  # one that was killed: what it left on is ended by the next
        patched.setattr(events, "LEASE_S", 0)
        next(events.EventStream(project.deployment, wanted, enable=True).read(HANG_SECONDS, act, print))
    assert events.stop_left_on(project.deployment) == ["w1@h"]
    assert events.stop_left_on(project.deployment) == []
    with events.EventStream(project.deployment, wanted, enable=True) as stream:
        return [event["type"] for event in islice(stream.read(HANG_SECONDS, act, print), 3)]


def _show_and_change(control: workers.WorkerControl) -> None:
    """What a worker tells of itself, without secrets; what it makes of changes, by pattern, each for itself."""
    assert control.match_names(["w*", "w1"]) == ["w1@h"]
    with pytest.raises(LivectlError, match=r"no worker x\* answers"):
        control.match_names(["w1", "x*"])
    options: dict[str, Any] = {"rates": ["proj.add=9/m"], "limits": ["proj.no=5"], "autoscale": "3,1"}
    options |= {"consume": ["mail"], "cancel": ["mail"], "grow": None, "shrink": None}
    answers = [control.change(["w1@h"], change)[0] for change in worker_changes.read_changes(options)]
    assert [answer.done for answer in answers] == [True, False, False, True, True]
    details = control.show("w1@h")
    assert "proj.add [rate_limit=9/m]" in (details.registered or ())
    assert (details.queues, details.active, details.revoked) == (("celery",), (), ())
    assert details.settings["result_extended"] is True
    assert details.stats["pool"]["max-concurrency"] == 1


@pytest.mark.acceptance
def test_a_dead_letter_is_shown_put_back_sent_again_and_dropped(project: Project, store_url: str) -> None:
    job = project.send("add", 1, kwargs={"y": 2})
    with redis.Redis.from_url(store_url, decode_responses=True) as store:
        raw = str(store.rpop("celery"))
        now = datetime.now(UTC)
        payload = {"queue": "celery", "message": json.loads(raw)}
        letter = DeadLetter(id="l1", kind="message", reason="poison", at=now, task="proj.add", payload=payload)
        order = msgspec.to_builtins(JobRequest(task="proj.add", args=(5,)))
        dead_letters.add(store, letter)
        dead_letters.add(store, DeadLetter(id="l2", kind="job", reason="failed", at=now, payload=order))
        assert {letter.id for letter in dead_letters.list_summaries(project.deployment)} == {"l1", "l2"}
        assert dead_letters.read_redacted(project.deployment, "l1").payload["body"][0] == [1]
        assert project.livectl("dead", "retry", "l1").returncode == 0
        assert [message.id for message in purge.peek(project.deployment, "celery", 5)] == [job]
        assert project.livectl("dead", "retry", "l2").returncode == 0
        assert store.llen("celery") == 2
        assert store.hlen(dead_letters.DEAD_LETTERS_KEY) == 0
        assert project.livectl("dead", "drop", "l1").returncode == 1
        noted = [(entry.change, entry.subject, entry.outcome) for entry in audit.read(Address.parse(store_url), 3)]
        assert noted == [("drop", "l1", "nothing"), ("resend", "l2", "done"), ("resend", "l1", "done")]


@pytest.mark.acceptance
def test_livectls_own_jobs_have_timings_without_events(tmp_path: Path, store_url: str) -> None:
    environ = {"LIVECTL_BROKER": store_url, "LIVECTL_HOME": str(tmp_path)}
    with livectl("worker", "-c", "1", "-P", "threads", cwd=tmp_path, environ=environ) as worker:
        worker.wait_for("ready")
        sent = answer("-q", "call", "livectl.report", cwd=tmp_path, environ=environ)
        assert sent.returncode == 0, sent.stderr
        words = ("status", "--json", "--wait", "--timeout", LONG, sent.stdout.strip())
        ran = answer(*words, cwd=tmp_path, environ=environ)
        job = json.loads(ran.stdout)
        assert (ran.returncode, job["state"], job["task"]) == (0, "succeeded", "livectl.report")
        timings = ("sent_at", "started_at", "finished_at", "waited", "ran", "worker")

        def has_noted() -> bool:
            """A moment after its result is there."""
            noted = json.loads(answer(*words, cwd=tmp_path, environ=environ).stdout)
            return None not in map(noted.get, timings)

        wait_for(has_noted, what="what the worker noted of the job")
        listed = answer("results", "--json", cwd=tmp_path, environ=environ)
        assert json.loads(listed.stdout)[0]["id"] == job["id"]
        broken = answer("-q", "call", "livectl.report", "1", "--force", cwd=tmp_path, environ=environ).stdout.strip()
        failed = answer("status", "--json", "--wait", "--timeout", LONG, broken, cwd=tmp_path, environ=environ)
        assert (failed.returncode, "TypeError" in json.loads(failed.stdout)["error"]) == (1, True)
        arguments = ('"redis://:hush-1@h"', '["https://h.example/?token=hush-2"]')
        secret = answer("-q", "call", "livectl.check", *arguments, cwd=tmp_path, environ=environ).stdout.strip()
        shown = answer("status", "--full", "--wait", "--timeout", LONG, secret, cwd=tmp_path, environ=environ)
        assert "redis://:***@h" in shown.stdout
        worker.wait_for("redis://:***@h")
        assert "hush" not in worker.text + shown.stdout
        with redis_client.connect(Address.parse(store_url)) as connection:
            note = job_log.read_entries(connection, [broken])[broken]
            kept = connection.execute("HGETALL", job_log.entry_key(secret))
            assert b"hush" not in b"".join(kept)
        assert msgspec.json.decode(note.message, type=JobRequest) == JobRequest(task="livectl.report", args=(1,))


@pytest.mark.parametrize(
    ("value", "shown"),
    [
        ({"password": "a", "user": "b"}, {"password": "***", "user": "b"}),
        ({"api_key": 1, "deep": {"Authorization": "x"}}, {"api_key": "***", "deep": {"Authorization": "***"}}),
        (["redis://:hush@host/0"], ["redis://:***@host/0"]),
        ("{'token': 'abc', 'x': 1}", "{'token': '***', 'x': 1}"),
        (b"\x00\x01", "<2 bytes>"),
        ({"monkey": "left alone"}, {"monkey": "left alone"}),
    ],
    ids=str,
)
def test_secrets_are_not_shown(value: Any, shown: Any) -> None:
    assert redact(value) == shown


class Told(msgspec.Struct, frozen=True):
    """What sending answers."""

    id: str
    task: str
    queue: str | None


class Dropped(msgspec.Struct, frozen=True):
    """What dropping dead letters answers."""

    dropped: int


SHAPES: list[tuple[list[str], Any]] = [
    (["status", NOWHERE], Job),
    (["results"], list[Job]),
    (["queues"], list[queues.Queue]),
    (["queues", "peek", "celery"], list[JobMessage]),
    (["workers"], list[remote_control.WorkerStatus]),
    (["dead"], list[dead_letters.DeadLetterSummary]),
    (["dead", "drop", "--all"], Dropped),
    (["health", "broker"], ProbeResult),
    (["call", "proj.add", "1", "--force"], Told),
    (["revoke", NOWHERE], list[sender.RevokedJob]),
    (["queues", "purge", "celery", "--yes"], purge.PurgeResult),
]


@pytest.mark.acceptance
@pytest.mark.parametrize(("words", "shape"), SHAPES, ids=[" ".join(words) for words, _ in SHAPES])
def test_programs_get_one_json_value_of_a_known_shape(project: Project, words: list[str], shape: Any) -> None:
    project.send("add", 1)
    ran = project.livectl("--json", *words)
    value = msgspec.json.decode(ran.stdout, type=shape)
    assert set(json.loads(ran.stdout)[0] if isinstance(value, list) and value else []) <= _fields(shape)


def _fields(shape: Any) -> set[str]:
    kind = getattr(shape, "__args__", (shape,))[0]
    return {field.name for field in msgspec.structs.fields(kind)}


@pytest.mark.parametrize(
    ("kind", "fields"),
    [
        (
            Job,
            (
                "id state task args kwargs queue position worker eta sent_at started_at finished_at waited ran retries "
                "result error children"
            ),
        ),
        (queues.Queue, "name ready priorities unacked eta delayed oldest consumers"),
        (remote_control.WorkerStatus, "name pool concurrency active reserved queues version memory processed age skew"),
        (dead_letters.DeadLetterSummary, "id kind reason at task"),
    ],
)
def test_the_fields_that_programs_rely_on_are_these(kind: Any, fields: str) -> None:
    assert " ".join(field.name for field in msgspec.structs.fields(kind)) == fields
