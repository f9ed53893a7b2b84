"""Frameworks: tasks that run without Flask's app context, or before Django is set up, by the errors they report."""

from __future__ import annotations

from typing import TYPE_CHECKING

from livectl.doctor.checks.settings import NO_SETUP
from livectl.model import Finding

if TYPE_CHECKING:
    from collections.abc import Iterator

    from livectl.doctor.facts import Facts, Failure

NO_CONTEXT = "Working outside of application context"


def flask(facts: Facts) -> Iterator[Finding]:
    if failed := _first(facts, (NO_CONTEXT,)):
        yield Finding(
            id="flask-context",
            level="bad",
            title="Tasks run outside of Flask's app context",
            evidence=f"{failed.task or 'job'} {failed.id} failed: {failed.error}",
            cure="Give the app a task class whose __call__ runs inside app.app_context(), as Flask's manual shows.",
        )


def django(facts: Facts) -> Iterator[Finding]:
    told = facts.app_error if any(sign in facts.app_error for sign in NO_SETUP) else ""
    failed = _first(facts, NO_SETUP)
    if told or failed:
        evidence = told or (f"{failed.task or 'job'} {failed.id} failed: {failed.error}" if failed else "")
        yield Finding(
            id="django-setup",
            level="bad",
            title="Django is used before it is set up",
            evidence=evidence,
            cure="Set DJANGO_SETTINGS_MODULE and call django.setup() in the module of the app, before anything else.",
        )


def _first(facts: Facts, signs: tuple[str, ...]) -> Failure | None:
    return next((one for one in facts.failures if any(sign in one.error for sign in signs)), None)


ALL = (flask, django)
