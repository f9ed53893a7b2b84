"""Bilibili, played: by uid; an answer without rows is a list. `alias` is the room."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from tests.support.sites.answers import ON_AIR, moved, page, rows, said

if TYPE_CHECKING:
    from tests.support.sites.plan import Answer, Asked, Plan, Scene


def api(plan: Plan, asked: Asked) -> Answer:
    if asked.path.endswith("/get_info"):
        uid = plan.named("bilibili", asked.get("room_id"))
        room = {"uid": int(uid), "room_id": 5440, "short_id": 6} if uid else {}
        return said({"code": 0 if uid else 1, "message": "ok" if uid else "未找到该房间", "data": room})
    told = rows(plan, "bilibili", asked.all("uids[]"))
    if told is None:
        return said({"code": 1, "message": "参数错误", "data": []})
    users = {one: _user(scene) for one, scene in told if scene.kind != "not_found"}
    return said({"code": 0, "msg": "success", "message": "success", "data": users or []})


def _user(scene: Scene) -> dict[str, Any]:
    status = 1 if scene.kind in ON_AIR else 2 if scene.kind == "replay" else 0
    return {
        "title": scene.title,
        "room_id": 5440,
        "short_id": int(scene.alias or 0),
        "live_status": status,
        "live_time": scene.started if status else 0,
        "online": scene.viewers,
        "uname": "某某",
        "face": "https://static.example/face.jpg",
        "area_v2_name": "单机游戏",
        "cover_from_user": "https://static.example/cover.jpg",
        "keyframe": "",
        "lock_till": "2099-01-01 00:00:00" if scene.kind == "banned" else "0000-00-00 00:00:00",
        "hidden_till": "0000-00-00 00:00:00",
    }


def short(plan: Plan, asked: Asked) -> Answer:
    return moved(f"https://live.bilibili.com/{asked.path.strip('/')}?share_source=copy")


def room(plan: Plan, asked: Asked) -> Answer:
    return page("a room")


HOSTS = {"api.live.bilibili.com": api, "b23.tv": short, "live.bilibili.com": room}
