"""Streamers: platforms that want a key, refuse one, block us or cannot be read, and targets that cannot be told."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING

from livectl.model import Finding

if TYPE_CHECKING:
    from collections.abc import Iterator

    from livectl.doctor.facts import Facts


def keyless(facts: Facts) -> Iterator[Finding]:
    for platform in facts.platforms.keyless:
        yield Finding(
            id="platform-key",
            level="bad",
            title=f"{platform} answers only with a key",
            evidence=f"streamers on {platform} are followed, and platforms.{platform} has no key",
            cure=f"Set client_id and client_secret under platforms.{platform} in livectl.yaml (docs/platforms.md).",
        )


def refused(facts: Facts) -> Iterator[Finding]:
    for each in facts.platforms.health:
        if each.auth_since and each.platform not in facts.platforms.keyless:
            yield Finding(
                id="platform-auth",
                level="bad",
                title=f"{each.platform} refuses our key",
                evidence=f"since {_clock(each.auth_since)}; nothing is asked until the key changes",
                cure=f"Make a new key and set it under platforms.{each.platform}.",
            )


def blocked(facts: Facts) -> Iterator[Finding]:
    for each in facts.platforms.health:
        if each.open_until and each.open_until > facts.now:
            yield Finding(
                id="platform-blocked",
                level="warn",
                title=f"{each.platform} blocks us",
                evidence=f"nothing is asked before {_clock(each.open_until)}; answers: {_counted(each.answers)}",
                cure="It is asked again by itself; if it stays so, ask less often (budget) or with your own key.",
            )


def parser(facts: Facts) -> Iterator[Finding]:
    for each in facts.platforms.health:
        if each.parser_broken:
            yield Finding(
                id="parser-broken",
                level="bad",
                title=f"{each.platform} answers in a shape that livectl does not know",
                evidence=f"since {_clock(each.parser_broken)}; answers: {_counted(each.answers)}",
                cure="Upgrade livectl; if it is the newest, report it.",
            )


def untold(facts: Facts) -> Iterator[Finding]:
    for each in facts.platforms.failing:
        yield Finding(
            id="alerts-failing",
            level="bad",
            title=f"alerts do not reach {each.target}",
            evidence=f"since {_clock(each.since)}, {each.tries} tries: {each.problem}",
            cure=f"Mend alerts.{each.target} in livectl.yaml, and try it: livectl alerts test {each.target}.",
        )


def _clock(moment: float) -> str:
    return f"{datetime.fromtimestamp(moment, UTC):%Y-%m-%dT%H:%M:%SZ}"


def _counted(answers: dict[str, int]) -> str:
    return ", ".join(f"{count} {state}" for state, count in sorted(answers.items(), key=lambda each: -each[1])[:4])


ALL = (keyless, refused, blocked, parser, untold)
