"""Plays Twitch: Helix leaves out who is not live; GraphQL answers one by one, in order. The alias is the login."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from tests.support.sites.responses import ON_AIR, TOKEN, answered_scenes, iso_time, json_response, live_page

if TYPE_CHECKING:
    from tests.support.sites.plan import Plan, Scene, SiteRequest, SiteResponse


def token(plan: Plan, request: SiteRequest) -> SiteResponse:
    return json_response({"access_token": TOKEN, "expires_in": 5_000_000, "token_type": "bearer"})


def helix(plan: Plan, request: SiteRequest) -> SiteResponse:
    if request.headers.get("authorization") != f"Bearer {TOKEN}":
        return json_response({"error": "Unauthorized", "status": 401, "message": "Invalid OAuth token"}, 401)
    if request.path == "/helix/users":
        ids = [*request.get_all("id"), *(plan.find_alias("twitch", login) for login in request.get_all("login"))]
        known = [user_id for user_id in ids if user_id and plan.scene("twitch", user_id).kind != "not_found"]
        users = [
            {"id": user_id, "login": _login(plan, user_id), "profile_image_url": picture(user_id)} for user_id in known
        ]
        return json_response({"data": users})
    logins = [plan.find_alias("twitch", login) or "" for login in request.get_all("user_login")]
    asked = [*request.get_all("user_id"), *logins]
    if not asked:
        shown, cursor = live_page(plan, "twitch", request.get("after"), int(request.get("first") or 20))
        return json_response({"data": [_stream(plan, *each) for each in shown], "pagination": {"cursor": cursor}})
    scenes = answered_scenes(plan, "twitch", asked)
    if scenes is None:
        return json_response({"error": "Internal Server Error", "status": 500}, 500)
    live = [(streamer_id, scene) for streamer_id, scene in scenes if scene.kind in {*ON_AIR, "replay"}]
    first = int(request.get("first") or 20)
    streams = [_stream(plan, streamer_id, scene) for streamer_id, scene in live[:first]]
    return json_response({"data": streams, "pagination": {}})


def _login(plan: Plan, streamer_id: str) -> str:
    return plan.scene("twitch", streamer_id).alias or f"name{streamer_id}"


def _stream(plan: Plan, streamer_id: str, scene: Scene) -> dict[str, Any]:
    return {
        "id": str(scene.started),
        "user_id": streamer_id,
        "user_login": _login(plan, streamer_id),
        "user_name": _login(plan, streamer_id).title(),
        "game_id": "509658",
        "game_name": "Just Chatting",
        "type": "rerun" if scene.kind == "replay" else "live",
        "title": scene.title,
        "viewer_count": scene.viewers,
        "started_at": iso_time(scene.started),
        "thumbnail_url": "https://static.example/preview-{width}x{height}.jpg",
    }


def picture(streamer_id: str) -> str:
    return f"https://static.example/faces/{streamer_id}.png"


def gql(plan: Plan, request: SiteRequest) -> SiteResponse:
    operations = json.loads(request.body)
    if not isinstance(operations, list) or len(operations) > 35:
        return json_response({"error": "Bad Request", "status": 400}, 400)
    users = [operation["variables"] for operation in operations]
    ids = [user.get("id") or plan.find_alias("twitch", user["login"]) or "" for user in users]
    return json_response([_user(plan, streamer_id, plan.scene("twitch", streamer_id)) for streamer_id in ids])


def _user(plan: Plan, streamer_id: str, scene: Scene) -> dict[str, Any]:
    if scene.kind == "not_found":
        return {"data": {"user": None}}
    stream = {
        "id": str(scene.started),
        "type": "rerun" if scene.kind == "replay" else "live",
        "title": scene.title,
        "viewersCount": scene.viewers,
        "createdAt": iso_time(scene.started),
        "previewImageURL": "https://static.example/preview.jpg",
        "game": {"name": "Just Chatting"},
    }
    on_air = scene.kind in {*ON_AIR, "replay"}
    user = {
        "id": streamer_id,
        "login": _login(plan, streamer_id),
        "displayName": streamer_id,
        "profileImageURL": picture(streamer_id),
        "stream": stream if on_air else None,
    }
    return {"data": {"user": user}}


HOSTS = {"id.twitch.tv": token, "api.twitch.tv": helix, "gql.twitch.tv": gql}
