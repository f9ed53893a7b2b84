"""Follow lists: read, refused by line, merged, brought in from elsewhere, given out, edited by line."""

from __future__ import annotations

import csv
import io
import stat
from typing import TYPE_CHECKING
from xml.etree import ElementTree as ET

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from livectl.errors import FileError, SettingsError
from livectl.live.follows import edit as follow_edit
from livectl.live.follows import follow_list
from livectl.live.follows import formats as follow_export
from livectl.live.follows import formats as follow_import
from livectl.models import Streamer
from tests.support.effort import calls

if TYPE_CHECKING:
    from pathlib import Path

CHANNEL = "UC" + "x" * 22


def read(text: str, suffix: str = ".yaml") -> follow_list.FollowList:
    return follow_list.merge_lines(follow_list.parse_lines(text.encode(), suffix, "f"), "f")


def who(found: follow_list.FollowList) -> list[str]:
    return [f"{one.platform}/{one.id}" for one in found.streamers]


def test_an_entry_is_an_address_or_says_more() -> None:
    found = read(
        "follows:\n  - demo/ada\n  - https://m.twitch.tv/Foo?x=1\n"
        "  - {url: https://www.douyu.com/9999, name: Someone, tags: [games], alerts: [phone], weight: 5}\n"
    )
    assert who(found) == ["demo/ada", "twitch/foo", "douyu/9999"]
    assert found.streamers[1].url == "https://www.twitch.tv/foo"
    assert found.streamers[2] == Streamer(
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
    assert read(text) == follow_list.FollowList(())


def test_plain_text_is_an_address_a_line() -> None:
    found = read("# mine\n\ndemo/ada   # the first\nhttps://www.huya.com/1#top\n\ufefftwitch/x\n", ".txt")
    assert who(found)[:2] == ["demo/ada", "huya/1"]


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
    entry, place, reason = REFUSED[case]
    found = read(f"{entry}\n- demo/bob\n")
    assert who(found) == ["demo/bob"]
    assert str(found.refused[0]).startswith(f"f:{place}: ")
    assert reason in str(found.refused[0])


@pytest.mark.parametrize(
    "text", ["follows: demo/ada", "follow:\n  - demo/ada", "hello", "follows: [", "follows: {a: b}"]
)
def test_a_file_that_is_no_follow_list_is_refused_whole(text: str) -> None:
    with pytest.raises(FileError):
        read(text)


def test_twice_the_same_is_taken_together_and_said() -> None:
    found = read(
        "- {url: https://www.twitch.tv/foo, tags: [a], alerts: [phone]}\n- demo/ada\n"
        "- {url: twitch/FOO, name: Foo, tags: [b, a], weight: 3}\n"
    )
    assert who(found) == ["twitch/foo", "demo/ada"]
    first = found.streamers[0]
    assert (first.name, first.tags, first.alerts, first.weight) == ("Foo", ("a", "b"), ("phone",), 3)
    assert str(found.merged[0]) == (
        "f:3:3: warning: twitch/foo is followed by line 1 already (the two are taken together)"
    )


def test_ten_thousand_load_at_ten_times_the_effort_of_a_thousand(tmp_path: Path) -> None:
    efforts = []
    for count in (1_000, 10_000):
        path = tmp_path / f"{count}.yaml"
        path.write_text("".join(f"- {{url: https://www.douyu.com/{n}, name: N {n}}}\n" for n in range(1, count + 1)))
        assert len(follow_list.load(path).streamers) == count
        efforts.append(calls(lambda path=path: follow_list.load(path)))  # type: ignore[misc]
    some, all_of_them = efforts
    assert some < 300 * 1_000
    assert all_of_them < 11 * some


# From elsewhere

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
    found = follow_import.parse_import(RECORDER.encode(), "URL_config.ini")
    assert [(one.platform, one.name) for one in found.streamers] == [
        ("douyin", "某人"),
        ("huya", "Other"),
        ("youtube", ""),
    ]
    assert [mistake.line for mistake in found.refused] == [5]


def test_takeout_is_read_in_any_language() -> None:
    found = follow_import.parse_import(TAKEOUT.encode(), "subscriptions.csv")
    assert [(one.id, one.name) for one in found.streamers] == [(CHANNEL, "A, B")]


def test_a_table_is_read() -> None:
    ada, foo = follow_import.parse_import(TABLE.encode(), "x.csv").streamers
    assert (ada.platform, ada.id, ada.name, ada.tags, ada.weight) == ("demo", "ada", "Ada", ("a", "b"), 2.0)
    assert (foo.platform, foo.id) == ("twitch", "foo")


def test_names_of_a_platform_are_read() -> None:
    found = follow_import.parse_import(b"Foo\nbar # a friend\nno way\n", "names.txt", "twitch")
    assert who(found) == ["twitch/foo", "twitch/bar"]
    assert [mistake.line for mistake in found.refused] == [3]


def test_what_is_not_utf_8_is_refused_with_its_line() -> None:
    with pytest.raises(FileError, match=r"x\.txt:2:1: not UTF-8"):
        follow_import.parse_import("demo/ada\n主播".encode("gbk"), "x.txt")


# To elsewhere

PEOPLE = [
    Streamer(platform="demo", id="ada", name='Ada: the #1, "best"', tags=("a b", "c"), weight=2.5),
    Streamer(platform="twitch", id="foo", url="https://www.twitch.tv/foo", alerts=()),
    Streamer(platform="youtube", id=CHANNEL, name="<Tom & Co>", url=f"https://www.youtube.com/channel/{CHANNEL}"),
]


def test_ours_comes_back_as_it_was() -> None:
    back = read(follow_export.as_yaml(PEOPLE)).streamers
    assert [(one.platform, one.id, one.name, one.tags, one.alerts, one.weight) for one in back] == [
        (one.platform, one.id, one.name, one.tags, one.alerts, one.weight) for one in PEOPLE
    ]


def test_text_and_table_lead_back_to_the_same() -> None:
    keys = [f"{one.platform}/{one.id}" for one in PEOPLE]
    assert who(read(follow_export.as_text(PEOPLE), ".txt")) == keys
    assert who(follow_import.parse_import(follow_export.as_csv(PEOPLE).encode(), "x.csv")) == keys
    rows = list(csv.DictReader(io.StringIO(follow_export.as_csv(PEOPLE))))
    assert rows[0]["name"] == PEOPLE[0].name


def test_feeds_are_those_of_youtube() -> None:
    outlines = list(ET.fromstring(follow_export.as_opml(PEOPLE)).iter("outline"))
    assert [one.get("text") for one in outlines] == ["<Tom & Co>"]
    assert outlines[0].get("xmlUrl") == f"https://www.youtube.com/feeds/videos.xml?channel_id={CHANNEL}"


@settings(suppress_health_check=[HealthCheck.too_slow])
@given(name=st.text(st.characters(exclude_categories=["C"], exclude_characters="\x85\u2028\u2029"), max_size=30))
def test_any_name_survives_its_line(name: str) -> None:
    line = follow_export.render_entry(Streamer(platform="demo", id="ada", name=name))
    assert read(f"- {line}\n").streamers[0].name == name


# By line

BEFORE = """# mine
follows:
  # the first
  - demo/ada            # since 2024

  - url: https://www.twitch.tv/foo
    name: Foo
    # about Foo
    tags:
      - games

  # the last
  - {url: demo/bob}     # and that is that
# the end
"""


@pytest.fixture
def file(tmp_path: Path) -> follow_edit.FollowFile:
    path = tmp_path / "follows.yaml"
    path.write_text(BEFORE)
    return follow_edit.FollowFile(path, "follows.yaml")


def people(*addresses: str) -> list[Streamer]:
    return [follow_list.parse_streamer(address) for address in addresses]


def test_adding_appends_and_leaves_the_rest_alone(file: follow_edit.FollowFile) -> None:
    edit = file.add(people("demo/eve", "demo/ada", "demo/eve"))
    assert ([one.id for one in edit.changed], [one.id for one in edit.unchanged]) == (["eve"], ["ada"])
    assert file.path.read_text() == BEFORE.replace("# the end", "  - demo/eve\n# the end")


REMOVED = {
    "demo/ada": ("  - demo/ada            # since 2024\n",),
    "twitch/foo": (BEFORE[BEFORE.index("  - url") : BEFORE.index("\n  # the last")],),
    "demo/bob": ("  - {url: demo/bob}     # and that is that\n",),
}


@pytest.mark.parametrize("address", REMOVED)
def test_removing_takes_its_lines_and_no_others(file: follow_edit.FollowFile, address: str) -> None:
    assert file.remove(people(address, "demo/nobody1")).unchanged[0].id == "nobody1"
    after = BEFORE
    for lines in REMOVED[address]:
        after = after.replace(lines, "")
    assert file.path.read_text() == after


def test_the_last_may_go_and_others_come(file: follow_edit.FollowFile) -> None:
    file.remove(people("demo/ada", "demo/bob", "twitch/foo"))
    assert follow_list.load(file.path).streamers == ()
    file.add(people("demo/zoe"))
    assert who(follow_list.load(file.path)) == ["demo/zoe"]
    assert "# the end" in file.path.read_text()


@pytest.mark.parametrize(
    "text", ["", "follows: []  # nobody\n", "follows:\n", "# mine\n", "- demo/ada", "follows:\n- demo/ada"]
)
@pytest.mark.parametrize("ending", ["\n", "\r\n"])
def test_adding_works_however_the_list_begins(tmp_path: Path, text: str, ending: str) -> None:
    path = tmp_path / "follows.yaml"
    path.write_bytes(text.replace("\n", ending).encode())
    follow_edit.FollowFile(path).add(people("demo/eve"))
    assert who(follow_list.load(path))[-1] == "demo/eve"


def test_a_file_that_is_not_there_is_begun(tmp_path: Path) -> None:
    path = tmp_path / "new" / "follows.yaml"
    follow_edit.FollowFile(path).add(people("demo/eve"))
    assert path.read_text().startswith("# livectl")
    assert who(follow_list.load(path)) == ["demo/eve"]


def test_plain_text_is_edited_as_well(tmp_path: Path) -> None:
    path = tmp_path / "follows.txt"
    path.write_text("# mine\ndemo/ada\ndemo/bob # hm")
    file = follow_edit.FollowFile(path)
    file.add(people("twitch/foo"))
    file.remove(people("demo/ada"))
    assert path.read_text() == "# mine\ndemo/bob # hm\nhttps://www.twitch.tv/foo\n"


@pytest.mark.parametrize("text", ["follows: [demo/ada, demo/bob]\n", "follows:\n  -\n    demo/ada\n  - demo/bob\n"])
def test_what_cannot_be_edited_safely_is_left_alone(tmp_path: Path, text: str) -> None:
    path = tmp_path / "follows.yaml"
    path.write_text(text)
    with pytest.raises(SettingsError, match="only people change"):
        follow_edit.FollowFile(path).remove(people("demo/ada"))
    assert path.read_text() == text
    assert list(tmp_path.iterdir()) == [path]


def test_mode_and_link_of_the_file_stay(file: follow_edit.FollowFile, tmp_path: Path) -> None:
    file.path.chmod(0o600)
    link = tmp_path / "link.yaml"
    link.symlink_to(file.path)
    follow_edit.FollowFile(link).add(people("demo/eve"))
    assert link.is_symlink()
    assert stat.S_IMODE(file.path.stat().st_mode) == 0o600
    assert "demo/eve" in file.path.read_text()
