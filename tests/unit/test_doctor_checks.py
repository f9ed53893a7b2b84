"""What each check finds in facts, and what the report makes of findings."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import msgspec
import pytest
from celery import Celery

from livectl import render
from livectl.doctor import (
    checks_app,
    checks_rabbitmq,
    checks_servers,
    checks_streamers,
    checks_workers,
    collect_app,
    report,
)
from livectl.doctor.checks_app import NO_FLASK_CONTEXT
from livectl.doctor.facts import (
    AlertFacts,
    AppProcess,
    BeatFacts,
    DeadLetterFacts,
    DelayedMessage,
    Facts,
    FailedJob,
    FailingTarget,
    Gap,
    MisnamedPlatform,
    PlatformFacts,
    RabbitFacts,
    ServerFacts,
    SettingsFacts,
    StoreUnfit,
    TaskFacts,
    WorkerFacts,
    WorkerSurvey,
)
from livectl.live.push.push_store import PushHealth
from livectl.models import Finding, Interval, PlatformHealth, Schedule, State, StreamerRecord
from livectl.ops.cluster.queues import Queue
from livectl.ops.protocol.delayed import OverdueDelays

ROOT = Path(__file__).parents[2]
MANUAL = (ROOT / "docs" / "doctor.md").read_text()
FIELDS = {"id", "level", "title", "evidence", "cure", "link"}

MISNAMED = MisnamedPlatform(place="platforms", name="twich", cure="did you mean twitch?")
BEAT = BeatFacts(names=("h:1",), heartbeat_age=1.0, has_run=True)
ENTRY = Schedule(name="tick", task="t", timing=Interval(1))
WORKER = WorkerFacts(name="a@h", pid=1, version="5.7.0", queues=("celery",), tasks=("t",))
OTHER_WORKER = msgspec.structs.replace(WORKER, name="b@h", pid=2)
SERVER = ServerFacts(role="broker", address="redis://h:6379/0")


def survey_facts(*workers: WorkerFacts, silent: int = 0) -> Facts:
    return Facts(survey=WorkerSurvey(workers=workers, silent=silent))


def redis_facts(**info: str) -> Facts:
    return Facts(servers=(msgspec.structs.replace(SERVER, info=info, save_setting="3600 1"),))


def settings_facts(**values: Any) -> Facts:
    return Facts(settings=SettingsFacts(values=values))


def pushed(**fields: Any) -> Facts:
    return Facts(now=100.0, platforms=PlatformFacts(pushed=(PushHealth(platform="twitch", **fields),)))


def platform_facts(**health: Any) -> Facts:
    return Facts(now=100.0, platforms=PlatformFacts(health=(PlatformHealth(platform="twitch", followed=1, **health),)))


def shared_facts(*others: WorkerFacts, waiting: tuple[str, ...] = ()) -> Facts:
    """An app with one task, sent to the queue celery, which its own worker reads; and what else is there."""
    return Facts(
        tasks=(TaskFacts(name="t"),),
        task_queues={"t": "celery"},
        survey=WorkerSurvey(workers=(WORKER, *others)),
        waiting_tasks={"celery": waiting},
    )


def visibility_facts(*unacked_keys: str) -> Facts:
    """Workers that differ in visibility_timeout."""
    workers = [
        WorkerFacts(name=str(number), visibility_timeout=60.0 + number, unacked_key=key)
        for number, key in enumerate(unacked_keys)
    ]
    return survey_facts(*workers)


def fanout_facts(prefix: Any, timeout: float | None = 60.0) -> Facts:
    values = {"broker_transport_options": {"fanout_prefix": prefix}}
    return Facts(visibility_timeout=timeout, settings=SettingsFacts(values=values))


def failure_facts(*started: float, error: str = NO_FLASK_CONTEXT, wraps_run: bool = False, **failure: Any) -> Facts:
    """A job that failed at 100 s, and workers that were started then."""
    failed = FailedJob("1", "t", error, 100.0, **failure)
    workers = tuple(msgspec.structs.replace(WORKER, name=str(at), started=at) for at in started)
    return Facts(
        failed_jobs=(failed,), tasks=(TaskFacts(name="t", wraps_run=wraps_run),), survey=WorkerSurvey(workers=workers)
    )


LONG_LATE = TaskFacts(name="t", acks_late=True, reject_on_worker_lost=True, time_limit=1801)


def rabbitmq_facts(*queues: Queue, workers: tuple[WorkerFacts, ...] = (), asked: bool = False) -> Facts:
    survey = WorkerSurvey(workers=workers, asked=asked)
    return Facts(queues=queues, counts_consumers=True, task_queues={"t": "celery"}, survey=survey)


def lost(trouble: State, name: str = "eve") -> StreamerRecord:
    return StreamerRecord(platform="douyu", id=name, trouble=trouble, troubled_since=60.0, problem="why")


FINDINGS: list[tuple[Facts, list[str]]] = [
    (Facts(), []),
    (survey_facts(WORKER, OTHER_WORKER), []),
    (survey_facts(WORKER, WORKER), ["same-name"]),
    (msgspec.structs.replace(survey_facts(WORKER), platform_queues={"douyu": "slow"}), ["queue-unread"]),
    (msgspec.structs.replace(survey_facts(WORKER), platform_queues={"douyu": "celery"}), []),
    (survey_facts(WORKER, msgspec.structs.replace(OTHER_WORKER, version="5.5.0")), ["versions-differ"]),
    (survey_facts(WORKER, msgspec.structs.replace(OTHER_WORKER, version="")), []),
    (
        survey_facts(
            msgspec.structs.replace(WORKER, visibility_timeout=60.0),
            msgspec.structs.replace(OTHER_WORKER, visibility_timeout=3600.0),
        ),
        ["visibility-differs"],
    ),
    (Facts(survey=WorkerSurvey(workers=(WORKER,), hoarded_jobs=("1",))), ["prefetch-hoarding"]),
    (redis_facts(redis_version="6.0.16"), ["redis-too-old"]),
    (redis_facts(redis_version="6.2.0", maxmemory="0", maxmemory_policy="allkeys-lru"), ["redis-evicts"]),
    (msgspec.structs.replace(redis_facts(maxmemory="0", maxmemory_policy="allkeys-lru"), app="proj"), []),
    (Facts(store_unfit=StoreUnfit("half brought over", "go on")), ["store-unfit"]),
    (redis_facts(rdb_last_bgsave_status="err"), ["redis-cannot-save"]),
    (Facts(servers=(msgspec.structs.replace(SERVER, save_setting="1", clock_ahead=-60.0),)), ["clock-skew"]),
    (Facts(servers=(msgspec.structs.replace(SERVER, save_setting="1", clock_ahead=4.0),)), []),
    (Facts(servers=(msgspec.structs.replace(SERVER, error="refused", is_local=True),)), ["broker-unreachable"]),
    (
        Facts(in_container=True, servers=(msgspec.structs.replace(SERVER, error="no", is_local=True, is_away=True),)),
        ["localhost-in-container"],
    ),
    (
        Facts(in_container=True, servers=(msgspec.structs.replace(SERVER, error="WRONGPASS", is_local=True),)),
        ["broker-unreachable"],
    ),
    (Facts(in_container=True, servers=(msgspec.structs.replace(SERVER, error="no"),)), ["broker-unreachable"]),
    (Facts(servers=(ServerFacts(role="results", address="db", error="no such table"),)), ["results-unreachable"]),
    (Facts(servers=(ServerFacts(role="store", address="s", error="away"),)), ["store-unreachable"]),
    (settings_facts(accept_content=["json", "pickle"]), ["pickle-accepted"]),
    (settings_facts(task_serializer="pickle", accept_content=["json"]), ["serializer-refused"]),
    (settings_facts(task_serializer="json", accept_content=["application/json"]), []),
    (settings_facts(result_backend="redis://h", result_expires=None), ["results-endless"]),
    (settings_facts(result_backend="disabled://", result_expires=None), []),
    (
        Facts(settings=SettingsFacts(values={"timezone": "UTC"}, origins={"result_extended": "app.conf"})),
        ["results-missing"],
    ),
    (Facts(environ={"REMAP_SIGTERM": "SIGQUIT"}), ["soft-shutdown"]),
    (
        Facts(
            environ={"REMAP_SIGTERM": "SIGQUIT"}, settings=SettingsFacts(values={"worker_soft_shutdown_timeout": 10.0})
        ),
        [],
    ),
    (Facts(tasks=(TaskFacts(name="t", reject_on_worker_lost=True),)), ["early-ack"]),
    (Facts(tasks=(TaskFacts(name="t", reject_on_worker_lost=True, acks_late=True),)), []),
    (
        Facts(visibility_timeout=60.0, tasks=(TaskFacts(name="t", acks_late=True, time_limit=61.0),)),
        ["visibility-limit"],
    ),
    (Facts(visibility_timeout=60.0, tasks=(TaskFacts(name="t", time_limit=61.0),)), []),
    (
        Facts(visibility_timeout=60.0, delayed_messages=(DelayedMessage(id="1", task="t", seconds=90.0),)),
        ["visibility-eta"],
    ),
    (Facts(overdue_delays=OverdueDelays(count=1, seconds=60.0)), ["delays-overdue"]),
    (Facts(overdue_delays=OverdueDelays(count=1, seconds=60.0, has_keeper=True)), []),
    (Facts(plus_messages={"celery": 3}), ["plus-messages"]),
    (Facts(plus_messages={"celery": 3}, takes_by_plus=True), ["transport-plus"]),
    (Facts(schedule=(ENTRY,), beats=BEAT, tasks=(TaskFacts(name="t"),)), []),
    (Facts(schedule=(ENTRY,), beats=BeatFacts(has_run=True), tasks=(TaskFacts(name="t"),)), ["beat-missing"]),
    (Facts(schedule=(ENTRY,), beats=BeatFacts(), tasks=(TaskFacts(name="t"),)), []),
    (Facts(beats=BeatFacts(names=("h:1",), heartbeat_age=45.0)), ["beat-late"]),
    (Facts(beats=BeatFacts(names=("h:1",), heartbeat_age=1.0, unsent_run="tick")), ["beat-late"]),
    (
        Facts(
            schedule=(ENTRY,),
            tasks=(TaskFacts(name="t"),),
            survey=WorkerSurvey(workers=(msgspec.structs.replace(WORKER, tasks=("u",)),)),
        ),
        ["unknown-task"],
    ),
    (
        Facts(
            schedule=(ENTRY,),
            tasks=(TaskFacts(name="t"),),
            survey=WorkerSurvey(workers=(msgspec.structs.replace(WORKER, tasks=("u",)),), silent=1),
        ),
        [],
    ),
    (Facts(tasks=(TaskFacts(name="proj.mail"),), task_entries=("proj.mial",)), ["unknown-task"]),
    (Facts(tasks=(TaskFacts(name="proj.mail"),), task_entries=("proj.*", "proj.mail", "other.thing")), []),
    (Facts(queues=(Queue(name="mail", ready=3),), survey=WorkerSurvey(workers=(WORKER,))), ["queue-unread"]),
    (Facts(queues=(Queue(name="mail", ready=0),), survey=WorkerSurvey(workers=(WORKER,))), []),
    (Facts(queues=(Queue(name="mail", ready=3),), survey=WorkerSurvey(workers=(WORKER,), silent=1)), []),
    (Facts(queues=(Queue(name="mail", ready=3),)), []),
    (Facts(survey=WorkerSurvey(asked=True)), ["workers-missing"]),
    (Facts(survey=WorkerSurvey(asked=True, silent=1)), []),
    (Facts(survey=WorkerSurvey(asked=True), gaps={"survey": Gap("away", ("x",))}), ["not-looked-at"]),
    (rabbitmq_facts(Queue(name="celery", ready=1, consumers=0)), ["workers-missing"]),
    (rabbitmq_facts(Queue(name="celery", ready=1, consumers=1)), []),
    (rabbitmq_facts(Queue(name="celery", ready=0, consumers=0)), []),
    (rabbitmq_facts(Queue(name="mail", ready=1, consumers=0), workers=(WORKER,)), ["queue-unread"]),
    (rabbitmq_facts(Queue(name="mail", ready=1, consumers=2), workers=(WORKER,)), []),
    (fanout_facts("proj."), ["fanout-prefix"]),
    (fanout_facts("/proj"), ["fanout-prefix"]),
    (fanout_facts("/a.b."), ["fanout-prefix"]),
    (fanout_facts("proj.", timeout=None), []),
    *((fanout_facts(prefix), []) for prefix in ("/{db}-proj.", "/proj.", "", True, False)),
    (failure_facts(), ["flask-context"]),
    (failure_facts(wraps_run=True), []),
    (failure_facts(50.0, wraps_run=True), ["flask-context"]),
    (failure_facts(50.0, 150.0), ["flask-context"]),
    (failure_facts(140.0, 150.0), []),
    (failure_facts(has_succeeded_since=True), []),
    (failure_facts(error="AppRegistryNotReady: x"), ["django-setup"]),
    (failure_facts(error="AppRegistryNotReady: x", has_succeeded_since=True), []),
    (Facts(timezone_error="no timezone is called Europe/Londn\nWrite Europe/London."), ["timezone-unknown"]),
    (Facts(broken_entries={"tick": "args: 'hi' is no list: write ['hi']"}), ["entry-broken"]),
    (Facts(beats=BeatFacts(shared_entries={"tick": "t by h:1 (a.yaml), u by h:2 (b.yaml)"})), ["entry-shared"]),
    (shared_facts(), []),
    (shared_facts(msgspec.structs.replace(OTHER_WORKER, tasks=("theirs",))), ["queue-shared"]),
    (shared_facts(msgspec.structs.replace(OTHER_WORKER, tasks=("theirs",), queues=("mail",))), []),
    (shared_facts(waiting=("t", "celery.chord_unlock")), []),
    (shared_facts(waiting=("t", "theirs")), ["queue-shared"]),
    (Facts(waiting_tasks={"celery": ("theirs",)}), []),
    (Facts(rabbitmq=RabbitFacts()), ["confirms-missing"]),
    (Facts(rabbitmq=RabbitFacts(confirms=True)), []),
    (Facts(rabbitmq=RabbitFacts(confirms=True, sends_transient=True)), ["messages-transient"]),
    (Facts(rabbitmq=RabbitFacts(confirms=True, transient_queues=("q",))), ["messages-transient"]),
    (Facts(rabbitmq=RabbitFacts(confirms=True, globally_prefetched=("q",))), ["prefetch-global"]),
    (Facts(rabbitmq=RabbitFacts(confirms=True), classic_queues=("celery",)), ["queue-classic"]),
    (Facts(rabbitmq=RabbitFacts(confirms=True), tasks=(LONG_LATE,)), ["held-too-long"]),
    (Facts(tasks=(LONG_LATE,)), []),
    (Facts(refused_queues={"celery": "Queue.declare: (406) PRECONDITION_FAILED"}), ["queue-refused"]),
    (visibility_facts("", ""), ["visibility-differs"]),
    (visibility_facts("", "livectl:unacked"), []),
    (Facts(dead_letters=DeadLetterFacts(count=2, newest="t poison")), ["dead-letters"]),
    (Facts(processes=(AppProcess(1, ("celery", "-A", "p", "worker", "-Pgevent")),)), ["pool-unpatched"]),
    (
        Facts(
            processes=(AppProcess(1, ("celery", "-A", "p", "worker", "-P", "gevent")),),
            settings=SettingsFacts(values={"worker_pool": "gevent"}),
        ),
        [],
    ),
    (
        Facts(store_missing="the broker (amqp) keeps messages only", schedule=(ENTRY,), tasks=(TaskFacts(name="t"),)),
        ["store-missing"],
    ),
    (Facts(platforms=PlatformFacts(without_key=("kick",))), ["platform-key"]),
    (Facts(misnamed_platforms=(MISNAMED,)), ["platform-misnamed"]),
    (platform_facts(auth_since=1.0), ["platform-auth"]),
    (platform_facts(open_until=200.0), ["platform-blocked"]),
    (platform_facts(open_until=50.0), []),
    (platform_facts(open_until=50.0, step=1, blocked=7.0), ["platform-blocked"]),
    (platform_facts(unreached=50.0), ["platform-unreached"]),
    (platform_facts(list_problem="HTTP 503", list_troubled=30.0), ["list-unread"]),
    (platform_facts(list_problem="HTTP 503", list_troubled=95.0), []),
    (platform_facts(wait_until=200.0), ["platform-waits"]),
    (platform_facts(wait_until=50.0), []),
    (pushed(problem="no keys", problem_at=1.0), ["push-silent"]),
    (pushed(problem="not connected yet", problem_at=99.0), []),
    (pushed(problem="no keys", problem_at=80.0), ["push-silent"]),
    (pushed(since=1.0, problem="not connected", problem_at=80.0), []),
    (pushed(until=200.0, covered=5, wanted=9, problem="it takes no more", problem_at=1.0), ["push-silent"]),
    (pushed(until=200.0, covered=9, wanted=9), []),
    (pushed(until=99.0, covered=9, wanted=9), ["push-silent"]),
    (platform_facts(all_gone=1.0), ["platform-emptied"]),
    (platform_facts(due=3, due_since=-2000.0), ["streamers-overdue"]),
    (platform_facts(due=3, due_since=50.0), []),
    (Facts(platforms=PlatformFacts(list_problem="follows.yaml:1:1: no")), ["follows-broken"]),
    (Facts(now=100.0, platforms=PlatformFacts(waiting=2, list_changed=10.0)), ["follows-waiting"]),
    (Facts(now=100.0, platforms=PlatformFacts(waiting=2, list_changed=99.0)), []),
    (Facts(platforms=PlatformFacts(unresolved=(lost(State.NOT_FOUND),))), ["follow-unresolved"]),
    (
        Facts(now=100.0, platforms=PlatformFacts(unresolved=(lost(State.NETWORK),))),
        ["follow-unresolved", "platform-unreached"],
    ),
    (Facts(now=1000.0, platforms=PlatformFacts(unread=(lost(State.BANNED),))), ["streamers-unread"]),
    (Facts(now=1000.0, platforms=PlatformFacts(unread=(lost(State.UPCOMING),))), []),
    (Facts(now=300.0, platforms=PlatformFacts(unread=(lost(State.NETWORK),))), []),
    (platform_facts(parser_broken=1.0), ["parser-broken"]),
    (
        Facts(alerts=AlertFacts(failing=(FailingTarget(target="t", since=1.0, tries=2, problem="p"),))),
        ["alerts-failing"],
    ),
    (Facts(job_targets=("ops",)), ["watch-missing"]),
    (Facts(job_targets=("ops",), beats=BEAT), []),
]


@pytest.mark.parametrize(("facts", "ids"), FINDINGS)
def test_facts_make_findings(facts: Facts, ids: list[str]) -> None:
    assert [finding.id for finding in report.run_checks(facts)] == ids


FLASK_CONFIG = {"DEBUG": True, "SECRET_KEY": "k", "SESSION_COOKIE_NAME": "s", "CELERYD_CONCURRENCY": 3}


@pytest.mark.parametrize(
    ("given", "late", "updated", "evidence"),
    [
        ({"broker": "redis://h"}, False, {"worker_concurrency": 3}, ""),
        ({"broker": "redis://h"}, False, FLASK_CONFIG, "CELERYD_CONCURRENCY"),
        ({}, False, {**FLASK_CONFIG, "BROKER_URL": "redis://h"}, "CELERYD_CONCURRENCY, BROKER_URL"),
        ({}, True, {"CELERYD_CONCURRENCY": 3}, "CELERYD_CONCURRENCY"),
    ],
)
def test_old_names_that_code_sets_are_seen(given: Any, late: bool, updated: dict[str, Any], evidence: str) -> None:
    """As by `app.conf.update(site.config)`; what Celery(...) is given is no name of anybody's."""
    app = Celery("proj", set_as_current=False, **given)
    if late:
        _ = app.conf.worker_pool
    app.conf.update(updated)
    found = list(checks_app.check_old_names(Facts(settings=collect_app.read_settings(app, {}))))
    assert [finding.evidence for finding in found] == ([evidence] if evidence else [])


