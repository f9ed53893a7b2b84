"""Douyin, played: a visitor's cookie first; an unknown room shows only on its page. `alias` is a room id."""

from __future__ import annotations

import json
from typing import Any

from tests.support.sites.answers import ON_AIR, moved, page, said
from tests.support.sites.plan import Answer, Asked, Plan


def site(plan: Plan, asked: Asked) -> Answer:
    if asked.host == "v.douyin.com":
        return moved(f"https://live.douyin.com{asked.path}")
    if asked.host == "webcast.amemv.com":
        web_rid = plan.named("douyin", asked.get("room_id"))
        owned = {"room": {"owner": {"web_rid": web_rid}}} if web_rid else {}
        return said({"status_code": 0 if web_rid else 10011, "data": owned})
    if asked.path == "/":
        return Answer(b"<html></html>", 200, {"Set-Cookie": "ttwid=1%7Cvisitor; Path=/; Domain=.douyin.com"})
    if "ttwid=" not in asked.headers.get("cookie", ""):
        return Answer()
    one = asked.get("web_rid") or asked.path.strip("/")
    scene = plan.of("douyin", one)
    if not asked.get("web_rid"):
        shell = json.dumps(json.dumps({"state": {"roomStore": {"roomInfo": {"anchor": None}}}}))
        return page(f"<script>self.__pace_f.push([1,{shell}])</script>")
    if scene.kind == "restricted":
        return said({"status_code": 4001038, "data": {"prompts": "你不在主播设置的可见范围内"}})
    if scene.kind == "not_found":
        return said({"status_code": 0, "data": {"data": [], "prompts": ""}})
    room: dict[str, Any] = {
        "id_str": str(scene.started),
        "status": 2 if scene.kind in ON_AIR else 4,
        "title": scene.title,
        "user_count_str": str(scene.viewers),
        "cover": {"url_list": ["https://static.example/douyin.jpg"]},
    }
    data: dict[str, Any] = {
        "data": [room],
        "room_status": 0,
        "user": {"nickname": "某某"},
        "partition_road_map": {"partition": {"title": "聊天"}},
    }
    return said({"status_code": 0, "data": data})


HOSTS = {"live.douyin.com": site, "v.douyin.com": site, "webcast.amemv.com": site}
