"""Plays Bilibili, by uid. An answer without rows is a list. The alias is the room."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from tests.support.sites.responses import ON_AIR, answered_scenes, html_page, json_response, redirect

if TYPE_CHECKING:
    from tests.support.sites.plan import Plan, Scene, SiteRequest, SiteResponse


def api(plan: Plan, request: SiteRequest) -> SiteResponse:
    if request.path.endswith("/get_info"):
        uid = plan.find_alias("bilibili", request.get("room_id"))
        room = {"uid": int(uid), "room_id": 5440, "short_id": 6} if uid else {}
        return json_response({"code": 0 if uid else 1, "message": "ok" if uid else "未找到该房间", "data": room})
    scenes = answered_scenes(plan, "bilibili", request.get_all("uids[]"))
    if scenes is None:
        return json_response({"code": 1, "message": "参数错误", "data": []})
    users = {streamer_id: _user(scene) for streamer_id, scene in scenes if scene.kind != "not_found"}
    return json_response({"code": 0, "msg": "success", "message": "success", "data": users or []})


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


def short_link(plan: Plan, request: SiteRequest) -> SiteResponse:
    return redirect(f"https://live.bilibili.com/{request.path.strip('/')}?share_source=copy")


def room(plan: Plan, request: SiteRequest) -> SiteResponse:
    return html_page("a room")


HOSTS = {"api.live.bilibili.com": api, "b23.tv": short_link, "live.bilibili.com": room}
