"""Finds what is wrong with the app: settings, result backend, and the context that Flask and Django need."""

from __future__ import annotations

from typing import TYPE_CHECKING

from livectl.doctor.collect_app import SETTING_VARIABLES
from livectl.models import After, Finding, Schedule
from livectl.ops.apps import MIXED_NAMES_TEXT
from livectl.redaction import redact_text
from livectl.suggestions import nearest

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator

    from livectl.doctor.facts import Facts, FailedJob, WrittenSetting
    from livectl.ops.migration.names import Classification

MIN_SIMILARITY = 0.85  # of difflib's measure: one letter wrong in a name, hardly two
DJANGO_SETTINGS = "django.conf:settings"  # the one source for which Celery leaves its warning out
DJANGO_SETUP_ERRORS = ("AppRegistryNotReady", "settings are not configured")
MAX_NAMES_SHOWN = 6
NO_FLASK_CONTEXT = "Working outside of application context"
# An app that sets one of these expects results.
RESULT_OPTIONS = (
    "result_expires",
    "result_extended",
    "result_serializer",
    "result_backend_transport_options",
    "result_backend_always_retry",
    "result_persistent",
    "task_track_started",
)


def check_livectl_settings(facts: Facts) -> Iterator[Finding]:
    if facts.settings_error:
        yield Finding(
            id="settings-broken",
            level="bad",
            title="livectl's own settings cannot be read",
            evidence=facts.settings_error,
            cure="Mend the place that is named; nothing else was looked at.",
        )


def check_needs_restart(facts: Facts) -> Iterator[Finding]:
    if facts.needs_restart:
        yield Finding(
            id="restart-needed",
            level="warn",
            title="Running processes were started with other settings, and hold on to them",
            evidence="\n".join(facts.needs_restart),
            cure="livectl restart    (what runs in a terminal: end it, and start it again)",
        )


def check_app_loads(facts: Facts) -> Iterator[Finding]:
    if not facts.app_error or any(sign in facts.app_error for sign in DJANGO_SETUP_ERRORS):
        return
    if MIXED_NAMES_TEXT in facts.app_error:
        yield Finding(
            id="settings-mixed",
            level="bad",
            title="Old and new names of settings are mixed, and Celery refuses to start",
            evidence=facts.app_error,
            cure=f"{facts.app_hint}    (Celery's own advice may name the new ones as those to change)",
        )
        return
    yield Finding(
        id="app-broken",
        level="bad",
        title="The app cannot be loaded",
        evidence=facts.app_error,
        cure=facts.app_hint or "Mend it; nothing that needs the app was looked at.",
    )


def check_timezone(facts: Facts) -> Iterator[Finding]:
    if facts.timezone_error:
        message, _, cure = facts.timezone_error.partition("\n")
        yield Finding(
            id="timezone-unknown",
            level="bad",
            title="The app's timezone is none: its beat ends at its start",
            evidence=message,
            cure=cure,
        )


def check_unread_settings(facts: Facts) -> Iterator[Finding]:
    """A setting under a name that Celery does not read is ignored without a word."""
    for setting, classification in _classified_settings(facts):
        if classification.was_read or classification.kind == "removed" or _is_also_set(facts, classification):
            continue
        if classification.key == "result_backend" and not facts.setting("result_backend"):
            continue  # check_misnamed_backend reports it
        yield Finding(
            id="setting-unread",
            level="bad",
            title=f"Celery does not read {setting.name}",
            evidence=f"{setting.name} in {setting.location}: {classification.why}",
            cure=f"Write {' and '.join(classification.new)}; `livectl migrate .` does.",
        )


def check_misspelt_settings(facts: Facts) -> Iterator[Finding]:
    from livectl.ops.migration.names import KEYS, classify

    for setting in facts.settings.written:
        if classify(setting.name, setting.namespace):
            continue
        prefix = f"{setting.namespace}_" if setting.namespace else ""
        if not setting.name.startswith(prefix) or not (prefix or setting.name.islower()):
            continue
        similar = nearest(setting.name[len(prefix) :], KEYS, cutoff=MIN_SIMILARITY)
        if similar:
            yield Finding(
                id="setting-misspelt",
                level="bad",
                title=f"{setting.name} is no setting of Celery's",
                evidence=f"{setting.name} in {setting.location} is ignored",
                cure=f"Did you mean {(prefix + similar).upper() if prefix else similar}?",
            )


