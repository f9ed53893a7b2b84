"""Starts broker, worker, beat and page together, and keeps them running."""

from __future__ import annotations

import os
import signal
import socket
import time
from contextlib import contextmanager, nullcontext
from typing import TYPE_CHECKING, Any, TextIO

import click

from livectl.context import CommandContext, loglevel_option, pass_command_context
from livectl.errors import UsageError
from livectl.pools import POOLS

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from livectl.ops.processes.embedded_broker import EmbeddedBroker
    from livectl.ops.processes.supervised_process import ChildSpec
    from livectl.ops.processes.supervisor import MemberRequest
    from livectl.ops.services.board import Board, Source
    from livectl.ops.services.members import WorkerMember
    from livectl.ops.services.up import Environment, UpOptions, UpSummary
    from livectl.settings_watch import SettingsWatch

LOG_FORMATS = ("text", "json")
OPEN_PAGE_NOTE = "open to all users here: set web.token"


@click.command()
@click.option("-P", "--pool", type=click.Choice(POOLS), help="How jobs run; threads, or prefork with -A, if left out.")
@click.option("-c", "--concurrency", type=click.IntRange(min=1), help="Jobs at a time; by the processors if left out.")
@click.option("-Q", "--queues", metavar="A,B", help="Queues to read; the app's own if left out.")
@click.option("-n", "--name", metavar="NAME", help="Node name of the worker; unique if left out.")
@loglevel_option(help="Of logs.")
@click.option("--beat-options", metavar="TEXT", default="", help='Options of `celery beat`, as in "--max-interval 5".')
@click.option("--log-format", type=click.Choice(LOG_FORMATS), default="text", show_default=True, help="Of the lines.")
@click.option(
    "--reload", is_flag=True, help="For development: start workers and beat anew when code below this folder changes."
)
@click.option("--detach", is_flag=True, help="Run in the background, until `livectl stop`.")
@click.argument("extra", nargs=-1, type=click.UNPROCESSED, metavar="[-- CELERY OPTIONS]")
@pass_command_context
def command(
    context: CommandContext, /, *, detach: bool, beat_options: str, extra: tuple[str, ...], **options: Any
) -> int:
    """A broker if none is set, a worker, and a beat that sends what schedules.yaml says. One that dies, or no
    longer answers, is started again. Ctrl-C ends beat first, then the worker once its running jobs are done
    (15 s at most), then the broker; a second Ctrl-C waits for no job. After -- comes any option of `celery worker`.

    It tells what matters, a line each; Celery's own lines go to log files, and with -v to the screen as well.

    \b
    Examples:
      livectl up
      livectl -A proj up -P gevent -Q mail,default --detach
      livectl up --beat-options "--max-interval 5" -- --max-tasks-per-child 99
    """
    from livectl.ops.processes import launch
    from livectl.ops.processes.process import available_processors
    from livectl.ops.services import background, up

    beat_extra = up.split_options(beat_options)
    up.check_extra(extra, beat_extra)
    if context.app is None:
        context.check_targets()
    else:
        with_beat = not launch.names_scheduler(beat_extra)
        background.check_app(
            context.app, context.settings, context.cwd, None if detach else context.say, with_beat=with_beat
        )
    context.say_unset_secrets()
    if by_settings := bool(context.settings.workers):
        _check_beside_workers({**options, "extra": extra}, context.settings.sources["workers"])
    options["pool"] = options["pool"] or up.default_pool(context.app)
    options["name"] = options["name"] or f"up-{os.getpid()}"
    up_options = up.UpOptions(
        app=context.app,
        config=context.config,
        worker_extra=extra,
        beat_extra=beat_extra,
        by_settings=by_settings,
        **options,
    )
    environment = up.Environment(
        environ=context.environ, cwd=context.cwd, host=socket.gethostname(), processors=available_processors()
    )
    return _start_detached(context, up_options, environment) if detach else _run(context, up_options, environment)


