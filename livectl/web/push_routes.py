"""Lets browsers ask to be told of go-lives while no page is open, and ask no more. Who reads may: it is theirs."""

from __future__ import annotations

import threading
from contextlib import suppress
from http import HTTPStatus
from typing import TYPE_CHECKING, Any

import msgspec
from flask import Response, request

from livectl import extras
from livectl.errors import LivectlError, UsageError
from livectl.live.alerts import push_target
from livectl.live.alerts.outbox import Outbox
from livectl.live.alerts.push_target import KEY_FILE, PushSubscription, Subscribers, VapidKey
from livectl.web import access, api
from livectl.web.error_pages import JSON, respond

if TYPE_CHECKING:
    from collections.abc import Sequence

    from flask import Blueprint

    from livectl.web.auth import AccessToken
    from livectl.web.changes import PageTools
    from livectl.web.data import PageData, StoreReader


class BrowserKeys(msgspec.Struct):
    p256dh: str
    auth: str


class Wish(msgspec.Struct):
    """What a browser sends: its subscription, in its own words, and what its visitor chose."""

    endpoint: str
    keys: BrowserKeys
    says: str = ""
    platform: str = ""
    tag: str = ""


class BrowsersTold(msgspec.Struct, frozen=True):
    """How many browsers are told, and what keeps them from it."""

    count: int = 0
    problem: str = ""


def read_browsers(page_data: PageData) -> BrowsersTold:
    def read(client: Any) -> BrowsersTold:
        count = Subscribers(client).count()
        state = Outbox(client, "").target_states([push_target.NAME])[push_target.NAME] if count else None
        return BrowsersTold(count, state.problem if state and state.troubled_since else "")

    return page_data.source.read(read)


def serve_push(flask_blueprint: Blueprint, page_data: PageData, tools: PageTools) -> None:
    @flask_blueprint.get("/push")
    def push_key() -> Response:
        """Our key, which a browser subscribes with; and why nobody is told now, if that is so."""
        try:
            key = _own_key(tools).public
        except LivectlError as error:
            return _refuse(error, HTTPStatus.NOT_FOUND)
        return _answer({"key": key, "problem": read_browsers(page_data).problem or None})

    @flask_blueprint.post("/push")
    def subscribe() -> Response:
        if refused := _refuse_others():
            return refused
        try:
            wish = msgspec.json.decode(request.get_data(), type=Wish)
            subscription = _subscription(wish, _own_key(tools).public, page_data.clock())
            page_data.source.read(lambda client: Subscribers(client).add(subscription))
        except msgspec.MsgspecError:
            return respond(HTTPStatus.BAD_REQUEST, "error_fields")
        except UsageError as error:
            return _refuse(error, HTTPStatus.BAD_REQUEST)
        return Response(status=HTTPStatus.NO_CONTENT)

    @flask_blueprint.post("/push/forget")
    def forget() -> Response:
        if refused := _refuse_others():
            return refused
        fields = request.get_json(silent=True)
        endpoint = fields.get("endpoint") if isinstance(fields, dict) else None
        if not isinstance(endpoint, str):
            return respond(HTTPStatus.BAD_REQUEST, "error_fields")
        page_data.source.read(lambda client: Subscribers(client).forget([push_target.subscription_id(endpoint)]))
        return Response(status=HTTPStatus.NO_CONTENT)


def forget_strangers(source: StoreReader, tokens: Sequence[AccessToken]) -> None:
    """Forgets, beside whatever else begins, the browsers that came in by a token that is none any more."""
    marks = [access.token_mark(token) for token in tokens] or [""]

    def run() -> None:
        with suppress(LivectlError):  # the store is away: then nobody is told either
            source.read(lambda client: Subscribers(client).forget_strangers(marks))

    threading.Thread(target=run, daemon=True, name="livectl-push").start()


def _refuse_others() -> Response | None:
    """No other site sends JSON without asking first, and we allow none."""
    if request.mimetype == JSON and (access.visitor().by_header or access.is_own_site()):
        return None
    return respond(HTTPStatus.FORBIDDEN, "error_origin")


def _own_key(tools: PageTools) -> VapidKey:
    """UsageError with the command that mends it where the extra is not installed."""
    extras.require("push", push_target.WHY_EXTRA)
    return VapidKey.read_or_make(tools.settings().home / KEY_FILE)


def _subscription(wish: Wish, key: str, now: float) -> PushSubscription:
    return PushSubscription(
        endpoint=wish.endpoint,
        p256dh=wish.keys.p256dh,
        auth=wish.keys.auth,
        key=key,
        says=wish.says[: push_target.MAX_SAYS_CHARS] or "{name}",
        since=now,
        platform=wish.platform[: push_target.MAX_SAYS_CHARS],
        tag=wish.tag[: push_target.MAX_SAYS_CHARS],
        token=access.visitor().mark,
    )


def _answer(document: Any) -> Response:
    response = Response(msgspec.json.encode(document), mimetype=JSON)
    response.headers["Cache-Control"] = "no-store"
    return response


def _refuse(error: LivectlError, status: int) -> Response:
    return Response(api.error(error), status, mimetype=JSON)
