"""Twitch, played: Helix leaves out who is not live; GraphQL answers one by one, in order. `alias` is the login."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from tests.support.sites.answers import ON_AIR, TOKEN, iso, rows, said

if TYPE_CHECKING:
    from tests.support.sites.plan import Answer, Asked, Plan, Scene


def token(plan: Plan, asked: Asked) -> Answer:
    return said({"access_token": TOKEN, "expires_in": 5_000_000, "token_type": "bearer"})


def helix(plan: Plan, asked: Asked) -> Answer:
    if asked.headers.get("authorization") != f"Bearer {TOKEN}":
        return said({"error": "Unauthorized", "status": 401, "message": "Invalid OAuth token"}, 401)
    if asked.path == "/helix/users":
        named = [plan.named("twitch", login) for login in asked.all("login")]
        found = [one for one in (*asked.all("id"), *named) if one and plan.of("twitch", one).kind != "not_found"]
        return said({"data": [{"id": one, "login": _login(plan, one), "display_name": one} for one in found]})
    logins = [plan.named("twitch", login) or "" for login in asked.all("user_login")]
    told = rows(plan, "twitch", [*asked.all("user_id"), *logins])
    if told is None:
        return said({"error": "Internal Server Error", "status": 500}, 500)
    live = [(one, scene) for one, scene in told if scene.kind in {*ON_AIR, "replay"}]
    first = int(asked.get("first") or 20)
    return said({"data": [_stream(plan, one, scene) for one, scene in live[:first]], "pagination": {}})


def _login(plan: Plan, one: str) -> str:
    return plan.of("twitch", one).alias or f"name{one}"


def _stream(plan: Plan, one: str, scene: Scene) -> dict[str, Any]:
    return {
        "id": str(scene.started),
        "user_id": one,
        "user_login": _login(plan, one),
        "user_name": _login(plan, one).title(),
        "game_id": "509658",
        "game_name": "Just Chatting",
        "type": "rerun" if scene.kind == "replay" else "live",
        "title": scene.title,
        "viewer_count": scene.viewers,
        "started_at": iso(scene.started),
        "thumbnail_url": "https://static.example/preview-{width}x{height}.jpg",
    }


def gql(plan: Plan, asked: Asked) -> Answer:
    operations = json.loads(asked.body)
    if not isinstance(operations, list) or len(operations) > 35:
        return said({"error": "Bad Request", "status": 400}, 400)
    asked_for = [operation["variables"] for operation in operations]
    ids = [one.get("id") or plan.named("twitch", one["login"]) or "" for one in asked_for]
    return said([_user(plan, one, plan.of("twitch", one)) for one in ids])


def _user(plan: Plan, one: str, scene: Scene) -> dict[str, Any]:
    if scene.kind == "not_found":
        return {"data": {"user": None}}
    stream = {
        "id": str(scene.started),
        "type": "rerun" if scene.kind == "replay" else "live",
        "title": scene.title,
        "viewersCount": scene.viewers,
        "createdAt": iso(scene.started),
        "previewImageURL": "https://static.example/preview.jpg",
        "game": {"name": "Just Chatting"},
    }
    on_air = scene.kind in {*ON_AIR, "replay"}
    user = {"id": one, "login": _login(plan, one), "displayName": one, "stream": stream if on_air else None}
    return {"data": {"user": user}}


HOSTS = {"id.twitch.tv": token, "api.twitch.tv": helix, "gql.twitch.tv": gql}
