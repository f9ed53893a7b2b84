"""Every platform, played: host -> who answers there, and what a site in trouble says."""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeAlias

from tests.support.sites import bilibili, chzzk, douyin, douyu, huya, kick, soop, tiktok, twitch, youtube
from tests.support.sites.answers import page, said
from tests.support.sites.plan import OVERSIZE, RETRY_SECONDS, Answer, Asked, Plan, Scene, Trouble

if TYPE_CHECKING:
    from collections.abc import Callable

Site: TypeAlias = "Callable[[Plan, Asked], Answer]"

PLAYED = (twitch, bilibili, youtube, kick, douyu, huya, douyin, chzzk, soop, tiktok)
SITES: dict[str, tuple[str, Site]] = {
    host: (site.__name__.rpartition(".")[2], speak) for site in PLAYED for host, speak in site.HOSTS.items()
}


def session_of(platform: str, one: str, scene: Scene) -> str:
    """The session key that a check should read off this scene."""
    return youtube.video(one, scene) if platform == "youtube" else str(scene.started)


BLOCKS: dict[str, Answer] = {
    "bilibili": said({"code": -412, "message": "request was banned", "ttl": 1}, 412),
    "douyu": page("请完成验证 captcha"),
    "douyin": Answer(),
    "soop": said({"CHANNEL": {"RESULT": 0, "GDPR": True}}),
    "tiktok": said({"statusCode": 4003110, "message": "", "data": {}}),
    "youtube": page("<title>Before you continue to YouTube</title>"),
}


def in_trouble(platform: str, trouble: Trouble, asked: Asked) -> Answer:
    """What a site in trouble says."""
    quota = {"error": {"code": 403, "message": "quota", "errors": [{"reason": "quotaExceeded"}]}}
    answers = {
        "blocked": BLOCKS.get(platform, Answer(b"blocked by security policy", 403)),
        "rate_limited": said({"message": "too many"}, 429, Retry_After=str(RETRY_SECONDS)),
        "auth": said({"message": "unauthorized"}, 401),
        "broken": said({"surprise": [1, 2, 3]}),
        "html": page("maintenance"),
        "empty": Answer(),
        "down": Answer(b"bad gateway", 502),
        "oversized": Answer(b" " * OVERSIZE),
    }
    if asked.host == "www.googleapis.com" and trouble in {"rate_limited", "blocked"}:
        return said(quota if trouble == "rate_limited" else {"error": {"code": 403, "message": "forbidden"}}, 403)
    if trouble == "rate_limited" and platform == "bilibili":
        return said({"code": -799, "message": "请求过于频繁", "data": None})
    if platform == "youtube" and asked.path == "/feeds/videos.xml":
        return Answer(b"", 404)
    return answers[trouble]