@pytest.mark.parametrize("worker_tasks", [(), ("t",)])
def test_entries_that_beat_leaves_out_are_named(worker_tasks: tuple[str, ...]) -> None:
    """Also where a worker knows the task: beat goes by its own app."""
    worker = msgspec.structs.replace(WORKER, tasks=(*worker_tasks, "u"))
    facts = Facts(schedule=(ENTRY,), tasks=(TaskFacts(name="u"),), survey=WorkerSurvey(workers=(worker,)))
    facts = msgspec.structs.replace(facts, argument_errors={"tock": "u() takes no 'x'"})
    assert [finding.title for finding in report.run_checks(facts)] == [
        "There is no task t: livectl's beat leaves tick out",
        "livectl's beat leaves tock out: its task does not take its arguments",
    ]


def test_the_worst_comes_first_and_ok_only_when_all_is_wanted() -> None:
    facts = Facts(
        servers=(SERVER,),
        dead_letters=DeadLetterFacts(count=1),
        settings=SettingsFacts(values={"task_always_eager": True}),
    )
    facts = msgspec.structs.replace(facts, servers=(msgspec.structs.replace(SERVER, save_setting="1"),))
    assert [finding.level for finding in report.run_checks(facts)] == ["bad", "warn"]
    levels = [finding.level for finding in report.run_checks(facts, include_ok=True)]
    assert levels == ["bad", "warn", *["ok"] * (len(levels) - 2)]
    assert [finding.id for finding in report.run_checks(facts, ignore=["always-eager"])] == ["dead-letters"]


