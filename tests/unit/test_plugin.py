"""The public API for plug-ins: the documentation's example, installed as a package of its own, needs nothing else."""

from __future__ import annotations

import ast
import re
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from livectl import plugin
from livectl.live import platforms
from livectl.models import Observation, Response, State
from tests.support.check_driver import drive
from tests.support.plug_in import installed

if TYPE_CHECKING:
    from collections.abc import Iterator

DOCUMENTATION = (Path(__file__).parents[2] / "docs" / "platforms.md").read_text()
(SOURCE,) = re.findall(r"```python\n(.*?)```", DOCUMENTATION, re.DOTALL)
LIVE_BODY, OFFLINE_BODY = re.findall(r"```json\n(.*?)```", DOCUMENTATION, re.DOTALL)
(ENTRY_POINT,) = re.findall(r"^ +(parrot = \S+)$", DOCUMENTATION, re.MULTILINE)


@pytest.fixture
def parrot(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    with installed(tmp_path, SOURCE, ENTRY_POINT, monkeypatch):
        yield


def observe(status: int, body: str) -> Observation:
    check = platforms.get("parrot").check(["polly"], plugin.CheckContext(0.0, {}))
    (observation,) = drive(check, lambda request: Response(status=status, url=request.url, body=body.encode()))
    return observation


def test_the_example_imports_nothing_else_of_livectl() -> None:
    imports = [node for node in ast.walk(ast.parse(SOURCE)) if isinstance(node, ast.Import | ast.ImportFrom)]
    modules = {node.module if isinstance(node, ast.ImportFrom) else node.names[0].name for node in imports}
    assert {name for name in modules if name and name.startswith("livectl")} == {"livectl.plugin"}


@pytest.mark.usefixtures("parrot")
def test_the_example_joins_by_its_entry_point() -> None:
    assert "parrot" in platforms.names()
    assert platforms.parse_address("https://www.parrot.example/Polly") == ("parrot", "polly")
    assert platforms.parse_address("parrot/polly") == ("parrot", "polly")
    with pytest.raises(plugin.NotAStreamer, match="no Parrot channel") as refused:
        platforms.parse_address("https://parrot.example/")
    assert refused.value.hint


@pytest.mark.usefixtures("parrot")
@pytest.mark.parametrize(
    ("status", "body", "state"),
    [
        (200, LIVE_BODY, State.LIVE),
        (200, OFFLINE_BODY, State.OFFLINE),
        (404, "x", State.NOT_FOUND),
        (200, "{}", State.PARSE_ERROR),
        (429, "", State.RATE_LIMITED),
    ],
)
def test_the_example_reads_what_its_site_answers(status: int, body: str, state: State) -> None:
    assert observe(status, body).state is state


@pytest.mark.usefixtures("parrot")
def test_the_example_tells_what_is_live() -> None:
    observation = observe(200, LIVE_BODY)
    assert (observation.session, observation.title) == ("77", "Polly & friends")


def test_every_public_name_is_there_in_order_and_nothing_else_is() -> None:
    public = {name for name in vars(plugin) if not name.startswith("_")}
    assert plugin.__all__ == sorted(plugin.__all__, key=lambda name: (not name.isupper(), not name[0].isupper(), name))
    assert public == set(plugin.__all__)


@pytest.mark.parametrize("name", ["twitch", "bilibili", "douyu", "youtube_api"])
def test_a_platform_of_ours_needs_no_name_that_plug_ins_lack(name: str) -> None:
    """What our own files take from the rooms behind the API is public, so that they may serve as examples."""
    tree = ast.parse((Path(platforms.__file__).parent / f"{name}.py").read_text())
    imported = {
        alias.name
        for node in ast.walk(tree)
        if isinstance(node, ast.ImportFrom) and node.module in {"livectl.live.platforms.base", "livectl.models"}
        for alias in node.names
    }
    used = {
        node.attr for node in ast.walk(tree) if isinstance(node, ast.Attribute) and ast.unparse(node.value) == "parsing"
    }
    assert imported | used <= set(plugin.__all__) | {"PLATFORM_WIDE_STATES"}
