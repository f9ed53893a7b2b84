"""`livectl follow`: arguments in, exit code, answer and remarks out."""

from __future__ import annotations

import io
import json
import re
from typing import TYPE_CHECKING

import pytest

from livectl import cli, render
from livectl.context import CommandContext
from livectl.live.follows import follow_list

if TYPE_CHECKING:
    from pathlib import Path

FILE = "follows:\n  - demo/ada\n  - {url: https://www.twitch.tv/foo, name: Foo, tags: [games], alerts: [], weight: 4}\n"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "follows.yaml").write_text(FILE)
    return tmp_path


def run(folder: Path, *argv: str) -> tuple[int, str, str]:
    out, err = io.StringIO(), io.StringIO()
    code = cli.main(["follow", *argv], CommandContext({"HOME": str(folder)}, folder, out, err))
    return code, out.getvalue(), err.getvalue()


def test_list_shows_who_is_followed(folder: Path) -> None:
    code, out, err = run(folder, "list")
    assert (code, "States are not shown: no broker is set" in err) == (0, True)
    assert "twitch/foo" in out
    assert max(map(len, out.splitlines())) <= 80


def test_list_gives_programs_the_fields_of_the_promise(folder: Path) -> None:
    ada, foo = json.loads(run(folder, "list", "--json")[1])
    assert sorted(ada) == ["alerts", "id", "name", "platform", "problem", "state", "tags", "url", "weight"]
    assert (ada["alerts"], foo["alerts"], foo["weight"]) == (None, [], 4.0)


def test_a_line_that_names_nobody_is_told(folder: Path) -> None:
    (folder / "follows.yaml").write_text("- demo/ada\n- https://clips.twitch.tv/x\n- demo/ada\n")
    code, out, err = run(folder, "list")
    assert (code, "demo/ada" in out, "https://clips.twitch.tv/x" in out) == (3, True, True)
    assert "follows.yaml:2:3: a Twitch clip is no streamer" in err
    assert "follows.yaml:3:3: warning: demo/ada is followed by line 1 already" in err


NOBODY = "nobody of that name there; livectl follow remove demo/nobody takes it out"
CALLS = [
    # argv, exit code, answer, remarks
    (("add", "--no-ask", "demo/eve"), 0, "Following demo/eve\n", ""),
    (("add", "demo/nobody"), 1, f"Following demo/nobody: {NOBODY}\n", ""),
    (
        ("add", "twitch/a", "demo/eve", "foo/bar", "--no-ask"),
        2,
        "Following twitch/a\nFollowing demo/eve\n",
        "no platform foo",
    ),
    (("add", "--no-ask", "demo/ada"), 0, "Followed already: demo/ada\n", ""),
    (("add", "https://clips.twitch.tv/x"), 2, "", "a Twitch clip is no streamer"),
    (("add", "--no-ask", "--weight", "0", "demo/eve"), 0, "Following demo/eve\n", ""),
    (("add", "--weight", "-1", "demo/eve"), 3, "", "a weight is a number above 0"),
    (("add",), 2, "", "Missing argument"),
    (("remove", "twitch/FOO"), 0, "No longer following twitch/foo\n", ""),
    (("remove", "adda"), 2, "", "Did you mean demo/ada?"),
    (("remove", "twich/foo"), 2, "", "Did you mean twitch?"),
    (("add", "https://live.bilibil.com/6"), 2, "", "Did you mean live.bilibili.com?"),
    (("remove", "demo/eve"), 1, "Not followed: demo/eve\n", ""),
    (("import", "nowhere.txt"), 3, "", "nowhere.txt: no such file"),
    (("export", "--format", "text"), 0, "demo/ada\nhttps://www.twitch.tv/foo\n", ""),
    (("export", "--format", "xml"), 2, "", "xml"),
]


@pytest.mark.parametrize(("argv", "code", "answer", "remarks"), CALLS)
def test_calls(folder: Path, argv: tuple[str, ...], code: int, answer: str, remarks: str) -> None:
    got, out, err = run(folder, *argv)
    assert (got, out) == (code, answer)
    assert remarks in err


