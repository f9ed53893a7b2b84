"""Answers errors: pages in the page's own look and the visitor's language, JSON for programs."""

from __future__ import annotations

from http import HTTPStatus
from typing import TYPE_CHECKING, Any

from flask import Blueprint, Response, current_app, render_template, request, url_for
from werkzeug.exceptions import HTTPException, MethodNotAllowed, NotFound, default_exceptions

from livectl.errors import LivectlError, UnfinishedError, UsageError
from livectl.redaction import hide_secrets
from livectl.web import api, look

if TYPE_CHECKING:
    from flask.blueprints import BlueprintSetupState

    from livectl.web.i18n import Translations


BLUEPRINT_NAME = "livectl"
JSON, HTML = "application/json", "text/html"
PROGRAM_ENDPOINTS = {"metrics_page", "healthz"}  # like those below /api, they answer errors in JSON
UNKNOWN_ENDPOINTS = {"unknown", "api_unknown"}
CHANGING_METHODS = ("POST", "PUT", "PATCH", "DELETE")
METHODS = ("GET", "HEAD", "OPTIONS", *CHANGING_METHODS)
AWAY_RETRY_SECONDS = 2  # a store that was away may be back at any moment
HTTP_ERRORS = 400  # statuses from here on are errors


def answer_every_error(flask_blueprint: Blueprint, *, whole_app: bool) -> None:
    """Makes each error of the blueprint's addresses its own, those that no view has included.

    Without a prefix, and unless it is the whole app, addresses outside /api belong to the app that it is mounted in.
    """
    flask_blueprint.register_error_handler(LivectlError, store_is_away)
    for status in default_exceptions:  # each by itself, or an app's own page for one would come first
        flask_blueprint.register_error_handler(status, http_error)

    def serve_unknown(setup: BlueprintSetupState) -> None:
        setup.add_url_rule("/api/", "api_unknown", unknown_address, methods=METHODS, strict_slashes=False)
        setup.add_url_rule("/api/<path:_>", "api_unknown", unknown_address, methods=METHODS)
        if whole_app or setup.url_prefix:
            setup.add_url_rule("/", "unknown", unknown_address, methods=CHANGING_METHODS)
            setup.add_url_rule("/<path:_>", "unknown", unknown_address, methods=METHODS)

    flask_blueprint.record(serve_unknown)


def unknown_address(_: str = "") -> Response:
    """Nothing is here, or nothing that answers this method."""
    raise MethodNotAllowed if _known_methods() else NotFound


def _known_methods() -> list[str]:
    """The methods that a view answers at this address."""
    adapter = current_app.create_url_adapter(request)
    return [method for method in METHODS if adapter and _is_known(adapter, method)]


def _is_known(adapter: Any, method: str) -> bool:
    try:
        endpoint, _ = adapter.match(method=method)
    except HTTPException:
        return False
    return endpoint.rpartition(".")[2] not in UNKNOWN_ENDPOINTS


def http_error(error: HTTPException) -> Response | HTTPException:
    """The answer to an error of HTTP. A redirect is none."""
    status = error.code or 0
    if status < HTTP_ERRORS:
        return error
    response = respond(status, key if translations().knows(key := f"error_{status}") else "error_other")
    if isinstance(error, MethodNotAllowed):
        response.allow.update(_known_methods())
    return response


def store_is_away(error: LivectlError) -> Response:
    error.message = hide_secrets(error.message)
    response = _respond(error, HTTPStatus.SERVICE_UNAVAILABLE, "away.html", why=error.message)
    response.headers["Retry-After"] = str(AWAY_RETRY_SECONDS)
    return response


def respond(status: int, key: str, template: str = "error.html", **variables: Any) -> Response:
    """The error whose sentence has this key, and whose next step has it with `_text`."""
    translate = translations()
    message, hint = translate(key, **variables), translate(f"{key}_text", **variables)
    error = _kind_of_error(status)(message, hint)
    return _respond(error, status, template, **variables)


def _kind_of_error(status: int) -> type[LivectlError]:
    """By what the caller does about it: another address or token, another request, later, or nothing."""
    if status == HTTPStatus.TOO_MANY_REQUESTS:
        return UnfinishedError
    return UsageError if status in {400, 405, 411, 413, 415, 421} else LivectlError


def _respond(error: LivectlError, status: int, template: str, **variables: Any) -> Response:
    if _is_for_program():
        return Response(api.error(error), status, mimetype=JSON)
    return Response(render(template, status=status, error=error, **variables), status, mimetype=HTML)


def render(template: str, **variables: Any) -> str:
    """A page that shows nothing of the store, in the visitor's language."""
    translate = translations()
    back = _own_url(".index")
    variables |= {"t": translate, "url_for": _own_url}
    variables |= look.page_variables(request, translate, back)
    return render_template(f"livectl/{template}", **variables)


def _is_for_program() -> bool:
    endpoint = (request.endpoint or "").rpartition(".")[2]
    if not endpoint:  # a method that no view takes, in an app that is the page alone
        return request.path.startswith("/api/")
    return endpoint.startswith("api_") or endpoint in PROGRAM_ENDPOINTS


def _own_url(endpoint: str, **values: Any) -> str:
    """As url_for, also where no view answers and so no blueprint is known: in an app that is the page alone."""
    return url_for(f"{request.blueprint or BLUEPRINT_NAME}{endpoint}", **values)


def translations() -> Translations:
    """The language of this visitor: the one that was chosen on the page, or else what the browser accepts."""
    return look.translations_of(request)
