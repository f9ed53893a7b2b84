"""The Lua scripts, each put together from the files it needs and run in one call."""

from __future__ import annotations

from functools import cache
from importlib import resources
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable

    from redis import Redis

# script -> the files it is made of; a name is known from where it is first spelt, so the order matters
SCRIPT_FILES = {
    "record": ("shared", "pace", "circuit", "session", "record"),
    "claim": ("shared", "circuit", "claim"),
    "follow": ("shared", "pace", "pull", "follow"),
    "learn": ("shared", "pace", "pull", "learn"),
    "read": ("shared", "read"),
    "health": ("shared", "health"),
    "forget": ("shared", "forget"),
    "spend": ("shared", "circuit", "spend"),
    "take": ("shared", "target", "take"),
    "hold": ("shared", "target", "hold"),
    "settle": ("shared", "target", "settle"),
    "release": ("shared", "target", "release"),
    "trouble": ("shared", "trouble"),
}


@cache
def script_source(name: str) -> str:
    folder = resources.files("livectl.live") / "lua"
    return "\n".join((folder / f"{part}.lua").read_text(encoding="utf-8") for part in SCRIPT_FILES[name])


def lua_script(client: Redis, name: str) -> Callable[..., Any]:
    """The script as a function of its arguments. The server keeps it; after a restart it is sent again."""
    registered = client.register_script(script_source(name))

    def run(*args: str | float) -> Any:
        return registered(args=list(args))

    return run