def check_old_names(facts: Facts) -> Iterator[Finding]:
    names = [
        setting.name
        for setting, classification in _classified_settings(facts)
        if classification.kind in {"rename", "split"}
    ]
    if names:
        yield Finding(
            id="settings-old",
            level="warn",
            title="Settings have names that go away in Celery 6",
            evidence=_join_names(list(dict.fromkeys(names))),
            cure="livectl migrate .    shows the change; with --prove, that it changes nothing else",
        )


def check_removed_settings(facts: Facts) -> Iterator[Finding]:
    for setting, classification in _classified_settings(facts):
        if classification.kind == "removed":
            yield Finding(
                id="setting-removed",
                level="warn",
                title=f"{setting.name} does nothing any more",
                evidence=f"{setting.name} in {setting.location}",
                cure=classification.why,
            )


def check_wrong_deprecation_warning(facts: Facts) -> Iterator[Finding]:
    """Celery warns of some names at its start although they are right."""
    from livectl.ops.migration.names import is_ambiguous_with_namespace

    source = facts.settings.source
    names = [
        setting.name
        for setting in facts.settings.written
        if setting.namespace == "CELERY" and is_ambiguous_with_namespace(setting.name)
    ]
    if names and source.lower() != DJANGO_SETTINGS:
        yield Finding(
            id="settings-right",
            level="ok",
            title="Celery's warning of deprecated settings is wrong here",
            evidence=f"{_join_names(names)}: right behind the namespace CELERY, which that warning does not look at",
            cure="Nothing to do. `celery upgrade settings` would break them.",
        )


def check_environment_overrides(facts: Facts) -> Iterator[Finding]:
    for variable, app_value in facts.settings.overridden.items():
        key = SETTING_VARIABLES[variable]
        explanation = "" if variable.startswith("CELERY_") else ", which the celery command reads like an option"
        yield Finding(
            id="environment-wins",
            level="warn",
            title=f"The environment overrules {key} of the app",
            evidence=f"{variable}={redact_text(facts.environ[variable])}{explanation}; the app says {app_value}",
            cure=f"Unset {variable}, or let the app read it.",
        )


def check_misnamed_backend(facts: Facts) -> Iterator[Finding]:
    from livectl.ops.migration.names import GUESSES, classify

    if _has_backend(facts) or not facts.settings.values:
        return
    for setting in facts.settings.written:
        classification = classify(setting.name, setting.namespace)
        if classification and classification.key == "result_backend" and not classification.was_read:
            yield _misnamed_backend(setting.name, f"{setting.name} in {setting.location}", classification.new[0])
            return
    for name, key in GUESSES.items():
        if key == "result_backend" and facts.environ.get(name):
            yield _misnamed_backend(name, f"{name} in the environment", "CELERY_RESULT_BACKEND")
            return


def _result_key(entry: Schedule) -> str:
    """What of an entry needs to know how its jobs end; empty if nothing does."""
    if entry.overlap == "skip":
        return "overlap: skip"
    return "after" if isinstance(entry.timing, After) else "pause_on_failure" if entry.pause_on_failure else ""


def check_missing_backend(facts: Facts) -> Iterator[Finding]:
    if _has_backend(facts) or not facts.settings.values or any(check_misnamed_backend(facts)):
        return
    result_options = [key for key in RESULT_OPTIONS if key in facts.settings.origins]
    asking = {_result_key(entry): entry.name for entry in reversed(facts.schedule)}
    evidence = (
        f"set: {', '.join(result_options)}"
        if result_options
        else ", ".join(f"{key} in {name}" for key, name in asking.items() if key)
    )
    if evidence:
        yield Finding(
            id="results-missing",
            level="warn",
            title="Results are wanted, and there is no place for them",
            evidence=f"result_backend is not set; {evidence}",
            cure="Set result_backend, or take those settings out.",
        )


