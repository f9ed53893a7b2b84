"""How the fakes say things: JSON, pages, redirects, times. Bodies are written for these tests, not captured."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta, timezone
from typing import Any

from tests.support.sites.plan import Answer, Plan, Scene

EAST_8 = timezone(timedelta(hours=8))
EAST_9 = timezone(timedelta(hours=9))
TOKEN = "fake-token"  # what both token endpoints grant
NO_PAGE = Answer(b"not here", 404)
ON_AIR = {"live", "skipped", "restricted"}


def said(value: Any, status: int = 200, **headers: str) -> Answer:
    body = json.dumps(value, ensure_ascii=False).encode()
    named = {name.replace("_", "-"): text for name, text in headers.items()}
    return Answer(body, status, {"Content-Type": "application/json", **named})


def page(text: str, status: int = 200) -> Answer:
    return Answer(f"<!DOCTYPE html><html>{text}</html>".encode(), status, {"Content-Type": "text/html"})


def moved(to: str) -> Answer:
    return Answer(b"", 302, {"Location": to})


def iso(started: int) -> str:
    return datetime.fromtimestamp(started, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def local(started: int, zone: timezone) -> str:
    return datetime.fromtimestamp(started, zone).strftime("%Y-%m-%d %H:%M:%S")


def rows(plan: Plan, site: str, ids: list[str]) -> list[tuple[str, Scene]] | None:
    """Those an answer about `ids` tells of; None when one of them spoils it."""
    scenes = [(one, plan.of(site, one)) for one in ids]
    if any(scene.kind == "poison" for _, scene in scenes):
        return None
    return [(one, scene) for one, scene in scenes if scene.kind != "skipped" or len(ids) == 1]
