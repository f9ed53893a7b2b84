"""Everything in one."""

from __future__ import annotations

import os
import signal
import socket
from typing import TYPE_CHECKING, Any

import click

from livectl.invocation import Invocation, pass_invocation

if TYPE_CHECKING:
    from collections.abc import Callable

    from livectl.ops.processes.up import Place, Up

POOLS = ("prefork", "threads", "eventlet", "gevent", "solo")
LEVELS = ("DEBUG", "INFO", "WARNING", "ERROR", "CRITICAL")


@click.command()
@click.option("-P", "--pool", type=click.Choice(POOLS), help="How jobs run; threads, or prefork with -A, if left out.")
@click.option("-c", "--concurrency", type=click.IntRange(min=1), help="Jobs at a time; by the processors if left out.")
@click.option("-Q", "--queues", metavar="A,B", help="Queues to read; the app's own if left out.")
@click.option("-n", "--name", metavar="NAME", help="Node name of the worker; unique if left out.")
@click.option(
    "-l",
    "--loglevel",
    type=click.Choice(LEVELS, case_sensitive=False),
    default="INFO",
    show_default=True,
    help="Of logs.",
)
@click.option("--detach", is_flag=True, help="Run in the background, until `livectl stop`.")
@pass_invocation
def command(call: Invocation, /, *, detach: bool, **said: Any) -> int:
    """A broker if none is set, a worker, and a beat that sends what schedules.yaml says. One that dies, or no
    longer answers, is started again. Ctrl-C ends beat first, then the worker once its running jobs are done
    (15 s at most), then the broker; a second Ctrl-C waits for no job.

    \b
    Examples:
      livectl up
      livectl up -c 50 --detach
      livectl -A proj up -P gevent -Q mail,default
    """
    from livectl.live.alerts import targets
    from livectl.ops.processes import processors
    from livectl.ops.processes import up as plan

    if call.app is None:
        targets.check(call.settings)
    said["pool"] = said["pool"] or plan.default_pool(call.app)
    said["name"] = said["name"] or f"up-{os.getpid()}"
    up = plan.Up(app=call.app, config=call.config, **said)
    place = plan.Place(environ=call.environ, cwd=call.cwd, host=socket.gethostname(), processors=processors.available())
    return _start_detached(call, up, place) if detach else _run(call, up, place)


def _start_detached(call: Invocation, up: Up, place: Place) -> int:
    from livectl.ops.processes import announcements, detached
    from livectl.ops.processes import up as plan

    one = detached.start(
        call.settings.home,
        "up",
        plan.command(up),
        environ=place.environ,
        cwd=place.cwd,
        host=place.host,
        say=call.say,
    )
    call.show(announcements.started(one))
    return 0


def _run(call: Invocation, up: Up, place: Place) -> int:
    from livectl.ops.processes import announcements
    from livectl.ops.processes import up as plan
    from livectl.ops.processes.supervisor import OWN_NAME, Supervisor
    from livectl.web import gate

    web = call.settings.web
    gate.check(web.host, web.token.reveal() if web.token else None)
    held = plan.claim(call.settings.home)
    server = plan.embedded(up, call.settings)
    try:
        page = plan.page_port(up, call.settings)
        children = plan.children(up, place, call.settings, server, call.say, page=page)
        found = plan.whereabouts(up, place, call.settings, server, page=page, pid=os.getpid())
        call.show(announcements.up(found))
        return Supervisor(children, _writer(call, [OWN_NAME, *(child.name for child in children)])).run()
    finally:
        if server:
            server.tidy()
        os.close(held)


def _writer(call: Invocation, names: list[str]) -> Callable[[str, str], None]:
    """Their lines are talk, and not the answer. With nobody left to hear it, all is stopped in order."""
    from livectl.ops.processes.lines import Lines

    if call.quiet:
        return lambda name, line: None
    colour = call.err.isatty() and "NO_COLOR" not in call.environ
    return Lines(call.err, names, colour=colour, gone=lambda: signal.raise_signal(signal.SIGTERM)).write
