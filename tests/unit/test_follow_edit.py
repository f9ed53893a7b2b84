"""Streamers are added to the follow list's file and removed from it, line by line."""

from __future__ import annotations

import stat
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from livectl.errors import LivectlError, SettingsError
from livectl.live import views
from livectl.live.follows import follow_list
from livectl.live.follows.edit import FollowFile
from livectl.live.follows.follow_list import load, parse_listed, parse_streamer
from tests.support.follow_lists import addresses
from tests.support.parsed_addresses import note_parsed
from tests.unit.test_platform_addresses import ADDRESSES

if TYPE_CHECKING:
    from livectl.models import Streamer

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


@pytest.fixture(params=["short", "long"], autouse=True)
def length(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each list is edited as one that is read whole, and as one of which only the entries that matter are read."""
    if request.param == "long":
        monkeypatch.setattr(follow_list, "LONG_BYTES", -1)


@pytest.fixture
def file(tmp_path: Path) -> FollowFile:
    path = tmp_path / "follows.yaml"
    path.write_text(BEFORE)
    return FollowFile(path, "follows.yaml")


def people(*texts: str) -> list[Streamer]:
    return [parse_streamer(text) for text in texts]


def test_adding_appends_and_leaves_the_rest_alone(file: FollowFile) -> None:
    edit = file.add(people("demo/eve", "demo/ada", "demo/eve"))
    assert ([streamer.id for streamer in edit.changed], [streamer.id for streamer in edit.unchanged]) == (
        ["eve"],
        ["ada"],
    )
    assert file.path.read_text() == BEFORE.replace("# the end", "  - demo/eve\n# the end")


REMOVED = {
    "demo/ada": ("  - demo/ada            # since 2024\n",),
    "twitch/foo": (BEFORE[BEFORE.index("  - url") : BEFORE.index("\n  # the last")],),
    "demo/bob": ("  - {url: demo/bob}     # and that is that\n",),
}


@pytest.mark.parametrize("address", REMOVED)
def test_removing_takes_its_lines_and_no_others(file: FollowFile, address: str) -> None:
    assert file.remove(people(address, "demo/nobody1")).unchanged[0].id == "nobody1"
    after = BEFORE
    for lines in REMOVED[address]:
        after = after.replace(lines, "")
    assert file.path.read_text() == after


@pytest.mark.parametrize(
    ("line", "name"),
    [
        ("nosuch/somebody", "nosuch/somebody"),
        ("https://nowhere.example/x", "https://nowhere.example/x"),
        ("demo/../x", "demo/../x"),
        ("{streamer: demo/cy, tags: [a]}", '{streamer: "demo/cy", tags: [a]}'),
        ("{url: nosuch/else, tags: [a]}", "nosuch/else"),
    ],
)
def test_a_line_that_leads_to_nobody_goes_by_the_name_under_which_it_is_shown(
    file: FollowFile, line: str, name: str
) -> None:
    file.path.write_text(BEFORE.replace("# the end", f"  - {line}\n  - demo/..\n# the end"))
    assert name in [views.address_text(follow.streamer) for follow in load(file.path).unread]
    assert file.remove([parse_listed(name, file.path)]).unchanged == ()
    assert file.path.read_text() == BEFORE.replace("# the end", "  - demo/..\n# the end")


def test_the_last_may_go_and_others_come(file: FollowFile) -> None:
    file.remove(people("demo/ada", "demo/bob", "twitch/foo"))
    assert load(file.path).streamers == ()
    file.add(people("demo/zoe"))
    assert addresses(load(file.path)) == ["demo/zoe"]
    assert "# the end" in file.path.read_text()


@pytest.mark.parametrize(
    "text", ["", "follows: []  # nobody\n", "follows:\n", "# mine\n", "- demo/ada", "follows:\n- demo/ada"]
)
@pytest.mark.parametrize("ending", ["\n", "\r\n"])
def test_adding_works_however_the_list_begins(tmp_path: Path, text: str, ending: str) -> None:
    path = tmp_path / "follows.yaml"
    path.write_bytes(text.replace("\n", ending).encode())
    FollowFile(path).add(people("demo/eve"))
    assert addresses(load(path))[-1] == "demo/eve"


def test_a_file_that_is_not_there_is_begun(tmp_path: Path) -> None:
    path = tmp_path / "new" / "follows.yaml"
    FollowFile(path).add(people("demo/eve"))
    assert path.read_text().startswith("# livectl")
    assert addresses(load(path)) == ["demo/eve"]


def test_plain_text_is_edited_as_well(tmp_path: Path) -> None:
    path = tmp_path / "follows.txt"
    path.write_text("# mine\ndemo/ada\ndemo/bob # hm")
    file = FollowFile(path)
    file.add(people("twitch/foo"))
    file.remove(people("demo/ada"))
    assert path.read_text() == "# mine\ndemo/bob # hm\nhttps://www.twitch.tv/foo\n"


@pytest.mark.parametrize("text", ["follows: [demo/ada, demo/bob]\n", "follows:\n  -\n    demo/ada\n  - demo/bob\n"])
def test_what_cannot_be_edited_safely_is_left_alone(tmp_path: Path, text: str) -> None:
    path = tmp_path / "follows.yaml"
    path.write_text(text)
    with pytest.raises(SettingsError, match="only people change"):
        FollowFile(path).remove(people("demo/ada"))
    assert path.read_text() == text
    assert list(tmp_path.iterdir()) == [path]


def test_mode_and_link_of_the_file_stay(file: FollowFile, tmp_path: Path) -> None:
    file.path.chmod(0o600)
    link = tmp_path / "link.yaml"
    link.symlink_to(file.path)
    FollowFile(link).add(people("demo/eve"))
    assert link.is_symlink()
    assert stat.S_IMODE(file.path.stat().st_mode) == 0o600
    assert "demo/eve" in file.path.read_text()


TAGGED = [
    ("demo/ada", ["a", "b b"], ("- demo/ada            #", "- {url: demo/ada, tags: [a, b b]}            #")),
    ("demo/ada", [], None),
    ("demo/bob", ["x"], ("- {url: demo/bob}  ", "- {url: demo/bob, tags: [x]}  ")),
    ("twitch/foo", ["x", "#y"], ("    tags:\n      - games\n", '    tags: [x, "#y"]\n')),
    ("twitch/foo", [], ("    tags:\n      - games\n", "")),
]


@pytest.mark.parametrize(("address", "tags", "change"), TAGGED)
def test_tags_change_their_own_words_alone(
    file: FollowFile, address: str, tags: list[str], change: tuple[str, str] | None
) -> None:
    edit = file.set_tags(parse_streamer(address), tags)
    assert file.path.read_text() == (BEFORE.replace(*change) if change else BEFORE)
    assert [list(streamer.tags) for streamer in edit.changed] == ([tags] if change else [])


MORE_TAGGED = [
    ("- {url: demo/x, weight: 2, tags: [a], name: 7} # c", ["b"], "- {url: demo/x, weight: 2, tags: [b], name: 7} # c"),
    ("- {url: demo/x, tags: [a]}", [], "- {url: demo/x}"),
    ("- url: demo/x # here\n  name: X", ["a"], "- url: demo/x # here\n  name: X\n  tags: [a]"),
    ("- url: demo/x\n  tags: [a] # why", ["b"], "- url: demo/x\n  tags: [b] # why"),
    ("- tags: [a]\n  url: demo/x", [], "- tags: []\n  url: demo/x"),
    ("- url: demo/x\n  tags:\n  - a # 1\n  # 2\n  name: X", ["b"],
     "- url: demo/x\n  tags: [b]\n  # 1\n  # 2\n  name: X"),
    ("- url: demo/x\n  tags: a # why\n  name: X", [], "- url: demo/x\n  # why\n  name: X"),
    ("- {url: demo/x, tags: [a]}\n- {url: demo/x, tags: [b]}", ["c"], "- {url: demo/x, tags: [c]}\n- {url: demo/x}"),
    ("- 'demo/x'", ["c"], "- {url: demo/x, tags: [c]}"),
]  # fmt: skip


@pytest.mark.parametrize(("before", "tags", "after"), MORE_TAGGED)
def test_tags_are_written_the_way_the_entry_is(tmp_path: Path, before: str, tags: list[str], after: str) -> None:
    path = tmp_path / "follows.yaml"
    rest = "\n# about Y\n- demo/y # too"
    path.write_text(f"{before}{rest}\n")
    FollowFile(path).set_tags(parse_streamer("demo/x"), tags)
    assert path.read_text() == f"{after}{rest}\n"


def test_what_only_people_can_tag_stays_as_it_is(tmp_path: Path) -> None:
    for name, text in (
        ("a.yaml", '- {url: demo/x, name: "a # b"}\n'),
        ("b.yaml", "[demo/x, demo/y]\n"),
        ("c.txt", "demo/x\n"),
    ):
        path = tmp_path / name
        path.write_text(text)
        with pytest.raises(SettingsError):
            FollowFile(path, name).set_tags(parse_streamer("demo/x"), ["t"])
        assert path.read_text() == text
    (tmp_path / "d.yaml").write_text("- demo/y\n")
    assert FollowFile(tmp_path / "d.yaml").set_tags(parse_streamer("demo/x"), ["t"]).changed == ()


def test_many_at_once_lose_nothing(tmp_path: Path) -> None:
    path = tmp_path / "follows.yaml"
    names = [f"demo/n{number}" for number in range(24)]
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda name: FollowFile(path).add(people(name)), names))
    assert sorted(addresses(load(path))) == sorted(names)


def test_a_folder_that_takes_nothing_is_said(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match=r"follows\.yaml cannot be changed"):
        FollowFile(Path("/proc/self/follows.yaml"), "follows.yaml").add(people("demo/ada"))


MANY = 3000


@pytest.mark.parametrize("suffix", ["yaml", "txt"])
def test_an_edit_of_a_long_list_reads_few_of_its_entries(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, suffix: str
) -> None:
    monkeypatch.setattr(follow_list, "LONG_BYTES", -1)
    dash, head = ("- ", "follows:\n") if suffix == "yaml" else ("", "")
    text = head + "".join(f"{dash}demo/u{number}\n" for number in range(MANY))
    path = tmp_path / f"follows.{suffix}"
    path.write_text(text)

    read = note_parsed(monkeypatch)
    assert FollowFile(path).add(people("demo/eve", "demo/u7")).unchanged == tuple(people("demo/u7"))
    FollowFile(path).remove([parse_listed("demo/u7", path)])
    assert follow_list.load_only(path, ("demo", "u8"))
    with pytest.raises(LivectlError):
        parse_listed("demo/../u9", path)
    assert len(read) < 30
    assert path.read_text() == text.replace(f"{dash}demo/u7\n", "") + f"{dash}demo/eve\n"


def test_an_entry_of_a_long_list_is_found_however_its_address_is_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(follow_list, "LONG_BYTES", -1)
    for number, (written, address) in enumerate([*ADDRESSES, ("https://www.twitch.tv/%61da", "twitch/ada")]):
        path = tmp_path / f"{number}.txt"
        path.write_text(f"demo/first\n{written}\ndemo/last\n")
        assert FollowFile(path).remove(people(address)).unchanged == (), written
        assert path.read_text() == "demo/first\ndemo/last\n"


def test_what_no_longer_reads_as_meant_is_not_written(tmp_path: Path) -> None:
    path = tmp_path / "follows.yaml"
    path.write_text(text := "- demo/ada\n- |\n  demo/bob\n  # of its text\n")
    with pytest.raises(SettingsError, match="only people change"):
        FollowFile(path).add(people("demo/eve"))
    assert path.read_text() == text
    assert list(tmp_path.iterdir()) == [path]
