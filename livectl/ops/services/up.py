"""Plans `livectl up`: its children, and where everything is."""

from __future__ import annotations

import errno
import os
import shlex
import sys
from contextlib import closing
from http.client import HTTPConnection, HTTPException
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import msgspec

from livectl import server_check
from livectl import settings as livectl_settings
from livectl.errors import ServerError, UsageError
from livectl.models import BoardEvent
from livectl.ops import deployment
from livectl.ops.processes import launch, state_dir
from livectl.ops.processes.embedded_broker import EmbeddedBroker, resolve_addresses
from livectl.ops.processes.launch import WorkerOptions
from livectl.ops.processes.listener import find_owner, listen
from livectl.ops.processes.supervised_process import ChildSpec, spawn
from livectl.ops.services import background, members
from livectl.ops.services.health import LivenessProbe
from livectl.ops.services.members import MemberFactory, WorkerMember
from livectl.render import View, shorten_cells
from livectl.units import format_count, format_duration

if TYPE_CHECKING:
    import socket
    from collections.abc import Callable, Mapping

    from livectl.ops.services.background import BackgroundProcess
    from livectl.pools import Pool
    from livectl.settings import Settings


# The time that a child gets to end. All take milliseconds, unless a broker or a disk hangs.
BEAT_GRACE_SECONDS = 5.0
PAGE_GRACE_SECONDS = 2.0
PUSH_GRACE_SECONDS = 5.0
BROKER_GRACE_SECONDS = 10.0
PAGE_TIMEOUT_SECONDS = 5.0

BEAT = "beat"  # which knows the tasks of the code that it was started with
MEMBER_NAMES = ("broker", "page", "push", "worker", BEAT)

OWN_OPTIONS = frozenset(
    {"-P", "--pool", "-c", "--concurrency", "-Q", "--queues", "-n", "--hostname", "-l", "--loglevel"}
)
DETACHING_OPTIONS = frozenset({"-D", "--detach", "-B", "--beat", "--uid", "--gid", "-A", "--app"})

LABEL_WIDTH = 10
LINK = "\x1b]8;;{url}\x1b\\{url}\x1b]8;;\x1b\\"  # OSC 8, which a terminal opens at a click
ANOTHER_PORT_HINT = "Choose another with `web: {port: …}` in livectl.yaml, or end what has it."


class UpOptions(msgspec.Struct, frozen=True, kw_only=True):
    """The options of `livectl up`."""

    app: str | None
    config: str | None
    pool: Pool
    concurrency: int | None
    queues: str | None
    name: str
    loglevel: str
    worker_extra: tuple[str, ...] = ()  # options of `celery worker`
    beat_extra: tuple[str, ...] = ()  # options of `celery beat`
    log_format: Literal["text", "json"] = "text"
    reload: bool = False  # whether changed code starts the workers anew
    by_settings: bool = False  # whether `workers:` of the settings names the workers


class Environment(msgspec.Struct, frozen=True, kw_only=True):
    """Where `livectl up` runs."""

    environ: Mapping[str, str]
    cwd: Path
    host: str
    processors: int


class UpSummary(msgspec.Struct, frozen=True, kw_only=True):
    """Where everything is, with addresses that hide their passwords."""

    pid: int
    home: str
    broker: str
    store: str
    data: str | None  # of the embedded broker
    log: str | None
    schedules: str | None
    page: str | None
    page_problem: str | None  # why livectl's own app has none
    worker: str
    pool: Pool
    workers: tuple[str, ...] = ()  # that `workers:` of the settings names
    app: str | None = None  # that of -A
    logs: str = ""  # the folder with the log of each member
    follows: str | None = None  # who is followed, in words
    entries: int | None = None  # of the schedule file
    page_note: str = ""  # what a person should know of the page
    port_note: str = ""  # why it is at another port than usual


def default_pool(app: str | None) -> Pool:
    """Threads for livectl's own jobs, which wait for answers; prefork for jobs of which livectl knows nothing."""
    return "threads" if app is None else "prefork"


def command_line(options: UpOptions) -> list[str]:
    """The argv of `livectl up` with these options."""
    flags = {
        "-A": options.app,
        "--config": options.config,
        **({} if options.by_settings else _worker_flags(options)),
        "-l": options.loglevel,
        "--log-format": None if options.log_format == "text" else options.log_format,
    }
    arguments = [word for flag, value in flags.items() if value is not None for word in (flag, str(value))]
    arguments += ["--reload"] if options.reload else []
    arguments += ["--beat-options", shlex.join(options.beat_extra)] if options.beat_extra else []
    arguments += ["--", *options.worker_extra] if options.worker_extra else []
    return [sys.executable, "-m", "livectl", "up", *arguments]


