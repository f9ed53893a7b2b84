"""SOOP, played: a result code, and a station behind it."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qs

from tests.support.sites.answers import EAST_9, ON_AIR, local, said

if TYPE_CHECKING:
    from tests.support.sites.plan import Answer, Asked, Plan


def site(plan: Plan, asked: Asked) -> Answer:
    now = int(datetime.now(UTC).timestamp())
    if asked.host == "live.sooplive.com":
        one = parse_qs(asked.body.decode())["bid"][0]
        scene = plan.of("soop", one)
        results = {"live": 1, "skipped": 1, "restricted": -6}
        channel: dict[str, Any] = {"RESULT": results.get(scene.kind, "0")}
        if scene.kind in ON_AIR:
            shown = {"TITLE": scene.title, "BNO": str(scene.started), "BTIME": now - scene.started, "BJNICK": "누군가"}
            channel |= shown
            channel |= {"BJID": one, "BPWD": "N", "CATEGORY_TAGS": ["토크"]}
        return said({"CHANNEL": channel})
    one = asked.path.split("/")[2]
    scene = plan.of("soop", one)
    if scene.kind == "not_found":
        return said({"code": 9000, "message": "없는 아이디"}, 404)
    broad = {"broad_no": scene.started, "broad_title": scene.title, "current_sum_viewer": scene.viewers}
    station = {"user_nick": "누군가", "broad_start": local(scene.started, EAST_9)}
    return said({"station": station, "broad": broad if scene.kind in ON_AIR else None})


HOSTS = {"live.sooplive.com": site, "chapi.sooplive.co.kr": site}
