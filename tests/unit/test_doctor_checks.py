"""What each check finds in facts, and what the report makes of findings."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import msgspec
import pytest

from livectl import render
from livectl.doctor import checks_app, checks_servers, checks_streamers, checks_workers, report
from livectl.doctor.facts import (
    AppProcess,
    BeatFacts,
    DeadLetterFacts,
    DelayedMessage,
    Facts,
    FailingTarget,
    Gap,
    PlatformFacts,
    ServerFacts,
    SettingsFacts,
    TaskFacts,
    WorkerFacts,
    WorkerSurvey,
)
from livectl.models import Finding, Interval, PlatformHealth, Schedule, State, StreamerRecord
from livectl.ops.cluster.queues import Queue

ROOT = Path(__file__).parents[2]
MANUAL = (ROOT / "docs" / "doctor.md").read_text()
FIELDS = {"id", "level", "title", "evidence", "cure", "link"}

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


def lost(trouble: State, name: str = "eve") -> StreamerRecord:
    return StreamerRecord(platform="douyu", id=name, trouble=trouble, troubled_since=60.0, problem="why")


FINDINGS: list[tuple[Facts, list[str]]] = [
    (Facts(), []),
    (survey_facts(WORKER, OTHER_WORKER), []),
    (survey_facts(WORKER, WORKER), ["same-name"]),
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
    (redis_facts(redis_version="6.2.0", maxmemory="0", maxmemory_policy="allkeys-lru"), []),
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
    (Facts(queues=(Queue(name="mail", ready=3),), survey=WorkerSurvey(workers=(WORKER,))), ["queue-unread"]),
    (Facts(queues=(Queue(name="mail", ready=0),), survey=WorkerSurvey(workers=(WORKER,))), []),
    (Facts(queues=(Queue(name="mail", ready=3),), survey=WorkerSurvey(workers=(WORKER,), silent=1)), []),
    (Facts(queues=(Queue(name="mail", ready=3),)), []),
    (Facts(timezone_error="no timezone is called Europe/Londn\nWrite Europe/London."), ["timezone-unknown"]),
    (Facts(broken_entries={"tick": "args: 'hi' is no list: write ['hi']"}), ["entry-broken"]),
    (Facts(beats=BeatFacts(shared_entries={"tick": "t by h:1 (a.yaml), u by h:2 (b.yaml)"})), ["entry-shared"]),
    (shared_facts(), []),
    (shared_facts(msgspec.structs.replace(OTHER_WORKER, tasks=("theirs",))), ["queue-shared"]),
    (shared_facts(msgspec.structs.replace(OTHER_WORKER, tasks=("theirs",), queues=("mail",))), []),
    (shared_facts(waiting=("t", "celery.chord_unlock")), []),
    (shared_facts(waiting=("t", "theirs")), ["queue-shared"]),
    (Facts(waiting_tasks={"celery": ("theirs",)}), []),
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
    (platform_facts(auth_since=1.0), ["platform-auth"]),
    (platform_facts(open_until=200.0), ["platform-blocked"]),
    (platform_facts(open_until=50.0), []),
    (platform_facts(open_until=50.0, step=1, blocked=7.0), ["platform-blocked"]),
    (platform_facts(unreached=50.0), ["platform-unreached"]),
    (platform_facts(wait_until=200.0), ["platform-waits"]),
    (platform_facts(wait_until=50.0), []),
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
        Facts(platforms=PlatformFacts(failing_targets=(FailingTarget(target="t", since=1.0, tries=2, problem="p"),))),
        ["alerts-failing"],
    ),
]


@pytest.mark.parametrize(("facts", "ids"), FINDINGS)
def test_facts_make_findings(facts: Facts, ids: list[str]) -> None:
    assert [finding.id for finding in report.run_checks(facts)] == ids


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
    modules = (checks_app, checks_servers, checks_streamers, checks_workers)
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
