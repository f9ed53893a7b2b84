"""Lines of follow lists come one after the other, the same as from a list that is read whole, however long it is."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st

from livectl.errors import FileError, LivectlError
from livectl.live.follows import follow_list, lines
from livectl.live.follows.edit import FollowFile
from livectl.live.platforms import parsing
from tests.support.effort import calls
from tests.support.follow_lists import addresses, read_list

if TYPE_CHECKING:
    from pathlib import Path

ENTRIES = """# mine
- demo/ada   # the first
- https://m.twitch.tv/Foo?x=1
# about the next
- {url: https://www.douyu.com/9999, name: Someone, tags: [games], alerts: [phone], weight: 5}

- url: demo/eve
  name: "Eve: the
    second"
  tags:
  - a
- hello
- 'demo/dan'
- {url: demo/bob, nam: x}
-
  demo/cy
- |
  demo/fay
- 7
- true/x
- demo/ada
"""
INDENTED = "follows:\n" + "".join(f"  {line}\n" for line in ENTRIES.splitlines())
LISTS = {
    "a list": ENTRIES,
    "under its key": f"follows:\n{ENTRIES}",
    "indented": f"# head\n\n{INDENTED}# end\n",
    "of another system": f"\ufeff{INDENTED}".replace("\n", "\r\n"),
    "without a last end of line": INDENTED.rstrip(),
    "nobody": "follows:\n# nobody\n",
    "in one line": "follows: [demo/ada, demo/bob]\n",
    "with a key too many": f"{INDENTED}more: 1\n",
    "of no streamers": "follows: demo/ada\n",
    "of two documents": f"{ENTRIES}---\n- demo/x\n",
}


def told(text: str, suffix: str = ".yaml") -> list[object]:
    """Each line as it is seen: its place, and its streamer or what is wrong with it."""
    try:
        return [
            (line, str(streamer) if isinstance(streamer, LivectlError) else streamer)
            for line, streamer, _ in follow_list.parse_lines(text.encode(), suffix, "f")
        ]
    except FileError as error:
        return [str(error)]


@pytest.fixture
def piece_by_piece(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lines, "MAX_WHOLE_BYTES", 0)


@pytest.mark.parametrize("case", LISTS)
@pytest.mark.parametrize("size", [1, 3, 500])
def test_pieces_say_the_same_as_the_whole(case: str, size: int, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = told(LISTS[case])
    monkeypatch.setattr(lines, "PIECE_SIZE", size)
    monkeypatch.setattr(lines, "MAX_WHOLE_BYTES", 0)
    assert told(LISTS[case]) == whole


@pytest.mark.usefixtures("piece_by_piece")
@pytest.mark.parametrize(
    ("broken", "problem"),
    [
        ('{url: "demo/x}', '4:11: " is opened here and never closed'),
        ("&a demo/x", "4:5: anchor &a"),
        ("[demo/x, [demo/y]", "5:1: no comma or end after an entry of the [ in line 4"),
        ("x\n\t- y", "5:1: a tab in the indentation"),
    ],
)
def test_an_entry_that_is_no_yaml_costs_nobody_else_in_a_long_list(broken: str, problem: str) -> None:
    follows = read_list(f"follows:\n  - demo/ada\n  - demo/bob\n  - {broken}\n  - demo/eve\n")
    assert addresses(follows) == ["demo/ada", "demo/bob", "demo/eve"]
    assert [str(mistake).partition(" (")[0] for mistake in follows.refused] == [f"f:{problem}"]


def test_json_is_read_as_long_as_it_is(monkeypatch: pytest.MonkeyPatch) -> None:
    entries: list[object] = [
        "demo/ada",
        {"url": "demo/bob", "tags": ["a"], "name": "B\n\u00e9"},
        7,
        {"name": "x"},
        "hello",
    ]
    texts = [json.dumps(value, indent=indent) for value in (entries, {"follows": entries}) for indent in (None, 2)]
    whole = [told(text, ".json") for text in texts]
    monkeypatch.setattr(lines, "MAX_WHOLE_BYTES", 0)
    assert [told(text, ".json") for text in texts] == whole
    for size in (1, 7):
        monkeypatch.setattr(lines, "READ_CHARS", size)
        assert [told(text, ".json") for text in texts] == whole


@pytest.mark.usefixtures("piece_by_piece")
@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ('["demo/ada",\n "demo/bob" "x"]', "f:2:13: a comma or ] is missing here"),
        ('["demo/ada",\n {"url": ]', "f:2:2: not JSON"),
        ('{"follow": []}', "f:1:2: no list of streamers"),
        ('{"follows": [], "x": 1}', "f:1:15: a second key"),
        ('["demo/ada"] 1', "f:1:14: something after the list"),
        ('["demo/ada"', "f:1:12: a comma or ] is missing here"),
    ],
)
def test_what_is_no_list_in_json_is_refused_with_its_place(text: str, problem: str) -> None:
    with pytest.raises(FileError) as caught:
        list(follow_list.parse_lines(text.encode(), ".json", "f"))
    assert str(caught.value).partition(" (")[0] == problem


@pytest.mark.usefixtures("piece_by_piece")
def test_fields_twice_and_characters_of_no_text_cost_one_entry_of_json() -> None:
    text = (
        r'["demo/ada", {"url": "demo/x", "url": "demo/y"}, {"url": "demo/z", "name": "\ud800"}, '
        r'{"url": "demo/z", "weight": NaN}, "demo/b\u006fb"]'
    )
    follows = read_list(text, ".json")
    assert addresses(follows) == ["demo/ada", "demo/bob"]
    assert [mistake.column for mistake in follows.refused] == [14, 50, 87]


def test_a_table_is_a_follow_list_too(tmp_path: Path) -> None:
    path = tmp_path / "follows.csv"
    path.write_text('name,url,tags,weight\n"Ada, ""A""",demo/ada,a b,2\nBob,demo/bob,,\n')
    FollowFile(path, "f").add([follow_list.parse_streamer("demo/eve", {"name": "E", "tags": ("c",)})])
    FollowFile(path, "f").remove([follow_list.parse_streamer("demo/bob")])
    assert path.read_text() == 'name,url,tags,weight\n"Ada, ""A""",demo/ada,a b,2\nE,demo/eve,c,1\n'
    ada, eve = follow_list.load(path).streamers
    assert (ada.name, ada.tags, ada.weight, eve.name, eve.tags) == ('Ada, "A"', ("a", "b"), 2.0, "E", ("c",))


@pytest.mark.parametrize(
    ("text", "found", "refused"),
    [
        ("demo/ada\ndemo/bob\n", ["demo/ada", "demo/bob"], []),
        ('url\n"demo/ada\ndemo/bob\ndemo/eve\n', ["demo/bob", "demo/eve"], [2]),
        ("url\n" + 'demo/a,"x\n' + "demo/b\n" * 40, ["demo/b"], [2]),
        ('url,name\ndemo/a,"x\ny"\ndemo/b,\n', ["demo/a", "demo/b"], []),
        ("url,name\ndemo/a,x\nhello,y\n\ndemo/b,\n", ["demo/a", "demo/b"], [3]),
    ],
)
def test_a_row_of_a_table_costs_no_other(text: str, found: list[str], refused: list[int]) -> None:
    follows = read_list(text, ".csv")
    assert (addresses(follows), [mistake.line for mistake in follows.refused]) == (found, refused)


def test_a_line_that_is_no_text_costs_no_other() -> None:
    raw = b"demo/ada\n\xff\xfe\ndemo/bob"
    for suffix in (".txt", ".csv"):
        follows = follow_list.merge_lines(follow_list.parse_lines(raw, suffix, "f"), "f")
        assert addresses(follows) == ["demo/ada", "demo/bob"]
        assert [str(mistake)[:17] for mistake in follows.refused] == ["f:2:1: not UTF-8 "]


def test_no_more_than_a_few_lines_are_read_ahead(tmp_path: Path) -> None:
    """Whoever wants the first lines alone pays for those, whatever the format."""
    names = [f"demo/u{number}" for number in range(40_000)]
    contents = {
        ".txt": "\n".join(names),
        ".csv": "url\n" + "\n".join(names),
        ".json": json.dumps(names),
        ".yaml": "".join(f"- {{url: {name}, name: x}}\n" for name in names),
    }
    for suffix, content in contents.items():
        path = tmp_path / f"f{suffix}"
        path.write_text(content + " " * lines.MAX_WHOLE_BYTES)
        found = follow_list.read_lines(path, "f")
        next(found)
        assert calls(lambda found=found: [next(found) for _ in range(100)]) < 200_000  # type: ignore[misc]
        found.close()  # type: ignore[attr-defined]


@given(st.from_regex(r"(https?://)?[A-Za-z0-9.-]{1,12}(/[A-Za-z0-9_.%?=-]{0,9}){0,3}", fullmatch=True))
def test_plain_addresses_are_parsed_like_all_others(text: str) -> None:
    parse = parsing.parse_page_address.__wrapped__
    plain = parse(text)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(parsing, "MAX_PLAIN_CHARS", 0)
        assert parse(text) == plain
