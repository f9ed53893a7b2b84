"""What sites write, parsed: when to ask again, counts, texts, pictures, times."""

from __future__ import annotations

from datetime import UTC, datetime
from urllib.parse import urlencode

import pytest

from livectl.live.platforms import parsing
from livectl.models import Response

NOW = 1_790_000_060.0


@pytest.mark.parametrize(
    ("headers", "seconds"),
    [
        ({"retry-after": "30"}, 30.0),
        ({"retry-after": "Mon, 21 Sep 2026 14:15:20 GMT"}, 60.0),
        ({"retry-after": "soon"}, None),
        ({"retry-after": "999999999"}, 86_400.0),
        ({"ratelimit-reset": str(int(NOW) + 45)}, 45.0),
        ({"x-ratelimit-reset": "45"}, 45.0),
        ({"ratelimit-reset": "1"}, 1.0),
        ({}, None),
    ],
)
def test_when_to_ask_again_is_read(headers: dict[str, str], seconds: float | None) -> None:
    retry_at = parsing.read_retry_at(Response(status=429, headers=headers), NOW)
    assert retry_at == (None if seconds is None else NOW + seconds)


@pytest.mark.parametrize(
    ("text", "read"),
    [("1.2万", 12_000), ("10万+", 100_000), ("1,234", 1_234), ("3k", 3_000), ("", None), ("many", None), (-1, None)],
)
def test_counts_are_read_as_sites_write_them(text: str | int, read: int | None) -> None:
    assert parsing.parse_count(text) == read


@pytest.mark.parametrize(
    ("text", "read"),
    [("a &amp;amp; b&nbsp;", "a & b"), (" a\n\tb\x00 ", "a b"), (None, ""), ("x" * 999, "x" * 300)],
)
def test_texts_are_made_plain(text: str | None, read: str) -> None:
    assert parsing.plain_text(text) == read


@pytest.mark.parametrize(
    ("text", "address"),
    [
        ("//cdn.example/a.jpg", "https://cdn.example/a.jpg"),
        ("https://cdn.example/a.jpg", "https://cdn.example/a.jpg"),
        ("data:image/png;base64,xx", ""),
        ("https://cdn.example/" + "x" * 1_000, ""),
        (None, ""),
    ],
)
def test_a_picture_has_an_address_of_the_web(text: str | None, address: str) -> None:
    assert parsing.image_url(text) == address


def test_a_query_is_what_a_browser_sends() -> None:
    texts = ["", "7", "ada_99", "_", "a b", "a&b=c", "ä", "٣", "uids[]", "@100", "a-b.c~d", "100%"]
    parameters = [(name, value) for name in ("user_id", "uids[]") for value in texts]
    assert parsing.encode_query(parameters) == urlencode(parameters)


def test_times_are_seconds_since_the_epoch() -> None:
    assert parsing.instant_timestamp(datetime(2026, 9, 21, 14, 14, 20, tzinfo=UTC)) == NOW
    assert parsing.korean_timestamp(datetime(2026, 9, 21, 23, 14, 20)) == NOW  # noqa: DTZ001 - as the site writes it
    assert parsing.instant_timestamp(datetime(1, 1, 1, tzinfo=UTC)) is None
    assert parsing.instant_timestamp(None) is None


def test_headers_are_a_browsers_and_name_what_there_is() -> None:
    assert set(parsing.browser_headers()) == {"User-Agent"}
    assert parsing.browser_headers("https://a.example/", "b=c")["Cookie"] == "b=c"
