"""Feeds: what is in them, and that nothing in them is more than text."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Literal

import pytest

from livectl.live.history import HeatMap
from livectl.models import Change, StreamerRecord
from livectl.web import feeds, i18n

ENGLISH = i18n.translations_for("en")
MONDAY = datetime(2026, 11, 23, 6, tzinfo=UTC).timestamp()
NASTY = "a,b;c\\d\nBEGIN:VEVENT\r\n<script>\x00\u202e"


@pytest.mark.parametrize(
    ("shares", "spans"),
    [
        ([0.0] * 24, []),
        ([0.5, 0.4, 0.3] + [0.0] * 20 + [1.0], [(0, 1), (23, 23)]),
        ([1.0] * 24, [(0, 23)]),
    ],
)
def test_usual_hours_are_those_of_nearly_every_other_week(shares: list[float], spans: list[tuple[int, int]]) -> None:
    assert feeds.usual_spans(shares) == spans


def test_a_calendar_has_usual_hours_and_what_is_announced() -> None:
    evening = tuple(0.8 if hour in {20, 21} else 0.0 for hour in range(24))
    week = HeatMap(timezone="Asia/Shanghai", weeks=4, shares=((evening,) + ((0.0,) * 24,) * 6))
    record = StreamerRecord(platform="demo", id="a/b", name=NASTY, url="https://x.test/", announced_at=MONDAY + 3600)
    coming = list(feeds.occasions([(record, week)], ENGLISH, MONDAY))
    assert [f"{occasion.begin:%d %H:%M}-{occasion.end:%H:%M}" for occasion in coming] == [
        "23 07:00-08:00",
        "23 12:00-14:00",
        "30 12:00-14:00",
    ]
    text = feeds.write_calendar(coming, "title", MONDAY).decode()
    lines = text.split("\r\n")
    assert (lines[0], lines[-2:], lines.count("BEGIN:VEVENT")) == ("BEGIN:VCALENDAR", ["END:VCALENDAR", ""], 3)
    assert max(len(line.encode()) for line in lines) <= 75
    assert r"a\,b\;c\\d\nBEGIN:VEVENT\n<script>" in text.replace("\r\n ", "")
    assert "\x00" not in text


def test_only_go_lives_are_in_the_feed_and_all_of_it_is_text() -> None:
    kinds: list[tuple[Literal["began", "ended", "retitled"], str]] = [
        ("began", "javascript:alert(1)"),
        ("ended", ""),
        ("retitled", ""),
        ("began", "https://x.test/"),
    ]
    changes = [
        Change(kind=kind, platform="demo", id="ada", session="1", at=MONDAY, name=NASTY, url=url) for kind, url in kinds
    ]
    entries = feeds.feed_entries(changes, ENGLISH)
    assert [entry.url for entry in entries] == ["", "https://x.test/"]
    assert "\x00" not in entries[0].title
    assert len(feeds.feed_entries(changes * 100, ENGLISH)) == 50