def _check_beside_workers(options: dict[str, Any], place: str) -> None:
    """`workers:` of the settings say all of the workers: an option would be of none of them, or of each."""
    words = {"pool": "-P", "concurrency": "-c", "queues": "-Q", "name": "-n", "extra": "what stands behind --"}
    if given := [word for name, word in words.items() if options[name]]:
        raise UsageError(f"{place} names the workers, and {given[0]} is of which of them?", "Write it there.")


def _start_detached(context: CommandContext, up_options: UpOptions, environment: Environment) -> int:
    from livectl.ops.processes import running_settings
    from livectl.ops.services import background, up

    background.ensure_not_running(context.settings.home, "up")
    server = up.make_embedded_broker(up_options, context.settings, context.say)
    try:
        with _planned(context, up_options, environment, server, context.say) as (_, summary):
            pass
    finally:
        if server:
            server.clean_up()
    with context.working("starting: broker, page, worker and beat have to answer"):
        process = background.start(
            context.settings.home,
            "up",
            up.command_line(up_options),
            environ=environment.environ,
            cwd=environment.cwd,
            host=environment.host,
            say=context.say,
        )
    page, port_note = running_settings.find_page(context.settings.home, process.pid) or (summary.page, "")
    context.show(up.detached_view(summary, process, page=page, **_terminal(context, context.out)))
    if port_note:
        context.say(port_note)
    return 0


def _run(context: CommandContext, up_options: UpOptions, environment: Environment) -> int:
    from livectl.ops.processes import running_settings
    from livectl.ops.processes.supervisor import Supervisor, SupervisorTimings
    from livectl.ops.services import up

    lock_fd, began = up.acquire_up_lock(context.settings.home), time.time()
    board = _make_board(context, as_json=up_options.log_format == "json")
    server = up.make_embedded_broker(up_options, context.settings, board.say)
    try:
        with _planned(context, up_options, environment, server, board.say) as (children, summary):
            page = (summary.page or "", summary.port_note)
            running_settings.note_start(
                "up", context.settings, context.cwd, config=context.config, own=context.app is None, page=page
            )
            if up_options.log_format == "json":
                board.tell(up.started_event(summary, began))
            else:
                context.show(up.summary_view(summary, **_terminal(context, context.out)))
            if summary.port_note:
                board.say(summary.port_note)
            watch = _watch_settings(context, board)
            board.watch(_sources(context, watch, began))
            requests = _requests(context, up_options, environment, board, watch)
            timings = SupervisorTimings.from_settings(context.settings.up)
            code = Supervisor(children, board.write, timings, requests=requests).run()
    finally:
        board.close()
        running_settings.forget_start("up", context.settings)
        if server:
            server.clean_up()
        os.close(lock_fd)
    board.tell(up.stopped_event(began, time.time()))
    return code


@contextmanager
def _planned(
    context: CommandContext,
    up_options: UpOptions,
    environment: Environment,
    server: EmbeddedBroker | None,
    say: Callable[[str], None],
) -> Iterator[tuple[list[ChildSpec], UpSummary]]:
    """The children, and where everything is. Raises what would stop them, in the background as in a terminal."""
    from livectl.live import pulse
    from livectl.ops.services import up
    from livectl.web import auth

    settings, web = context.settings, context.settings.web
    if context.app is None and (server is None or settings.store):  # the embedded broker runs only later
        context.prepare_own_store()
    has_page = not auth.has_unset_token(web)  # without its token it would be open to all
    tokens = auth.read_tokens(web) if has_page else ()
    if has_page:
        auth.check_exposure(web.host, tokens)
    if has_page and context.app is None and tokens and (hint := auth.hint_for_local_users(tokens, settings.file)):
        context.say(hint)
    with (up.open_page_listener(up_options, settings) if has_page else None) or nullcontext() as page:
        children = up.build_child_specs(up_options, environment, settings, server, say, page=page)
        follows = pulse.describe_follows(settings.follows, context.display_path(settings.follows))
        facts = {} if context.app else {"follows": follows, "page_note": "" if tokens else OPEN_PAGE_NOTE}
        yield children, up.build_summary(up_options, environment, settings, server, page=page, pid=os.getpid(), **facts)


