"""TikTok, played: "no such user" means nothing. `alias` is not used."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tests.support.sites.answers import ON_AIR, moved, said

if TYPE_CHECKING:
    from tests.support.sites.plan import Answer, Asked, Plan


def site(plan: Plan, asked: Asked) -> Answer:
    if asked.host != "www.tiktok.com":
        return moved(f"https://www.tiktok.com/@{asked.path.strip('/')}/live")
    scene = plan.of("tiktok", asked.get("uniqueId"))
    if scene.kind in {"not_found", "unknown"}:
        return said({"statusCode": 19881007, "message": "user_not_found", "data": {}})
    on_air = scene.kind in ON_AIR
    user = {"roomId": str(scene.started), "nickname": "Somebody", "status": 2 if on_air else 4}
    room = {
        "status": 2 if on_air else 4,
        "title": scene.title,
        "coverUrl": "https://static.example/tiktok.jpg",
        "startTime": scene.started,
        "liveRoomStats": {"userCount": scene.viewers},
    }
    return said({"statusCode": 0, "message": "", "data": {"user": user, "liveRoom": room}})


HOSTS = {"www.tiktok.com": site, "vm.tiktok.com": site, "vt.tiktok.com": site}
