"""The end of what runs in the background."""

from __future__ import annotations

import click

from livectl.invocation import Invocation, pass_invocation


@click.command()
@click.argument("name", required=False)
@click.option("--now", is_flag=True, help="Do not wait for running jobs: they go to other workers.")
@pass_invocation
def command(call: Invocation, /, *, name: str | None, now: bool) -> int:
    """NAME is up, beat, worker or worker-NAME; all of them if left out. Running jobs end first, however long
    they take. Exit 1 when nothing runs.

    \b
    Examples:
      livectl stop
      livectl stop worker-mail --now
    """
    from livectl.ops.processes import announcements, detached

    ended = detached.named(call.settings.home, name)
    for one in ended:
        call.say(f"stopping {one.name} (pid {one.pid}){'' if now else ', its running jobs first'}")
        detached.stop(call.settings.home, one, now=now)
    call.show(announcements.stopped(ended))
    return 0 if ended else 1
