"""YouTube, played: a feed, a page, the Data API; a video is named by its channel and start. `alias` is the handle."""

from __future__ import annotations

import json
from base64 import urlsafe_b64encode
from hashlib import sha1
from typing import Any

from tests.support.sites.answers import ON_AIR, iso, page, said
from tests.support.sites.plan import Answer, Asked, Plan, Scene


def site(plan: Plan, asked: Asked) -> Answer:
    if asked.path == "/feeds/videos.xml":
        channel = asked.get("channel_id")
        scene = plan.of("youtube", channel)
        videos = [video(channel, scene)] if scene.kind in {*ON_AIR, "upcoming", "replay"} else []
        entries = "".join(f"<entry><yt:videoId>{one}</yt:videoId></entry>" for one in [*videos, "plainvideo1"])
        return Answer(f'<?xml version="1.0"?><feed xmlns:yt="x">{entries}</feed>'.encode())
    parts = asked.path.strip("/").split("/")
    if parts[0].startswith("@"):
        one = plan.named("youtube", parts[0])
        return page(f'<script>{{"externalId":"{one}"}}</script>') if one else page("404", 404)
    return live_page(parts[1], plan.of("youtube", parts[1]))


def video(one: str, scene: Scene) -> str:
    """The id of the video that a channel broadcasts: its own, whoever else began in the same second."""
    return urlsafe_b64encode(sha1(f"{one}{scene.started}".encode()).digest()).decode()[:11]


def live_page(one: str, scene: Scene) -> Answer:
    if scene.kind == "not_found":
        return page("This page isn't available", 404)
    if scene.kind == "offline":
        link = f'<link rel="canonical" href="https://www.youtube.com/channel/{one}">'
        return page(f"<head>{link}</head><script>var ytInitialData = {{}};</script>")
    upcoming = scene.kind == "upcoming"
    player = {
        "playabilityStatus": {"status": "LIVE_STREAM_OFFLINE" if upcoming else "OK"},
        "videoDetails": {
            "videoId": video(one, scene),
            "title": scene.title,
            "channelId": one,
            "author": "Somebody",
            "isLive": not upcoming,
            "isUpcoming": upcoming,
        },
        "microformat": {
            "playerMicroformatRenderer": {
                "liveBroadcastDetails": {"isLiveNow": not upcoming, "startTimestamp": iso(scene.started)}
            }
        },
    }
    if scene.kind == "restricted":
        player["playabilityStatus"] = {"status": "LOGIN_REQUIRED", "reason": "Sign in to confirm your age"}
    script = f"var ytInitialPlayerResponse = {json.dumps(player, separators=(',', ':'))};"
    link = f'<link rel="canonical" href="https://www.youtube.com/watch?v={video(one, scene)}">'
    return page(f"<head>{link}</head><script>{script}</script><script>var ytInitialData = {{}};</script>")


def api(plan: Plan, asked: Asked) -> Answer:
    if asked.path.endswith("/channels"):
        one = plan.named("youtube", asked.get("forHandle"))
        return said({"items": [{"id": one}] if one else []})
    if asked.path.endswith("/playlistItems"):
        channel = f"UC{asked.get('playlistId')[4:]}"
        return said({"items": [{"contentDetails": {"videoId": video(channel, plan.of("youtube", channel))}}]})
    wanted = asked.get("id").split(",")
    with plan.lock:
        shown = [(one, scene) for (site, one), scene in plan.scenes.items() if site == "youtube"]
    items = [_item(one, scene) for one, scene in shown if video(one, scene) in wanted]
    plain = {"id": "plainvideo1", "snippet": {"title": "A video", "liveBroadcastContent": "none"}}
    return said({"items": [*items, *([plain] if "plainvideo1" in wanted else [])]})


def _item(one: str, scene: Scene) -> dict[str, Any]:
    content = {"upcoming": "upcoming", "offline": "none"}.get(scene.kind, "live")
    details = {"scheduledStartTime": iso(scene.started)}
    if content == "live":
        details |= {"actualStartTime": iso(scene.started), "concurrentViewers": str(scene.viewers)}
    return {
        "id": video(one, scene),
        "snippet": {
            "title": scene.title,
            "channelTitle": "Somebody",
            "categoryId": "20",
            "liveBroadcastContent": content,
            "thumbnails": {"high": {"url": "https://static.example/high.jpg"}},
        },
        "liveStreamingDetails": details,
        "contentDetails": {"duration": "PT1H" if scene.kind == "replay" else "P0D"},
    }


HOSTS = {"www.youtube.com": site, "www.googleapis.com": api}
