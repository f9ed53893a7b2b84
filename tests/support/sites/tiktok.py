"""Plays TikTok, whose "no such user" means nothing. Aliases are not used."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from tests.support.sites.responses import ON_AIR, html_page, json_response, redirect

if TYPE_CHECKING:
    from tests.support.sites.plan import Plan, Scene, SiteRequest, SiteResponse


def site(plan: Plan, request: SiteRequest) -> SiteResponse:
    if request.host == "webcast.tiktok.com":
        return _alive(plan, request.get("room_ids").split(","))
    if request.host != "www.tiktok.com":
        return redirect(f"https://www.tiktok.com/@{request.path.strip('/')}/live")
    name = request.get("uniqueId") or request.path.split("/")[1].removeprefix("@")
    scene = plan.scene("tiktok", name)
    if request.path.startswith("/@"):
        return _page(_data(scene)) if scene.kind not in {"not_found", "unknown"} else html_page("nobody")
    if scene.kind in {"not_found", "unknown"}:
        return json_response({"statusCode": 19881007, "message": "user_not_found", "data": {}})
    return json_response({"statusCode": 0, "message": "", "data": _data(scene)})


def _data(scene: Scene) -> dict[str, Any]:
    on_air = scene.kind in ON_AIR
    user = {"roomId": room_of(scene), "nickname": "Somebody", "status": 2 if on_air else 4}
    room = {
        "status": 2 if on_air else 4,
        "title": scene.title,
        "coverUrl": "https://static.example/tiktok.jpg",
        "startTime": scene.started,
        "liveRoomStats": {"userCount": scene.viewers},
    }
    return {"user": user, "liveRoom": room}


def _page(data: dict[str, Any]) -> SiteResponse:
    state = json.dumps({"LiveRoom": {"liveRoomUserInfo": data}}, separators=(",", ":"))
    return html_page(f'<script id="SIGI_STATE" type="application/json">{state}</script>')


def _alive(plan: Plan, rooms: list[str]) -> SiteResponse:
    """Whether anybody is on air in each room."""
    with plan.lock:
        on_air = {
            room_of(scene) for (site, _), scene in plan.scenes.items() if site == "tiktok" and scene.kind in ON_AIR
        }
    rows = [{"alive": room in on_air, "room_id": int(room), "room_id_str": room} for room in rooms]
    return json_response({"data": rows, "extra": {"now": 1}, "status_code": 0})


def room_of(scene: Scene) -> str:
    return str(scene.started)


HOSTS = {"www.tiktok.com": site, "webcast.tiktok.com": site, "vm.tiktok.com": site, "vt.tiktok.com": site}
