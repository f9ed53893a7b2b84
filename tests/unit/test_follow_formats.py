"""Follow lists of others are imported, and ours is exported so that it comes back the same."""

from __future__ import annotations

import csv
import io
from typing import TYPE_CHECKING
from xml.etree import ElementTree as ET

import msgspec
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from livectl.live.follows import formats
from livectl.models import Streamer
from tests.support.follow_lists import addresses, read_list

if TYPE_CHECKING:
    from collections.abc import Iterable

CHANNEL = "UC" + "x" * 22

# As its users write it, with commas and colons of their keyboards.
RECORDER = f"""\ufeffhttps://live.douyin.com/745964462470,主播: 某人
#https://live.douyin.com/1,主播: paused
超清,https://www.huya.com/52333\uff0c主播\uff1aOther
https://www.youtube.com/channel/{CHANNEL}
https://example.com/live/1
"""
TAKEOUT = f'Kanal-ID,Kanal-URL,Kanaltitel\n{CHANNEL},http://www.youtube.com/channel/{CHANNEL},"A, B"\n\n'
TABLE = "platform,id,url,name,tags,alerts,weight\ndemo,ada,,Ada,a b,,2\n,,https://www.twitch.tv/foo,,,,\n"


def test_the_recorders_list_is_read() -> None:
    follows = formats.parse_import(RECORDER.encode(), "URL_config.ini")
    assert [(streamer.platform, streamer.name) for streamer in follows.streamers] == [
        ("douyin", "某人"),
        ("huya", "Other"),
        ("youtube", ""),
    ]
    assert [mistake.line for mistake in follows.refused] == [5]


def test_takeout_is_read_in_any_language() -> None:
    follows = formats.parse_import(TAKEOUT.encode(), "subscriptions.csv")
    assert [(streamer.id, streamer.name) for streamer in follows.streamers] == [(CHANNEL, "A, B")]


def test_a_table_is_read() -> None:
    ada, foo = formats.parse_import(TABLE.encode(), "x.csv").streamers
    assert (ada.platform, ada.id, ada.name, ada.tags, ada.weight) == ("demo", "ada", "Ada", ("a", "b"), 2.0)
    assert (foo.platform, foo.id) == ("twitch", "foo")


def test_names_of_a_platform_are_read() -> None:
    follows = formats.parse_import(b"Foo\nbar # a friend\nno way\n", "names.txt", "twitch")
    assert addresses(follows) == ["twitch/foo", "twitch/bar"]
    assert [mistake.line for mistake in follows.refused] == [3]


def test_what_is_not_utf_8_is_refused_with_its_line() -> None:
    follows = formats.parse_import("demo/ada\n主播\ndemo/bob".encode("gbk"), "x.txt")
    assert (addresses(follows), str(follows.refused[0])[:22]) == (["demo/ada", "demo/bob"], "x.txt:2:1: not UTF-8 (")


PEOPLE = [
    Streamer(platform="demo", id="ada", name='Ada: the #1, "best"', tags=("a b", "c"), weight=2.5),
    Streamer(platform="twitch", id="foo", url="https://www.twitch.tv/foo", alerts=()),
    Streamer(platform="youtube", id=CHANNEL, name="<Tom & Co>", url=f"https://www.youtube.com/channel/{CHANNEL}"),
]


def test_ours_comes_back_as_it_was() -> None:
    def without_url(streamers: Iterable[Streamer]) -> list[Streamer]:
        return [msgspec.structs.replace(streamer, url="") for streamer in streamers]

    assert without_url(read_list(formats.as_yaml(PEOPLE)).streamers) == without_url(PEOPLE)


def test_text_and_table_lead_back_to_the_same() -> None:
    keys = [f"{streamer.platform}/{streamer.id}" for streamer in PEOPLE]
    assert addresses(read_list(formats.as_text(PEOPLE), ".txt")) == keys
    assert addresses(formats.parse_import(formats.as_csv(PEOPLE).encode(), "x.csv")) == keys
    rows = list(csv.DictReader(io.StringIO(formats.as_csv(PEOPLE))))
    assert rows[0]["name"] == PEOPLE[0].name


def test_feeds_are_those_of_youtube() -> None:
    outlines = list(ET.fromstring("".join(formats.export([PEOPLE], "opml"))).iter("outline"))
    assert [outline.get("text") for outline in outlines] == ["<Tom & Co>"]
    assert outlines[0].get("xmlUrl") == f"https://www.youtube.com/feeds/videos.xml?channel_id={CHANNEL}"


@settings(suppress_health_check=[HealthCheck.too_slow])
@given(name=st.text(st.characters(exclude_categories=["C"], exclude_characters="\x85\u2028\u2029"), max_size=30))
def test_any_name_survives_its_line(name: str) -> None:
    line = formats.render_entry(Streamer(platform="demo", id="ada", name=name))
    assert read_list(f"- {line}\n").streamers[0].name == name
