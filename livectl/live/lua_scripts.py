"""Has the scripts of lua/ as functions. Each is one step of the store, and takes a few milliseconds at most."""

from __future__ import annotations

from functools import cache
from importlib import resources
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable

    from redis import Redis


# The files of lua/ that each script is made of. A local function is known below its definition only: the order matters.
SCRIPT_FILES = {
    "record": ("shared", "pace", "circuit", "session", "record"),
    "claim": ("shared", "pace", "circuit", "claim"),
    "commit": ("shared", "commit"),
    "apply": ("shared", "pace", "pull", "apply"),
    "place": ("shared", "place"),
    "learn": ("shared", "pace", "pull", "learn"),
    "read": ("shared", "read"),
    "health": ("shared", "health"),
    "pulse": ("shared", "pulse"),
    "forget": ("shared", "forget"),
    "spend": ("shared", "circuit", "spend"),
    "take": ("shared", "target", "take"),
    "hold": ("shared", "target", "hold"),
    "settle": ("shared", "target", "settle"),
    "release": ("shared", "target", "release"),
    "targets": ("shared", "target", "targets"),
    "trouble": ("shared", "trouble"),
    "cover": ("shared", "pace", "cover"),
    "lease": ("shared", "lease"),
}


def lua_script(client: Redis, name: str) -> Callable[..., Any]:
    """A script as a function of its arguments. The server keeps the script; after a restart it is sent again."""
    script = client.register_script(_script_source(name))

    def run(*args: str | float) -> Any:
        return script(args=list(args))

    return run


@cache
def _script_source(name: str) -> str:
    folder = resources.files("livectl.live") / "lua"
    return "\n".join((folder / f"{file}.lua").read_text(encoding="utf-8") for file in SCRIPT_FILES[name])
