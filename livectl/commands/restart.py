"""A new start of what runs in the background."""

from __future__ import annotations

import socket

import click

from livectl.invocation import Invocation, pass_invocation


@click.command()
@click.argument("name", required=False)
@click.option("--now", is_flag=True, help="Do not wait for running jobs: they go to other workers.")
@pass_invocation
def command(call: Invocation, /, *, name: str | None, now: bool) -> int:
    """NAME is up, beat, worker or worker-NAME; all of them if left out. Each is started as it was, in the same
    folder, with the environment of now. Exit 1 when nothing runs.

    \b
    Examples:
      livectl restart
      livectl restart worker-mail --now
    """
    from livectl.ops.processes import announcements, detached

    home = call.settings.home
    found = detached.named(home, name)
    for one in found:
        call.say(f"stopping {one.name} (pid {one.pid}){'' if now else ', its running jobs first'}")
        detached.stop(home, one, now=now)
    again = [detached.start_again(home, one, call.environ, socket.gethostname(), call.say) for one in reversed(found)]
    call.show(announcements.all_started(again))
    return 0 if found else 1