def test_programs_get_the_promised_fields() -> None:
    data: Any = report.findings_view([Finding(id="app-broken", level="bad", title="t")], Facts()).data
    assert set(data[0]) == FIELDS
    assert data[0]["link"] == "docs/doctor.md#app-broken"


def test_every_check_is_run() -> None:
    modules = (checks_app, checks_rabbitmq, checks_servers, checks_streamers, checks_workers)
    checks = {
        function
        for module in modules
        for name, function in vars(module).items()
        if name.startswith("check_") and function.__module__ == module.__name__
    }
    assert set(report.CHECKS) == checks
    assert len(report.CHECKS) == len(checks)


def test_each_check_says_what_it_looked_at_where_it_finds_nothing() -> None:
    assert set(report.NOTES) == {check.__name__ for check in report.CHECKS}
    assert {part for note in report.NOTES.values() for part in note.parts} <= set(report.PARTS)
    assert {note.id for note in report.NOTES.values() if note.id} <= finding_ids()
    silent = {"check_unreachable", "check_reachable"}  # a server is named as reached, or as not reached
    shown = report.run_checks(Facts(), include_ok=True)
    assert {finding.title for finding in shown} == {
        note.well for name, note in report.NOTES.items() if name not in silent
    }
    assert all(finding.level == "ok" and finding.evidence for finding in shown)


