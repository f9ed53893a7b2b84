"""`livectl open`: the page of a stream, in the browser or as its address."""

from __future__ import annotations

import io
import json
import webbrowser
from typing import TYPE_CHECKING

import pytest

from livectl import cli
from livectl.context import CommandContext

if TYPE_CHECKING:
    from pathlib import Path

NASA = "https://www.twitch.tv/nasa"


@pytest.mark.parametrize(
    ("argv", "has_browser", "code", "answer", "remark"),
    [
        (["twitch/nasa"], True, 0, f"Opened {NASA}\n", ""),
        (["twitch/nasa"], False, 0, f"{NASA}\n", "There is no browser here"),
        (["twitch/nasa", "--print"], True, 0, f"{NASA}\n", ""),
        (["nonsuch"], True, 2, "", "not the address of a streamer"),
    ],
)
def test_it_opens_the_page_or_prints_its_address(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    argv: list[str],
    *,
    has_browser: bool,
    code: int,
    answer: str,
    remark: str,
) -> None:
    opened: list[str] = []

    def open_page(url: str) -> bool:
        opened.append(url)
        return has_browser

    monkeypatch.setattr(webbrowser, "open", open_page)
    out, err = io.StringIO(), io.StringIO()
    assert cli.main(["open", *argv], CommandContext({"HOME": str(tmp_path)}, tmp_path, out, err)) == code
    assert (out.getvalue(), remark in err.getvalue()) == (answer, True)
    assert opened == ([NASA] if argv == ["twitch/nasa"] else [])


def test_it_answers_programs(tmp_path: Path) -> None:
    out = io.StringIO()
    cli.main(["open", "twitch/nasa", "--print", "--json"], CommandContext({"HOME": str(tmp_path)}, tmp_path, out, out))
    assert json.loads(out.getvalue()) == {"platform": "twitch", "id": "nasa", "url": NASA, "opened": False}
