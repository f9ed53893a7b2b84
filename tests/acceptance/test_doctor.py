"""livectl doctor: names the one fault of a broken project, and nothing on a sound one."""

from __future__ import annotations

import json
import re
import signal
import subprocess
import sys
import tempfile
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec
import pytest
import redis

from livectl import settings as livectl_settings
from livectl.address import Address
from livectl.doctor import collect_state, report
from livectl.doctor.facts import (
    AppProcess,
    BeatFacts,
    DeadLetterFacts,
    DelayedMessage,
    Facts,
    FailingTarget,
    PlatformFacts,
    ServerFacts,
    SettingsFacts,
    TaskFacts,
    WorkerFacts,
    WorkerSurvey,
)
from livectl.live.store import Store
from livectl.models import Finding, Interval, PlatformHealth, Schedule, Streamer
from livectl.ops.cluster.queues import Queue
from livectl.ops.jobs import dead_letters
from tests.support import example_projects
from tests.support.example_projects import Project
from tests.support.processes import Running, answer, livectl
from tests.support.waiting import wait_for

if TYPE_CHECKING:
    from collections.abc import Iterator

ROOT = Path(__file__).parents[2]
MANUAL = (ROOT / "docs" / "doctor.md").read_text()
START = 60
FIELDS = {"id", "level", "title", "evidence", "cure", "link"}


@pytest.fixture(scope="module")
def server() -> Iterator[tuple[Path, str]]:
    """A Redis that keeps what it is given, as a sound deployment has."""
    with tempfile.TemporaryDirectory(prefix="lv-") as name, example_projects.redis(Path(name)) as url:
        yield Path(name), url


@pytest.fixture
def broker(server: tuple[Path, str]) -> str:
    """Empty, and with its settings as they were."""
    with client(server[1]) as store:
        store.flushall()
    return server[1]


def client(url: str) -> redis.Redis:
    return redis.Redis.from_url(Address.parse(url).redis_url, decode_responses=True)


def found(project: Project, *words: str) -> list[str]:
    return [each["id"] for each in project.data("doctor", *words)]


# --- broken projects, one fault each

BROKEN: dict[str, tuple[str, dict[str, str], str]] = {  # project -> the fault, its environment, a job to run first
    "queue": ("queue-unread", {}, "worker"),
    "task": ("unknown-task", {}, ""),
    "backend": ("results-misnamed", {}, ""),
    "misspelt": ("setting-misspelt", {}, ""),
    "mixed": ("settings-mixed", {}, ""),
    "environment": ("environment-wins", {"CELERY_RESULT_BACKEND": "{broker}1"}, ""),
    "visibility": ("visibility-limit", {}, ""),
    "eager": ("always-eager", {}, ""),
    "context": ("flask-context", {}, "proj.greet"),
    "setup": ("django-setup", {}, "proj.count"),
    "pool": ("pool-unpatched", {}, ""),
    "arguments": ("arguments", {}, ""),
}


@pytest.mark.acceptance
@pytest.mark.parametrize("name", BROKEN)
def test_a_broken_project_has_exactly_its_fault(name: str, tmp_path: Path, broker: str) -> None:
    fault, environ, needs = BROKEN[name]
    more = {key: value.format(broker=broker) for key, value in environ.items()}
    project = example_projects.copy(f"doctor/{name}", tmp_path, "proj", broker, **more)
    with ExitStack() as stack:
        if needs:
            worker = stack.enter_context(project.start("worker", "-P", "threads", "-c", "1"))
            worker.wait_for("ready.")
        if "." in needs:
            project.ask("call", needs)
            wait_for(lambda: "raised unexpected" in worker.text)
        assert found(project) == [fault]
        said = project.ask("doctor")
        level = project.data("doctor")[0]["level"]
        assert said.returncode == (1 if level == "bad" else 0)
        assert (f"[{fault}]" in said.stdout, said.stderr) == (True, "")
        assert project.ask("doctor", "--ignore", fault).stdout == "Nothing is wrong.\n"


# --- a sound project in circumstances that are not


@pytest.fixture
def plain(tmp_path: Path, broker: str) -> Project:
    return example_projects.copy("apps/plain", tmp_path, "proj", broker)


