"""Platforms by name and by address: none imported before it is asked for, those of other packages too."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from livectl.live import platforms
from livectl.live.platforms.base import NotAStreamer, Platform
from tests.support.plug_in import installed

if TYPE_CHECKING:
    from collections.abc import Iterator

ALL_NAMES = [*platforms.BUILT_IN, platforms.FALLBACK]
DOCUMENTATION = Path(__file__).parents[2] / "docs" / "platforms.md"
HOST = re.compile(r"[a-z0-9-]+(?:\.[a-z0-9-]+)+")


@pytest.mark.parametrize("name", ALL_NAMES)
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
    assert list(platforms.names()) == ALL_NAMES


def test_an_unknown_name_is_refused_with_those_there_are() -> None:
    with pytest.raises(NotAStreamer, match="no platform is called 'nowhere'") as refused:
        platforms.get("nowhere")
    assert "twitch" in refused.value.hint


# Which platform reads an address: the table of hosts and the modules agree


def reads(name: str, address: str) -> bool:
    """Whether the platform takes the address for its own, be it a streamer's or not."""
    try:
        return platforms.get(name).address(address) is not None
    except NotAStreamer:
        return True


def hosts_in_module(name: str) -> set[str]:
    """Every host that a platform's file names, in its text or in a set that it builds."""
    module = import_module(f"livectl.live.platforms.{name}")
    sets = [value for value in vars(module).values() if isinstance(value, set | frozenset)]
    built = {text for values in sets for text in values if isinstance(text, str) and HOST.fullmatch(text)}
    return built | set(HOST.findall(Path(module.__file__ or "").read_text()))


@pytest.mark.parametrize("name", platforms.BUILT_IN)
def test_the_table_has_each_host_that_a_platform_reads(name: str) -> None:
    read_hosts = {host for host in hosts_in_module(name) if reads(name, f"https://{host}/")}
    assert read_hosts == set(platforms.WEB_HOSTS[name])


@pytest.mark.parametrize("name", platforms.BUILT_IN)
def test_no_other_platform_reads_a_host_of_the_table(name: str) -> None:
    for host in (name, *platforms.WEB_HOSTS[name]):
        assert [other for other in platforms.BUILT_IN if reads(other, f"https://{host}/")] == [name]


# What is imported


def platform_modules_after(code: str, folder: Path) -> set[str]:
    """The platform modules that a fresh interpreter has imported after this code."""
    prints = "import sys; print([name for name in sys.modules if name.startswith('livectl.live.platforms.')])"
    environ = {name: value for name, value in os.environ.items() if not name.startswith("LIVECTL_")}
    ran = subprocess.run(
        [sys.executable, "-c", f"{code}\n{prints}"],
        capture_output=True, text=True, check=True, cwd=folder, env=environ | {"LIVECTL_HOME": str(folder)},
    )  # fmt: skip
    modules = json.loads(ran.stdout.splitlines()[-1].replace("'", '"'))
    return {name.removeprefix("livectl.live.platforms.") for name in modules}


def test_importing_the_package_imports_no_platform(tmp_path: Path) -> None:
    assert platform_modules_after("from livectl.live import platforms", tmp_path) == set()


@pytest.mark.parametrize(
    ("address", "module"),
    [
        ("demo/ada", "demo"),
        ("https://www.douyu.com/9999", "douyu"),
        ("分享 https://b23.tv/AbCdEf", "bilibili"),
        ("TWITCH.TV./SOMEBODY", "twitch"),
    ],
)
def test_an_address_imports_the_platform_it_names_alone(address: str, module: str, tmp_path: Path) -> None:
    code = f"from livectl.live import platforms\nassert platforms.parse_address({address!r})[0] == {module!r}"
    assert platform_modules_after(code, tmp_path) & set(ALL_NAMES) == {module}


def test_a_check_imports_the_platform_it_asks_alone(tmp_path: Path) -> None:
    code = "from livectl.cli import main\nassert main(['check', '--local', 'demo/ada']) in (0, 1)"
    assert platform_modules_after(code, tmp_path) == {"base", "parsing", "demo"}


# Other packages


PARROT = (
    "from livectl.live.platforms import demo\n"
    "PLATFORM = demo.PLATFORM._replace(name='parrot', address=lambda text: text.partition('parrot/')[2] or None)\n"
)
ENTRY_POINTS = """
parrot = parrot:PLATFORM
broken = parrot:NOWHERE
twitch = parrot:PLATFORM
streamlink = parrot:PLATFORM
"""


@pytest.fixture
def other_package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """An installed package that joins with a platform that works and one that does not."""
    with installed(tmp_path, PARROT, ENTRY_POINTS, monkeypatch):
        yield


@pytest.mark.usefixtures("other_package")
def test_another_package_joins_and_a_broken_one_is_left_out(caplog: pytest.LogCaptureFixture) -> None:
    assert platforms.get("parrot").name == "parrot"
    assert platforms.parse_address("parrot/polly") == ("parrot", "polly")
    assert platforms.names() == (*platforms.BUILT_IN, "parrot", "broken", platforms.FALLBACK)
    with pytest.raises(NotAStreamer, match="there is no platform nowhere"):
        platforms.parse_address("nowhere/polly")
    assert "broken cannot be loaded from parrot:NOWHERE" in caplog.text
    with pytest.raises(NotAStreamer, match="platform broken cannot be loaded from parrot:NOWHERE"):
        platforms.parse_address("broken/polly")
    assert platforms.get("twitch").hosts, "a name of ours stays ours"


@pytest.mark.usefixtures("other_package")
def test_a_host_of_ours_is_never_offered_to_another_package() -> None:
    assert platforms.parse_address("demo/parrot") == ("demo", "parrot")
    with pytest.raises(NotAStreamer, match="no demo streamer"):
        platforms.parse_address("demo/parrot/polly")


@pytest.mark.parametrize("name", ALL_NAMES)
def test_every_platform_is_documented(name: str) -> None:
    sections = DOCUMENTATION.read_text().split("\n## ")
    rows = [
        line
        for section in sections
        if section.startswith("What each site")  # is asked, and answers
        for line in section.splitlines()
        if line.startswith(f"| `{name}` |")
    ]
    assert len(rows) == 2
    platform = platforms.get(name)
    keyless = platform.rate_limit({})
    assert f"{platform.batch}" in rows[0]
    assert f"{keyless.batch}" in rows[0]
    assert platform.budget in rows[0]
    assert keyless.budget in rows[0]
