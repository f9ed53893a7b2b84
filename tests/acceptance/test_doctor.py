"""livectl doctor: names the one fault of a broken project, and nothing on a sound one."""

from __future__ import annotations

import json
import signal
import sys
import tempfile
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
import redis

from livectl.address import Address
from livectl.doctor import collect_app
from livectl.live.alerts.message import Alert
from livectl.live.alerts.outbox import Outbox
from livectl.ops.jobs import dead_letters
from livectl.ops.protocol.dead_letter import DeadLetter
from tests.support import example_projects
from tests.support.example_projects import Project
from tests.support.processes import Running, answer, livectl
from tests.support.waiting import becomes, wait_for

if TYPE_CHECKING:
    import subprocess
    from collections.abc import Iterator

    from tests.support.rabbitmq import RabbitMQ


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


NO_WORKER = ("--ignore", "workers-missing")  # for what needs none: starting one takes seconds


def finding_ids(project: Project) -> list[str]:
    return [finding["id"] for finding in project.data("doctor", *NO_WORKER)]


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
    variables = {key: value.format(broker=broker) for key, value in environ.items()}
    project = example_projects.copy(f"doctor/{name}", tmp_path, "proj", broker, **variables)
    with ExitStack() as stack:
        if needs:
            worker = stack.enter_context(project.start("worker", "-P", "threads", "-c", "1"))
            worker.wait_for("ready.")
        if "." in needs:
            becomes(lambda: project.ask("call", needs).returncode, 0)  # it is refused while no worker answers
            wait_for(lambda: "raised unexpected" in worker.text)
        rows: list[dict[str, str]] = []

        def found() -> list[str]:
            rows[:] = project.data("doctor", *NO_WORKER)
            return [row["id"] for row in rows]

        def shown() -> tuple[int, bool, str]:
            result = project.ask("doctor", *NO_WORKER)
            return result.returncode, f"[{fault}]" in result.stdout, result.stderr

        becomes(found, [fault])
        becomes(shown, (1 if rows[0]["level"] == "bad" else 0, True, ""))
        without = ("doctor", "--ignore", fault, *NO_WORKER)
        if fault == "settings-mixed":  # the app was not loaded; why is said as by every command
            refused = project.ask("call", "proj.add").stderr.removeprefix("livectl: ").splitlines()[0]
            assert rows[0]["evidence"] == refused
            assert "the rest: the app cannot be loaded" in project.ask(*without).stdout
        else:
            becomes(lambda: project.ask(*without).stdout, "Nothing is wrong.\n")


# --- a sound project in circumstances that are not


@pytest.fixture
def plain(tmp_path: Path, broker: str) -> Project:
    return example_projects.copy("apps/plain", tmp_path, "proj", broker)


def worker(project: Project, *words: str) -> Running:
    return project.start("worker", "-P", "threads", "-c", "1", *words)


@pytest.mark.acceptance
def test_a_sound_project_has_none(plain: Project) -> None:
    before = plain.files()
    becomes(lambda: finding_ids(plain), [])
    assert plain.ask("doctor", *NO_WORKER).stdout == "Nothing is wrong.\n"
    assert plain.files() == before


@pytest.mark.acceptance
def test_that_no_worker_runs_is_said_and_bad_where_jobs_wait(plain: Project) -> None:
    (found,) = plain.data("doctor")
    assert (found["id"], found["level"], plain.ask("doctor").returncode) == ("workers-missing", "warn", 0)
    assert plain.ask("call", "proj.tasks.add", "1", "2", "--force").returncode == 0
    (plain.folder / "livectl.yaml").write_text("alerts: {ops: {command: [x], on: [job]}, film: {command: [x]}}\n")
    with client(plain.environ["PROJ_BROKER"]) as store:
        outbox = Outbox(store, "token")
        outbox.lease("ops", 1.0, 60.0, "1-0")
        alert = Alert(target="ops", kind="job", title="t", body="", first="1-0", last="1-0")
        outbox.mark_failed(alert, 2.0, "exit 1", 3.0)
    failing, watch, found = sorted(plain.data("doctor"), key=lambda row: str(row["id"]))
    assert (failing["id"], failing["evidence"].split(": ")[1]) == ("alerts-failing", "exit 1")
    assert (found["id"], found["level"], found["evidence"]) == (
        "workers-missing",
        "bad",
        "no worker answers; 1 message in celery",
    )
    assert (watch["id"], watch["evidence"].split(" would")[0]) == ("watch-missing", "alerts: ops")


