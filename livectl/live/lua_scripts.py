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
    from collections.abc import Callable, Mapping, Sequence


# The files of lua/ that each script is made of. A local function is known below its definition only: the order matters.
SCRIPT_FILES = {
    "look": ("basics", "lapse", "look"),
    "head": ("basics", "lapse", "head"),
    "claim": ("basics", "lapse", "asking", "shared", "pace", "cell", "claim"),
    "extend": ("basics", "lapse", "asking", "extend"),
    "hurry": ("basics", "lapse", "hurry"),
    "record": ("basics", "lapse", "shared", "pace", "cell", "session", "record"),
    "apply": ("basics", "shared", "pace", "pull", "apply"),
    "place": ("basics", "shared", "place"),
    "learn": ("basics", "shared", "pace", "pull", "learn"),
    "move": ("basics", "fence", "move"),
    "pulls": ("basics", "fence", "shared", "pace", "pull", "pulls"),
    "read": ("read",),
    "newest": ("basics", "lapse", "newest"),
    "order": ("order",),
    "tally": ("basics", "shared", "tally"),
    "forget": ("basics", "shared", "forget"),
    "cover": ("basics", "lapse", "shared", "pace", "cell", "cover"),
    "grant": ("basics", "shared", "pace", "circuit", "grant"),
    "answer": ("basics", "circuit", "answer"),
    "spend": ("basics", "circuit", "spend"),
    "commit": ("basics", "platforms", "commit"),
    "use": ("basics", "platforms", "use"),
    "fill": ("basics", "fence", "fill"),
    "lines": ("lines",),
    "drop": ("drop",),
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
    "note_list": ("note_list",),
    "lease": ("lease",),
    "leave": ("leave",),
}

# The keys of each script, at the place that it is called for.
SCRIPT_KEYS: dict[str, tuple[str, ...]] = {
    # of a cell
    "look": ("follows", "live", "ending", "pull", "due", "leases", "claimed", "shown"),
    "head": ("due",),
    "claim": ("follows", "live", "pull", "due", "leases", "claimed", "shown", "repaced"),
    "extend": ("due", "leases"),
    "hurry": ("due",),
    "record": (
        *("follows", "now", "page", "log", "recent", "viewers", "live", "ending", "others", "due", "pull"),
        *("unlearned", "shown", "outbox"),
    ),
    "apply": (
        *("follows", "now", "live", "ending", "others", "due", "claimed", "pull", "pulls", "unlearned", "shown"),
        *("listed", "applied"),
    ),
    "place": ("follows", "now", "live", "ending", "others", "due", "claimed"),
    "learn": ("follows", "pull", "pulls", "unlearned"),
    "pulls": ("pull", "pulls", "fence"),
    "read": ("follows", "now", "page", "live"),
    "newest": ("follows", "live", "others", "due"),
    "order": ("live", "others"),
    "tally": ("follows", "now"),
    "forget": ("follows", "now", "page", "log", "recent", "viewers"),
    "cover": ("follows", "now", "live", "due", "pull", "pushed"),
    # of a platform
    "grant": ("health", "standing"),
    "answer": ("health", "standing"),
    "spend": ("health",),
    "note_list": ("reading", "listing"),
    # of nobody
    "commit": ("applying", "generation", "stamp", "platforms", "shards", "migrating", "staged"),
    "use": ("platforms",),
    "fill": ("fence", "migrating", "platforms", "applying", "outbox"),
    "lines": ("applying", "unresolved"),
    "drop": ("applying",),
    "targets": ("targets", "retargeting", "outbox"),
    "trouble": ("troubles", "outbox"),
    "collect": ("taken", "outbox"),
    "news": ("outbox", "targets"),
    # of a target
    "take": ("state",),
    "hold": ("state", "told", "pace"),
    "settle": ("state", "told", "lanes", "notes"),
    "release": ("state",),
    "retarget": ("state", "told", "pace", "lanes", "notes"),
    "standing": ("state", "lanes"),
    # of any place
    "move": ("rows", "fence"),
    # of a process
    "lease": ("holder", "number"),
    "leave": ("holder",),
}


class ScriptCall(NamedTuple):
    """A script, for which place, with which arguments; and where a key has another name there, which."""

    name: str
    place: str
    args: Sequence[str | bytes | float] = ()
    named: Mapping[str, str] = {}


class _Script(NamedTuple):
    text: str
    digest: str
    keys: tuple[str, ...]


def lua_script(client: Any, name: str) -> Callable[..., Any]:
    """A script as a function of the place and its arguments. A key that has another name there is given by it, such as
    `staged="staged:7"`.
    """
    script = _script(name)

    def run(place: str, *args: str | bytes | float, **named: str) -> Any:
        words = _words(ScriptCall(name, place, args, named))
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
    folder, keys = resources.files("livectl.live") / "lua", SCRIPT_KEYS[name]
    named = ", ".join(f"['{key}'] = KEYS[{at}]" for at, key in enumerate(keys, 1))
    head = f"local K = {{{named}}}\n" if keys else ""
    text = head + "\n".join((folder / f"{file}.lua").read_text(encoding="utf-8") for file in SCRIPT_FILES[name])
    return _Script(text, hashlib.sha1(text.encode(), usedforsecurity=False).hexdigest(), keys)


def _words(call: ScriptCall) -> list[str | bytes | float]:
    keys = _script(call.name).keys
    return [len(keys), *(call.place + call.named.get(key, key) for key in keys), *call.args]


def _is_unknown(error: Exception) -> bool:
    """Whether the server does not have the script: a new one, or one that has started again."""
    return type(error).__name__ == "NoScriptError" or str(getattr(error, "words", "")).startswith("NOSCRIPT")
