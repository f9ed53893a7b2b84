"""The manual of schedules.yaml says what the program does."""

from __future__ import annotations

from pathlib import Path
from textwrap import dedent

from livectl.ops.schedules import cron, due_times, entry_reading, options, schedule_file

MANUAL = (Path(__file__).parents[2] / "docs" / "schedules.md").read_text()


def test_every_key_option_event_and_name_is_in_the_manual() -> None:
    words = [
        *schedule_file.TOP_KEYS,
        *entry_reading.ENTRY_KEYS,
        *cron.CELERY_FIELDS,
        *options.OPTION_READERS,
        *due_times.SOLAR_EVENTS,
        *cron.MACROS,
    ]
    assert [word for word in words if f"`{word}`" not in MANUAL and f"{word}:" not in MANUAL] == []


def test_the_example_at_its_top_is_right(tmp_path: Path) -> None:
    example = next(part for part in MANUAL.split("\n\n") if part.startswith("    timezone:"))
    (tmp_path / "schedules.yaml").write_text(dedent(example))
    assert len(schedule_file.load(tmp_path / "schedules.yaml").schedules) == 5


def test_the_schedule_of_this_repository_is_right() -> None:
    schedule = schedule_file.load(Path(__file__).parents[2] / "schedules.yaml")
    assert {"livectl.ping", "livectl.report"} <= {each.task for each in schedule.schedules}
