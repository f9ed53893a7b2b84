"""Kick, played: the year 1 is how it writes never. `alias` is the slug."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from tests.support.sites.answers import ON_AIR, TOKEN, iso, rows, said
from tests.support.sites.twitch import token

if TYPE_CHECKING:
    from tests.support.sites.plan import Answer, Asked, Plan, Scene


def api(plan: Plan, asked: Asked) -> Answer:
    if asked.headers.get("authorization") != f"Bearer {TOKEN}":
        return said({"message": "Unauthorized", "data": {}}, 401)
    slugs = [plan.named("kick", slug) or "" for slug in asked.all("slug")]
    told = rows(plan, "kick", [*asked.all("broadcaster_user_id"), *slugs])
    if told is None:
        return said({"message": "Invalid request", "data": {}}, 400)
    return said({"data": [_row(one, scene) for one, scene in told if scene.kind != "not_found"], "message": "OK"})


def _row(one: str, scene: Scene) -> dict[str, Any]:
    live = scene.kind in ON_AIR
    stream = {
        "is_live": live,
        "start_time": iso(scene.started) if live else "0001-01-01T00:00:00Z",
        "viewer_count": scene.viewers if live else 0,
        "thumbnail": "https://static.example/kick.jpg",
        "language": "en",
        "is_mature": False,
    }
    return {
        "broadcaster_user_id": int(one),
        "slug": scene.alias or f"name{one}",
        "stream_title": scene.title,
        "category": {"id": 15, "name": "Just Chatting"},
        "stream": stream,
    }


HOSTS = {"id.kick.com": token, "api.kick.com": api}
