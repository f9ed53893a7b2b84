"""Plays SOOP: a result code, and a station behind it."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qs

from tests.support.sites.responses import EAST_9, ON_AIR, json_response, local_time

if TYPE_CHECKING:
    from tests.support.sites.plan import Plan, SiteRequest, SiteResponse


def site(plan: Plan, request: SiteRequest) -> SiteResponse:
    now = int(datetime.now(UTC).timestamp())
    if request.host.startswith("live."):
        streamer_id = parse_qs(request.body.decode())["bid"][0]
        scene = plan.scene("soop", streamer_id)
        results = {"live": 1, "skipped": 1, "restricted": -6}
        channel: dict[str, Any] = {"RESULT": results.get(scene.kind, "0")}
        if scene.kind in ON_AIR:
            shown = {"TITLE": scene.title, "BNO": str(scene.started), "BTIME": now - scene.started, "BJNICK": "누군가"}
            channel |= shown
            channel |= {"BJID": streamer_id, "BPWD": "N", "CATEGORY_TAGS": ["토크"]}
        return json_response({"CHANNEL": channel})
    streamer_id = request.path.split("/")[2]
    scene = plan.scene("soop", streamer_id)
    if scene.kind == "not_found":
        return json_response({"code": 9000, "message": "없는 아이디"}, 404)
    broad = {"broad_no": scene.started, "broad_title": scene.title, "current_sum_viewer": scene.viewers}
    station = {"user_nick": "누군가", "broad_start": local_time(scene.started, EAST_9)}
    return json_response({"station": station, "broad": broad if scene.kind in ON_AIR else None})


DOMAINS = ("sooplive.com", "sooplive.co.kr", "afreecatv.com")
HOSTS = {f"{part}.{domain}": site for part in ("live", "chapi") for domain in DOMAINS}