def _worker_flags(options: UpOptions) -> dict[str, object]:
    return {"-P": options.pool, "-c": options.concurrency, "-Q": options.queues, "-n": options.name}


def split_options(text: str) -> tuple[str, ...]:
    """The words of options in one text, as a shell would have them."""
    try:
        return tuple(shlex.split(text))
    except ValueError as error:
        raise UsageError(f"--beat-options {text!r}: {error}", 'Say --beat-options "--max-interval 5".') from error


def check_extra(worker_extra: tuple[str, ...], beat_extra: tuple[str, ...]) -> None:
    """Refuses options that `up` has itself, or that would take a process out of its hands."""
    launch.check_worker_extra(worker_extra, "up")
    for word in (*worker_extra, *beat_extra):
        name = word.split("=")[0] if word.startswith("--") else word[:2]
        if name in OWN_OPTIONS:
            raise UsageError(f"{name} cannot be passed on: up has it itself", "Say it before --, as up --help shows.")
        if name in DETACHING_OPTIONS:
            raise UsageError(f"{name} cannot be passed on: up would lose sight of its processes", "Leave it out.")


def acquire_up_lock(home: Path) -> int:
    """Makes this process the only `up` of the home, until it closes the descriptor."""
    state_dir.make_state_dir(home)
    path = state_dir.up_lock_path(home)
    descriptor = state_dir.acquire_lock(path)
    if descriptor is None:
        raise ServerError(
            f"`livectl up` runs already for {home} (pid {state_dir.read_lock_owner(path)})",
            "Use that one, stop it first, or give this one a folder of its own with LIVECTL_HOME.",
        )
    return descriptor


def make_embedded_broker(options: UpOptions, settings: Settings, say: Callable[[str], None]) -> EmbeddedBroker | None:
    """The embedded broker, if the settings name none; an app given with -A names its own broker."""
    return EmbeddedBroker(settings.home, say) if options.app is None and settings.broker is None else None


def open_page_listener(options: UpOptions, settings: Settings) -> socket.socket | None:
    """The socket of the page, which `up` keeps open: nobody else can take its port, not even while it starts again.

    A port in the settings has to be free; otherwise any free port will do, and `describe_port` says why it is another.
    """
    if options.app is not None:  # the page shows streamers, which only livectl's own app has
        return None
    web = settings.web
    try:
        return listen(web.host, web.port, ANOTHER_PORT_HINT)
    except UsageError as error:
        is_taken = isinstance(error.__cause__, OSError) and error.__cause__.errno == errno.EADDRINUSE
        if not is_taken or settings.sources["web.port"] != livectl_settings.DEFAULT_SOURCE:
            raise
    return listen(web.host, 0, ANOTHER_PORT_HINT)


def describe_port(page: socket.socket | None, settings: Settings) -> str:
    """Why the page is at another port than usual; empty where it is not."""
    if page is None or _port_of(page) == settings.web.port:
        return ""
    owner = find_owner(settings.web.port)
    usual = f"port {settings.web.port} on {settings.web.host} is in use{f' by {owner}' if owner else ''}"
    return f"{usual}: the page is at {_port_of(page)}; `web: {{port: …}}` in livectl.yaml sets another"


def build_summary(
    options: UpOptions,
    environment: Environment,
    settings: Settings,
    server: EmbeddedBroker | None,
    *,
    page: socket.socket | None,
    pid: int,
    follows: str | None = None,
    page_note: str = "",
) -> UpSummary:
    """Sums up where everything is. Raises early what would stop a child: no store, no answer, a mistake in a file."""
    entries = background.check_schedule(settings, environment.cwd)
    broker, store = _broker_and_store(options, settings, server, environment.cwd)
    return UpSummary(
        pid=pid,
        home=str(settings.home),
        broker=broker,
        store=store,
        data=str(server.home / "data") if server else None,
        log=str(server.log) if server else None,
        schedules=str(settings.schedules) if settings.schedules.exists() else None,
        page=f"http://{settings.web.host}:{_port_of(page)}/" if page else None,
        page_problem=settings.web.token.problem if settings.web.token and not (page or options.app) else None,
        worker=_worker_node_name(options, environment),
        pool=options.pool,
        workers=tuple(settings.workers) if options.by_settings else (),
        app=options.app,
        logs=str(state_dir.log_folder(settings.home)),
        follows=follows,
        entries=entries,
        page_note=page_note,
        port_note=describe_port(page, settings),
    )


