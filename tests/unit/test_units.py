from __future__ import annotations

from typing import Any

import msgspec
import pytest

from livectl import units
from livectl.errors import SettingsError
from livectl.units import (
    Rate,
    Window,
    format_rate,
    parse_duration,
    parse_rate,
    parse_time_of_day,
    parse_timezone,
    parse_window,
)


@pytest.mark.parametrize(
    ("written", "seconds"),
    [
        ("30s", 30),
        ("5m", 300),
        ("1h30m", 5400),
        ("1h 30m", 5400),
        ("1.5h", 5400),
        ("2d", 172_800),
        ("1w", 604_800),
        ("250ms", 0.25),
        ("1m500ms", 60.5),
        ("45", 45),
        ("0", 0),
        (45, 45),
        (0.5, 0.5),
    ],
)
def test_a_duration_is_seconds(written: str | float, seconds: float) -> None:
    assert parse_duration(written) == pytest.approx(seconds)
    assert type(parse_duration(written)) is float


NO_DURATIONS = ["", " ", "s", "5x", "5 minutes", "-5s", "30m1h", "1h1h", "1h30", "1,5h", "1e3s", "٣s", "11y", "4000d"]


@pytest.mark.parametrize("written", [*NO_DURATIONS, "9" * 400, -1, True, None, []])
def test_what_is_no_duration_is_refused(written: Any) -> None:
    with pytest.raises(SettingsError, match="a duration is") as refused:
        parse_duration(written)
    assert "30s, 5m, 1h30m" in refused.value.hint


@pytest.mark.parametrize(
    ("written", "rate"),
    [
        ("10/s", Rate(10, 1)),
        ("600/m", Rate(600, 60)),
        ("600 / m", Rate(600, 60)),
        ("100/h", Rate(100, 3600)),
        ("10000/d", Rate(10_000, 86_400)),
        ("0.5/s", Rate(0.5, 1)),
    ],
)
def test_a_rate_is_a_number_in_a_time(written: str, rate: Rate) -> None:
    assert parse_rate(written) == rate
    assert parse_rate(written).per_second == rate.amount / rate.seconds
    assert parse_rate(format_rate(rate)) == rate


@pytest.mark.parametrize("written", ["", "600", "/m", "0/m", "-1/m", "600/y", "600/min", "600/60", "9" * 400 + "/s"])
def test_what_is_no_rate_is_refused(written: str) -> None:
    with pytest.raises(SettingsError, match="a rate is") as refused:
        parse_rate(written)
    assert "600/m" in refused.value.hint


@pytest.mark.parametrize(("written", "minutes"), [("09:00", 540), ("9:00", 540), ("00:00", 0), ("23:59", 1439)])
def test_a_time_of_day_is_minutes(written: str, minutes: int) -> None:
    assert parse_time_of_day(written) == minutes


@pytest.mark.parametrize("written", ["", "9", "24:00", "12:60", "12:5", "noon", "-1:00"])
def test_what_is_no_time_of_day_is_refused(written: str) -> None:
    with pytest.raises(SettingsError, match="a time of day is"):
        parse_time_of_day(written)


def test_a_window_is_two_times_of_day() -> None:
    assert parse_window("23:00-07:30") == Window(parse_time_of_day("23:00"), parse_time_of_day("07:30"))
    assert parse_window("9:00 - 17:00") == (540, 1020)
    with pytest.raises(SettingsError, match="hours are from one time of day to another"):
        parse_window("23:00")


@pytest.mark.parametrize("name", ["UTC", "Europe/Paris", "Asia/Shanghai", "America/Argentina/Buenos_Aires"])
def test_a_zone_is_a_name_that_is_known(name: str) -> None:
    assert parse_timezone(name) == name


@pytest.mark.parametrize(
    ("name", "hint"),
    [
        ("Europe/Pris", "Write Europe/Paris."),
        ("paris", "Write Europe/Paris."),
        ("new york", "Write America/New_York."),
        ("utc+2 or so", "Write a name such as Europe/Paris or UTC."),
        ("Europe", "Write"),
        ("", "Write a name"),
        ("/etc/passwd", "Write a name"),
        ("x\0", "Write"),
        ("x" * 5000, "Write a name"),
    ],
)
def test_a_zone_that_is_unknown_is_refused(name: str, hint: str) -> None:
    with pytest.raises(SettingsError, match="no timezone is called") as refused:
        parse_timezone(name)
    assert refused.value.hint.startswith(hint)
    assert len(refused.value.message) < 100


@pytest.mark.parametrize(
    ("seconds", "short", "precise", "hours_and_minutes", "yaml"),
    [
        (0, "0 s", "0.00 s", "0 min", "0s"),
        (0.25, "0 s", "0.25 s", "0 min", "0.25s"),
        (12.4, "12 s", "12 s", "0 min", "12.4s"),
        (90, "2 min", "1.5 min", "1 min", "90s"),
        (300, "5 min", "5.0 min", "5 min", "5m"),
        (9000, "2.5 h", "2.5 h", "2 h 30 min", "150m"),
        (36_000, "10 h", "10.0 h", "10 h 00 min", "10h"),
        (129_600, "1.5 d", "1.5 d", "36 h 00 min", "36h"),
        (1_000_000, "12 d", "11.6 d", "277 h 46 min", "1000000s"),
    ],
)
def test_a_duration_is_written(seconds: float, short: str, precise: str, hours_and_minutes: str, yaml: str) -> None:
    assert units.format_duration(seconds) == short
    assert units.format_precise_duration(seconds) == precise
    assert units.format_hours_and_minutes(seconds) == hours_and_minutes
    assert units.format_yaml_duration(float(seconds)) == yaml
    assert parse_duration(yaml) == seconds


def test_a_time_to_come_is_no_duration() -> None:
    assert units.format_duration(-3) == "0 s"


def test_an_instant_is_written() -> None:
    assert units.format_instant(1_795_856_400.9) == "2026-11-28T09:00:00Z"
    assert units.format_instant(1_795_856_400.25, "milliseconds") == "2026-11-28T09:00:00.250Z"


def test_a_time_in_utc_is_an_instant_in_json() -> None:
    assert msgspec.json.encode(units.utc_datetime(1_795_856_400.9)) == b'"2026-11-28T09:00:00Z"'
    assert units.utc_datetime(None) is None


def test_a_local_time_is_written() -> None:
    assert units.format_local_time(1_795_856_400, "Europe/Paris") == "2026-11-28 10:00"


@pytest.mark.parametrize(("number", "text"), [(0, "0 files"), (1, "1 file"), (2, "2 files")])
def test_a_count_is_written(number: int, text: str) -> None:
    assert units.format_count(number, "file") == text


def test_a_count_of_none() -> None:
    assert units.format_count(0, "file", zero="no") == "no files"
