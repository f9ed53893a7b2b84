"""Plays every platform: which fake answers at each host, and how a site in trouble answers."""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeAlias

from tests.support.sites import bilibili, chzzk, douyin, douyu, huya, kick, soop, tiktok, twitch, youtube
from tests.support.sites.plan import OVERSIZE, RETRY_SECONDS, Plan, Scene, SiteRequest, SiteResponse, Trouble
from tests.support.sites.responses import html_page, json_response

if TYPE_CHECKING:
    from collections.abc import Callable

Site: TypeAlias = "Callable[[Plan, SiteRequest], SiteResponse]"

FAKES = (twitch, bilibili, youtube, kick, douyu, huya, douyin, chzzk, soop, tiktok)
SITES: dict[str, tuple[str, Site]] = {
    host: (site.__name__.rpartition(".")[2], respond) for site in FAKES for host, respond in site.HOSTS.items()
}


def session_of(platform: str, streamer_id: str, scene: Scene) -> str:
    """The session key that a check should read off this scene."""
    return youtube.video(streamer_id, scene) if platform == "youtube" else str(scene.started)


BLOCKS: dict[str, SiteResponse] = {
    "bilibili": json_response({"code": -412, "message": "request was banned", "ttl": 1}, 412),
    "douyu": html_page("请完成验证 captcha"),
    "douyin": SiteResponse(),
    "soop": json_response({"CHANNEL": {"RESULT": 0, "GDPR": True}}),
    "tiktok": json_response({"statusCode": 4003110, "message": "", "data": {}}),
    "youtube": html_page("<title>Before you continue to YouTube</title>"),
}


def in_trouble(platform: str, trouble: Trouble, request: SiteRequest) -> SiteResponse:
    """The response of a site in trouble."""
    quota = {"error": {"code": 403, "message": "quota", "errors": [{"reason": "quotaExceeded"}]}}
    responses = {
        "blocked": BLOCKS.get(platform, SiteResponse(b"blocked by security policy", 403)),
        "rate_limited": json_response({"message": "too many"}, 429, Retry_After=str(RETRY_SECONDS)),
        "auth": json_response({"message": "unauthorized"}, 401),
        "broken": json_response({"surprise": [1, 2, 3]}),
        "html": html_page("maintenance"),
        "empty": SiteResponse(),
        "down": SiteResponse(b"bad gateway", 502),
        "oversized": SiteResponse(b" " * OVERSIZE),
    }
    if request.host == "www.googleapis.com" and trouble in {"rate_limited", "blocked"}:
        forbidden = {"error": {"code": 403, "message": "forbidden"}}
        return json_response(quota if trouble == "rate_limited" else forbidden, 403)
    if trouble == "rate_limited" and platform == "bilibili":
        return json_response({"code": -799, "message": "请求过于频繁", "data": None})
    if platform == "youtube" and request.path == "/feeds/videos.xml":
        return SiteResponse(b"", 404)
    return responses[trouble]