GAPS = {"survey": Gap("no answer in time"), "queues": Gap("no answer in time"), "beats": Gap("away", ("store-gone",))}


def text(facts: Facts, *ignore: str, include_ok: bool = False) -> str:
    findings = report.run_checks(facts, ignore=ignore, include_ok=include_ok)
    return render.as_text(report.findings_view(findings, facts), colour=False, width=80)


@pytest.mark.parametrize(
    ("settings_error", "ok"),
    [("", ["settings-broken", "restart-needed", "secret-unset", "platform-misnamed"]), ("broken", [])],
)
def test_where_the_rest_is_not_looked_at_the_settings_were(settings_error: str, ok: list[str]) -> None:
    facts = Facts(gaps={"rest": Gap("there is no broker", ())}, settings_error=settings_error)
    found = report.run_checks(facts, include_ok=True)
    assert [finding.id for finding in found if finding.level == "ok"] == ok


def test_nothing_is_wrong_only_where_everything_was_looked_at() -> None:
    assert text(Facts()) == "Nothing is wrong.\n"
    facts = Facts(gaps=GAPS)
    assert "workers, queues: no answer in time" in text(facts)
    assert "beats: away" in text(facts)
    assert text(facts, "not-looked-at").startswith("Nothing is wrong with what was looked at. Not looked at:\nworkers")
    assert "No two workers have one name" not in text(facts, include_ok=True)


