"""Adds, replaces and removes the schedules that live in the store, for programs that ask the page's server."""

from __future__ import annotations

from http import HTTPStatus
from typing import TYPE_CHECKING, Any

from flask import Response, request

from livectl.errors import FileError, LivectlError, SettingsError, UsageError
from livectl.redaction import hide_secrets
from livectl.web import access, api
from livectl.web.error_pages import JSON, respond
from livectl.web.manage_routes import say_outcome, status_of

if TYPE_CHECKING:
    from collections.abc import Mapping

    from flask import Blueprint
    from redis import Redis

    from livectl.models import Schedule
    from livectl.web.changes import Changes


def serve_schedule_changes(flask_blueprint: Blueprint, changes: Changes) -> None:
    """The addresses of the store's entries, for those who may change them."""

    @flask_blueprint.post("/api/schedules")
    def api_add_schedule() -> Response:
        return _answer(changes, "add")

    @flask_blueprint.put("/api/schedules/<path:name>")
    def api_set_schedule(name: str) -> Response:
        return _answer(changes, "set", name)

    @flask_blueprint.delete("/api/schedules/<path:name>")
    def api_remove_schedule(name: str) -> Response:
        return _answer(changes, "remove", name)


def _answer(changes: Changes, change: str, name: str | None = None) -> Response:
    if refused := access.refuse_change():
        return refused
    fields = {} if change == "remove" else request.get_json(silent=True) if request.mimetype == JSON else None
    if not isinstance(fields, dict):
        return respond(HTTPStatus.BAD_REQUEST, "error_fields")
    fields = fields if name is None else {**fields, "name": name}
    try:
        outcome, text = changes.make(change, fields, access.visitor(), "api", say_outcome)
    except LivectlError as error:
        error.message = hide_secrets(error.message)
        status = HTTPStatus.BAD_REQUEST if isinstance(error, FileError) else status_of(error)
        return Response(api.error(error), status, mimetype=JSON)
    return Response(api.change(change, outcome, text), mimetype=JSON)


def put(store: Redis, fields: Mapping[str, Any], tasks: Mapping[str, Any], *, replaces: bool) -> tuple[str, Schedule]:
    """Adds the entry of these fields, or puts it in the place of the one of its name."""
    from livectl.ops.beat import store_entries

    name = _name(fields)
    words = {key: value for key, value in fields.items() if key != "name"}
    if replaces and store_entries.read_words(store, name) is not None:
        store_entries.change(store, name, lambda _: words, tasks)
        return name, store_entries.parse(name, words)
    return name, store_entries.add(store, name, words, tasks)


def remove(store: Redis, fields: Mapping[str, Any]) -> tuple[str, bool]:
    """Removes the entry of this name. Says whether it was there."""
    from livectl.ops.beat import store_entries

    name = _name(fields)
    (was_there,) = store_entries.remove(store, [name])
    if not was_there and name in store_entries.read_file_names(store):
        raise SettingsError(f"{name} is an entry of the schedule file", f"livectl schedules remove {name}")
    return name, was_there


def _name(fields: Mapping[str, Any]) -> str:
    name = fields.get("name")
    if not isinstance(name, str) or not name:
        raise UsageError("name is missing", "Say which: name=…")
    return name
