"""What an address says of the wall: whom, in which order, groups and view."""

from __future__ import annotations

import pytest

from livectl.models import State, Streamer, StreamerRecord
from livectl.web import selection
from livectl.web.selection import Arrangement, StreamerFilter
from livectl.web.streamer_list import StreamerList

ADA, BOB, EVE, TIM = (
    StreamerRecord(
        platform=platform,
        id=name,
        name=name.title(),
        state=State.LIVE if viewers is not None else State.OFFLINE,
        viewers=viewers,
        trouble=State.BLOCKED if name == "tim" else None,
        streamer=Streamer(platform=platform, id=name, tags=tags),
    )
    for platform, name, viewers, tags in (
        ("twitch", "ada", 5, ("games",)),
        ("demo", "bob", 70, ("games", "art")),
        ("twitch", "eve", None, ()),
        ("demo", "tim", None, ("art",)),
    )
)
EVERYBODY = StreamerList(live=(ADA, BOB), others=(TIM, EVE), health=(), digest="", page_digest="", news_digest="")


@pytest.mark.parametrize(
    ("query", "groups"),
    [
        ({}, [("", "ada bob", "tim eve")]),
        ({"sort": "viewers"}, [("", "bob ada", "tim eve")]),
        ({"sort": "name"}, [("", "ada bob", "eve tim")]),
        ({"sort": "platform"}, [("", "bob ada", "tim eve")]),
        ({"group": "platform"}, [("demo", "bob", "tim"), ("twitch", "ada", "eve")]),
        ({"group": "tag"}, [("art", "bob", "tim"), ("games", "ada bob", ""), ("", "", "eve")]),
        ({"group": "nonsense", "sort": "' or 1=1"}, [("", "ada bob", "tim eve")]),
        ({"state": "live"}, [("", "ada bob", "")]),
        ({"state": "offline"}, [("", "", "tim eve")]),
        ({"state": "trouble"}, [("", "", "tim")]),
        ({"state": "nonsense", "tag": "art"}, [("", "bob", "tim")]),
    ],
)
def test_whom_in_which_groups(query: dict[str, str], groups: list[tuple[str, str, str]]) -> None:
    shown = selection.parse_filter(query).apply(EVERYBODY)
    arranged = selection.parse_arrangement(query).arrange(shown)
    assert [
        (group.name, " ".join(one.id for one in group.live), " ".join(one.id for one in group.others))
        for group in arranged
    ] == groups


def test_an_address_says_only_what_is_chosen() -> None:
    everything = StreamerFilter(platform="demo", tag="a&b", state="live", text="q é")
    chosen = Arrangement(view="list", sort="name", group="tag", everybody=True)
    query = selection.write_query(everything, chosen)
    assert query == "?platform=demo&tag=a%26b&state=live&q=q+%C3%A9&view=list&sort=name&group=tag&all=1"
    assert selection.write_query(everything, chosen, view="", q="") == query.replace("&q=q+%C3%A9&view=list", "")
    assert selection.write_query(StreamerFilter(), Arrangement()) == ""
