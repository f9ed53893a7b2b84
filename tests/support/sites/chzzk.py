"""Plays CHZZK. Of a closed channel's answer only CLOSE is true; the rest is stale."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

from tests.support.sites.responses import EAST_9, ON_AIR, json_response, local_time

if TYPE_CHECKING:
    from tests.support.sites.plan import Plan, SiteRequest, SiteResponse


def site(plan: Plan, request: SiteRequest) -> SiteResponse:
    if request.path.endswith("/v1/lives"):
        return live_list(plan)
    streamer_id = request.path.split("/channels/")[1].split("/")[0]
    scene = plan.scene("chzzk", streamer_id)
    if scene.kind == "not_found":
        return json_response({"code": 404, "message": "채널이 없습니다", "content": None}, 404)
    if request.path.startswith("/service/"):
        return json_response(
            {"code": 200, "message": None, "content": {"channelId": streamer_id, "channelName": "누군가"}}
        )
    if scene.kind == "unknown":
        return json_response({"code": 200, "message": None, "content": None})
    content = {
        "status": "OPEN" if scene.kind in ON_AIR else "CLOSE",
        "liveTitle": scene.title,
        "liveCategoryValue": "토크",
        "concurrentUserCount": scene.viewers,
        "openDate": local_time(scene.started, EAST_9),
        "adult": scene.kind == "restricted",
        "livePollingStatusJson": json.dumps({"status": "STARTED", "isPublishing": True}),
    }
    return json_response({"code": 200, "message": None, "content": content})


def live_list(plan: Plan) -> SiteResponse:
    """Everybody who is live, on one page."""
    rows = [
        {
            "channelId": streamer_id,
            "channelName": "누군가",
            "liveTitle": scene.title,
            "concurrentUserCount": scene.viewers,
            "openDate": local_time(scene.started, EAST_9),
        }
        for (platform, streamer_id), scene in plan.scenes.items()
        if platform == "chzzk" and scene.kind in ON_AIR
    ]
    return json_response({"code": 200, "message": None, "content": {"data": rows, "page": {"next": None}}})


HOSTS = dict.fromkeys(("api.chzzk.naver.com", "openapi.chzzk.naver.com"), site)
