"""Plays TikTok, whose "no such user" means nothing. Aliases are not used."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tests.support.sites.responses import ON_AIR, json_response, redirect

if TYPE_CHECKING:
    from tests.support.sites.plan import Plan, SiteRequest, SiteResponse


def site(plan: Plan, request: SiteRequest) -> SiteResponse:
    if request.host != "www.tiktok.com":
        return redirect(f"https://www.tiktok.com/@{request.path.strip('/')}/live")
    scene = plan.scene("tiktok", request.get("uniqueId"))
    if scene.kind in {"not_found", "unknown"}:
        return json_response({"statusCode": 19881007, "message": "user_not_found", "data": {}})
    on_air = scene.kind in ON_AIR
    user = {"roomId": str(scene.started), "nickname": "Somebody", "status": 2 if on_air else 4}
    room = {
        "status": 2 if on_air else 4,
        "title": scene.title,
        "coverUrl": "https://static.example/tiktok.jpg",
        "startTime": scene.started,
        "liveRoomStats": {"userCount": scene.viewers},
    }
    return json_response({"statusCode": 0, "message": "", "data": {"user": user, "liveRoom": room}})


HOSTS = {"www.tiktok.com": site, "vm.tiktok.com": site, "vt.tiktok.com": site}
