"""Answers those that run elsewhere and check in: `/ping/TOKEN`, and `/start`, `/success`, `/fail`, `/log` behind it."""

from __future__ import annotations

import hmac
from http import HTTPStatus
from typing import TYPE_CHECKING

from flask import Response, request

from livectl.errors import SecretUnsetError
from livectl.ops.beat import check_ins
from livectl.units import MS_PER_SECOND
from livectl.web import auth

if TYPE_CHECKING:
    from flask import Blueprint

    from livectl.settings import Settings
    from livectl.web.changes import PageTools
    from livectl.web.data import PageData

MAX_READ_BYTES = 10_000  # of what it says


def serve_check_ins(flask_blueprint: Blueprint, page_data: PageData, tools: PageTools) -> None:
    """The token in the address is all that is asked for: whoever calls is a line in somebody's crontab."""
    limit = auth.GuessLimit()

    @flask_blueprint.route("/ping/<token>", methods=["GET", "HEAD", "POST"])
    @flask_blueprint.route("/ping/<token>/<kind>", methods=["GET", "HEAD", "POST"])
    def check_in(token: str, kind: str = "success") -> Response:
        address = request.remote_addr or ""
        if wait_s := limit.wait_s(address):
            answer = _say(f"wrong tokens came from here: again in {wait_s} s", HTTPStatus.TOO_MANY_REQUESTS)
            answer.headers["Retry-After"] = str(wait_s)
            return answer
        name = _find_name(tools.settings(), token)
        if not name:
            limit.note_wrong(address)
            return _say("no check of watch.checks in livectl.yaml has this token", HTTPStatus.NOT_FOUND)
        if kind not in check_ins.KINDS:
            return _say(f"behind the token may stand /{', /'.join(check_ins.KINDS)}", HTTPStatus.NOT_FOUND)
        text = request.get_data(cache=False)[:MAX_READ_BYTES].decode(errors="replace")
        now = int(page_data.clock() * MS_PER_SECOND)
        page_data.source.read(lambda store: check_ins.note(store, name, kind, text, now))
        return _say("OK")


def _say(text: str, status: HTTPStatus = HTTPStatus.OK) -> Response:
    """In plain words, for the log of whatever calls."""
    return Response(f"{text}\n", status, mimetype="text/plain")


def _find_name(settings: Settings, token: str) -> str:
    """Whose token it is; empty for nobody's. All are compared, so that the time says nothing."""
    found = ""
    for name, check in settings.watch.checks.items():
        try:
            own = check.token.reveal() if check.token else ""
        except SecretUnsetError:
            continue
        if own and hmac.compare_digest(own.encode(), token.encode()):
            found = name
    return found
