"""Of a long follow list some streamers are found by a word, whatever its format, and the others are not read."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from livectl.live.follows import near
from tests.support.parsed_addresses import note_parsed

if TYPE_CHECKING:
    from pathlib import Path

LISTS = {
    "follows.yaml": "# mine\nfollows:\n  - demo/ada\n  - url: demo/bob\n    # who\n    name: Robert\n"
    "    tags: [games]\n"
    '  - {url: "https://www.twitch.tv/Grace", name: 阿达, tags: [code]}\n  - {broken\n  - demo/adam # last\n',
    "follows.txt": "# mine\ndemo/ada\ndemo/bob\nhttps://www.twitch.tv/Grace\n\ndemo/adam # last",
    "follows.csv": "platform,id,name,tags\ndemo,ada,,\ndemo,bob,Robert,games\ntwitch,Grace,阿达,code\ndemo,adam,,\n",
    "follows.json": '["demo/ada", {"url": "demo/bob", "name": "Robert"}, "twitch/grace", "demo/adam"]',
}
WORDS = [
    ("", ["ada", "bob", "grace", "adam"]),
    ("ada", ["ada", "adam"]),
    ("GR", ["grace"]),
    ("obert", []),
    ("rober", ["bob"]),
    ("twitch", ["grace"]),
    ("阿", ["grace"]),
    ("games", ["bob"]),
    ("n.thing", []),
]


@pytest.mark.parametrize("name", LISTS)
@pytest.mark.parametrize(("word", "found"), WORDS)
@pytest.mark.parametrize("window", [1, 7, 1_000_000])
def test_who_has_the_word_is_found(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, word: str, found: list[str], window: int
) -> None:
    monkeypatch.setattr(near, "WINDOW_BYTES", window)
    path = tmp_path / name
    path.write_text(LISTS[name])
    if path.suffix == ".json":  # the first are found, whatever the word
        found = ["ada", "bob", "grace", "adam"]
    if path.suffix == ".txt" and word in {"rober", "阿", "games"}:  # it has neither names nor tags
        found = []
    assert [streamer.id for streamer in near.find(path, word)] == found


def test_a_million_would_not_be_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    read = note_parsed(monkeypatch)
    path = tmp_path / "follows.yaml"
    path.write_text("follows:\n" + "".join(f"- demo/u{number}\n" for number in range(5000)))
    assert [streamer.id for streamer in near.find(path, "u499")] == ["u499", *(f"u499{digit}" for digit in range(10))]
    assert len(read) == 11
    assert len(list(near.find(path, "u"))) == near.MAX_READ
