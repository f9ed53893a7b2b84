"""Settings: files that cannot be read, names that Celery does not read, variables that win unseen."""

from __future__ import annotations

from difflib import get_close_matches
from typing import TYPE_CHECKING

from livectl.doctor.sources import CODE, VARIABLES
from livectl.model import Finding
from livectl.ops.jobs.redaction import redact_text

if TYPE_CHECKING:
    from collections.abc import Iterator

    from livectl.doctor.facts import Facts, Written
    from livectl.ops.migration.names import Verdict

CLOSE = 0.85  # of difflib's measure: one letter wrong in a name, hardly two
DJANGO = "django.conf:settings"  # the one source for which Celery leaves its warning out
NO_SETUP = ("AppRegistryNotReady", "settings are not configured")
MIXED = "Cannot mix"
SHOWN = 6  # names in one line


def broken_settings(facts: Facts) -> Iterator[Finding]:
    if facts.settings_error:
        yield Finding(
            id="settings-broken",
            level="bad",
            title="livectl's own settings cannot be read",
            evidence=facts.settings_error,
            cure="Mend the place that is named; nothing else was looked at.",
        )


def broken_app(facts: Facts) -> Iterator[Finding]:
    if not facts.app_error or any(sign in facts.app_error for sign in NO_SETUP):
        return
    if MIXED in facts.app_error:
        yield Finding(
            id="settings-mixed",
            level="bad",
            title="Old and new names of settings are mixed, and Celery refuses to start",
            evidence=facts.app_error,
            cure="livectl migrate .    (Celery's own advice may name the new ones as those to change)",
        )
        return
    yield Finding(
        id="app-broken",
        level="bad",
        title="The app cannot be loaded",
        evidence=facts.app_error,
        cure=facts.app_hint or "Mend it; nothing that needs the app was looked at.",
    )


def unread(facts: Facts) -> Iterator[Finding]:
    """Names that somebody wrote and nobody reads: what they say is ignored without a word."""
    for one, verdict in _judged(facts):
        if verdict.was_read or verdict.kind == "removed" or _is_set_too(facts, verdict):
            continue
        if verdict.key == "result_backend" and not facts.value("result_backend"):
            continue  # told with the backend that is missing
        yield Finding(
            id="setting-unread",
            level="bad",
            title=f"Celery does not read {one.name}",
            evidence=f"{one.name} in {one.where}: {verdict.why}",
            cure=f"Write {' and '.join(verdict.new)}; `livectl migrate .` does.",
        )


def misspelt(facts: Facts) -> Iterator[Finding]:
    from livectl.ops.migration.names import KEYS, judged

    for one in facts.conf.written:
        if judged(one.name, one.namespace):
            continue
        prefix = f"{one.namespace}_" if one.namespace else ""
        if not one.name.startswith(prefix) or not (prefix or one.name.islower()):
            continue
        near = get_close_matches(one.name[len(prefix) :].lower(), KEYS, n=1, cutoff=CLOSE)
        if near:
            yield Finding(
                id="setting-misspelt",
                level="bad",
                title=f"{one.name} is no setting of Celery's",
                evidence=f"{one.name} in {one.where} is ignored",
                cure=f"Did you mean {(prefix + near[0]).upper() if prefix else near[0]}?",
            )


def old(facts: Facts) -> Iterator[Finding]:
    names = [one.name for one, verdict in _judged(facts) if verdict.kind in {"rename", "split"}]
    if names:
        yield Finding(
            id="settings-old",
            level="warn",
            title="Settings have names that go away in Celery 6",
            evidence=_some(names),
            cure="livectl migrate .    shows the change; with --prove, that it changes nothing else",
        )


def removed(facts: Facts) -> Iterator[Finding]:
    for one, verdict in _judged(facts):
        if verdict.kind == "removed":
            yield Finding(
                id="setting-removed",
                level="warn",
                title=f"{one.name} does nothing any more",
                evidence=f"{one.name} in {one.where}",
                cure=verdict.why,
            )


def right(facts: Facts) -> Iterator[Finding]:
    """The names that Celery warns of at start though they are right."""
    from livectl.ops.migration.names import is_ambiguous_with_namespace

    source = facts.conf.source
    names = [
        one.name for one in facts.conf.written if one.namespace == "CELERY" and is_ambiguous_with_namespace(one.name)
    ]
    if names and source.lower() != DJANGO:
        yield Finding(
            id="settings-right",
            level="ok",
            title="Celery's warning of deprecated settings is wrong here",
            evidence=f"{_some(names)}: right behind the namespace CELERY, which that warning does not look at",
            cure="Nothing to do. `celery upgrade settings` would break them.",
        )


def overruled(facts: Facts) -> Iterator[Finding]:
    for variable, own in facts.conf.overruled.items():
        key = VARIABLES[variable]
        how = "" if variable.startswith("CELERY_") else ", which the celery command reads like an option"
        yield Finding(
            id="environment-wins",
            level="warn",
            title=f"The environment overrules {key} of the app",
            evidence=f"{variable}={redact_text(facts.environ[variable])}{how}; the app says {own}",
            cure=f"Unset {variable}, or let the app read it.",
        )


def _judged(facts: Facts) -> Iterator[tuple[Written, Verdict]]:
    """The names that mean a setting. What code sets on app.conf in a style of its own is converted by Celery."""
    from livectl.ops.migration.names import is_weak, judged

    for one in facts.conf.written:
        verdict = judged(one.name, one.namespace)
        if verdict is None or (is_weak(one.name) and verdict.kind == "rename"):
            continue
        if one.where == CODE and verdict.was_read:
            continue
        if one.namespace and not one.name.startswith(f"{one.namespace}_") and verdict.kind not in {"rename", "split"}:
            continue  # Django's own: TIME_ZONE, or a constant of the site's
        yield one, verdict


def _is_set_too(facts: Facts, verdict: Verdict) -> bool:
    """Under its right name as well: then nothing is lost by the other one."""
    return verdict.key in facts.conf.origins


def _some(names: list[str]) -> str:
    more = len(names) - SHOWN
    return ", ".join(names[:SHOWN]) + (f" and {more} more" if more > 0 else "")


ALL = (broken_settings, broken_app, unread, misspelt, old, removed, right, overruled)