def test_add_writes_what_it_is_told(folder: Path) -> None:
    run(folder, "add", "demo/eve", "--name", "Eve", "--tag", "a", "--tag", "b", "--alert", "phone", "--weight", "2")
    last = (folder / "follows.yaml").read_text().splitlines()[-1]
    assert last == "  - {url: demo/eve, name: Eve, tags: [a, b], alerts: [phone], weight: 2}"


def test_add_says_of_each_what_it_found_and_what_it_could_not_read(folder: Path) -> None:
    words = ("add", "demo/nonstop", "https://clips.twitch.tv/x", "demo/nobody", "foo/bar")
    code, out, err = run(folder, *words)
    live, nobody = out.splitlines()
    assert re.match(r"Following demo/nonstop: Nonstop, live for .+: \w", live)
    assert nobody == f"Following demo/nobody: {NOBODY}"
    assert code == 2
    for refused in ("https://clips.twitch.tv/x: a Twitch clip is no streamer", "foo/bar: there is no platform foo"):
        assert f"livectl: {refused}" in err
    assert (folder / "follows.yaml").read_text() == f"{FILE}  - demo/nonstop\n  - demo/nobody\n"
    (added,) = json.loads(run(folder, "add", "demo/nonstop", "demo/eve", "--json")[1])
    assert (added["id"], added["seen"]["name"], added["seen"]["state"] in {"live", "offline"}) == ("eve", "Eve", True)


def test_import_follows_the_good_and_tells_the_bad(folder: Path) -> None:
    (folder / "list.txt").write_text("demo/ada\ndemo/eve\nhello\n")
    code, out, err = run(folder, "import", "list.txt")
    assert (code, out) == (1, "1 added, 1 followed already, 1 refused\n")
    assert "list.txt:3:1: not the address of a streamer" in err
    assert json.loads(run(folder, "import", "list.txt", "--json")[1]) == {"added": [], "known": 2, "refused": 1}


