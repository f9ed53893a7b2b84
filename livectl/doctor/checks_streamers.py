"""Finds what keeps platforms from being asked, and alerts from reaching their targets."""

from __future__ import annotations

from typing import TYPE_CHECKING

from livectl.models import Finding
from livectl.units import format_instant

if TYPE_CHECKING:
    from collections.abc import Iterator

    from livectl.doctor.facts import Facts

MAX_ANSWERS_SHOWN = 4


def check_missing_keys(facts: Facts) -> Iterator[Finding]:
    for platform in facts.platforms.without_key:
        yield Finding(
            id="platform-key",
            level="bad",
            title=f"{platform} answers only with a key",
            evidence=f"streamers on {platform} are followed, and platforms.{platform} has no key",
            cure=f"Set client_id and client_secret under platforms.{platform} in livectl.yaml (docs/platforms.md).",
        )


def check_unset_secrets(facts: Facts) -> Iterator[Finding]:
    """What is unset for doctor may be set for a worker that another shell or a service started."""
    for line in facts.unset_secrets:
        yield Finding(
            id="secret-unset",
            level="bad",
            title="a secret of the settings is not set here",
            evidence=line,
            cure="Set it where workers and livectl start; until then what needs it is left out, and nothing else.",
        )


def check_refused_keys(facts: Facts) -> Iterator[Finding]:
    for health in facts.platforms.health:
        if health.auth_since and health.platform not in facts.platforms.without_key:
            yield Finding(
                id="platform-auth",
                level="bad",
                title=f"{health.platform} refuses our key",
                evidence=f"since {format_instant(health.auth_since)}; nothing is asked until the key changes",
                cure=f"Make a new key and set it under platforms.{health.platform}.",
            )


def check_blocked_platforms(facts: Facts) -> Iterator[Finding]:
    for health in facts.platforms.health:
        if health.open_until and health.open_until > facts.now:
            yield Finding(
                id="platform-blocked",
                level="warn",
                title=f"{health.platform} blocks us",
                evidence=f"nothing is asked before {format_instant(health.open_until)}; "
                f"answers: {_format_answers(health.answers)}",
                cure="It is asked again by itself; if it stays so, ask less often (budget) or with your own key.",
            )


def check_parsers(facts: Facts) -> Iterator[Finding]:
    for health in facts.platforms.health:
        if health.parser_broken:
            yield Finding(
                id="parser-broken",
                level="bad",
                title=f"{health.platform} answers in a shape that livectl does not know",
                evidence=f"since {format_instant(health.parser_broken)}; answers: {_format_answers(health.answers)}",
                cure="Upgrade livectl; if it is the newest, report it.",
            )


def check_failing_targets(facts: Facts) -> Iterator[Finding]:
    for failing in facts.platforms.failing_targets:
        yield Finding(
            id="alerts-failing",
            level="bad",
            title=f"alerts do not reach {failing.target}",
            evidence=f"since {format_instant(failing.since)}, {failing.tries} tries: {failing.problem}",
            cure=f"Mend alerts.{failing.target} in livectl.yaml, and try it: livectl alerts test {failing.target}.",
        )


def _format_answers(answers: dict[str, int]) -> str:
    """The most frequent answers, and how often each came."""
    return ", ".join(
        f"{count} {state}" for state, count in sorted(answers.items(), key=lambda item: -item[1])[:MAX_ANSWERS_SHOWN]
    )
