"""The command lines of worker and beat, as Celery gets them."""

from __future__ import annotations

import os
import re
import sys
from typing import TYPE_CHECKING, Any

import pytest
from msgspec import structs

from livectl import extras, render
from livectl import settings as livectl_settings
from livectl.commands import up as up_command
from livectl.errors import UsageError
from livectl.ops.processes import embedded_broker, launch
from livectl.ops.services import up
from livectl.pools import GREEN_POOLS, Pool
from livectl.worker_options import WorkerTuning
from tests.support.servers import free_port

if TYPE_CHECKING:
    from pathlib import Path

CELERY = [sys.executable, "-m", "celery", "-A"]
OWN = [*CELERY, "livectl.celeryapp", "worker"]
QUIET = ["--without-gossip", "--without-mingle"]


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        pytest.param(
            {}, [*OWN, "-P", "prefork", "-c", "2", "-n", "worker-7@%h", "-l", "INFO", *QUIET], id="no options"
        ),
        pytest.param(
            {"pool": "threads"},
            [*OWN, "-P", "threads", "-c", "16", "-n", "worker-7@%h", "-l", "INFO", *QUIET],
            id="threads mostly wait",
        ),
        pytest.param(
            {"pool": "gevent", "concurrency": 9},
            [*OWN, "-P", "gevent", "-c", "9", "-n", "worker-7@%h", "-l", "INFO", *QUIET, "--prefetch-multiplier", "4"],
            id="green pools fetch ahead",
        ),
        pytest.param(
            {"pool": "solo", "concurrency": 3},
            [*OWN, "-P", "solo", "-n", "worker-7@%h", "-l", "INFO", *QUIET],
            id="solo",
        ),
        pytest.param(
            {
                "app": "proj",
                "queues": "a,b",
                "name": "w1",
                "loglevel": "DEBUG",
                "extra": ("-E", "--max-tasks-per-child", "9"),
            },
            [*CELERY, "proj", "worker", "-P", "prefork", "-c", "2", "-Q", "a,b", "-n", "w1@%h", "-l", "DEBUG"]
            + ["-E", "--max-tasks-per-child", "9"],
            id="somebody's app is left as it is",
        ),
        pytest.param(
            {
                "app": "proj",
                "name": "w",
                "tuning": WorkerTuning(events=True, autoscale="9,2", time_limit=2.5, exclude_queues="slow"),
            },
            [*CELERY, "proj", "worker", "-P", "prefork", "-n", "w@%h", "-l", "INFO"]
            + ["--task-events", "--autoscale", "9,2", "--time-limit", "2.5", "--exclude-queues", "slow"],
            id="autoscale instead of a concurrency",
        ),
        pytest.param(
            {"beat": True, "schedule": "s.yaml", "name": "w@here"},
            [*OWN, "-P", "prefork", "-c", "2", "-n", "w@here", "-l", "INFO", *QUIET]
            + ["-B", "--scheduler", launch.SCHEDULER, "-s", "s.yaml"],
            id="a worker that carries a beat",
        ),
        pytest.param(
            {"app": "proj", "beat": True, "name": "w", "extra": ("--scheduler=django",)},
            [*CELERY, "proj", "worker", "-P", "prefork", "-c", "2", "-n", "w@%h", "-l", "INFO"]
            + ["-B", "--scheduler=django"],
            id="a worker that carries a beat with a scheduler of the user's",
        ),
    ],
)
def test_worker_becomes_the_stock_command(options: dict[str, Any], expected: list[str]) -> None:
    worker_options = launch.WorkerOptions(**options)
    guarded = [*expected, "--", launch.GUARD]
    assert launch.worker_command(worker_options, processors=2, process=7) == guarded


def test_no_prefetch_limit_is_said_so_that_celery_hears_it() -> None:
    options = launch.WorkerOptions(tuning=WorkerTuning(prefetch_multiplier=0))
    assert launch.NO_PREFETCH_LIMIT in launch.worker_command(options, processors=1, process=7)


