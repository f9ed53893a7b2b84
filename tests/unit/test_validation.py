"""Mistakes in a YAML document are noted where they are."""

from __future__ import annotations

from typing import Any

import pytest

from livectl import yamlfile
from livectl.errors import FileError, Mistake, mistake_lines
from livectl.validation import FileLocation, describe_unknown_key, quote, read_duration, read_mapping, read_zone


def locate(text: str) -> FileLocation:
    return FileLocation(yamlfile.loads(text, "f.yaml"))


def test_a_mistake_has_the_line_and_the_keys_that_lead_to_it() -> None:
    location = locate("web:\n  ports: [80, x]\n")
    location.child("web").child("ports").child(1).add_mistake("is no port", "8787")
    assert [str(mistake) for mistake in location.mistakes] == ["f.yaml:2:15: web: ports: 1: is no port (8787)"]


def test_a_silent_key_is_left_out_of_the_message_and_counts_for_the_place() -> None:
    location = locate("schedules:\n  a: 5\n").child("schedules", silent=True).child("a")
    location.add_mistake("is no entry")
    assert (str(location.mistakes[0]), location.dotted, location.source) == (
        "f.yaml:2:6: a: is no entry",
        "schedules.a",
        "f.yaml:2",
    )


def test_mistakes_are_raised_in_the_order_of_the_file_with_the_warnings() -> None:
    location = locate("a: 1\nb: 2\n")
    location.child("b").add_mistake("second")
    location.child("a").add_warning("first")
    with pytest.raises(FileError) as refused:
        location.raise_mistakes()
    assert [mistake.line for mistake in refused.value.mistakes] == [1, 2]


def test_of_ninety_thousand_mistakes_the_first_hundred_are_shown_and_the_others_counted() -> None:
    mistakes = [Mistake("f.yaml", line, 1, "is wrong") for line in range(1, 90_001)]
    *shown, last = FileError(mistakes).message.splitlines()
    assert (len(shown), shown[-1]) == (100, "f.yaml:100:1: is wrong")
    assert last == "f.yaml: and 89,900 more like these"
    assert mistake_lines(mistakes[:100]) == shown


def test_warnings_alone_are_not_raised() -> None:
    location = locate("a: 1\n")
    location.child("a").add_warning("odd")
    location.raise_mistakes()
    assert [mistake.warning for mistake in location.mistakes] == [True]


def test_each_unknown_key_is_noted_at_its_own_place() -> None:
    location = locate("queu: q\nblue: 1\nqueue: q\n")
    location.check_keys("option", location.document.value, ("queue", "expires"))
    assert [str(mistake) for mistake in location.mistakes] == [
        'f.yaml:1:1: unknown option "queu" (did you mean queue?)',
        'f.yaml:2:1: unknown option "blue" (one of queue, expires)',
    ]


@pytest.mark.parametrize(
    ("reader", "text", "value", "mistake"),
    [
        (read_duration, "1h30m", 5400, ""),
        (read_duration, "0", 0, "0 must be more than zero (such as 30s, 5m or 1h30m)"),
        (read_mapping, "{a: 1}", {"a": 1}, ""),
        (read_mapping, "[1]", {}, "[1] is no mapping ({name: value})"),
        (read_zone, "Asia/Shanghai", "Asia/Shanghai", ""),
        (read_zone, "new york", "UTC", '"new york" is no time zone (did you mean America/New_York?)'),
        (read_zone, "[]", "UTC", "[] is no time zone (such as Europe/Paris or UTC)"),
    ],
)
def test_a_value_is_read_or_noted_as_a_mistake(reader: Any, text: str, value: Any, mistake: str) -> None:
    location = locate(text)
    assert reader(location, location.document.value) == value
    assert [str(noted) for noted in location.mistakes] == ([f"f.yaml:1:1: {mistake}"] if mistake else [])


@pytest.mark.parametrize(
    ("value", "text"),
    [("a", '"a"'), ('say "hi"', "'say \"hi\"'"), (None, "null"), ([1, "é"], '[1, "é"]'), ("x" * 80, f'"{"x" * 58}…')],
)
def test_a_value_is_quoted_short_and_as_yaml_spells_it(value: Any, text: str) -> None:
    assert quote(value) == text


def test_a_key_that_resembles_none_gets_the_other_hint() -> None:
    assert describe_unknown_key("nam", ["name", "url"], "other") == ("unknown key `nam`", "do you mean name?")
    assert describe_unknown_key("x" * 50, ["name"], "other") == (f"unknown key `{'x' * 39}…`", "other")
