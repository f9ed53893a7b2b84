"""The wheel: everything that runs is in it, and it runs from an empty folder."""

from __future__ import annotations

import os
import shlex
import shutil
import subprocess
import sys
from pathlib import Path
from zipfile import ZipFile

import pytest

from livectl import extras

pytestmark = pytest.mark.acceptance

ROOT = Path(__file__).parents[2]
SOURCES = ("livectl", "docs", "MANIFEST.in", "setup.cfg", "setup.py", "pyproject.toml", "README.md", "LICENSE")
DATA = {".lua", ".yaml", ".html", ".css", ".js", ".svg", ".typed"}


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Built from a copy, so that nothing is left in the tree."""
    copy = tmp_path_factory.mktemp("source")
    for name in SOURCES:
        if (ROOT / name).is_dir():
            shutil.copytree(ROOT / name, copy / name, ignore=shutil.ignore_patterns("__pycache__"))
        else:
            shutil.copy(ROOT / name, copy / name)
    build = [sys.executable, "-m", "build", "--wheel", "--no-isolation", "--outdir", str(copy / "dist"), str(copy)]
    subprocess.run(build, check=True, capture_output=True)
    return next((copy / "dist").glob("livectl-*.whl"))


def test_it_holds_every_file_of_the_package(wheel: Path) -> None:
    package = [path for path in (ROOT / "livectl").rglob("*") if path.suffix in {".py", *DATA}]
    assert {str(path.relative_to(ROOT)) for path in package} <= set(ZipFile(wheel).namelist())


def test_it_holds_the_manual_page_where_man_looks(wheel: Path) -> None:
    with ZipFile(wheel) as files:
        (name,) = (name for name in files.namelist() if name.endswith("/data/share/man/man1/livectl.1"))
        assert files.read(name).decode().startswith(".TH LIVECTL 1")


def test_it_holds_every_document(wheel: Path) -> None:
    pages = {f"livectl/docs/{path.relative_to(ROOT / 'docs')}" for path in (ROOT / "docs").rglob("*.md")}
    assert pages <= set(ZipFile(wheel).namelist())


def test_it_runs_from_an_empty_folder(wheel: Path, tmp_path: Path) -> None:
    site, folder = tmp_path / "site", tmp_path / "empty"
    folder.mkdir()
    install = [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--no-index", "--target", str(site)]
    subprocess.run([*install, str(wheel)], check=True, capture_output=True)

    def run(*words: str) -> str:
        environ = {"PYTHONPATH": str(site), "PATH": "/usr/bin:/bin", "LIVECTL_HOME": str(tmp_path / "home")}
        ran = subprocess.run(
            [sys.executable, "-m", "livectl", *words],
            cwd=folder,
            env=environ,
            capture_output=True,
            text=True,
            check=False,
        )
        assert ran.returncode == 0, ran.stderr
        return ran.stdout

    assert run("--version").startswith("livectl ")
    assert run("docs", "exit-codes").startswith("Exit codes\n")
    run("init")
    assert "schedules.yaml" in {path.name for path in folder.iterdir()}
    assert "no mistake" in run("schedules", "validate")


MAX_INSTALLED_MB = 90  # compiled, as pip leaves it
TOOLS = {
    "uv": ["uv", "tool", "install"],
    "pipx": ["pipx", "install", "--python", sys.executable],
}


def index_settings() -> dict[str, str]:
    """Where pip looks for packages here, for uv: it does not read pip's settings."""
    listed = subprocess.run([sys.executable, "-m", "pip", "config", "list"], capture_output=True, text=True, check=True)
    found = {}
    for line in listed.stdout.splitlines():
        key, _, value = line.partition("=")
        found[key.rpartition(".")[2]] = shlex.split(value)[0]
    names = {"index-url": "UV_DEFAULT_INDEX", "extra-index-url": "UV_INDEX", "find-links": "UV_FIND_LINKS"}
    settings = {name: found[key] for key, name in names.items() if key in found}
    return settings | {"UV_INDEX_STRATEGY": "unsafe-best-match", "UV_SYSTEM_CERTS": "1", "UV_NATIVE_TLS": "1"}


@pytest.mark.soak
@pytest.mark.parametrize("tool", TOOLS)
def test_a_tool_installs_it_and_the_command_that_it_names_installs_an_extra(
    tool: str, wheel: Path, tmp_path: Path
) -> None:
    environ = os.environ | index_settings() | {"HOME": str(tmp_path), "COLUMNS": "500"}
    scripts = Path(pytest.__file__).parents[4] / "bin"  # of the environment that has the tools
    environ |= {"PATH": f"{scripts}:{environ['PATH']}"}
    for name in ("PYTHONPATH", "XDG_DATA_HOME", "XDG_BIN_HOME", "PIPX_HOME"):
        environ.pop(name, None)
    (tmp_path / "celeryconfig.py").write_text("CELERYD_CONCURRENCY = 4\n")

    def run(*words: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(words, cwd=tmp_path, env=environ, capture_output=True, text=True, check=False)

    installed = run(*TOOLS[tool], str(wheel))
    assert installed.returncode == 0, installed.stderr
    livectl = str(tmp_path / ".local/bin/livectl")
    site = next(tmp_path.glob(".local/**/site-packages"))
    run(sys.executable, "-m", "compileall", "-q", str(site))
    assert not (site / extras.MODULES["alerts"]).exists()
    assert sum(path.stat().st_size for path in site.rglob("*") if path.is_file()) < MAX_INSTALLED_MB * 10**6
    refused = run(livectl, "migrate", ".")
    assert refused.returncode == 2
    added = run(*shlex.split(refused.stderr.partition("Install it: ")[2]))
    assert added.returncode == 0, added.stderr
    assert "lower-case names" in run(livectl, "migrate", ".").stdout