@pytest.mark.acceptance
def test_a_job_that_nobody_reads_on_rabbitmq(tmp_path: Path, rabbitmq: RabbitMQ) -> None:
    (tmp_path / "proj.py").write_text(WITHOUT_CONTROL)
    project = Project(tmp_path, "proj", {"PROJ_BROKER": rabbitmq.vhost(), "LIVECTL_HOME": str(tmp_path / "home")})
    assert project.ask("call", "proj.add", "--force").returncode == 0
    found = [("workers-missing", "bad"), ("confirms-missing", "warn"), ("queue-classic", "warn")]
    becomes(lambda: [(row["id"], row["level"]) for row in project.data("doctor")], found)


WITHOUT_CONTROL = """
import os
from celery import Celery
app = Celery("proj", broker=os.environ["PROJ_BROKER"])
app.conf.worker_enable_remote_control = False
@app.task
def add():
    pass
"""
CURE = """
from flask import current_app
from celery import Task
class InContext(Task):
    def __call__(self, *args, **kwargs):
        with site.app_context():
            return self.run(*args, **kwargs)
app.Task = InContext
"""


@pytest.mark.acceptance
def test_flasks_context_is_well_after_the_cure(tmp_path: Path, broker: str) -> None:
    project = example_projects.copy("doctor/context", tmp_path, "proj", broker)
    with worker(project) as running:
        running.wait_for("ready.")
        becomes(lambda: project.ask("call", "proj.greet").returncode, 0)
        wait_for(lambda: "raised unexpected" in running.text)
        becomes(lambda: finding_ids(project), ["flask-context"])
        module = next(tmp_path.rglob("proj.py"))
        module.write_text(module.read_text().replace("@app.task", f"{CURE}@app.task", 1))
        becomes(lambda: finding_ids(project), ["flask-context"])  # the worker has the old code still
    becomes(lambda: finding_ids(project), [])  # no worker runs, and the code is mended
    with worker(project) as running:
        running.wait_for("ready.")
        becomes(lambda: finding_ids(project), [])


@pytest.mark.acceptance
def test_django_without_setup_where_no_results_are_kept(tmp_path: Path, broker: str) -> None:
    project = example_projects.copy("doctor/setup", tmp_path, "proj", broker)
    module = next(tmp_path.rglob("proj.py"))
    module.write_text(module.read_text().replace(', backend=os.environ["PROJ_BROKER"]', ""))
    with worker(project) as running:
        running.wait_for("ready.")
        becomes(lambda: project.ask("call", "proj.count").returncode, 0)
        wait_for(lambda: "raised unexpected" in running.text)
        # the worker notes a few times a second how its jobs ended
        becomes(lambda: finding_ids(project), ["django-setup"])


@pytest.mark.acceptance
@pytest.mark.parametrize(("prefix", "ids"), [("proj.", ["fanout-prefix"]), ("/{db}-proj.", [])])
def test_a_prefix_with_which_workers_hear_nothing(tmp_path: Path, broker: str, prefix: str, ids: list[str]) -> None:
    options = f"app.conf.broker_transport_options = {{'fanout_prefix': {prefix!r}}}"
    text = WITHOUT_CONTROL.replace("app.conf.worker_enable_remote_control = False", options)
    (tmp_path / "proj.py").write_text(text)
    project = Project(tmp_path, "proj", {"PROJ_BROKER": broker, "LIVECTL_HOME": str(tmp_path / "home")})
    with worker(project) as running:
        running.wait_for("ready.")
        becomes(lambda: project.ask("workers").stdout.startswith("worker "), not ids)
        becomes(lambda: [row["id"] for row in project.data("doctor") if row["id"] != "not-looked-at"], ids)


@pytest.mark.acceptance
def test_the_servers_own_faults(plain: Project, broker: str) -> None:
    with client(broker) as store:
        store.config_set("maxmemory", "100mb")
        store.config_set("maxmemory-policy", "allkeys-lru")
        try:
            becomes(lambda: finding_ids(plain), ["redis-evicts"])
            store.config_set("maxmemory-policy", "noeviction")
            becomes(lambda: finding_ids(plain), [])
            store.config_set("appendonly", "no")
            becomes(lambda: finding_ids(plain), ["redis-forgets"])
        finally:
            store.config_set("maxmemory", "0")
            store.config_set("appendonly", "yes")


