"""A day on the page: its limits, bars and hours, also when clocks change."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest

from livectl.models import Session
from livectl.web import days, i18n

NOON = datetime(2026, 3, 29, 12, tzinfo=UTC).timestamp()  # the day on which Paris has 23 hours
ENGLISH = i18n.translations_for("en")


def at(text: str) -> float:
    return datetime.fromisoformat(f"{text}+00:00").timestamp()


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("", "2026-03-29"),
        ("2026-03-28", "2026-03-28"),
        ("2026-03-30", "2026-03-29"),
        ("1999-01-01", "2026-03-29"),
        ("2026-02-30", "2026-03-29"),
        ("../etc", "2026-03-29"),
        ("9" * 50, "2026-03-29"),
    ],
)
def test_an_address_names_a_day_that_has_been(text: str, shown: str) -> None:
    assert str(days.parse_date(text, NOON, "Europe/Paris").day) == shown


def test_a_day_without_an_hour_has_its_bars_in_place() -> None:
    day = days.parse_date("", NOON, "Europe/Paris")
    assert day.end - day.begin == 23 * 3600
    labels = {label.text: label.left for label in day.hour_labels()}
    assert (labels["00"], labels["03"], len(labels)) == ("0.00%", "8.70%", 8)
    sessions = [
        Session(started_at=at("2026-03-28T20:00"), ended_at=at("2026-03-29T00:09"), title="Weaving"),
        Session(started_at=at("2026-03-29T11:00")),
    ]
    first, second = day.bars(sessions, NOON, ENGLISH)
    assert (first.left, first.width, first.words) == ("0.00%", "5.00%", "03-28 21:00 to 01:09: Weaving")
    assert (second.left, second.width, second.words, second.on) == ("52.17%", "4.35%", "13:00 to now", True)
    assert day.seconds_of(sessions, NOON) == 69 * 60 + 3600
