"""Plays Douyin: a visitor's cookie first, and only the page tells an unknown room. The alias is a room id."""

from __future__ import annotations

import json
from typing import Any

from tests.support.sites.plan import Plan, Scene, SiteRequest, SiteResponse
from tests.support.sites.responses import ON_AIR, html_page, json_response, redirect


def site(plan: Plan, request: SiteRequest) -> SiteResponse:
    if request.host == "v.douyin.com":
        return redirect(f"https://live.douyin.com{request.path}")
    if request.host == "webcast.amemv.com":
        web_rid = plan.find_alias("douyin", request.get("room_id"))
        owned = {"room": _room(plan.scene("douyin", web_rid)) | {"owner": {"web_rid": web_rid}}} if web_rid else {}
        return json_response({"status_code": 0 if web_rid else 10011, "data": owned})
    if request.path == "/":
        return SiteResponse(b"<html></html>", 200, {"Set-Cookie": "ttwid=1%7Cvisitor; Path=/; Domain=.douyin.com"})
    if "ttwid=" not in request.headers.get("cookie", ""):
        return SiteResponse()
    streamer_id = request.get("web_rid") or request.path.strip("/")
    scene = plan.scene("douyin", streamer_id)
    if not request.get("web_rid"):
        shell = json.dumps(json.dumps({"state": {"roomStore": {"roomInfo": {"anchor": None}}}}))
        return html_page(f"<script>self.__pace_f.push([1,{shell}])</script>")
    if scene.kind == "restricted":
        return json_response({"status_code": 4001038, "data": {"prompts": "你不在主播设置的可见范围内"}})
    if scene.kind == "not_found":
        return json_response({"status_code": 0, "data": {"data": [], "prompts": ""}})
    data: dict[str, Any] = {
        "data": [_room(scene)],
        "room_status": 0,
        "user": {"nickname": "某某"},
        "partition_road_map": {"partition": {"title": "聊天"}},
    }
    return json_response({"status_code": 0, "data": data})


def _room(scene: Scene) -> dict[str, Any]:
    return {
        "id_str": str(scene.started),
        "status": 2 if scene.kind in ON_AIR else 4,
        "title": scene.title,
        "user_count_str": str(scene.viewers),
        "cover": {"url_list": ["https://static.example/douyin.jpg"]},
    }


HOSTS = {"live.douyin.com": site, "v.douyin.com": site, "webcast.amemv.com": site}