def worker(project: Project, *words: str) -> Running:
    return project.start("worker", "-P", "threads", "-c", "1", *words)


@pytest.mark.acceptance
def test_a_sound_project_has_none(plain: Project) -> None:
    before = plain.files()
    assert found(plain) == []
    assert plain.ask("doctor").stdout == "Nothing is wrong.\n"
    assert plain.files() == before


@pytest.mark.acceptance
def test_the_servers_own_faults(plain: Project, broker: str) -> None:
    with client(broker) as store:
        store.config_set("maxmemory", "100mb")
        store.config_set("maxmemory-policy", "allkeys-lru")
        try:
            assert found(plain) == ["redis-evicts"]
            store.config_set("maxmemory-policy", "noeviction")
            assert found(plain) == []
            store.config_set("appendonly", "no")
            assert found(plain) == ["redis-forgets"]
        finally:
            store.config_set("maxmemory", "0")
            store.config_set("appendonly", "yes")


@pytest.mark.acceptance
def test_a_broker_that_is_down_is_told_in_seconds(plain: Project, tmp_path: Path) -> None:
    away = {**plain.environ, "PROJ_BROKER": f"redis+socket://{tmp_path}/nobody.sock?virtual_host=0"}
    said = plain._replace(environ=away).ask("doctor")
    assert (said.returncode, said.stderr) == (1, "")
    assert "[broker-unreachable]" in said.stdout
    assert "Traceback" not in said.stdout


@pytest.mark.acceptance
@pytest.mark.parametrize(
    ("broker_url", "backend", "id_", "said"),
    [
        ("valkey://nobody:1/0", "redis://nobody:1/0", "broker-unreachable", "Celery has no transport for"),
        ("foo://x", None, "broker-unreachable", "Celery has no transport for"),
        ("{broker}", "127.0.0.1:6379", "results-unreachable", "Write redis://127.0.0.1:6379."),
        ("sentinel://127.0.0.1:1", None, "broker-unreachable", "master_name"),
    ],
)
def test_addresses_that_celery_cannot_use(
    tmp_path: Path, broker: str, broker_url: str, backend: str | None, id_: str, said: str
) -> None:
    url = broker_url.format(broker=broker)
    (tmp_path / "proj.py").write_text(
        f"from celery import Celery\napp = Celery('p', broker={url!r}, backend={backend!r})\n"
    )
    told = answer("-A", "proj", "doctor", cwd=tmp_path, environ={"LIVECTL_HOME": str(tmp_path)})
    assert (told.returncode, f"[{id_}]" in told.stdout, said in told.stdout) == (1, True, True), (
        told.stdout + told.stderr
    )


@pytest.mark.acceptance
def test_two_workers_of_one_name(plain: Project) -> None:
    with worker(plain, "-n", "same") as one, worker(plain, "-n", "same") as other:
        one.wait_for("ready.")
        other.wait_for("ready.")
        assert found(plain) == ["same-name"]


@pytest.mark.acceptance
def test_a_job_due_later_than_it_will_be_given_out_again(plain: Project) -> None:
    with worker(plain) as running:
        running.wait_for("ready.")
        assert plain.ask("call", "proj.tasks.add", "1", "2", "--in", "2h", "--force").returncode == 0
        wait_for(lambda: found(plain) == ["visibility-eta"])


@pytest.mark.acceptance
def test_a_plain_beat_beside_ours(plain: Project) -> None:
    stock = (
        sys.executable,
        "-m",
        "celery",
        "-A",
        "proj",
        "beat",
        "-l",
        "INFO",
        "-s",
        str(plain.folder.parent / "shelve"),
    )
    with plain.start("beat") as ours, Running(*stock, cwd=plain.folder, environ=plain.environ) as other:
        ours.wait_for("Sent every-second")
        other.wait_for("Sending due task")
        assert found(plain) == ["beat-beside"]
        other.send(signal.SIGTERM)
        other.wait()
        assert found(plain) == []
        ours.send(signal.SIGTERM)
        ours.wait()
    assert found(plain) == ["beat-missing"]