@pytest.mark.parametrize("name", ["follows.yaml", "mine.txt", "mine.csv", "new/mine.yaml", "new/mine.csv"])
def test_a_long_list_is_imported_as_a_short_one_is(folder: Path, monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    (folder / "livectl.yaml").write_text(f"follows: {name}\n")
    texts = {"follows.yaml": FILE, "mine.txt": "# mine\ndemo/ada", "mine.csv": "name,url\nAda,demo/ada\n"}
    people = "".join(f"{{url: demo/u{number}, name: 'U, {number}'}}\n" for number in range(2300))
    wanted = "follows:\n" + people.replace("{", "- {") + "- demo/ada\n- hello\n- demo/u7\n- twitch/foo\n"
    (folder / "list.yaml").write_text(wanted)
    found = []
    for long in (False, True):
        monkeypatch.setattr(follow_list, "LONG_BYTES", -1 if long else 10**9)
        for json_words in ((), ("--json",)):
            path = folder / name
            path.unlink(missing_ok=True)
            if name in texts:
                path.write_text(texts[name])
            code, out, err = run(folder, "import", "list.yaml", *json_words)
            assert (code, "list.yaml:2303:3: not the address" in err) == (1, True)
            assert "is followed by line 9 already" in err
            found.append((out, path.read_text()))
    assert found[:2] == found[2:]
    added = json.loads(found[1][0])
    assert (len(added["added"]), added["refused"]) == (2302 - added["known"], 1)
    assert added["known"] == {"follows.yaml": 2, "mine.txt": 1, "mine.csv": 1}.get(name, 0)


def test_of_a_long_import_nothing_is_written_that_does_not_read_back(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(follow_list, "LONG_BYTES", -1)
    (folder / "follows.yaml").write_text(text := "[demo/ada]\n")
    (folder / "list.txt").write_text("demo/eve\n")
    code, _, err = run(folder, "import", "list.txt")
    assert (code, "only people change" in err, (folder / "follows.yaml").read_text()) == (3, True, text)


def test_the_settings_name_the_file(folder: Path) -> None:
    (folder / "livectl.yaml").write_text("follows: people/mine.txt\n")
    run(folder, "add", "demo/eve")
    assert (folder / "people" / "mine.txt").read_text() == "demo/eve\n"


FORMATS = ["yaml", "text", "csv", "opml"]
ALL_OF_IT = [("list",), ("list", "--json"), ("list", "--wide"), ("export", "--json")]
LONG_FILE = FILE + "".join(f"  - demo/u{number}\n" for number in range(2500)) + "  - youtube/UC" + "a" * 22 + "\n"


@pytest.fixture
def long_file(folder: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A list that is shown as it is read."""
    path = folder / "follows.yaml"
    path.write_text(LONG_FILE)
    monkeypatch.setattr(follow_list, "LONG_BYTES", -1)
    return path


def words(text: str) -> list[str]:
    """What is said, however wide the columns are."""
    return text.replace("─", "").split()


@pytest.mark.parametrize("argv", [*ALL_OF_IT, *(("export", "--format", kind) for kind in FORMATS)])
def test_a_long_list_is_shown_as_a_short_one_is(
    folder: Path, long_file: Path, monkeypatch: pytest.MonkeyPatch, argv: tuple[str, ...]
) -> None:
    long = run(folder, *argv)
    monkeypatch.setattr(follow_list, "LONG_BYTES", 10**9)
    short = run(folder, *argv)
    assert [words(text) for text in long[1:]] == [words(text) for text in short[1:]]
    assert long[0] == short[0] == 0
    assert "u2499" in long[1] or "opml" in argv


def test_of_a_long_list_each_line_comes_as_it_stands(folder: Path, long_file: Path) -> None:
    long_file.write_text(f"{LONG_FILE}  - nosuch/x\n" + "  - {url: demo/u7, tags: [more]}\n  - demo/ada\n")
    code, out, err = run(folder, "list", "--json")
    rows = json.loads(out)
    assert (code, len(rows)) == (3, LONG_FILE.count("- ") + 3)
    assert [row["tags"] for row in rows if row["id"] == "u7"] == [[], ["more"]]
    assert [row["platform"] for row in rows[-3:]] == ["demo", "demo", "nosuch"]
    assert "follows.yaml:2505:5: there is no platform nosuch" in err
    assert "warning: demo/u7 is followed by line 11 already" in err
    assert "warning: demo/ada is followed by line 2 already" in err


def test_of_a_thousand_mistakes_of_a_long_list_the_first_are_told(folder: Path, long_file: Path) -> None:
    long_file.write_text("follows:\n" + "- nosuch/x\n" * 1500 + "- demo/ada\n" * 1500)
    code, _, err = run(folder, "list")
    assert (code, len(err.splitlines()) < 120) == (3, True)
    assert "follows.yaml: and 1,400 more like these" in err
    assert "follows.yaml: and 1,494 more like these" in err


def test_a_long_list_is_shown_up_to_where_it_cannot_be_read(folder: Path) -> None:
    (folder / "livectl.yaml").write_text("follows: mine.txt\n")
    lines = "".join(f"demo/u{number}\n" for number in range(2000))
    (folder / "mine.txt").write_text(lines + "x" * 1_100_000)
    code, out, err = run(folder, "export", "--format", "text")
    assert (code, out) == (3, lines)
    assert "mine.txt:2001:1: a line of more than 1,000,000 bytes" in err
    code, out, err = run(folder, "export", "--json")
    assert (code, out.count("{"), "mine.txt:2001:1" in err, "error" in out) == (3, 2000, True, False)


def test_headings_come_again_only_where_the_columns_change() -> None:
    table = render.GrowingTable([render.Column("streamer", "whole"), render.Column("name"), render.Column("tags")])
    pages = [
        table.page([("demo/ada", "Ada", "")], []),
        table.page([("demo/someone", "S", "")], []),
        table.page([("demo/b", "", "games")], []),
    ]
    lines = "".join(render.text_pieces(pages, render.TextFormat())).splitlines()
    assert [line for line in lines if "─" not in line] == [
        "streamer  name",
        "demo/ada  Ada",
        "demo/someone  S",
        "streamer      name  tags",
        "demo/b              games",
    ]
