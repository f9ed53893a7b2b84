"""Follow lists are read: entries become streamers, what is none is refused by line, repetitions are merged."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from livectl.errors import FileError
from livectl.live.follows.follow_list import FollowList, load, load_only
from livectl.models import Streamer
from tests.support.effort import calls
from tests.support.follow_lists import addresses, read_list

if TYPE_CHECKING:
    from pathlib import Path


def test_an_entry_is_an_address_or_says_more() -> None:
    follows = read_list(
        "follows:\n  - demo/ada\n  - https://m.twitch.tv/Foo?x=1\n"
        "  - {url: https://www.douyu.com/9999, name: Someone, tags: [games], alerts: [phone], weight: 5}\n"
    )
    assert addresses(follows) == ["demo/ada", "twitch/foo", "douyu/9999"]
    assert follows.streamers[1].url == "https://www.twitch.tv/foo"
    assert follows.streamers[2] == Streamer(
        platform="douyu",
        id="9999",
        name="Someone",
        url="https://www.douyu.com/9999",
        tags=("games",),
        alerts=("phone",),
        weight=5.0,
    )


@pytest.mark.parametrize("text", ["", "follows:\n", "follows: []\n", "# nobody\n", "[]\n"])
def test_nobody_is_a_list_too(text: str) -> None:
    assert read_list(text) == FollowList(())


def test_plain_text_is_an_address_a_line() -> None:
    follows = read_list("# mine\n\ndemo/ada   # the first\nhttps://www.huya.com/1#top\n\ufefftwitch/x\n", ".txt")
    assert addresses(follows)[:2] == ["demo/ada", "huya/1"]


REFUSED = {
    "a clip": ("- https://clips.twitch.tv/abc", "1:3", "clip"),
    "an unknown site": ("- https://nobody.invalid/x", "1:3", "nobody.invalid"),
    "no address": ("- hello", "1:3", "not the address"),
    "a number": ("- 123", "1:3", "no streamer"),
    "an unknown key": ("- {url: demo/ada, nam: x}", "1:3", "unknown key `nam` (do you mean name?)"),
    "no url": ("- {name: x}", "1:3", "needs a url"),
    "no weight": ("- {url: demo/ada, weight: 0}", "1:3", "weight"),
    "no list of tags": ("- {url: demo/ada, tags: {a: b}}", "1:3", "write tags: [one, other]"),
    "a truth for a name": ("- {url: demo/ada, name: true}", "1:3", "a name is text"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_what_names_nobody_is_refused_by_line_and_the_rest_is_followed(case: str) -> None:
    entry, position, reason = REFUSED[case]
    follows = read_list(f"{entry}\n- demo/bob\n")
    assert addresses(follows) == ["demo/bob"]
    assert str(follows.refused[0]).startswith(f"f:{position}: ")
    assert reason in str(follows.refused[0])


@pytest.mark.parametrize(
    "text", ["follows: demo/ada", "follow:\n  - demo/ada", "hello", "follows: [", "follows: {a: b}"]
)
def test_a_file_that_is_no_follow_list_is_refused_whole(text: str) -> None:
    with pytest.raises(FileError):
        read_list(text)


def test_twice_the_same_is_taken_together_and_said() -> None:
    follows = read_list(
        "- {url: https://www.twitch.tv/foo, tags: [a], alerts: [phone]}\n- demo/ada\n"
        "- {url: twitch/FOO, name: Foo, tags: [b, a], weight: 3}\n"
    )
    assert addresses(follows) == ["twitch/foo", "demo/ada"]
    first = follows.streamers[0]
    assert (first.name, first.tags, first.alerts, first.weight) == ("Foo", ("a", "b"), ("phone",), 3)
    assert str(follows.merged[0]) == (
        "f:3:3: warning: twitch/foo is followed by line 1 already (the two are taken together)"
    )


def test_ten_thousand_load_at_ten_times_the_effort_of_a_thousand(tmp_path: Path) -> None:
    efforts = []
    for count in (1_000, 10_000):
        path = tmp_path / f"{count}.yaml"
        path.write_text("".join(f"- {{url: https://www.douyu.com/{n}, name: N {n}}}\n" for n in range(1, count + 1)))
        assert len(load(path).streamers) == count
        efforts.append(calls(lambda path=path: load(path)))  # type: ignore[misc]
    some, all_of_them = efforts
    assert some < 300 * 1_000
    assert all_of_them < 11 * some


def test_lines_that_name_nobody_are_kept_as_they_were_meant() -> None:
    follows = read_list(
        "- demo/ada\n- gone/eve\n- {url: DEMO/bob, weight: -1}\n- {name: Ada}\n- {name: Bob}\n- 5\n- demo ada\n"
    )
    assert [(follow.streamer.platform, follow.streamer.id) for follow in follows.unread] == [
        ("gone", "eve"),
        ("demo", "bob"),
        ("", "{name: Ada}"),
        ("", "{name: Bob}"),
        ("", "5"),
        ("", "demo ada"),
    ]
    assert [follow.problem.partition(": ")[0] for follow in follows.unread] == [f"f:{line}" for line in range(2, 8)]


def test_one_streamer_is_read_out_of_a_list_with_all_their_lines(tmp_path: Path) -> None:
    path = tmp_path / "follows.yaml"
    path.write_text("- demo/bob\n- {url: demo/ada, tags: [one]}\n- nobody\n- {url: demo/ada, tags: [two]}\n")
    ada = load_only(path, ("demo", "ada"))
    assert ada
    assert ada.tags == ("one", "two")
    assert load_only(path, ("demo", "eve")) is None
