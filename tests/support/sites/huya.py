"""Plays Huya, one room at a time. The alias is the name in the address."""

from __future__ import annotations

import html
import json
from typing import TYPE_CHECKING

from tests.support.sites.responses import html_page, json_response

if TYPE_CHECKING:
    from tests.support.sites.plan import Plan, SiteRequest, SiteResponse


def site(plan: Plan, request: SiteRequest) -> SiteResponse:
    if request.host == "www.huya.com":
        return _page(plan, request.path.strip("/"))
    scene = plan.scene("huya", request.get("roomid"))
    if scene.kind == "not_found":
        return json_response({"status": 422, "message": "房间不存在", "data": []})
    status = {"offline": "OFF", "replay": "REPLAY"}.get(scene.kind, "ON")
    live = {
        "introduction": scene.title,
        "gameFullName": "王者荣耀",
        "startTime": scene.started,
        "liveId": 7_400_000_000_000_000_001,
        "userCount": scene.viewers,
        "screenshot": "https://static.example/huya.jpg",
    }
    data = {"realLiveStatus": "OFF" if status == "OFF" else "ON", "liveStatus": status, "profileInfo": {"nick": "某某"}}
    return json_response({"status": 200, "message": "", "data": data | {"liveData": live if status != "OFF" else []}})


def _page(plan: Plan, name: str) -> SiteResponse:
    """The page of an alias. Its scripts carry entities."""
    rid = plan.find_alias("huya", name)
    if not rid:
        return html_page("找不到这个主播")
    scene = plan.scene("huya", rid)
    room = {
        "state": {"offline": "OFF", "replay": "REPLAY"}.get(scene.kind, "ON"),
        "profileRoom": int(rid),
        "introduction": scene.title,
        "startTime": scene.started,
        "totalCount": scene.viewers,
    }
    scripts = f"var TT_ROOM_DATA = {json.dumps(room)};var TT_PROFILE_INFO = {json.dumps({'nick': '某某'})};"
    return html_page(f"<script>{html.escape(scripts)}</script>")


HOSTS = {"mp.huya.com": site, "www.huya.com": site}
