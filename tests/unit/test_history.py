"""The heat map of a week, compared with one counted by hand."""

from __future__ import annotations

from datetime import datetime
from zoneinfo import ZoneInfo

import pytest

from livectl.live import history
from livectl.live.history import compute_heat_map
from livectl.models import Session

HOUR, WEEK = 3600.0, 604_800.0
PARIS, KATHMANDU = "Europe/Paris", "Asia/Kathmandu"


def at(text: str, zone: str = "UTC") -> float:
    return datetime.fromisoformat(text).replace(tzinfo=ZoneInfo(zone)).timestamp()


NOW = at("2026-11-23 00:00")  # a Monday


def session(start: str, hours: float, zone: str = "UTC") -> Session:
    begun = at(start, zone)
    return Session(started_at=begun, ended_at=begun + hours * HOUR)


def test_each_hour_of_a_session_counts_for_as_much_as_it_was_live() -> None:
    heat_map = compute_heat_map([session("2026-11-16 20:30", 2)], NOW - WEEK, NOW, "UTC")
    assert heat_map.shares[0][19:24] == (0.0, 0.5, 1.0, 0.5, 0.0)
    assert (heat_map.weeks, heat_map.usual_hours) == (1.0, [(0, 21)])


def test_a_share_is_of_the_weeks_since_somebody_was_first_asked_about() -> None:
    heat_map = compute_heat_map([session("2026-11-16 20:00", 1)], NOW - 4 * WEEK, NOW, "UTC")
    assert heat_map.shares[0][20] == 0.25


def test_what_is_older_than_twelve_weeks_is_left_out() -> None:
    heat_map = compute_heat_map([session("2026-06-01 20:00", 1)], NOW - 52 * WEEK, NOW, "UTC")
    assert not any(map(any, heat_map.shares))
    assert heat_map.usual_hours == []


def test_a_session_that_is_on_counts_until_now() -> None:
    heat_map = compute_heat_map([Session(started_at=NOW - 1.5 * HOUR)], NOW - WEEK, NOW, "UTC")
    assert heat_map.shares[6][21:24] == (0.0, 0.5, 1.0)


@pytest.mark.parametrize(
    ("start", "zone"),
    [
        ("2026-10-19 21:00", PARIS),  # summer time
        ("2026-10-26 21:00", PARIS),  # winter time
        ("2026-11-16 21:00", KATHMANDU),  # three quarters of an hour beside everybody else
    ],
)
def test_hours_are_those_of_the_zone_on_that_day(start: str, zone: str) -> None:
    heat_map = compute_heat_map([session(start, 1, zone)], NOW - WEEK, NOW, zone)
    assert [(day, hour) for day, row in enumerate(heat_map.shares) for hour, share in enumerate(row) if share] == [
        (0, 21)
    ]


def test_hours_follow_the_zone_and_its_changes() -> None:
    """An hour from 18:30 to 19:30 in Paris, two Sundays, between which summer time ends."""
    sessions = [Session(started_at=at, ended_at=at + 3_600) for at in (1_792_945_800.0 - 7 * 86_400, 1_792_949_400.0)]
    shares = history.hourly_shares(
        sessions, sessions[0].started_at, sessions[0].started_at + 14 * 86_400, "Europe/Paris"
    )
    assert {(day, hour): share for day, row in enumerate(shares) for hour, share in enumerate(row) if share} == {
        (6, 18): 0.5,
        (6, 19): 0.5,
    }
    assert history.render_hours(shares).splitlines()[-1].startswith("Sun ")