@pytest.mark.acceptance
def test_a_password_on_a_command_line(plain: Project) -> None:
    argv = (
        sys.executable,
        "-c",
        "import time; time.sleep(300)",
        "celery",
        "-A",
        "proj",
        "-b",
        "redis://me:pa55@host/0",
    )
    with Running(*argv, cwd=plain.folder, environ=plain.environ):
        wait_for(lambda: found(plain) == ["secret-in-argv"])
        assert "pa55" not in plain.ask("doctor").stdout


@pytest.mark.acceptance
def test_dead_letters_and_a_schedule_with_mistakes(plain: Project, broker: str) -> None:
    from datetime import UTC, datetime

    with client(broker) as store:
        dead_letters.add(
            store, dead_letters.DeadLetter(id="1", kind="job", reason="poison", at=datetime.now(UTC), task="t")
        )
    (plain.folder / "schedules.yaml").write_text("schedules: {a: {task: proj.tasks.add, every: 0s}}")
    assert found(plain) == ["schedule-broken", "dead-letters"]
    assert "schedules.yaml:1:" in plain.ask("doctor").stdout


@pytest.mark.acceptance
def test_broken_settings_and_a_broken_app_are_findings(plain: Project) -> None:
    (plain.folder / "proj" / "tasks.py").write_text("import nowhere\n")
    assert found(plain) == ["app-broken"]
    assert "proj/tasks.py:1: ModuleNotFoundError" in plain.ask("doctor").stdout
    (plain.folder / "livectl.yaml").write_text("stoer: redis://h\n")
    assert found(plain) == ["settings-broken"]
    assert "livectl.yaml:1:1" in plain.ask("doctor").stdout


@pytest.mark.acceptance
def test_settings_show_their_origin(plain: Project) -> None:
    rows = {row["setting"]: row for row in plain.data("doctor", "--settings")}
    assert rows["result_expires"] == {
        "setting": "result_expires",
        "value": "3600",
        "origin": "Celery(...) or app.conf",
    }
    told = plain._replace(environ={**plain.environ, "CELERY_BROKER_URL": plain.environ["PROJ_BROKER"]})
    assert {row["setting"]: row for row in told.data("doctor", "--settings")}["broker_url"][
        "origin"
    ] == "CELERY_BROKER_URL"


@pytest.mark.acceptance
def test_livectls_own_app(tmp_path: Path, broker: str) -> None:
    """Without a broker that is the finding; with one there is none."""
    home = {"LIVECTL_HOME": str(tmp_path / "home")}
    said = answer("doctor", "--json", cwd=tmp_path, environ=home)
    assert (said.returncode, [each["id"] for each in json.loads(said.stdout)]) == (1, ["broker-unreachable"])
    there = {**home, "LIVECTL_BROKER": Address.parse(broker).url}
    with livectl("worker", "-P", "threads", cwd=tmp_path, environ=there) as running:
        running.wait_for("ready.")
        said = answer("doctor", cwd=tmp_path, environ=there)
        assert (said.returncode, said.stdout, said.stderr) == (0, "Nothing is wrong.\n", "")


HOARDING = """
import os, time
from celery import Celery
app = Celery("proj", broker=os.environ["PROJ_BROKER"], backend=os.environ["PROJ_BROKER"])
app.conf.broker_transport_options = {"visibility_timeout": int(os.environ["WAIT"])}
@app.task
def nap():
    time.sleep(300)
"""


@pytest.mark.acceptance
def test_workers_that_differ_and_one_that_hoards(tmp_path: Path, broker: str) -> None:
    (tmp_path / "proj.py").write_text(HOARDING)
    project = Project(tmp_path, "proj", {"PROJ_BROKER": broker, "LIVECTL_HOME": str(tmp_path / "home"), "WAIT": "3600"})
    other = project._replace(environ={**project.environ, "WAIT": "600"})
    with worker(project, "-n", "busy") as busy:
        busy.wait_for("ready.")
        for _ in range(4):
            assert project.ask("call", "proj.nap").returncode == 0
        wait_for(lambda: project.data("workers")[0]["reserved"] >= 3)
        with worker(other, "-n", "idle") as idle:
            idle.wait_for("ready.")
            wait_for(lambda: found(project) == ["visibility-differs", "prefetch-hoarding"])