@pytest.mark.acceptance
def test_a_broker_that_is_down_is_told_in_seconds(plain: Project, tmp_path: Path) -> None:
    away = {**plain.environ, "PROJ_BROKER": f"redis+socket://{tmp_path}/nobody.sock?virtual_host=0"}
    result = plain._replace(environ=away).ask("doctor")
    assert (result.returncode, result.stderr) == (1, "")
    assert "[broker-unreachable]" in result.stdout
    assert "Traceback" not in result.stdout


@pytest.mark.acceptance
@pytest.mark.parametrize(
    ("broker_url", "backend", "id_", "message"),
    [
        ("valkey://nobody:1/0", "redis://nobody:1/0", "broker-unreachable", "Celery has no transport for"),
        ("foo://x", None, "broker-unreachable", "Celery has no transport for"),
        ("{broker}", "127.0.0.1:6379", "results-unreachable", "Write redis://127.0.0.1:6379."),
        ("sentinel://127.0.0.1:1", None, "broker-unreachable", "master_name"),
    ],
)
def test_addresses_that_celery_cannot_use(
    tmp_path: Path, broker: str, broker_url: str, backend: str | None, id_: str, message: str
) -> None:
    url = broker_url.format(broker=broker)
    (tmp_path / "proj.py").write_text(
        f"from celery import Celery\napp = Celery('p', broker={url!r}, backend={backend!r})\n"
    )
    result = answer("-A", "proj", "doctor", cwd=tmp_path, environ={"LIVECTL_HOME": str(tmp_path)})
    assert (result.returncode, f"[{id_}]" in result.stdout, message in result.stdout) == (1, True, True), (
        result.stdout + result.stderr
    )


@pytest.mark.acceptance
def test_two_workers_of_one_name(plain: Project) -> None:
    with worker(plain, "-n", "same") as first, worker(plain, "-n", "same") as other:
        first.wait_for("ready.")
        other.wait_for("ready.")
        becomes(lambda: finding_ids(plain), ["same-name"])


@pytest.mark.acceptance
def test_a_job_due_later_than_it_will_be_given_out_again(plain: Project) -> None:
    """By a worker that keeps it in its memory."""
    (plain.folder / "livectl.yaml").write_text("worker: {guard: false}\n")
    with worker(plain) as running:
        running.wait_for("ready.")
        assert plain.ask("call", "proj.tasks.add", "1", "2", "--in", "2h", "--force").returncode == 0
        becomes(lambda: finding_ids(plain), ["visibility-eta"])


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
        becomes(lambda: finding_ids(plain), ["beat-beside"])
        other.send(signal.SIGTERM)
        other.wait()
        becomes(lambda: finding_ids(plain), [])
        ours.send(signal.SIGTERM)
        ours.wait()
    becomes(lambda: finding_ids(plain), ["beat-missing"])


def process_with_password(project: Project) -> Running:
    """A process with the command line of a worker; starting it takes no time."""
    words = ("-c", "import time; time.sleep(300)", "celery", "-A", "proj", "-b", "redis://me:pa55@host/0")
    return Running(sys.executable, *words, cwd=project.folder, environ=project.environ)


@pytest.mark.acceptance
def test_a_password_on_a_command_line(plain: Project) -> None:
    with process_with_password(plain):
        becomes(lambda: finding_ids(plain), ["secret-in-argv"])
        assert "pa55" not in plain.ask("doctor").stdout


@pytest.mark.acceptance
@pytest.mark.skipif(sys.platform != "linux", reason="no other system tells where a process runs")
def test_an_app_of_the_same_name_in_another_folder_is_another_app(plain: Project, tmp_path: Path, broker: str) -> None:
    other = example_projects.copy("apps/plain", tmp_path / "other", "proj", broker)
    link = tmp_path / "link"
    link.symlink_to(plain.folder)

    def pids(folder: Path) -> list[int]:
        return [process.pid for process in collect_app.list_processes("proj", folder)]

    with process_with_password(other) as in_other:
        wait_for(lambda: pids(other.folder) == [in_other.process.pid])
        assert pids(plain.folder) == []
        becomes(lambda: finding_ids(plain), [])
        becomes(lambda: finding_ids(other), ["secret-in-argv"])
        with process_with_password(plain) as in_plain:
            wait_for(lambda: pids(plain.folder) == [in_plain.process.pid])
            assert pids(link) == [in_plain.process.pid], "the same folder under another name"
            assert pids(other.folder) == [in_other.process.pid]
            both = {in_plain.process.pid, in_other.process.pid}
            assert both <= set(pids(tmp_path / "gone")), "nobody can tell: then the app alone counts"