def test_findings_fit_into_80_columns() -> None:
    long = " ".join(["words"] * 40)
    out = text(Facts(platforms=PlatformFacts(unresolved=(StreamerRecord(platform="", id=long, problem=long),))))
    assert max(map(len, out.splitlines())) <= 80
    assert out.count("words") == 80


def test_what_a_finding_says_already_is_not_said_twice() -> None:
    gaps = {"survey": Gap("the broker is not reached", ("broker-unreachable",))}
    facts = Facts(gaps=gaps, servers=(msgspec.structs.replace(SERVER, error="refused"),))
    assert [finding.id for finding in report.run_checks(facts)] == ["broker-unreachable"]
    assert [finding.id for finding in report.run_checks(facts, ignore=["broker-unreachable"])] == ["not-looked-at"]


def test_that_workers_run_as_root_is_a_note_and_no_fault() -> None:
    facts = Facts(processes=(AppProcess(7, ("celery", "-A", "p", "worker"), is_root=True),))
    assert report.run_checks(facts) == []
    (note,) = (finding for finding in report.run_checks(facts, include_ok=True) if finding.id == "runs-as-root")
    assert (note.level, note.title) == ("ok", "Workers and beats run as root, and so does every job")


def test_of_many_lines_the_first_are_named_and_the_others_counted() -> None:
    facts = Facts(platforms=PlatformFacts(unresolved=tuple(lost(State.NOT_FOUND, str(n)) for n in range(5_000))))
    (finding,) = report.run_checks(facts)
    lines = finding.evidence.splitlines()
    assert lines[0] == "douyu/0: not found since 1970-01-01T00:01:00Z: why"
    assert (len(lines), lines[-1]) == (11, "and 4,990 more: livectl live --all shows each")


def finding_ids() -> set[str]:
    folder = ROOT / "livectl" / "doctor"
    sources = "\n".join(path.read_text() for path in (*folder.glob("checks_*.py"), folder / "report.py"))
    return set(re.findall(r'id="([a-z-]+)"', sources)) | {
        f"{role}-unreachable" for role in ("broker", "store", "results")
    }


def test_every_finding_has_a_section_and_every_section_a_finding() -> None:
    assert set(re.findall(r"^## ([a-z-]+)$", MANUAL, re.MULTILINE)) == finding_ids()


def test_help_of_doctor_imports_no_celery() -> None:
    code = "import sys\nfrom livectl.cli import main\nmain(['doctor', '--help'])\nassert 'celery' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, cwd=ROOT)
