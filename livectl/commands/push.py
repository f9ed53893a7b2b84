"""Lets platforms tell of go-lives by themselves, until it is stopped."""

from __future__ import annotations

import signal
from contextlib import suppress
from typing import TYPE_CHECKING

import click

from livectl.context import CommandContext, pass_command_context

if TYPE_CHECKING:
    from collections.abc import Callable

DELIVER_EXPIRES_SECONDS = 10.0  # the schedule sends another one every two seconds


@click.command()
@pass_command_context
def command(context: CommandContext) -> int:
    """Those that `push:` in the settings names: Twitch over a connection of our own, Kick and YouTube at the page's
    public address (web.public_url). Whom they tell of is asked less often; when they fall silent, everybody is asked as
    before. Any number of these may run: they share the work, and one that ends leaves its part to the others.
    `livectl up` has one by itself.

    \b
    Examples:
      livectl push
      livectl --config push.yaml push
    """
    from livectl import redis_client
    from livectl.errors import SettingsError
    from livectl.live.alerts import targets
    from livectl.live.push.service import PushService
    from livectl.ops.processes import running_settings
    from livectl.units import format_names

    watch = context.watch_settings(targets.check_targets)
    if not watch.started.push:
        raise SettingsError("push names no platform", "Write push: [twitch] in livectl.yaml.")
    context.prepare_own_store()
    client = redis_client.open_store(context.own_store)
    stopped = _catch_signals()
    context.say(f"{format_names(watch.started.push)} may tell of go-lives now; Ctrl-C ends it")
    running_settings.note_start("push", watch.started, context.cwd, config=context.config)
    try:
        while not stopped():
            settings = watch.current()
            service = PushService(settings, client, lambda: _deliver(context), context.say)
            service.run(lambda settings=settings: stopped() or watch.current() is not settings)  # type: ignore[misc]
    finally:
        running_settings.forget_start("push", watch.started)
    return 0


def _catch_signals() -> Callable[[], bool]:
    """Whether somebody wants it to end."""
    caught: list[int] = []
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda number, _frame: caught.append(number))
    return lambda: bool(caught)


def _deliver(context: CommandContext) -> None:
    """Has alerts sent at once. Where that cannot be, the schedule does so in a moment."""
    with suppress(Exception):
        context.sending_app.send_task("livectl.deliver", expires=DELIVER_EXPIRES_SECONDS, retry=False)