def _broker_and_store(
    options: UpOptions, settings: Settings, server: EmbeddedBroker | None, cwd: Path
) -> tuple[str, str]:
    """The addresses of broker and store for people. Raises when one in the settings does not answer."""
    if settings.store:
        server_check.check_server(settings.store)
    if server or options.app:
        broker = f"unix://{server.socket}?db=0" if server else _broker_of_app(options.app, settings, cwd)
        return broker, settings.store.masked if settings.store else broker
    server_addresses = resolve_addresses(settings)
    server_check.check_server(server_addresses.broker)
    return server_addresses.broker.masked, server_addresses.store.masked


def _broker_of_app(app: str | None, settings: Settings, cwd: Path) -> str:
    broker = deployment.find(app, settings, cwd).broker
    return broker.masked if broker else f"as {app} names it"


def build_child_specs(
    options: UpOptions,
    environment: Environment,
    settings: Settings,
    server: EmbeddedBroker | None,
    warn: Callable[[str], None],
    *,
    page: socket.socket | None,
) -> list[ChildSpec]:
    """The children, in the order in which they start."""
    probe = make_probe(options, environment, settings, warn)
    factory, workers = make_factory(options, environment, settings, probe), plan_workers(options, environment, settings)
    for member in workers:
        factory.check(member)
    broker_specs = [_broker_spec(server)] if server else []
    page_specs = [_page_spec(options, environment, settings.web.host, page)] if page else []
    push_specs = [_push_spec(options, environment)] if settings.push and options.app is None else []
    return [
        *broker_specs,
        *page_specs,
        *push_specs,
        *(factory.spec(member) for member in workers),
        _beat_spec(options, environment, probe),
    ]


def _broker_spec(server: EmbeddedBroker) -> ChildSpec:
    return ChildSpec(
        name="broker",
        start=server.launch,
        ready=server.is_ready,
        check_health=lambda _: server.is_responding(),
        repair=server.repair,
        grace_seconds=BROKER_GRACE_SECONDS,
    )


def plan_workers(options: UpOptions, environment: Environment, settings: Settings) -> list[WorkerMember]:
    """The workers: those of the settings, or the one of the options."""
    if options.by_settings:
        return members.plan(settings, options.app, options.pool)
    worker_options = WorkerOptions(
        app=options.app,
        pool=options.pool,
        concurrency=options.concurrency,
        queues=options.queues,
        name=_worker_node_name(options, environment),
        loglevel=options.loglevel,
        extra=options.worker_extra,
        guard=settings.worker.guard,
    )
    return [WorkerMember(name=members.DEFAULT_MEMBER, options=worker_options)]


def make_factory(
    options: UpOptions, environment: Environment, settings: Settings, probe: LivenessProbe
) -> MemberFactory:
    """Makes children out of workers."""
    return MemberFactory(
        home=settings.home,
        cwd=environment.cwd,
        host=environment.host,
        processors=environment.processors,
        environ=launch.child_environment(environment.environ, options.config),
        probe=probe,
    )


def make_probe(
    options: UpOptions, environment: Environment, settings: Settings, warn: Callable[[str], None]
) -> LivenessProbe:
    """Asks the children whether they work."""
    return LivenessProbe(lambda: deployment.find(options.app, settings, environment.cwd), environment.host, warn)


def _beat_spec(options: UpOptions, environment: Environment, probe: LivenessProbe) -> ChildSpec:
    argv = launch.beat_command(options.app, loglevel=options.loglevel, schedule=None, extra=options.beat_extra)
    environ = launch.child_environment(environment.environ, options.config)
    return ChildSpec(
        name=BEAT,
        start=lambda: spawn(argv, environ),
        # another scheduler than livectl's leaves no heartbeats
        check_health=None if launch.names_scheduler(options.beat_extra) else probe.is_beat_alive,
        grace_seconds=BEAT_GRACE_SECONDS,
    )


