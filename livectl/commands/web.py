"""Serves the page of the streamers."""

from __future__ import annotations

import signal
import socket
from contextlib import suppress
from functools import partial
from typing import TYPE_CHECKING

import click

from livectl.context import CommandContext, pass_command_context
from livectl.errors import ServerAwayError

if TYPE_CHECKING:
    from livectl.settings import Settings


@click.command()
@click.option("--host", metavar="ADDRESS", help="Address to serve at, instead of web.host of the settings.")
@click.option("-p", "--port", type=click.IntRange(0, 65535), help="Port, instead of web.port; 0 takes any free one.")
@click.option("--wait-for-store", is_flag=True, hidden=True, help="Serve whatever the store says: `up` has asked it.")
@click.option("--listener", "descriptor", type=int, hidden=True, help="A socket that listens already: that of `up`.")
@pass_command_context
def command(
    context: CommandContext, /, host: str | None, port: int | None, *, wait_for_store: bool, descriptor: int | None
) -> None:
    """It reads what is in the store, so it shows at once and asks no platform. It serves this machine alone;
    any other address needs web.token in the settings, which visitors enter once, and programs send as a bearer token.
    JSON is at /api/live and beside it, metrics at /metrics, a probe at /healthz.

    \b
    Examples:
      livectl web
      livectl web --port 9000
    """
    if not wait_for_store:
        _check_store(context.settings)
    from livectl.live.alerts import targets
    from livectl.ops.processes import launch, running_settings
    from livectl.render import sentence
    from livectl.web import auth, job_data, push_routes, server
    from livectl.web.changes import PageTools
    from livectl.web.data import StoreReader

    watch = context.watch_settings(targets.check_targets)
    web = watch.started.web
    tokens = auth.read_tokens(web)
    auth.check_exposure(host or web.host, tokens)
    if descriptor is None:
        listener = server.bind(host or web.host, web.port if port is None else port)
    else:
        listener = socket.socket(fileno=descriptor)
    with listener:  # whatever ends this before or while it serves
        app_words = ("-A", context.app) if context.app else ()
        environ = launch.child_environment(context.environ, context.config)
        examine = partial(job_data.examine_beside, context.cwd, environ, app_words)
        tools = PageTools(watch.current, lambda: (context.sending_app, context.load_tasks()), examine)
        app = server.create_app(context.find_deployment, watch.current, tokens, tools)
        job_data.keep_sampling(StoreReader(context.find_deployment))
        push_routes.forget_strangers(StoreReader(context.find_deployment), tokens)
        url = server.page_url(listener)
        context.show(sentence(f"The page is at {url}", {"url": url}))
        if hint := auth.hint_for_local_users(tokens, context.settings.file):
            context.say(hint)
        signal.signal(signal.SIGTERM, signal.default_int_handler)
        running_settings.note_start("page", watch.started, context.cwd, config=context.config)
        try:
            server.serve(app, listener)
        finally:
            running_settings.forget_start("page", watch.started)


def _check_store(settings: Settings) -> None:
    """Raises ServerError when the store of the settings refuses livectl. One that is away may come yet."""
    from livectl import server_check

    store = settings.store or settings.broker
    if store is not None and store.is_redis:
        with suppress(ServerAwayError):
            server_check.check_server(store)
