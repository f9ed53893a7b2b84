"""Has the scripts of lua/ as functions. Each is one step of the store, and takes a few milliseconds at most.

A script declares its keys: all lie at one place, which is the prefix of their names, such as `livectl:{demo:3}:`, and
the script names the rest of each (`K.now`). On a cluster they are in one slot, because their braces say the same.
"""

from __future__ import annotations

import hashlib
from functools import cache
from importlib import resources
from typing import TYPE_CHECKING, Any, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence


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
    "take": ("basics", "target", "take"),
    "hold": ("basics", "target", "hold"),
    "settle": ("basics", "target", "settle"),
    "release": ("basics", "target", "release"),
    "retarget": ("basics", "target", "retarget"),
    "targets": ("basics", "targets"),
    "trouble": ("basics", "trouble"),
    "collect": ("basics", "collect"),
    "news": ("basics", "news"),
    "standing": ("basics", "standing"),
    "cover": ("shared", "pace", "cover"),
    "note_list": ("note_list",),
    "lease": ("lease",),
    "leave": ("leave",),
}

# The keys of each script, at the place that it is called for. A script that is not named here builds names itself.
SCRIPT_KEYS: dict[str, tuple[str, ...]] = {
    "take": ("state",),
    "hold": ("state", "told", "pace"),
    "settle": ("state", "told", "lanes", "notes"),
    "release": ("state",),
    "retarget": ("state", "told", "pace", "lanes", "notes"),
    "targets": ("targets", "retargeting", "outbox"),
    "trouble": ("troubles", "outbox"),
    "collect": ("taken", "outbox"),
    "news": ("outbox", "targets"),
    "standing": ("state", "lanes"),
    "note_list": ("reading", "listing"),
    "lease": ("holder",),
    "leave": ("holder",),
}


class ScriptCall(NamedTuple):
    """A script, for which place, with which arguments."""

    name: str
    place: str
    args: Sequence[str | float] = ()


class _Script(NamedTuple):
    text: str
    digest: str
    keys: tuple[str, ...]


def lua_script(client: Any, name: str) -> Callable[..., Any]:
    """A script as a function of the place and its arguments; of its arguments alone where it declares no keys."""
    declares = name in SCRIPT_KEYS

    def run(*args: str | float) -> Any:
        call = ScriptCall(name, str(args[0]), args[1:]) if declares else ScriptCall(name, "", args)
        script, words = _script(name), _words(call)
        try:
            return client.evalsha(script.digest, *words)
        except Exception as error:
            if not _is_unknown(error):
                raise
        return client.eval(script.text, *words)

    return run


def run_scripts(client: Any, calls: Sequence[ScriptCall]) -> list[Any]:
    """The answers of many scripts, in one round trip a server. Each is a step of its own; all are taken, and then the
    first that was refused is raised.
    """
    if not calls:
        return []
    pipe = client.pipeline(transaction=False)
    for call in calls:
        pipe.evalsha(_script(call.name).digest, *_words(call))
    answers = pipe.execute(raise_on_error=False)
    for at, (call, answer) in enumerate(zip(calls, answers, strict=True)):
        if isinstance(answer, Exception) and _is_unknown(answer):
            answers[at] = client.eval(_script(call.name).text, *_words(call))
    for answer in answers:
        if isinstance(answer, Exception):
            raise answer
    return list(answers)


def script_source(name: str) -> str:
    """The text of a script, as the server gets it."""
    return _script(name).text


@cache
def _script(name: str) -> _Script:
    folder, keys = resources.files("livectl.live") / "lua", SCRIPT_KEYS.get(name, ())
    named = ", ".join(f"['{key}'] = KEYS[{at}]" for at, key in enumerate(keys, 1))
    head = f"local K = {{{named}}}\n" if keys else ""
    text = head + "\n".join((folder / f"{file}.lua").read_text(encoding="utf-8") for file in SCRIPT_FILES[name])
    return _Script(text, hashlib.sha1(text.encode(), usedforsecurity=False).hexdigest(), keys)


def _words(call: ScriptCall) -> list[str | float]:
    keys = _script(call.name).keys
    return [len(keys), *(call.place + key for key in keys), *call.args]


def _is_unknown(error: Exception) -> bool:
    """Whether the server does not have the script: a new one, or one that has started again."""
    return type(error).__name__ == "NoScriptError" or str(getattr(error, "words", "")).startswith("NOSCRIPT")
