"""`livectl platforms`, and what is said of a platform that there is not."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest

from livectl.cli import main
from livectl.live import platforms

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LIVECTL_HOME", str(tmp_path))
    monkeypatch.chdir(tmp_path)


def test_all_are_listed_with_how_they_are_asked(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    keys = (
        "push: [kick]\nplatforms:\n  twitch:\n    client_id: mine\n    client_secret: hidden\n  douyu: {budget: 90/m}\n"
    )
    (tmp_path / "livectl.yaml").write_text(keys)
    assert main(["platforms", "--json"]) == 0
    rows = {row["platform"]: row for row in json.loads(capsys.readouterr().out)}
    assert list(rows) == list(platforms.names())
    twitch = rows["twitch"]
    assert (twitch["batch"], twitch["budget"], twitch["push"]) == (100, "600/m", False)
    assert rows["kick"]["push"]
    assert twitch["key_set"] == ["client_id", "client_secret"]
    assert {row["watched"] for row in rows.values()} == {"asked"}, "there is no store that says otherwise"
    assert (twitch["can_list"], rows["kick"]["can_list"], rows["soop"]["can_list"]) == (True, False, True)
    assert rows["douyu"]["budget"] == "90/m", "as the settings have it"
    assert (rows["kick"]["key"], rows["kick"]["key_set"], rows["douyu"]["key"]) == ("needed", [], "none")
    monkeypatch.setenv("COLUMNS", "80")
    assert main(["platforms"]) == 0
    shown = capsys.readouterr().out
    assert "asked, push" in shown, "how it is watched has room in a small terminal"
    assert shown.endswith("--wide shows all\n"), "the names of some keys have not"


@pytest.mark.parametrize(
    ("address", "code", "said"),
    [
        ("https://www.twitch.tv/Ada", 0, "twitch/ada"),
        ("twich/ada", 2, "Did you mean twitch?"),
        ("foo/bar", 2, "there is no platform foo"),
    ],
)
def test_an_address_is_led_to_its_platform(
    address: str, code: int, said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["platforms", address]) == code
    captured = capsys.readouterr()
    assert said in captured.out + captured.err


def test_check_names_the_platform_that_there_is_not(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["check", "--local", "twich/ada"]) == 2
    message = capsys.readouterr().err
    assert "there is no platform twich" in message
    assert "Did you mean twitch?" in message
