"""Streamers: platforms that want a key, refuse one, block us or cannot be read, and targets that cannot be told."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING

from livectl.models import Finding

if TYPE_CHECKING:
    from collections.abc import Iterator

    from livectl.doctor.facts import Facts


def check_missing_keys(facts: Facts) -> Iterator[Finding]:
    for platform in facts.platforms.keyless:
        yield Finding(
            id="platform-key",
            level="bad",
            title=f"{platform} answers only with a key",
            evidence=f"streamers on {platform} are followed, and platforms.{platform} has no key",
            cure=f"Set client_id and client_secret under platforms.{platform} in livectl.yaml (docs/platforms.md).",
        )


def check_refused_keys(facts: Facts) -> Iterator[Finding]:
    for health in facts.platforms.health:
        if health.auth_since and health.platform not in facts.platforms.keyless:
            yield Finding(
                id="platform-auth",
                level="bad",
                title=f"{health.platform} refuses our key",
                evidence=f"since {_format_time(health.auth_since)}; nothing is asked until the key changes",
                cure=f"Make a new key and set it under platforms.{health.platform}.",
            )


def check_blocked_platforms(facts: Facts) -> Iterator[Finding]:
    for health in facts.platforms.health:
        if health.open_until and health.open_until > facts.now:
            yield Finding(
                id="platform-blocked",
                level="warn",
                title=f"{health.platform} blocks us",
                evidence=f"nothing is asked before {_format_time(health.open_until)}; "
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
                evidence=f"since {_format_time(health.parser_broken)}; answers: {_format_answers(health.answers)}",
                cure="Upgrade livectl; if it is the newest, report it.",
            )


def check_failing_targets(facts: Facts) -> Iterator[Finding]:
    for failing in facts.platforms.failing:
        yield Finding(
            id="alerts-failing",
            level="bad",
            title=f"alerts do not reach {failing.target}",
            evidence=f"since {_format_time(failing.since)}, {failing.tries} tries: {failing.problem}",
            cure=f"Mend alerts.{failing.target} in livectl.yaml, and try it: livectl alerts test {failing.target}.",
        )


def _format_time(moment: float) -> str:
    return f"{datetime.fromtimestamp(moment, UTC):%Y-%m-%dT%H:%M:%SZ}"


def _format_answers(answers: dict[str, int]) -> str:
    return ", ".join(f"{count} {state}" for state, count in sorted(answers.items(), key=lambda item: -item[1])[:4])


STREAMER_CHECKS = (
    check_missing_keys,
    check_refused_keys,
    check_blocked_platforms,
    check_parsers,
    check_failing_targets,
)
