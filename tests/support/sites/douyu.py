"""Douyu, played: one room at a time. `alias` is the name in the address."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tests.support.sites.answers import ON_AIR, page, said

if TYPE_CHECKING:
    from tests.support.sites.plan import Answer, Asked, Plan


def site(plan: Plan, asked: Asked) -> Answer:
    one = asked.path.rsplit("/", 1)[-1]
    if asked.host == "m.douyu.com":
        rid = plan.named("douyu", one)
        return page(f'<script>{{"roomInfo":{{"rid":{rid}}}}}</script>') if rid else page("房间不存在", 404)
    scene = plan.of("douyu", one)
    if scene.kind in {"not_found", "banned"}:
        return page("您观看的房间已被关闭" if scene.kind == "banned" else "该房间目前没有开放")
    shown = scene.kind in {*ON_AIR, "replay"}
    room = {
        "room_id": int(one),
        "show_status": 1 if shown else 2,
        "videoLoop": int(scene.kind == "replay"),
        "show_time": str(scene.started),
        "room_name": f"{scene.title}&nbsp;",
        "nickname": "某某",
        "second_lvl_name": "英雄联盟",
        "room_pic": "https://static.example/room.jpg",
        "room_biz_all": {"hot": str(scene.viewers)},
    }
    return said({"room": room, "column": {}})


HOSTS = {"www.douyu.com": site, "m.douyu.com": site}