@pytest.mark.parametrize(
    ("pool", "tuning", "said"),
    [
        ("threads", {"autoscale": "9,2"}, "--autoscale: the threads pool cannot grow and shrink"),
        ("prefork", {"autoscale": "many"}, "--autoscale: 'many' is not the most and the fewest jobs at a time"),
        ("prefork", {"autoscale": "0,0"}, "--autoscale: '0,0' is not"),
        ("solo", {"max_tasks_per_child": 3}, "--max-tasks-per-child: the solo pool has no child processes"),
        ("prefork", {"max_memory_per_child": 200}, "--max-memory-per-child: 200 KiB is less than Python itself takes"),
        ("threads", {"time_limit": 3.0}, "--time-limit: the threads pool cannot end a job"),
        ("gevent", {"soft_time_limit": 3.0}, "--soft-time-limit: the gevent pool cannot interrupt a job"),
        ("prefork", {"soft_time_limit": 3.0, "time_limit": 2.0}, "--soft-time-limit: after 3 s the job has been ended"),
        ("prefork", {"uid": "nobody-knows"}, "--uid: this machine knows no user nobody-knows"),
        ("prefork", {"gid": "4000000000"}, "--gid: this machine knows no group 4000000000"),
        ("prefork", {"logfile": "none/%n.log"}, "--logfile: there is no folder"),
        ("prefork", {"pidfile": "%n.pid"}, "w1.pid is that of "),
        ("prefork", {"logfile": "closed/%n.log", "uid": "nobody"}, "cannot be written by nobody"),
    ],
)
def test_an_option_that_cannot_be_is_said_before_anything_starts(
    pool: Pool, tuning: dict[str, Any], said: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "w1.pid").write_text(f"{os.getppid()}\n")
    (tmp_path / "closed").mkdir(mode=0o755)
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    options = launch.WorkerOptions(pool=pool, name="w1", tuning=WorkerTuning(**tuning))
    with pytest.raises(UsageError, match=re.escape(said)) as caught:
        launch.check_tuning(options, tmp_path, host="here")
    assert caught.value.hint


def test_a_pidfile_that_is_left_over_hinders_nobody(tmp_path: Path) -> None:
    for left_over in ("4194303", "no number", ""):
        (tmp_path / "w1.pid").write_text(left_over)
        options = launch.WorkerOptions(name="w1", tuning=WorkerTuning(pidfile="%n.pid", logfile="%n.log"))
        launch.check_tuning(options, tmp_path, host="here")


def test_a_worker_may_go_unguarded_and_settings_of_the_user_stay() -> None:
    def tail(*, guard: bool, extra: tuple[str, ...] = ()) -> list[str]:
        options = launch.WorkerOptions(app="proj", guard=guard, extra=extra)
        return launch.worker_command(options, processors=1, process=1)[-3:]

    assert launch.GUARD not in tail(guard=False)
    assert tail(guard=True, extra=("-E", "--", "worker_x=1")) == ["--", "worker_x=1", launch.GUARD]


@pytest.mark.parametrize("pool", sorted(GREEN_POOLS))
def test_a_green_worker_carries_no_beat(pool: Pool) -> None:
    with pytest.raises(UsageError, match="cannot run inside"):
        launch.worker_command(launch.WorkerOptions(pool=pool, beat=True), processors=1, process=1)


def test_a_pool_that_is_not_installed_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(extras, "is_installed", lambda name: False)
    with pytest.raises(UsageError) as refused:
        launch.worker_command(launch.WorkerOptions(pool="gevent"), processors=1, process=1)
    assert refused.value.hint == f"Install it: {extras.install_command('gevent')}"


@pytest.mark.parametrize("extra", [("-S", "redbeat.RedBeatScheduler"), ("-Sdjango",), ("-ES", "x")])
def test_the_option_that_is_a_scheduler_for_beat_alone_is_refused_to_a_worker(extra: tuple[str, ...]) -> None:
    with pytest.raises(UsageError, match="is no scheduler") as refused:
        launch.worker_command(launch.WorkerOptions(app="proj", extra=extra), processors=1, process=1)
    assert "--statedb FILE" in refused.value.hint
    assert "--scheduler NAME" in refused.value.hint


def test_a_file_of_revoked_jobs_is_the_users_to_name() -> None:
    argv = launch.worker_command(
        launch.WorkerOptions(app="proj", extra=("--statedb", "S", "-Q", "S")), processors=1, process=1
    )
    assert argv[-6:-2] == ["--statedb", "S", "-Q", "S"]


def test_beat_uses_our_scheduler_unless_another_is_named() -> None:
    own = launch.beat_command(None, loglevel="INFO", schedule="x.yaml")
    assert own == [*CELERY, "livectl.celeryapp", "beat", "-S", launch.SCHEDULER, "-l", "INFO", "-s", "x.yaml"]
    other = launch.beat_command("proj", loglevel="INFO", schedule=None, extra=("--scheduler", "db"))
    assert other == [*CELERY, "proj", "beat", "-l", "INFO", "--scheduler", "db"]
    glued = launch.beat_command("proj", loglevel="INFO", schedule=None, extra=("-Sdb",))
    assert glued == [*CELERY, "proj", "beat", "-l", "INFO", "-Sdb"]