@pytest.mark.acceptance
def test_dead_letters_and_a_schedule_with_mistakes(plain: Project, broker: str) -> None:
    from datetime import UTC, datetime

    with client(broker) as store:
        dead_letters.add(store, DeadLetter(id="1", kind="job", reason="poison", at=datetime.now(UTC), task="t"))
    (plain.folder / "schedules.yaml").write_text("schedules: {a: {task: proj.tasks.add, every: 0s}}")
    becomes(lambda: finding_ids(plain), ["schedule-broken", "dead-letters"])
    assert "schedules.yaml:1:" in plain.ask("doctor").stdout


@pytest.mark.acceptance
def test_broken_settings_and_a_broken_app_are_findings(plain: Project) -> None:
    (plain.folder / "proj" / "tasks.py").write_text("import nowhere\n")
    becomes(lambda: finding_ids(plain), ["app-broken"])
    assert "proj/tasks.py:1: ModuleNotFoundError" in plain.ask("doctor").stdout
    (plain.folder / "livectl.yaml").write_text("stoer: redis://h\n")
    becomes(lambda: finding_ids(plain), ["settings-broken"])
    assert "livectl.yaml:1:1" in plain.ask("doctor").stdout


@pytest.mark.acceptance
def test_settings_show_their_origin(plain: Project) -> None:
    rows = {row["setting"]: row for row in plain.data("doctor", "--settings")}
    assert rows["result_expires"] == {
        "setting": "result_expires",
        "value": "3600",
        "origin": "Celery(...) or app.conf",
    }
    with_variable = plain._replace(environ={**plain.environ, "CELERY_BROKER_URL": plain.environ["PROJ_BROKER"]})
    assert {row["setting"]: row for row in with_variable.data("doctor", "--settings")}["broker_url"][
        "origin"
    ] == "CELERY_BROKER_URL"


@pytest.mark.acceptance
def test_livectls_own_app(tmp_path: Path, broker: str) -> None:
    """Without a broker that is the finding; with one there is none."""
    home = {"LIVECTL_HOME": str(tmp_path / "home")}
    result = answer("doctor", "--json", cwd=tmp_path, environ=home)
    assert (result.returncode, [finding["id"] for finding in json.loads(result.stdout)]) == (1, ["broker-unreachable"])
    there = {**home, "LIVECTL_BROKER": Address.parse(broker).url}
    with livectl("worker", "-P", "threads", cwd=tmp_path, environ=there) as running:
        running.wait_for("ready.")
        becomes(lambda: said(answer("doctor", cwd=tmp_path, environ=there)), (0, "Nothing is wrong.\n", ""))


def said(result: subprocess.CompletedProcess[str]) -> tuple[int, str, str]:
    return result.returncode, result.stdout, result.stderr


@pytest.mark.acceptance
def test_platforms_of_the_settings_that_there_are_not_are_named_without_a_broker_too(tmp_path: Path) -> None:
    (tmp_path / "livectl.yaml").write_text(
        "platforms: {twich: {budget: 60/m}, twitch: {budget: 60/m}}\n"
        "alerts: {me: {command: [cat], platforms: [demo, zzz]}}\n"
    )
    done = answer("--json", "doctor", cwd=tmp_path, environ={"LIVECTL_HOME": str(tmp_path / "home")})
    named = [finding for finding in json.loads(done.stdout) if finding["id"] == "platform-misnamed"]
    assert [(finding["title"], finding["evidence"].partition(" in ")[0]) for finding in named] == [
        ("There is no platform twich", "platforms"),
        ("There is no platform zzz", "alerts.me.platforms"),
    ]
    assert named[0]["cure"] == "did you mean twitch?"
    assert named[1]["cure"].startswith("There are: ")
    assert "kick" in named[1]["cure"]


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
            becomes(lambda: project.ask("call", "proj.nap").returncode, 0)  # it is refused while no worker answers
        wait_for(lambda: sum(row["reserved"] for row in project.data("workers")) >= 3)
        with worker(other, "-n", "idle") as idle:
            idle.wait_for("ready.")
            becomes(lambda: finding_ids(project), ["visibility-differs", "prefetch-hoarding"])
