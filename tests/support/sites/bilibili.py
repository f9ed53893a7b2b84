"""Plays Bilibili, by uid. An answer without rows is a list. The alias is the room."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from tests.support.sites.responses import (
    EAST_8,
    ON_AIR,
    answered_scenes,
    html_page,
    json_response,
    local_time,
    redirect,
)

if TYPE_CHECKING:
    from tests.support.sites.plan import Plan, Scene, SiteRequest, SiteResponse


def api(plan: Plan, request: SiteRequest) -> SiteResponse:
    if request.path.endswith("/get_info"):
        uid = plan.find_alias("bilibili", request.get("room_id"))
        room = {"uid": int(uid), "room_id": 5440, "short_id": 6} if uid else {}
        return json_response({"code": 0 if uid else 1, "message": "ok" if uid else "未找到该房间", "data": room})
    if request.path.endswith("/getRoomBaseInfo"):
        return _base_info(plan, request.get_all("uids"), request.get_all("room_ids"))
    scenes = answered_scenes(plan, "bilibili", request.get_all("uids[]"))
    if scenes is None:
        return json_response({"code": 1, "message": "参数错误", "data": []})
    users = {streamer_id: _user(scene) for streamer_id, scene in scenes if scene.kind != "not_found"}
    return json_response({"code": 0, "msg": "success", "message": "success", "data": users or []})


def _base_info(plan: Plan, uids: list[str], rooms: list[str]) -> SiteResponse:
    """The rows by uid, or by the long number of a room: here, the uid and a zero."""
    owners = [uid for number in rooms if (uid := plan.find_alias("bilibili", number))]
    scenes = answered_scenes(plan, "bilibili", [*uids, *owners])
    if scenes is None:
        return json_response({"code": -400, "message": "请求错误", "data": None})
    rows = {uid: _room(uid, scene) for uid, scene in scenes if scene.kind != "not_found"}
    by_rooms = {str(row["room_id"]): row for row in rows.values()} if rooms else {}
    return json_response(
        {"code": 0, "message": "0", "data": {"by_uids": {} if rooms else rows, "by_room_ids": by_rooms}}
    )


def _room(uid: str, scene: Scene) -> dict[str, Any]:
    user = _user(scene)
    shown = user["live_status"] != 0
    return {
        "uid": int(uid),
        "room_id": int(f"{uid}0"),
        "short_id": user["short_id"],
        "live_status": user["live_status"],
        "live_time": local_time(scene.started, EAST_8) if shown else "0000-00-00 00:00:00",
        "title": scene.title,
        "uname": user["uname"],
        "area_name": user["area_v2_name"],
        "online": scene.viewers,
        "cover": user["cover_from_user"],
    }


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
