"""Answers what platforms send by themselves to the page's public address: `/pushed/kick`, `/pushed/youtube/…`."""

from __future__ import annotations

from contextlib import suppress
from functools import cached_property
from http import HTTPStatus
from typing import TYPE_CHECKING, Any, TypeVar

from flask import Response, abort, request

if TYPE_CHECKING:
    from collections.abc import Callable

    from flask import Blueprint

    from livectl.live.push.receiving import PushReceiver
    from livectl.web.changes import PageTools
    from livectl.web.data import PageData

T = TypeVar("T")

TEXT = "text/plain"
DELIVER_EXPIRES_SECONDS = 10.0


def serve_pushed(flask_blueprint: Blueprint, page_data: PageData, tools: PageTools) -> None:
    """Who sends these is known by a signature, and by no token of ours."""
    views = _PushedViews(page_data, tools)

    @flask_blueprint.get("/pushed/probe")
    def pushed_probe() -> Response:
        return views.probe(request.args.get("nonce", ""))

    @flask_blueprint.post("/pushed/kick")
    def pushed_kick() -> Response:
        return views.kick()

    @flask_blueprint.get("/pushed/youtube/<channel>/<key>")
    def hub_question(channel: str, key: str) -> Response:
        return views.hub_question(channel, key)

    @flask_blueprint.post("/pushed/youtube/<channel>/<key>")
    def pushed_youtube(channel: str, key: str) -> Response:
        return views.youtube(channel, key)


class _PushedViews:
    """A platform that `push` does not name is not answered."""

    def __init__(self, page_data: PageData, tools: PageTools) -> None:
        self._page_data = page_data
        self._tools = tools

    def probe(self, nonce: str) -> Response:
        if not self._tools.settings().push:
            abort(HTTPStatus.NOT_FOUND)
        return Response(self._receive(lambda receiver: receiver.answer_probe(nonce)), mimetype=TEXT)

    def kick(self) -> Response:
        self._check_named("kick")
        headers, body, now = dict(request.headers), request.get_data(cache=False), self._page_data.clock()
        status = self._receive(lambda receiver: receiver.receive_kick(headers, body, now))
        return Response("", status, mimetype=TEXT)

    def hub_question(self, channel: str, key: str) -> Response:
        self._check_named("youtube")
        query, now = request.args.to_dict(), self._page_data.clock()
        answer = self._receive(lambda receiver: receiver.answer_hub(channel, key, query, now))
        if answer is None:
            abort(HTTPStatus.NOT_FOUND)
        return Response(answer, mimetype=TEXT)

    def youtube(self, channel: str, key: str) -> Response:
        self._check_named("youtube")
        body, now, signature = request.get_data(cache=False), self._page_data.clock(), "X-Hub-Signature"
        signed = request.headers.get(signature, "")
        status = self._receive(lambda receiver: receiver.receive_youtube(channel, key, signed, body, now))
        return Response("", status, mimetype=TEXT)

    def _check_named(self, platform: str) -> None:
        if platform not in self._tools.settings().push:
            abort(HTTPStatus.NOT_FOUND)

    def _receive(self, read: Callable[[PushReceiver], T]) -> T:
        from livectl.live.polling import LimitsByPlatform
        from livectl.live.push.inbox import Inbox
        from livectl.live.push.push_store import PushStore
        from livectl.live.push.receiving import PushReceiver
        from livectl.live.store import Store

        settings = self._tools.settings()

        def run(client: Any) -> T:
            store, push_store = Store(client), PushStore(client)
            inbox = Inbox(settings, store, push_store, LimitsByPlatform(settings, store), self._deliver)
            return read(PushReceiver(store, push_store, inbox))

        return self._page_data.source.read(run)

    @cached_property
    def _app(self) -> Any:
        return self._tools.load_app()[0]

    def _deliver(self) -> None:
        """Has alerts sent at once. Where that cannot be, the schedule does so in a moment."""
        with suppress(Exception):
            self._app.send_task("livectl.deliver", expires=DELIVER_EXPIRES_SECONDS, retry=False)
