"""Frameworks: tasks that run without Flask's app context, or before Django is set up, by the errors they report."""

from __future__ import annotations

from typing import TYPE_CHECKING

from livectl.doctor.checks.settings import DJANGO_SETUP_ERRORS
from livectl.model import Finding

if TYPE_CHECKING:
    from collections.abc import Iterator

    from livectl.doctor.facts import Facts, FailedJob

NO_FLASK_CONTEXT = "Working outside of application context"


def check_flask_context(facts: Facts) -> Iterator[Finding]:
    if failure := _first_failure(facts, (NO_FLASK_CONTEXT,)):
        yield Finding(
            id="flask-context",
            level="bad",
            title="Tasks run outside of Flask's app context",
            evidence=f"{failure.task or 'job'} {failure.id} failed: {failure.error}",
            cure="Give the app a task class whose __call__ runs inside app.app_context(), as Flask's manual shows.",
        )


def check_django_setup(facts: Facts) -> Iterator[Finding]:
    app_error = facts.app_error if any(sign in facts.app_error for sign in DJANGO_SETUP_ERRORS) else ""
    failure = _first_failure(facts, DJANGO_SETUP_ERRORS)
    if app_error or failure:
        evidence = app_error or (f"{failure.task or 'job'} {failure.id} failed: {failure.error}" if failure else "")
        yield Finding(
            id="django-setup",
            level="bad",
            title="Django is used before it is set up",
            evidence=evidence,
            cure="Set DJANGO_SETTINGS_MODULE and call django.setup() in the module of the app, before anything else.",
        )


def _first_failure(facts: Facts, signs: tuple[str, ...]) -> FailedJob | None:
    return next((failure for failure in facts.failures if any(sign in failure.error for sign in signs)), None)


FRAMEWORK_CHECKS = (check_flask_context, check_django_setup)