def check_endless_results(facts: Facts) -> Iterator[Finding]:
    if not _has_backend(facts):
        return
    never = "result_expires" in facts.settings.values and not facts.setting("result_expires")
    if never or facts.endless_results:
        result_text = (
            f"{len(facts.endless_results)} of the results looked at have no expiry: {facts.endless_results[0]}"
            if facts.endless_results
            else ""
        )
        setting_text = f"result_expires is {facts.setting('result_expires')!r}" if never else ""
        yield Finding(
            id="results-endless",
            level="warn",
            title="Results are kept for ever",
            evidence="; ".join(filter(None, (setting_text, result_text))),
            cure="Set result_expires to as long as anybody asks for results: 3600.",
        )


def check_flask_context(facts: Facts) -> Iterator[Finding]:
    wrapped = {task.name for task in facts.tasks if task.wraps_run} if not facts.survey.workers else set()
    if failure := _first_failure(facts, (NO_FLASK_CONTEXT,), cured_tasks=wrapped):
        yield Finding(
            id="flask-context",
            level="bad",
            title="Tasks run outside of Flask's app context",
            evidence=f"{failure.task or 'job'} {failure.id} failed: {failure.error}",
            cure="Give the app a task class whose __call__ runs inside app.app_context(), as Flask's manual shows, "
            "and restart the workers.",
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
            cure="Set DJANGO_SETTINGS_MODULE and call django.setup() in the module of the app, before anything else; "
            "then restart the workers.",
        )


def _classified_settings(facts: Facts) -> Iterator[tuple[WrittenSetting, Classification]]:
    """The names that mean a setting, and what Celery makes of each."""
    from livectl.ops.migration.names import classify, is_generic

    for setting in facts.settings.written:
        classification = classify(setting.name, setting.namespace)
        if classification is None or (is_generic(setting.name) and classification.kind == "rename"):
            continue
        if (
            setting.namespace
            and not setting.name.startswith(f"{setting.namespace}_")
            and classification.kind not in {"rename", "split"}
        ):
            continue  # Django's own: TIME_ZONE, or a constant of the site
        yield setting, classification


def _is_also_set(facts: Facts, classification: Classification) -> bool:
    """Whether the setting is there under its right name as well: then the other name does no harm."""
    return classification.key in facts.settings.origins


def _join_names(names: list[str]) -> str:
    hidden = len(names) - MAX_NAMES_SHOWN
    return ", ".join(names[:MAX_NAMES_SHOWN]) + (f" and {hidden} more" if hidden > 0 else "")


def _misnamed_backend(name: str, evidence: str, right_name: str) -> Finding:
    return Finding(
        id="results-misnamed",
        level="bad",
        title="Results go nowhere: the backend is set under a name that Celery does not read",
        evidence=f"{evidence}; result_backend is not set",
        cure=f"Write {right_name} instead of {name}.",
    )


def _has_backend(facts: Facts) -> bool:
    return str(facts.setting("result_backend") or "disabled").removesuffix("://") != "disabled"


def _first_failure(
    facts: Facts, signs: tuple[str, ...], cured_tasks: Collection[str] = frozenset()
) -> FailedJob | None:
    """The newest job that failed with one of these signs, where nothing says that the cause is gone since."""
    return next(
        (
            failure
            for failure in facts.failed_jobs
            if any(sign in failure.error for sign in signs)
            and failure.task not in cured_tasks
            and not failure.has_succeeded_since
            and not _is_older_than_workers(failure, facts)
        ),
        None,
    )


def _is_older_than_workers(failure: FailedJob, facts: Facts) -> bool:
    """Whether each worker has been started since: none that runs now has failed so."""
    if failure.finished is None or not facts.survey.complete:
        return False
    return all(worker.started is not None and worker.started > failure.finished for worker in facts.survey.workers)