# up


UP = up.UpOptions(app="proj", config=None, pool="prefork", concurrency=3, queues="a,b", name="w", loglevel="INFO")


def test_up_in_the_background_has_every_option_that_it_was_given() -> None:
    options = structs.replace(UP, worker_extra=("-E", "--statedb", "a b"), beat_extra=("--max-interval", "5"))
    arguments = up.command_line(options)[6:]
    ctx = up_command.command.make_context("up", arguments)
    assert ctx.params["extra"] == options.worker_extra
    assert up.split_options(ctx.params["beat_options"]) == options.beat_extra
    assert (ctx.params["concurrency"], ctx.params["queues"], ctx.params["name"]) == (3, "a,b", "w")


@pytest.mark.parametrize(
    ("worker_extra", "beat_extra", "message"),
    [
        (("-n", "x"), (), "-n cannot be passed on"),
        (("-Pgevent",), (), "-P cannot be passed on"),
        (("--pool=gevent",), (), "--pool cannot be passed on"),
        (("-D",), (), "would lose sight"),
        ((), ("--detach",), "would lose sight"),
        (("-S", "x"), (), "is no scheduler"),
    ],
)
def test_up_passes_nothing_on_that_it_has_itself(
    worker_extra: tuple[str, ...], beat_extra: tuple[str, ...], message: str
) -> None:
    with pytest.raises(UsageError, match=message):
        up.check_extra(worker_extra, beat_extra)


def test_up_passes_on_what_it_does_not_have() -> None:
    up.check_extra(("-E", "--max-tasks-per-child", "9"), ("-S", "django", "--max-interval", "5"))
    with pytest.raises(UsageError, match="beat-options"):
        up.split_options("'a")


def test_the_settings_file_is_found_from_any_folder(monkeypatch: pytest.MonkeyPatch, tmp_path: Any) -> None:
    monkeypatch.chdir(tmp_path)
    environ = launch.child_environment({"A": "1"}, "my.yaml")
    assert environ == {"A": "1", "LIVECTL_CONFIG": str(tmp_path / "my.yaml")}
    assert launch.child_environment({"A": "1"}, None) == {"A": "1"}


@pytest.mark.parametrize(
    ("name", "full_name"), [("mail", "mail@box"), ("mail@%h", "mail@box"), ("mail@elsewhere", "mail@elsewhere")]
)
def test_a_node_name_gets_its_host(name: str, full_name: str) -> None:
    assert launch.full_node_name(name, "box") == full_name


def test_nobody_else_can_take_the_port_of_the_page(tmp_path: Path) -> None:
    """From the plan of `up` on, also while the page starts, or starts again."""
    own = up.UpOptions(app=None, config=None, pool="solo", concurrency=None, queues=None, name="w", loglevel="INFO")
    (tmp_path / "livectl.yaml").write_text(f"web: {{port: {free_port()}}}\n")
    settings = livectl_settings.load({"HOME": str(tmp_path)}, tmp_path)
    page = up.open_page_listener(own, settings)
    assert page is not None
    with page:
        assert page.getsockname()[1] == settings.web.port
        with pytest.raises(UsageError, match=f"port {settings.web.port} on 127.0.0.1 is in use"):
            up.open_page_listener(own, settings)


def test_a_page_whose_token_is_unset_is_said_to_be_missing(tmp_path: Path) -> None:
    (tmp_path / "livectl.yaml").write_text("web: {token: env:NO_SUCH_TOKEN}\n")
    settings = livectl_settings.load({"HOME": str(tmp_path)}, tmp_path)
    environment = up.Environment(environ={}, cwd=tmp_path, host="box", processors=1)
    own = up.UpOptions(app=None, config=None, pool="solo", concurrency=None, queues=None, name="w", loglevel="INFO")
    server = embedded_broker.EmbeddedBroker(tmp_path)
    summary = up.build_summary(own, environment, settings, server, page=None, pid=1)
    server.clean_up()
    text = render.as_text(up.summary_view(summary), colour=False)
    assert "page      none: web.token: the environment variable NO_SUCH_TOKEN is not set\n" in text