def _make_board(context: CommandContext, *, as_json: bool) -> Board:
    """Writes to stderr, or JSON to stdout. When its reader is gone, the supervisor is stopped in order."""
    from livectl import terminal
    from livectl.ops.processes.output import LogFiles, StatusScreen
    from livectl.ops.services import up
    from livectl.ops.services.board import Board, LineFormat

    is_terminal = not as_json and terminal.is_terminal(context.err, context.environ)
    screen = StatusScreen(
        context.out if as_json else context.err,
        columns=(lambda: terminal.find_width(context.err, context.environ) or 1) if is_terminal else None,
        on_closed=lambda: signal.raise_signal(signal.SIGTERM),
    )
    colour = is_terminal and terminal.has_colour(context.err, context.environ)
    line_format = LineFormat(json=as_json, colour=colour, dated=not is_terminal, timezone=context.settings.timezone)
    logs, say_all = LogFiles(context.settings.home), context.verbose and not as_json
    return Board(None if context.quiet else screen, logs, line_format, up.MEMBER_NAMES, member_lines=say_all)


def _requests(
    context: CommandContext, up_options: UpOptions, environment: Environment, board: Board, watch: SettingsWatch
) -> Callable[[], list[MemberRequest]]:
    """What is asked of the workers while they run, by commands and by changed settings."""
    from livectl.ops.processes.code_watch import CodeWatch
    from livectl.ops.services import members, up

    members.forget_requests(context.settings.home)
    probe = up.make_probe(up_options, environment, context.settings, board.say)
    factory = up.make_factory(up_options, environment, context.settings, probe)
    workers = up.plan_workers(up_options, environment, context.settings)

    def read_plan() -> list[WorkerMember] | None:
        return up.plan_workers(up_options, environment, watch.current()) if up_options.by_settings else None

    requests = members.MemberRequests(factory, workers, read_plan, board.say)
    if not up_options.reload:
        return requests

    def with_own_code() -> list[str]:
        return [*members.names(context.settings.home), up.BEAT]

    watch_code = CodeWatch(context.cwd, with_own_code, board.say)
    return lambda: [*requests(), *watch_code()]


def _watch_settings(context: CommandContext, board: Board) -> SettingsWatch:
    from livectl.live.alerts import targets
    from livectl.models import BoardEvent
    from livectl.settings_watch import SettingsWatch

    said = tuple(context.settings.describe_unset())

    def tell(_: int, line: str) -> None:
        if not line.startswith(said):
            board.tell(BoardEvent(at=time.time(), event="file", text=line))

    check = targets.check_targets if context.app is None else lambda settings: None
    return SettingsWatch(context.environ, context.cwd, context.config, check=check, say=tell)


def _sources(context: CommandContext, watch: SettingsWatch, since: float) -> list[Source]:
    """Where the board reads: of streamers only for livectl's own app, of other apps what the watch reports."""
    from livectl.live import pulse
    from livectl.ops.services.board import Source
    from livectl.ops.services.pulse import JobPulse

    jobs = JobPulse(context.find_deployment, lambda: watch.current().schedules, since)
    if context.app is not None:
        reports = pulse.ReportPulse(lambda: context.find_deployment().store, since)
        return [Source("reports", reports.read), Source("jobs", jobs.read)]
    live = pulse.LivePulse(
        lambda: context.own_store, lambda: watch.current().follows, since, lambda: watch.current().push
    )
    return [Source("live", live.read), Source("jobs", jobs.read)]


def _terminal(context: CommandContext, stream: TextIO) -> dict[str, Any]:
    """How wide the terminal behind a stream is, and whether it knows links; neither where there is none."""
    from livectl import terminal

    if not terminal.is_terminal(stream, context.environ):
        return {"width": None, "links": False}
    return {"width": terminal.find_width(stream, context.environ), "links": context.environ.get("TERM") != "linux"}
