"""Starts broker, worker, beat and page together, and keeps them running."""

from __future__ import annotations

import os
import signal
import socket
from contextlib import contextmanager, nullcontext
from typing import TYPE_CHECKING, Any

import click

from livectl.context import CommandContext, loglevel_option, pass_command_context
from livectl.pools import POOLS

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from livectl.ops.processes.embedded_broker import EmbeddedBroker
    from livectl.ops.processes.supervised_process import ChildSpec
    from livectl.ops.services.up import Environment, UpOptions, UpSummary


@click.command()
@click.option("-P", "--pool", type=click.Choice(POOLS), help="How jobs run; threads, or prefork with -A, if left out.")
@click.option("-c", "--concurrency", type=click.IntRange(min=1), help="Jobs at a time; by the processors if left out.")
@click.option("-Q", "--queues", metavar="A,B", help="Queues to read; the app's own if left out.")
@click.option("-n", "--name", metavar="NAME", help="Node name of the worker; unique if left out.")
@loglevel_option(help="Of logs.")
@click.option("--beat-options", metavar="TEXT", default="", help='Options of `celery beat`, as in "--max-interval 5".')
@click.option("--detach", is_flag=True, help="Run in the background, until `livectl stop`.")
@click.argument("extra", nargs=-1, type=click.UNPROCESSED, metavar="[-- CELERY OPTIONS]")
@pass_command_context
def command(
    context: CommandContext, /, *, detach: bool, beat_options: str, extra: tuple[str, ...], **options: Any
) -> int:
    """A broker if none is set, a worker, and a beat that sends what schedules.yaml says. One that dies, or no
    longer answers, is started again. Ctrl-C ends beat first, then the worker once its running jobs are done
    (15 s at most), then the broker; a second Ctrl-C waits for no job. After -- comes any option of `celery worker`.

    \b
    Examples:
      livectl up
      livectl up -c 50 --detach
      livectl -A proj up -P gevent -Q mail,default
      livectl up --beat-options "--max-interval 5" -- --max-tasks-per-child 99
    """
    from livectl.live.alerts import targets
    from livectl.ops.processes import launch
    from livectl.ops.processes.process import available_processors
    from livectl.ops.services import background, up

    beat_extra = up.split_options(beat_options)
    up.check_extra(extra, beat_extra)
    if context.app is None:
        targets.check_targets(context.settings)
    else:
        with_beat = not launch.names_scheduler(beat_extra)
        background.check_app(
            context.app, context.settings, context.cwd, None if detach else context.say, with_beat=with_beat
        )
    context.say_unset_secrets()
    options["pool"] = options["pool"] or up.default_pool(context.app)
    options["name"] = options["name"] or f"up-{os.getpid()}"
    up_options = up.UpOptions(
        app=context.app, config=context.config, worker_extra=extra, beat_extra=beat_extra, **options
    )
    environment = up.Environment(
        environ=context.environ, cwd=context.cwd, host=socket.gethostname(), processors=available_processors()
    )
    return _start_detached(context, up_options, environment) if detach else _run(context, up_options, environment)


def _say_who_can_read_the_page(context: CommandContext) -> None:
    """For livectl's own app, which alone has a page."""
    from livectl.web import auth

    web = context.settings.web
    if context.app is None and not (web.token and web.token.problem):
        token = web.token.reveal() if web.token else None
        if hint := auth.hint_for_local_users(token, context.settings.file):
            context.say(hint)


def _start_detached(context: CommandContext, up_options: UpOptions, environment: Environment) -> int:
    from livectl.ops.services import background, up

    background.ensure_not_running(context.settings.home, "up")
    server = up.make_embedded_broker(up_options, context.settings, context.say)
    try:
        with _planned(context, up_options, environment, server):
            pass
    finally:
        if server:
            server.clean_up()
    process = background.start(
        context.settings.home,
        "up",
        up.command_line(up_options),
        environ=environment.environ,
        cwd=environment.cwd,
        host=environment.host,
        say=context.say,
    )
    context.show(background.started_view(process))
    _say_who_can_read_the_page(context)
    return 0


def _run(context: CommandContext, up_options: UpOptions, environment: Environment) -> int:
    from livectl.ops.processes import running_settings
    from livectl.ops.processes.supervisor import OWN_NAME, Supervisor, SupervisorTimings
    from livectl.ops.services import up

    lock_fd = up.acquire_up_lock(context.settings.home)
    server = up.make_embedded_broker(up_options, context.settings, context.say)
    try:
        with _planned(context, up_options, environment, server) as (children, summary):
            running_settings.note_start(
                "up", context.settings, context.cwd, config=context.config, own=context.app is None
            )
            context.show(up.summary_view(summary))
            _say_who_can_read_the_page(context)
            write = _line_writer(context, [OWN_NAME, *(child.name for child in children)])
            return Supervisor(children, write, SupervisorTimings.from_settings(context.settings.up)).run()
    finally:
        running_settings.forget_start("up", context.settings)
        if server:
            server.clean_up()
        os.close(lock_fd)


@contextmanager
def _planned(
    context: CommandContext, up_options: UpOptions, environment: Environment, server: EmbeddedBroker | None
) -> Iterator[tuple[list[ChildSpec], UpSummary]]:
    """The children, and where everything is. Raises what would stop them, in the background as in a terminal."""
    from livectl.ops.services import up
    from livectl.web import auth

    web = context.settings.web
    has_page = not (web.token and web.token.problem)  # without its token it would be open to all
    if has_page:
        auth.check_exposure(web.host, web.token.reveal() if web.token else None)
    settings = context.settings
    with (up.open_page_listener(up_options, settings) if has_page else None) or nullcontext() as page:
        children = up.build_child_specs(up_options, environment, settings, server, context.say, page=page)
        yield children, up.build_summary(up_options, environment, settings, server, page=page, pid=os.getpid())


def _line_writer(context: CommandContext, names: list[str]) -> Callable[[str, str], None]:
    """Writes the children's lines to stderr. When its reader is gone, the supervisor is stopped in order."""
    from livectl.ops.processes.output import LineWriter

    if context.quiet:
        return lambda name, line: None
    colour = context.err.isatty() and "NO_COLOR" not in context.environ
    return LineWriter(context.err, names, colour=colour, on_closed=lambda: signal.raise_signal(signal.SIGTERM)).write