def test_the_platforms_of_those_followed(broker: str, tmp_path: Path) -> None:
    with client(broker) as store:
        Store(store).set_followed([Streamer(platform="kick", id="ada"), Streamer(platform="demo", id="ada")], 1.0)
    at = Address.parse(broker)
    assert collect_state.read_platforms(
        at, livectl_settings.load({"HOME": str(tmp_path)}, tmp_path), 1.0
    ).without_key == ("kick",)
    (tmp_path / "livectl.yaml").write_text("platforms: {kick: {client_id: a, client_secret: b}}")
    assert (
        collect_state.read_platforms(at, livectl_settings.load({"HOME": str(tmp_path)}, tmp_path), 1.0).without_key
        == ()
    )


# --- from facts to findings

OURS = BeatFacts(names=("h:1",), heartbeat_age=1.0, has_run=True)
TICK = Schedule(name="tick", task="t", timing=Interval(1))
W = WorkerFacts(name="a@h", pid=1, version="5.7.0", queues=("celery",), tasks=("t",))
X = msgspec.structs.replace(W, name="b@h", pid=2)
S = ServerFacts(role="broker", address="redis://h:6379/0")


def crew(*workers: WorkerFacts, silent: int = 0) -> Facts:
    return Facts(survey=WorkerSurvey(workers=workers, silent=silent))


def there(**info: str) -> Facts:
    return Facts(servers=(msgspec.structs.replace(S, info=info, save_setting="3600 1"),))


def conf(**values: Any) -> Facts:
    return Facts(settings=SettingsFacts(values=values))


def platform(**said: Any) -> Facts:
    return Facts(now=100.0, platforms=PlatformFacts(health=(PlatformHealth(platform="twitch", followed=1, **said),)))


