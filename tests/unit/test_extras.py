"""What is no part of the default installation: each part says the command that adds it to this very one."""

from __future__ import annotations

import io
import sys
from configparser import ConfigParser
from importlib import metadata
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from livectl import __main__, cli, extras, settings
from livectl.context import CommandContext
from livectl.live.alerts import targets

ROOT = Path(__file__).parents[2]
MAX_DEFAULT_MB = 90  # of all that an installation without extras brings, compiled


@pytest.fixture
def without_extras(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(extras, "is_installed", lambda extra: False)


def test_each_extra_is_one_of_the_package() -> None:
    config = ConfigParser()
    config.read(ROOT / "setup.cfg")
    declared = set(config["options.extras_require"]) - {"all", "bench", "docs", "test", "test-light"}
    assert declared == set(extras.MODULES)
    every = config["options.extras_require"]["all"].strip().removeprefix("livectl[").removesuffix("]").split(",")
    assert set(every) == declared


@pytest.mark.parametrize(
    ("name", "text", "command"),
    [
        ("none", "", "/v/bin/python -m pip install libcst"),
        ("pipx_metadata.json", "{}", "pipx inject livectl libcst"),
        ("uv-receipt.toml", "broken", "uv tool install livectl --with libcst"),
        (
            "uv-receipt.toml",
            '[tool]\nrequirements = [{name = "livectl", specifier = ">=0.2"}, {name = "gevent"}]\n',
            "uv tool install 'livectl>=0.2' --with gevent --with libcst",
        ),
        (
            "uv-receipt.toml",
            '[tool]\nrequirements = [{name = "livectl", path = "/w/livectl.whl"}]\n',
            "uv tool install /w/livectl.whl --with libcst",
        ),
    ],
)
def test_the_command_is_that_of_the_tool_which_made_the_environment(
    name: str, text: str, command: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(extras, "requirements", lambda extra: ["libcst"])
    (tmp_path / name).write_text(text)
    assert extras.install_command("migrate", tmp_path, "/v/bin/python") == command


def test_where_there_is_no_pip_it_is_that_of_uv(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(extras, "find_spec", lambda name: None)
    command = extras.install_command("solar", tmp_path, "/v/bin/python")
    assert command.startswith("uv pip install --python /v/bin/python ")


@pytest.mark.usefixtures("without_extras")
def test_migrate_names_the_command(tmp_path: Path) -> None:
    err = io.StringIO()
    code = cli.main(["migrate", "."], CommandContext({"HOME": str(tmp_path)}, tmp_path, io.StringIO(), err))
    assert (code, "libcst, which is not installed" in err.getvalue()) == (2, True)
    assert extras.install_command("migrate") in err.getvalue()


@pytest.mark.usefixtures("without_extras")
def test_alerts_without_apprise_go_to_all_other_targets(tmp_path: Path) -> None:
    (tmp_path / "livectl.yaml").write_text(
        "alerts:\n  phone: {url: 'ntfy://topic'}\n  note: {command: [echo, '{name}']}\n"
    )
    found = settings.load({"HOME": str(tmp_path)}, tmp_path)
    outcomes = targets.send_samples(["note", "phone"], found, 0.0)
    assert [outcome.sent for outcome in outcomes.values()] == [True, False]
    assert "Apprise, which is not installed: " in outcomes["phone"].detail
    assert [line.partition(":")[0] for line in targets.describe_missing(found)] == ["alerts.phone"]


def test_windows_is_told_in_one_sentence_where_it_runs(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        __main__.run("win32")
    assert ended.value.code == "livectl: runs on Linux and macOS; on Windows start it in WSL or in Docker."


def test_what_is_installed_without_extras_stays_small() -> None:
    """`make soak` installs the wheel and measures; here each distribution says what it brought."""
    config = ConfigParser()
    config.read(ROOT / "setup.cfg")
    wanted = config["options"]["install_requires"].strip().splitlines()
    names: set[str] = set()
    while wanted:
        requirement = Requirement(wanted.pop())
        name = canonicalize_name(requirement.name)
        if name in names or (requirement.marker and not requirement.marker.evaluate({"extra": ""})):
            continue
        names.add(name)
        wanted += metadata.requires(name) or []
    files = (path for name in names for path in metadata.files(name) or [] if ".." not in path.parts)
    places = {Path(str(path.locate())) for path in files}
    size = sum(path.stat().st_size for path in places if path.exists())
    ours = [path for path in (ROOT / "livectl").rglob("*.*") if path.is_file()]
    tag = f".{sys.implementation.cache_tag}."  # other Pythons leave their bytecode here as well
    size += sum(path.stat().st_size for path in ours if path.parent.name != "__pycache__" or tag in path.name)
    assert not {"apprise", "libcst"} & names
    assert 40 * 10**6 < size < MAX_DEFAULT_MB * 10**6
