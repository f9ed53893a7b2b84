"""Answers what changes something: forms of the page, which lead back to it, and programs, which get JSON."""

from __future__ import annotations

from http import HTTPStatus
from typing import TYPE_CHECKING, Any

from flask import Response, redirect, request, url_for

from livectl.errors import LivectlError, ServerError, UnfinishedError
from livectl.ops.jobs.sender import FORCE_HINT
from livectl.redaction import hide_secrets
from livectl.web import access, api, look, said
from livectl.web.error_pages import BLUEPRINT_NAME, JSON, respond, translations
from livectl.web.said import Said

if TYPE_CHECKING:
    from flask import Blueprint
    from werkzeug.wrappers import Response as WerkzeugResponse

    from livectl.web.changes import Changes, Outcome

USAGE_CODE = 2  # of errors about what was asked for, such as an address that is no streamer's


def serve_changes(flask_blueprint: Blueprint, changes: Changes) -> None:
    """What may be changed, for those who may."""
    names = f"any({', '.join(changes.names)})"

    @flask_blueprint.post(f"/change/<{names}:change>")
    def make_change(change: str) -> WerkzeugResponse:
        if refused := access.refuse_change():
            return refused
        try:
            outcome, text = changes.make(change, request.form, access.visitor(), "page", say_outcome)
            told = Said(outcome.outcome, text)
            back = _next_page(change, outcome)
        except LivectlError as error:
            told, back = Said("failed", _error_sentence(error)), _next_page()
        response = redirect(back, HTTPStatus.SEE_OTHER)
        said.leave(response, request, told)
        return response

    @flask_blueprint.post(f"/api/<{names}:change>")
    def api_change(change: str) -> Response:
        if refused := access.refuse_change():
            return refused
        fields = request.get_json(silent=True) if request.mimetype == JSON else request.form
        if not isinstance(fields, dict):
            return respond(HTTPStatus.BAD_REQUEST, "error_fields")
        try:
            outcome, text = changes.make(change, fields, access.visitor(), "api", say_outcome)
        except LivectlError as error:
            error.message = hide_secrets(error.message)
            return Response(api.error(error), status_of(error), mimetype=JSON)
        return Response(api.change(change, outcome, text), mimetype=JSON)


def _next_page(change: str = "", outcome: Outcome | None = None) -> str:
    """Where a form leads: back to its page; after another try, to the new job."""
    if change == "retry" and outcome:
        return url_for(f"{BLUEPRINT_NAME}.job", job_id=outcome.data["id"])
    return look.own_path(request.form.get("back", "")) or url_for(f"{BLUEPRINT_NAME}.index")


def say_outcome(outcome: Outcome) -> str:
    """What came of a change, in the visitor's language."""
    translate = translations()
    words = {name: translate(f"job_{word}") if name == "state" else word for name, word in outcome.words.items()}
    return translate(outcome.key, **words)


def _error_sentence(error: LivectlError) -> str:
    """What went wrong and the next step, in one line."""
    hint = error.hint.replace(FORCE_HINT, "").strip()  # nobody forces anything from here
    sentences: list[Any] = [translations()("said_failed", why=" ".join(error.message.split()).rstrip(".")), hint]
    return hide_secrets(" ".join(filter(None, sentences)))


def status_of(error: LivectlError) -> int:
    """By who can help: whoever asked, whoever mends a file, or time."""
    if isinstance(error, UnfinishedError):
        return HTTPStatus.TOO_MANY_REQUESTS
    if isinstance(error, ServerError):
        return HTTPStatus.SERVICE_UNAVAILABLE
    return HTTPStatus.BAD_REQUEST if error.code == USAGE_CODE else HTTPStatus.CONFLICT