TABLE: list[tuple[Facts, list[str]]] = [
    (Facts(), []),
    (crew(W, X), []),
    (crew(W, W), ["same-name"]),
    (crew(W, msgspec.structs.replace(X, version="5.5.0")), ["versions-differ"]),
    (crew(W, msgspec.structs.replace(X, version="")), []),
    (
        crew(
            msgspec.structs.replace(W, visibility_timeout=60.0),
            msgspec.structs.replace(X, visibility_timeout=3600.0),
        ),
        ["visibility-differs"],
    ),
    (Facts(survey=WorkerSurvey(workers=(W,), hoarded_jobs=("1",))), ["prefetch-hoarding"]),
    (there(redis_version="6.0.16"), ["redis-too-old"]),
    (there(redis_version="6.2.0", maxmemory="0", maxmemory_policy="allkeys-lru"), []),
    (there(rdb_last_bgsave_status="err"), ["redis-cannot-save"]),
    (Facts(servers=(msgspec.structs.replace(S, save_setting="1", clock_ahead=-60.0),)), ["clock-skew"]),
    (Facts(servers=(msgspec.structs.replace(S, save_setting="1", clock_ahead=4.0),)), []),
    (Facts(servers=(msgspec.structs.replace(S, error="refused", is_local=True),)), ["broker-unreachable"]),
    (
        Facts(in_container=True, servers=(msgspec.structs.replace(S, error="no", is_local=True),)),
        ["localhost-in-container"],
    ),
    (Facts(in_container=True, servers=(msgspec.structs.replace(S, error="no"),)), ["broker-unreachable"]),
    (Facts(servers=(ServerFacts(role="results", address="db", error="no such table"),)), ["results-unreachable"]),
    (Facts(servers=(ServerFacts(role="store", address="s", error="away"),)), ["store-unreachable"]),
    (conf(accept_content=["json", "pickle"]), ["pickle-accepted"]),
    (conf(task_serializer="pickle", accept_content=["json"]), ["serializer-refused"]),
    (conf(task_serializer="json", accept_content=["application/json"]), []),
    (conf(result_backend="redis://h", result_expires=None), ["results-endless"]),
    (conf(result_backend="disabled://", result_expires=None), []),
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
    (Facts(schedule=(TICK,), beats=OURS, tasks=(TaskFacts(name="t"),)), []),
    (Facts(schedule=(TICK,), beats=BeatFacts(has_run=True), tasks=(TaskFacts(name="t"),)), ["beat-missing"]),
    (Facts(schedule=(TICK,), beats=BeatFacts(), tasks=(TaskFacts(name="t"),)), []),
    (Facts(beats=BeatFacts(names=("h:1",), heartbeat_age=45.0)), ["beat-late"]),
    (Facts(beats=BeatFacts(names=("h:1",), heartbeat_age=1.0, unsent_run="tick")), ["beat-late"]),
    (
        Facts(
            schedule=(TICK,),
            tasks=(TaskFacts(name="t"),),
            survey=WorkerSurvey(workers=(msgspec.structs.replace(W, tasks=("u",)),)),
        ),
        ["unknown-task"],
    ),
    (
        Facts(
            schedule=(TICK,),
            tasks=(TaskFacts(name="t"),),
            survey=WorkerSurvey(workers=(msgspec.structs.replace(W, tasks=("u",)),), silent=1),
        ),
        [],
    ),
    (Facts(queues=(Queue(name="mail", ready=3),), survey=WorkerSurvey(workers=(W,))), ["queue-unread"]),
    (Facts(queues=(Queue(name="mail", ready=0),), survey=WorkerSurvey(workers=(W,))), []),
    (Facts(queues=(Queue(name="mail", ready=3),), survey=WorkerSurvey(workers=(W,), silent=1)), []),
    (Facts(queues=(Queue(name="mail", ready=3),)), []),
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
        Facts(store_missing="the broker (amqp) keeps messages only", schedule=(TICK,), tasks=(TaskFacts(name="t"),)),
        ["store-missing"],
    ),
    (Facts(platforms=PlatformFacts(without_key=("kick",))), ["platform-key"]),
    (platform(auth_since=1.0), ["platform-auth"]),
    (platform(open_until=200.0), ["platform-blocked"]),
    (platform(open_until=50.0), []),
    (platform(parser_broken=1.0), ["parser-broken"]),
    (
        Facts(platforms=PlatformFacts(failing_targets=(FailingTarget(target="t", since=1.0, tries=2, problem="p"),))),
        ["alerts-failing"],
    ),
]


@pytest.mark.parametrize(("facts", "ids"), TABLE)
def test_what_is_makes_what_is_found(facts: Facts, ids: list[str]) -> None:
    assert [each.id for each in report.run_checks(facts)] == ids


def test_the_worst_comes_first_and_ok_only_when_all_is_wanted() -> None:
    facts = Facts(
        servers=(S,), dead_letters=DeadLetterFacts(count=1), settings=SettingsFacts(values={"task_always_eager": True})
    )
    facts = msgspec.structs.replace(facts, servers=(msgspec.structs.replace(S, save_setting="1"),))
    assert [each.level for each in report.run_checks(facts)] == ["bad", "warn"]
    assert [each.level for each in report.run_checks(facts, include_ok=True)] == ["bad", "warn", "ok"]
    assert [each.id for each in report.run_checks(facts, ignore=["always-eager"])] == ["dead-letters"]


def test_programs_get_the_promised_fields() -> None:
    data: Any = report.findings_view([Finding(id="app-broken", level="bad", title="t")]).data
    assert set(data[0]) == FIELDS
    assert data[0]["link"] == "docs/doctor.md#app-broken"


# --- the manual


def ids() -> set[str]:
    sources = "\n".join(path.read_text() for path in (ROOT / "livectl" / "doctor").glob("checks_*.py"))
    return set(re.findall(r'id="([a-z-]+)"', sources)) | {
        f"{role}-unreachable" for role in ("broker", "store", "results")
    }


def test_every_finding_has_a_section_and_every_section_a_finding() -> None:
    assert set(re.findall(r"^## ([a-z-]+)$", MANUAL, re.MULTILINE)) == ids()


def test_help_of_doctor_imports_no_celery() -> None:
    code = "import sys\nfrom livectl.cli import main\nmain(['doctor', '--help'])\nassert 'celery' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, cwd=ROOT)