def _page_spec(options: UpOptions, environment: Environment, host: str, listener: socket.socket) -> ChildSpec:
    port, descriptor = _port_of(listener), listener.fileno()
    argv = [sys.executable, "-m", "livectl", "--quiet", "web", "--wait-for-store", "--listener", str(descriptor)]
    environ = launch.child_environment(environment.environ, options.config)

    def is_answering(_: int) -> bool:
        with closing(HTTPConnection(host.strip("[]"), port, timeout=PAGE_TIMEOUT_SECONDS)) as connection:
            try:
                connection.request("GET", "/healthz")
                connection.getresponse()  # any answer will do: a page that reports a broken store works
            except (OSError, HTTPException):
                return False
        return True

    return ChildSpec(
        name="page",
        start=lambda: spawn(argv, environ, pass_fds=(descriptor,)),
        check_health=is_answering,
        grace_seconds=PAGE_GRACE_SECONDS,
    )


def _push_spec(options: UpOptions, environment: Environment) -> ChildSpec:
    """It ends and begins by itself what it holds; whether a platform is heard, doctor says."""
    argv = [sys.executable, "-m", "livectl", "push"]
    environ = launch.child_environment(environment.environ, options.config)
    return ChildSpec(name="push", start=lambda: spawn(argv, environ), grace_seconds=PUSH_GRACE_SECONDS)


def _port_of(listener: socket.socket) -> int:
    return int(listener.getsockname()[1])


def _worker_node_name(options: UpOptions, environment: Environment) -> str:
    return launch.full_node_name(options.name, environment.host)


def summary_view(summary: UpSummary, *, width: int | None = None, links: bool = False) -> View:
    """Six lines: where everything is. In a terminal of this width each is one row, and the page may be a link."""
    return View(summary, lambda: "\n".join(summary_lines(summary, width=width, links=links)))


def detached_view(
    summary: UpSummary,
    process: BackgroundProcess,
    *,
    page: str | None,
    width: int | None = None,
    links: bool = False,
) -> View:
    """The same six lines of an `up` in the background, with the page where that one has it."""
    own = msgspec.structs.replace(summary, pid=process.pid, log=process.log, page=page or summary.page)
    stop = f"livectl stop up  (in the background, pid {process.pid})"
    data = {"name": process.name, **msgspec.structs.asdict(own)}
    return View(data, lambda: "\n".join(summary_lines(own, stop=stop, width=width, links=links)))


def started_event(summary: UpSummary, now: float) -> BoardEvent:
    text = f"the page is at {summary.page}" if summary.page else f"for {summary.app or 'livectl'}"
    return BoardEvent(at=now, event="started", text=text, details=msgspec.structs.asdict(summary))


def stopped_event(began: float, now: float) -> BoardEvent:
    return BoardEvent(at=now, event="stopped", text=f"after {format_duration(now - began)}")


def summary_lines(
    summary: UpSummary, *, stop: str = "Ctrl-C", width: int | None = None, links: bool = False
) -> list[str]:
    where = {"page": _page_text(summary), "follows": summary.follows or "nobody"}
    if summary.app is not None:
        where = {"app": summary.app, "worker": f"{summary.worker}, pool {summary.pool}"}
    if summary.workers:
        where["worker"] = ", ".join(summary.workers)
    rows = where | {
        "broker": f"livectl's own, its data in {_short(summary.data)}" if summary.data else summary.broker,
        "schedule": _schedule_text(summary),
        "log": f"{_short(summary.logs)}{os.sep}",
        "stop": stop,
    }
    lines = [f"  {label:<{LABEL_WIDTH}}{text}" for label, text in rows.items()]
    lines = [shorten_cells(line, width) for line in lines] if width else lines
    if links and summary.page and summary.page in lines[0]:
        lines[0] = lines[0].replace(summary.page, LINK.format(url=summary.page), 1)
    return lines


def _page_text(summary: UpSummary) -> str:
    if summary.page is None:
        return f"none: web.token: {summary.page_problem}"
    return f"{summary.page}  ({summary.page_note})" if summary.page_note else summary.page


def _schedule_text(summary: UpSummary) -> str:
    own = (
        f"{format_count(summary.entries, 'entry', plural='entries')} in {_short(summary.schedules)}"
        if (summary.schedules and summary.entries is not None)
        else ""
    )
    if summary.app is not None:
        return f"{own}, and the app's beat_schedule" if own else "the app's beat_schedule"
    return own or "none: `livectl init` writes a first one"


def _short(path: str | None) -> str:
    """A path as a shell takes it: from the home of the user, where it is in there."""
    home = str(Path.home())
    return f"~{path[len(home) :]}" if path and path.startswith(f"{home}{os.sep}") else path or ""
