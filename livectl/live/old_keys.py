"""Knows where the keys are by now that older versions had elsewhere, and moves them there."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

from livectl.live.cells import COMMON, platform_place, target_place

if TYPE_CHECKING:
    from collections.abc import Callable

SCAN_COUNT = 1000
BROWSERS = "web-push"  # the target that is called so in alerts/push_target.py
NAME = r"(.+)"


def _platform_and_rest(both: str) -> tuple[str, str]:
    platform, _, rest = both.partition(":")
    return platform_place(platform), rest


# What an old key looks like, and what it is called by now. The first that fits counts.
RENAMED: tuple[tuple[str, Callable[[str], str]], ...] = (
    ("livectl:(outbox|targets|troubles|push-secret|unresolved|generation)", lambda kind: f"{COMMON}{kind}"),
    (f"livectl:target:{NAME}", lambda name: f"{target_place(name)}state"),
    (f"livectl:lanes:{NAME}", lambda name: f"{target_place(name)}lanes"),
    (f"livectl:told:{NAME}", lambda name: f"{target_place(name)}told"),
    (f"livectl:pace:{NAME}", lambda name: f"{target_place(name)}pace"),
    (f"livectl:notes:{NAME}", lambda name: f"{target_place(name)}notes"),
    ("livectl:push()", lambda _: f"{target_place(BROWSERS)}subscriptions"),
    (f"livectl:push:told:{NAME}", lambda alert: f"{target_place(BROWSERS)}took:{alert}"),
    (f"livectl:push:{NAME}", lambda platform: f"{platform_place(platform)}push"),
    (f"livectl:push-leases:{NAME}", lambda platform: f"{platform_place(platform)}push-leases"),
    ("livectl:push-seen:([^:]+:.+)", lambda both: "push-seen:".join(_platform_and_rest(both))),
    ("livectl:kept:([^:]+:.+)", lambda both: "kept:".join(_platform_and_rest(both))),
    (f"livectl:platform:{NAME}", lambda platform: f"{platform_place(platform)}health"),
    (f"livectl:listing:{NAME}", lambda platform: f"{platform_place(platform)}listing"),
)
PATTERNS = [(re.compile(pattern, re.DOTALL), rename) for pattern, rename in RENAMED]


def name_of_now(key: str) -> str:
    """What a key is called by now, whichever version named it."""
    return next((rename(found[1]) for pattern, rename in PATTERNS if (found := pattern.fullmatch(key))), key)


def rename_keys(client: Any) -> int:
    """Moves what is under an old name to its new one; returns how many keys. It may run twice at a time, and again."""
    moved, cursor = 0, 0
    while True:
        cursor, keys = client.scan(cursor, match="livectl:*", count=SCAN_COUNT)
        for key in keys:
            if (name := name_of_now(key)) != key and client.exists(key):
                moved += bool(client.renamenx(key, name))
        if not int(cursor):
            return moved
