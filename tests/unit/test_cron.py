"""Cron lines are read, or refused with a reason and the right spelling."""

from __future__ import annotations

import pytest

from livectl.ops.schedules import cron

ALL_DAYS = tuple(range(1, 32))
ALL_WEEKDAYS = tuple(range(7))


@pytest.mark.parametrize(
    ("word", "field", "values"),
    [
        ("*", cron.HOUR, tuple(range(24))),
        ("*/15", cron.MINUTE, (0, 15, 30, 45)),
        ("*/2", cron.DAY, tuple(range(1, 32, 2))),
        ("*/5", cron.MONTH, (1, 6, 11)),
        ("3", cron.HOUR, (3,)),
        ("03", cron.HOUR, (3,)),
        ("9-17", cron.HOUR, tuple(range(9, 18))),
        ("9-17/4", cron.HOUR, (9, 13, 17)),
        ("22-2", cron.HOUR, (0, 1, 2, 22, 23)),
        ("1,13,30-32,50-59/3", cron.MINUTE, (1, 13, 30, 31, 32, 50, 53, 56, 59)),
        ("5,5,5", cron.MINUTE, (5,)),
        ("mon", cron.WEEKDAY, (1,)),
        ("Monday", cron.WEEKDAY, (1,)),
        ("MON-FRI", cron.WEEKDAY, (1, 2, 3, 4, 5)),
        ("fri-mon", cron.WEEKDAY, (0, 1, 5, 6)),
        ("7", cron.WEEKDAY, (0,)),
        ("0,7", cron.WEEKDAY, (0,)),
        ("5-7", cron.WEEKDAY, (0, 5, 6)),
        ("1-7", cron.WEEKDAY, ALL_WEEKDAYS),
        ("sat-sun", cron.WEEKDAY, (0, 6)),
        ("*/2", cron.WEEKDAY, (0, 2, 4, 6)),
        ("jan,Dec", cron.MONTH, (1, 12)),
        ("oct-feb", cron.MONTH, (1, 2, 10, 11, 12)),
    ],
)
def test_a_field_names_numbers(word: str, field: cron.CronField, values: tuple[int, ...]) -> None:
    assert cron.parse_field(field, word) == values


@pytest.mark.parametrize(
    ("text", "fields"),
    [
        ("@yearly", "0 0 1 1 *"),
        ("@annually", "0 0 1 1 *"),
        ("@monthly", "0 0 1 * *"),
        ("@weekly", "0 0 * * 0"),
        ("@daily", "0 0 * * *"),
        ("@midnight", "0 0 * * *"),
        ("@hourly", "0 * * * *"),
        ("@Daily", "0 0 * * *"),
        ("  0   9 *\t* * ", "0 9 * * *"),
    ],
)
def test_a_line_by_another_name_is_the_same_line(text: str, fields: str) -> None:
    macro, line = cron.parse(text), cron.parse(fields)
    assert (macro.minute, macro.hour, macro.day, macro.month, macro.weekday, macro.stepping) == (
        line.minute,
        line.hour,
        line.day,
        line.month,
        line.weekday,
        line.stepping,
    )
    assert macro.text == text.strip()


@pytest.mark.parametrize(
    ("text", "either"),
    [
        ("0 0 13 * fri", True),
        ("0 0 1-7 * mon", True),
        ("0 0 13 * *", False),
        ("0 0 * * fri", False),
        ("0 0 */2 * fri", False),
        ("0 0 13 * */2", False),
    ],
)
def test_a_day_matches_by_date_or_weekday_only_when_both_are_restricted(text: str, either: bool) -> None:
    assert cron.parse(text).either_day is either


@pytest.mark.parametrize(
    ("text", "stepping"),
    [
        ("* 2 * * *", True),
        ("*/15 2 * * *", True),
        ("30 * * * *", True),
        ("0 */2 * * *", True),
        ("0 0-23 * * *", True),
        ("30 2 * * *", False),
        ("0,30 1-3 * * *", False),
        ("0 0-22 * * *", False),
    ],
)
def test_a_line_steps_when_it_starts_with_a_star(text: str, stepping: bool) -> None:
    assert cron.parse(text).stepping is stepping


@pytest.mark.parametrize(
    ("text", "reason", "hint"),
    [
        ("75 * * * *", "minute 75 is out of range", "minute goes from 0 to 59"),
        ("0 24 * * *", "hour 24 is out of range", "hour goes from 0 to 23"),
        ("0 0 0 * *", "day of month 0 is out of range", "day of month goes from 1 to 31"),
        ("0 0 * 13 *", "month 13 is out of range", "month goes from 1 to 12"),
        ("0 0 * * 8", "day of week 8 is out of range", "day of week goes from 0 to 6"),
        ("5/15 * * * *", 'minute "5/15": a step needs a range', "5-59/15"),
        ("*/0 * * * *", 'minute "*/0": no such step', "from 1 to 60"),
        ("*/90 * * * *", 'minute "*/90": no such step', "from 1 to 60"),
        ("0 0 * * mun", 'day of week "mun" is not understood', "did you mean sun?"),
        ("0 0 * * mittwoch", 'day of week "mittwoch" is not understood', "sun to sat"),
        ("0 0 * febuary *", 'month "febuary" is not understood', "did you mean feb?"),
        ("0 0 ? * *", 'day of month "?" is not understood', "say *"),
        ("0 0 L * *", 'day of month "L" is not understood', "1 to 31"),
        ("0 0 * * 1#2", 'day of week "1#2" is not understood', "a-b"),
        ("1.5 * * * *", 'minute "1.5" is not understood', "a-b/n"),
        ("-5 * * * *", 'minute "-5" is not understood', "0 to 59"),
        ("1, * * * *", 'minute "" is not understood', "0 to 59"),
        ("*-5 * * * *", 'minute "*-5" is not understood', "0 to 59"),
        ("٣ * * * *", 'minute "٣" is not understood', "0 to 59"),
        (f"{'9' * 5000} * * * *", "is not understood", "0 to 59"),
        (f"*/{'9' * 5000} * * * *", "is not understood", "0 to 59"),
        ("0 9 * *", '"0 9 * *" has 4 fields; cron has five', "minute hour day-of-month month day-of-week"),
        ("0 0 9 * * *", '"0 0 9 * * *" has 6 fields; cron has five', "minute hour"),
        ("", '"" has 0 fields; cron has five', "minute hour"),
        ("0", '"0" has 1 field; cron has five', "minute hour"),
        ("@reboot", "@reboot has no due time", "livectl call"),
        ("@every 5m", '"@every 5m" is no cron line', "every: 5m"),
        ("@dayly", '"@dayly" is not known', "did you mean @daily?"),
        ("@x", '"@x" is not known', "one of @yearly"),
        ("0 0 30 2 *", '"0 0 30 2 *" never comes: that month has no such day', "29 days"),
        ("0 0 31 feb,apr,jun,sep,nov *", "never comes", "29 days"),
        ("0 0 30 2 */2", "never comes", "29 days"),
    ],
)
def test_a_line_is_refused_with_the_reason_and_the_right_spelling(text: str, reason: str, hint: str) -> None:
    with pytest.raises(cron.CronError) as refused:
        cron.parse(text)
    assert reason in refused.value.text
    assert hint in refused.value.hint


@pytest.mark.parametrize("text", ["0 0 29 2 *", "0 0 29 feb mon", "0 0 31 1-12 *", "0 0 30 2 mon"])
def test_a_rare_day_is_a_day(text: str) -> None:
    cron.parse(text)
