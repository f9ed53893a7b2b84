"""The registry: every platform by name, none imported before it is asked for, those of other packages too."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from livectl.live import platforms
from livectl.live.platforms.base import CheckContext, NotAStreamer, Platform
from livectl.models import Observation, Response, State
from tests.support.check_driver import drive

if TYPE_CHECKING:
    from collections.abc import Iterator

OURS = [*platforms.BUILT_IN, platforms.FALLBACK]


@pytest.mark.parametrize("name", OURS)
def test_a_platform_is_what_its_name_says(name: str) -> None:
    platform = platforms.get(name)
    assert isinstance(platform, Platform)
    assert platform.name == name
    assert platform.batch >= 1
    count, _, unit = platform.budget.partition("/")
    assert count.isdecimal()
    assert unit == "m"
    assert all(host == host.lower() and "/" not in host for host in platform.hosts)
    assert platform.rate_limit({"client_id": "x", "api_key": "x"}).batch == platform.batch


def test_all_are_there_in_order() -> None:
    assert [platform.name for platform in platforms.all()] == OURS


def test_an_unknown_name_is_refused_with_those_there_are() -> None:
    with pytest.raises(NotAStreamer, match="no platform is called 'nowhere'") as refused:
        platforms.get("nowhere")
    assert "twitch" in refused.value.hint


def test_importing_the_registry_imports_no_platform() -> None:
    code = "import sys; from livectl.live import platforms; print([m for m in sys.modules if 'live.platforms.' in m])"
    assert subprocess.check_output([sys.executable, "-c", code], text=True).strip() == "[]"


@pytest.fixture
def other_package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """An installed package that joins with a platform that works and one that does not."""
    entries = "[livectl.platforms]\nparrot = parrot:PLATFORM\nbroken = parrot:NOWHERE\ntwitch = parrot:PLATFORM\n"
    folder = tmp_path / "parrot-1.0.dist-info"
    folder.mkdir()
    (folder / "METADATA").write_text("Metadata-Version: 2.1\nName: parrot\nVersion: 1.0\n")
    (folder / "entry_points.txt").write_text(entries)
    (tmp_path / "parrot.py").write_text(
        "from livectl.live.platforms import demo\n"
        "PLATFORM = demo.PLATFORM._replace(name='parrot', address=lambda text: text.partition('parrot/')[2] or None)\n"
    )
    monkeypatch.syspath_prepend(str(tmp_path))
    platforms._entry_points.cache_clear()
    platforms._load_platform.cache_clear()
    yield tmp_path
    platforms._entry_points.cache_clear()
    platforms._load_platform.cache_clear()


@pytest.mark.usefixtures("other_package")
def test_another_package_joins_and_a_broken_one_is_left_out(caplog: pytest.LogCaptureFixture) -> None:
    assert platforms.get("parrot").name == "parrot"
    assert platforms.parse_address("parrot/polly") == ("parrot", "polly")
    assert [platform.name for platform in platforms.all()] == [*platforms.BUILT_IN, "parrot", platforms.FALLBACK]
    assert "broken cannot be loaded from parrot:NOWHERE" in caplog.text
    assert platforms.get("twitch").hosts, "a name of ours stays ours"


def test_the_platform_of_the_documentation_works() -> None:
    """Its one file and its two bodies, as a reader would paste them."""
    text = (Path(__file__).parents[2] / "docs" / "platforms.md").read_text()
    (source,) = re.findall(r"```python\n(.*?)```", text, re.DOTALL)
    live, offline = re.findall(r"```json\n(.*?)```", text, re.DOTALL)
    names: dict[str, Any] = {}
    exec(source, names)
    parrot: Platform = names["PLATFORM"]
    assert parrot.address("https://www.parrot.example/Polly") == "polly"

    def looked_at(status: int, body: str) -> Observation:
        check = parrot.check(["polly"], CheckContext(0.0, {}))
        return drive(check, lambda request: Response(status=status, url=request.url, body=body.encode()))[0]

    assert looked_at(200, live).title == "Polly & friends"
    assert [looked_at(*told).state for told in ((200, live), (200, offline), (404, "x"), (200, "{}"), (429, ""))] == [
        State.LIVE,
        State.OFFLINE,
        State.NOT_FOUND,
        State.PARSE_ERROR,
        State.RATE_LIMITED,
    ]


@pytest.mark.parametrize("name", OURS)
def test_every_platform_is_documented(name: str) -> None:
    text = (Path(__file__).parents[2] / "docs" / "platforms.md").read_text()
    rows = [line for line in text.splitlines() if line.startswith(f"| `{name}` |")]
    assert len(rows) == 2
    platform = platforms.get(name)
    pace = platform.rate_limit({})
    assert f"{platform.batch}" in rows[0]
    assert f"{pace.batch}" in rows[0]
    assert platform.budget in rows[0]
    assert pace.budget in rows[0]
