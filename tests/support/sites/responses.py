"""Builds the responses of fake platforms: JSON, pages, redirects. Bodies are written for these tests, not captured."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta, timezone
from typing import Any

from tests.support.sites.plan import Plan, Scene, SiteResponse

EAST_8, EAST_9 = timezone(timedelta(hours=8)), timezone(timedelta(hours=9))
TOKEN = "fake-token"  # from both token endpoints
ON_AIR = {"live", "skipped", "restricted"}


def json_response(value: Any, status: int = 200, **headers: str) -> SiteResponse:
    body = json.dumps(value, ensure_ascii=False).encode()
    named = {name.replace("_", "-"): text for name, text in headers.items()}
    return SiteResponse(body, status, {"Content-Type": "application/json", **named})


def html_page(text: str, status: int = 200) -> SiteResponse:
    return SiteResponse(f"<!DOCTYPE html><html>{text}</html>".encode(), status, {"Content-Type": "text/html"})


def redirect(url: str) -> SiteResponse:
    return SiteResponse(b"", 302, {"Location": url})


def iso_time(started: int) -> str:
    return datetime.fromtimestamp(started, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def local_time(started: int, zone: timezone) -> str:
    return datetime.fromtimestamp(started, zone).strftime("%Y-%m-%d %H:%M:%S")


def live_page(plan: Plan, platform: str, cursor: str, size: int) -> tuple[list[tuple[str, Scene]], str]:
    """A page of everybody who is live, and the cursor of the next."""
    with plan.lock:
        scenes = [(name, scene) for (site, name), scene in plan.scenes.items() if site == platform]
    live, start = [(name, scene) for name, scene in scenes if scene.kind in ON_AIR], int(cursor or 0)
    return live[start : start + size], str(start + size) if start + size < len(live) else ""


def answered_scenes(plan: Plan, platform: str, ids: list[str]) -> list[tuple[str, Scene]] | None:
    """The scenes in an answer about `ids`; None when one of them spoils it."""
    scenes = [(streamer_id, plan.scene(platform, streamer_id)) for streamer_id in ids]
    if any(scene.kind == "poison" for _, scene in scenes):
        return None
    return [(streamer_id, scene) for streamer_id, scene in scenes if scene.kind != "skipped" or len(ids) == 1]
