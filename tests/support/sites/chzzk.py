"""CHZZK, played: what a closed channel's answer says besides CLOSE is stale."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

from tests.support.sites.answers import EAST_9, ON_AIR, local, said

if TYPE_CHECKING:
    from tests.support.sites.plan import Answer, Asked, Plan


def site(plan: Plan, asked: Asked) -> Answer:
    one = asked.path.split("/channels/")[1].split("/")[0]
    scene = plan.of("chzzk", one)
    if scene.kind == "not_found":
        return said({"code": 404, "message": "채널이 없습니다", "content": None}, 404)
    if asked.path.startswith("/service/"):
        return said({"code": 200, "message": None, "content": {"channelId": one, "channelName": "누군가"}})
    if scene.kind == "unknown":
        return said({"code": 200, "message": None, "content": None})
    content = {
        "status": "OPEN" if scene.kind in ON_AIR else "CLOSE",
        "liveTitle": scene.title,
        "liveCategoryValue": "토크",
        "concurrentUserCount": scene.viewers,
        "openDate": local(scene.started, EAST_9),
        "adult": scene.kind == "restricted",
        "livePollingStatusJson": json.dumps({"status": "STARTED", "isPublishing": True}),
    }
    return said({"code": 200, "message": None, "content": content})


HOSTS = {"api.chzzk.naver.com": site}
