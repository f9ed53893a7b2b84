"""What is not in the default installation, and the command that adds it to this very one."""

from __future__ import annotations

import re
import shlex
import sys
from importlib.util import find_spec
from pathlib import Path

from livectl.errors import UsageError

# extra of setup.cfg -> the module that it brings
MODULES = {
    "alerts": "apprise",
    "eventlet": "eventlet",
    "eventsub": "websockets",
    "flower": "flower",
    "gevent": "gevent",
    "migrate": "libcst",
    "push": "cryptography",
    "solar": "ephem",
    "streamlink": "streamlink",
    "top": "textual",
}


def is_installed(extra: str) -> bool:
    return find_spec(MODULES[extra]) is not None


def require(extra: str, why: str) -> None:
    """UsageError, with the command that mends it, where an extra is not installed."""
    if not is_installed(extra):
        raise UsageError(f"{why}, which is not installed", f"Install it: {install_command(extra)}")


def install_command(extra: str, prefix: Path | None = None, executable: str = sys.executable) -> str:
    """What to paste into a shell, by how this environment was made."""
    folder = prefix or Path(sys.prefix)
    wanted = requirements(extra)
    if (receipt := folder / "uv-receipt.toml").exists():
        words = ["uv", "tool", "install", *_uv_tool_words(receipt, wanted)]
    elif (folder / "pipx_metadata.json").exists():
        words = ["pipx", "inject", "livectl", *wanted]
    elif find_spec("pip") is None:
        words = ["uv", "pip", "install", "--python", executable, *wanted]
    else:
        words = [executable, "-m", "pip", "install", *_system_words(folder), *wanted]
    return shlex.join(words)


def requirements(extra: str) -> list[str]:
    """What an extra brings, as pip writes it; the module's name where livectl runs without being installed."""
    from importlib import metadata  # slow to import, and only who lacks something needs it

    try:
        lines = metadata.requires("livectl") or []
    except metadata.PackageNotFoundError:
        lines = []
    marker = re.compile(rf"""extra == ["']{extra}["']""")
    return [line.partition(";")[0].strip() for line in lines if marker.search(line)] or [MODULES[extra]]


def _uv_tool_words(receipt: Path, wanted: list[str]) -> list[str]:
    """The tool as it was installed, with what it had besides: uv forgets what is not named again."""
    import tomllib

    try:
        entries = tomllib.loads(receipt.read_text(encoding="utf-8"))["tool"]["requirements"]
        tool, *others = [_uv_source(entry) for entry in sorted(entries, key=lambda entry: entry["name"] != "livectl")]
    except (OSError, ValueError, KeyError, TypeError):
        tool, others = "livectl", []
    return [tool, *(word for source in [*others, *wanted] for word in ("--with", source))]


def _uv_source(entry: dict[str, str]) -> str:
    place = next((entry[key] for key in ("path", "directory", "editable", "url", "git") if entry.get(key)), "")
    return place or f"{entry['name']}{entry.get('specifier', '')}"


def _system_words(folder: Path) -> list[str]:
    """Debian's own Python lets pip in only when asked like this."""
    import sysconfig

    is_system = folder == Path(sys.base_prefix)
    marked = is_system and Path(sysconfig.get_path("stdlib"), "EXTERNALLY-MANAGED").exists()
    return ["--user", "--break-system-packages"] if marked else []
