"""Plays Kick, which writes the year 1 for "never". The alias is the slug."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from tests.support.sites.responses import ON_AIR, TOKEN, answered_scenes, iso_time, json_response, live_page
from tests.support.sites.twitch import picture, token

if TYPE_CHECKING:
    from tests.support.sites.plan import Plan, Scene, SiteRequest, SiteResponse


def api(plan: Plan, request: SiteRequest) -> SiteResponse:
    if request.headers.get("authorization") != f"Bearer {TOKEN}":
        return json_response({"message": "Unauthorized", "data": {}}, 401)
    if request.path == "/public/v1/users/livestreams":
        return _list(plan, request.get_all("user_id"))
    if request.path == "/public/v2/livestreams":
        shown, cursor = live_page(plan, "kick", request.get("cursor"), int(request.get("limit") or 25))
        rows = [_broadcast(*each) for each in shown]
        return json_response({"data": rows, "message": "OK", "pagination": {"next_cursor": cursor}})
    if request.path == "/public/v1/users":
        return json_response(
            {"data": [{"user_id": int(each), "profile_picture": picture(each)} for each in request.get_all("id")]}
        )
    slugs = [plan.find_alias("kick", slug) or "" for slug in request.get_all("slug")]
    scenes = answered_scenes(plan, "kick", [*request.get_all("broadcaster_user_id"), *slugs])
    if scenes is None:
        return json_response({"message": "Invalid request", "data": {}}, 400)
    channels = [_row(streamer_id, scene) for streamer_id, scene in scenes if scene.kind != "not_found"]
    return json_response({"data": channels, "message": "OK"})


def _list(plan: Plan, ids: list[str]) -> SiteResponse:
    """The broadcasts of those who are live. `skipped` are missing from it."""
    if len(ids) > 100:
        return json_response({"message": "Invalid request", "data": []}, 400)
    scenes = answered_scenes(plan, "kick", ids)
    if scenes is None:
        return json_response({"message": "Internal error", "data": []}, 500)
    return json_response({"data": [_broadcast(*each) for each in scenes if each[1].kind in ON_AIR], "message": "OK"})


def _broadcast(streamer_id: str, scene: Scene) -> dict[str, Any]:
    return {
        "broadcaster_user": {"id": int(streamer_id), "username": scene.alias},
        "channel": {"slug": scene.alias or f"name{streamer_id}"},
        "title": scene.title,
        "category": {"id": 15, "name": "Just Chatting"},
        "viewer_count": scene.viewers,
        "started_at": iso_time(scene.started),
        "thumbnail": "https://static.example/kick.jpg",
    }


def _row(streamer_id: str, scene: Scene) -> dict[str, Any]:
    live = scene.kind in ON_AIR
    stream = {
        "is_live": live,
        "start_time": iso_time(scene.started) if live else "0001-01-01T00:00:00Z",
        "viewer_count": scene.viewers if live else 0,
        "thumbnail": "https://static.example/kick.jpg",
        "language": "en",
        "is_mature": False,
    }
    return {
        "broadcaster_user_id": int(streamer_id),
        "slug": scene.alias or f"name{streamer_id}",
        "stream_title": scene.title,
        "category": {"id": 15, "name": "Just Chatting"},
        "stream": stream,
    }


HOSTS = {"id.kick.com": token, "api.kick.com": api}
