"""Plays YouTube: a feed, a page, the Data API. A video is named by its channel and start. The alias is the handle."""

from __future__ import annotations

import json
from base64 import urlsafe_b64encode
from hashlib import sha1
from typing import Any

from tests.support.sites.plan import Plan, Scene, SiteRequest, SiteResponse
from tests.support.sites.responses import ON_AIR, html_page, iso_time, json_response
from tests.support.sites.twitch import picture


def site(plan: Plan, request: SiteRequest) -> SiteResponse:
    if request.path == "/feeds/videos.xml":
        channel = request.get("channel_id")
        scene = plan.scene("youtube", channel)
        videos = [video(channel, scene)] if scene.kind in {*ON_AIR, "upcoming", "replay"} else []
        entries = "".join(f"<entry><yt:videoId>{each}</yt:videoId></entry>" for each in [*videos, "plainvideo1"])
        return SiteResponse(f'<?xml version="1.0"?><feed xmlns:yt="x">{entries}</feed>'.encode())
    parts = request.path.strip("/").split("/")
    if parts[0].startswith("@"):
        streamer_id = plan.find_alias("youtube", parts[0])
        if parts[1:] == ["live"] and streamer_id:
            return live_page(streamer_id, plan.scene("youtube", streamer_id))
        return html_page(f'<script>{{"externalId":"{streamer_id}"}}</script>') if streamer_id else html_page("404", 404)
    return live_page(parts[1], plan.scene("youtube", parts[1]))


def video(streamer_id: str, scene: Scene) -> str:
    """The id of the video that a channel broadcasts, different for channels that began in the same second."""
    return urlsafe_b64encode(sha1(f"{streamer_id}{scene.started}".encode()).digest()).decode()[:11]


def live_page(streamer_id: str, scene: Scene) -> SiteResponse:
    if scene.kind == "not_found":
        return html_page("This page isn't available", 404)
    if scene.kind == "offline":
        link = f'<link rel="canonical" href="https://www.youtube.com/channel/{streamer_id}">'
        return html_page(f"<head>{link}</head><script>var ytInitialData = {{}};</script>")
    upcoming = scene.kind == "upcoming"
    player = {
        "playabilityStatus": {"status": "LIVE_STREAM_OFFLINE" if upcoming else "OK"},
        "videoDetails": {
            "videoId": video(streamer_id, scene),
            "title": scene.title,
            "channelId": streamer_id,
            "author": "Somebody",
            "isLive": not upcoming,
            "isUpcoming": upcoming,
        },
        "microformat": {
            "playerMicroformatRenderer": {
                "liveBroadcastDetails": {"isLiveNow": not upcoming, "startTimestamp": iso_time(scene.started)},
                "category": "Gaming",
            }
        },
    }
    if scene.kind == "restricted":
        player["playabilityStatus"] = {"status": "LOGIN_REQUIRED", "reason": "Sign in to confirm your age"}
    script = f"var ytInitialPlayerResponse = {json.dumps(player, separators=(',', ':'))};"
    link = f'<link rel="canonical" href="https://www.youtube.com/watch?v={video(streamer_id, scene)}">'
    data = f"var ytInitialData = {initial_data(streamer_id, scene)};"
    return html_page(f"<head>{link}</head><script>{script}</script><script>{data}</script>")


def initial_data(streamer_id: str, scene: Scene) -> str:
    """What stands behind the player's own script: the view count, before the other videos."""
    count = {"viewCount": {"runs": [{"text": f"{scene.viewers:,}"}, {"text": " watching now"}]}, "isLive": True}
    primary = {"viewCount": {"videoViewCountRenderer": count}} if scene.kind in ON_AIR else {}
    owner = {"thumbnail": {"thumbnails": [{"url": picture(streamer_id)}]}}
    second = {"owner": {"videoOwnerRenderer": owner}}
    parts = [{"videoPrimaryInfoRenderer": primary}, {"videoSecondaryInfoRenderer": second}, {"videoId": "sidebar0001"}]
    return json.dumps({"contents": parts})


def api(plan: Plan, request: SiteRequest) -> SiteResponse:
    if request.path.endswith("/channels") and request.get("part") == "snippet":
        pictures = [
            {"id": each, "snippet": {"thumbnails": {"default": {"url": picture(each)}}}}
            for each in request.get("id").split(",")
        ]
        return json_response({"items": pictures})
    if request.path.endswith("/channels"):
        streamer_id = plan.find_alias("youtube", request.get("forHandle"))
        return json_response({"items": [{"id": streamer_id}] if streamer_id else []})
    if request.path.endswith("/playlistItems"):
        channel = f"UC{request.get('playlistId')[4:]}"
        video_id = video(channel, plan.scene("youtube", channel))
        return json_response({"items": [{"contentDetails": {"videoId": video_id}}]})
    wanted = request.get("id").split(",")
    with plan.lock:
        shown = [(streamer_id, scene) for (site, streamer_id), scene in plan.scenes.items() if site == "youtube"]
    items = [_item(streamer_id, scene) for streamer_id, scene in shown if video(streamer_id, scene) in wanted]
    plain = {"id": "plainvideo1", "snippet": {"title": "A video", "liveBroadcastContent": "none"}}
    return json_response({"items": [*items, *([plain] if "plainvideo1" in wanted else [])]})


def _item(streamer_id: str, scene: Scene) -> dict[str, Any]:
    content = {"upcoming": "upcoming", "offline": "none"}.get(scene.kind, "live")
    details = {"scheduledStartTime": iso_time(scene.started)}
    if content == "live":
        details |= {"actualStartTime": iso_time(scene.started), "concurrentViewers": str(scene.viewers)}
    return {
        "id": video(streamer_id, scene),
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
