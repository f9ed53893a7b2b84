"""Plays Douyu, one room at a time. The alias is the name in the address."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tests.support.sites.responses import ON_AIR, html_page, json_response

if TYPE_CHECKING:
    from tests.support.sites.plan import Plan, SiteRequest, SiteResponse


def site(plan: Plan, request: SiteRequest) -> SiteResponse:
    streamer_id = request.path.rsplit("/", 1)[-1]
    if request.host == "m.douyu.com":
        rid = plan.find_alias("douyu", streamer_id)
        return html_page(f'<script>{{"roomInfo":{{"rid":{rid}}}}}</script>') if rid else html_page("房间不存在", 404)
    scene = plan.scene("douyu", streamer_id)
    if scene.kind in {"not_found", "banned"}:
        return html_page("您观看的房间已被关闭" if scene.kind == "banned" else "该房间目前没有开放")
    shown = scene.kind in {*ON_AIR, "replay"}
    room = {
        "room_id": int(streamer_id),
        "show_status": 1 if shown else 2,
        "videoLoop": int(scene.kind == "replay"),
        "show_time": str(scene.started),
        "room_name": f"{scene.title}&nbsp;",
        "nickname": "某某",
        "second_lvl_name": "英雄联盟",
        "room_pic": "https://static.example/room.jpg",
        "room_biz_all": {"hot": str(scene.viewers)},
    }
    return json_response({"room": room, "column": {}})


HOSTS = {"www.douyu.com": site, "m.douyu.com": site}
