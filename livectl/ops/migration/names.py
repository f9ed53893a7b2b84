"""Knows every name of Celery's settings, old, new, removed or misspelt, and what each is called now."""

from __future__ import annotations

import re
from functools import cache
from typing import Literal

from celery.app.defaults import _TO_NEW_KEY, SETTING_KEYS
from msgspec import Struct

from livectl.celery_settings import DOCUMENTED_SETTINGS
from livectl.suggestions import nearest

Kind = Literal["correct", "rename", "documented", "unread", "half", "guess", "split", "removed"]

MIN_SIMILARITY = 0.84  # of difflib's measure: one or two letters wrong in a long name

OLD_NAMES: dict[str, str] = dict(_TO_NEW_KEY)

KEYS: set[str] = set(SETTING_KEYS) | DOCUMENTED_SETTINGS

# The user guide lists these as old names; no release of Celery since 4.0 reads them.
DOCUMENTED_OLD = {
    "CASSANDRA_COLUMN_FAMILY": "cassandra_table",
    "CELERY_REDIS_BACKEND_CREDENTIAL_PROVIDER": "redis_backend_credential_provider",
    "CELERY_RESULT_DB_TABLE_NAMES": "database_table_names",
    "CELERY_EAGER_PROPAGATES": "task_eager_propagates",
    "CELERY_PUBLISH_RETRY": "task_publish_retry",
    "CELERY_PUBLISH_RETRY_POLICY": "task_publish_retry_policy",
    "CELERY_SEND_SENT_EVENT": "task_send_sent_event",
    "CELERYD_TIME_LIMIT": "task_time_limit",
    "CELERYD_SOFT_TIME_LIMIT": "task_soft_time_limit",
    "CELERYD_REDIRECT_STDOUTS": "worker_redirect_stdouts",
    "CELERYD_REDIRECT_STDOUTS_LEVEL": "worker_redirect_stdouts_level",
    "database_db_names": "database_table_names",
}

# Never names of a setting, yet often written.
GUESSES = {
    "CELERY_BACKEND": "result_backend",
    "CELERY_BACKEND_URL": "result_backend",
    "CELERY_RESULT_BACKEND_URL": "result_backend",
    "CELERY_RESULT_BACKEND_URI": "result_backend",
    "RESULT_BACKEND": "result_backend",
    "CELERY_BROKER": "broker_url",
    "CELERY_BROKER_URI": "broker_url",
    "CELERY_EAGER": "task_always_eager",
    "CELERY_CONCURRENCY": "worker_concurrency",
    "CELERYD_MAX_TASKS": "worker_max_tasks_per_child",
    "CELERYD_PREFETCH": "worker_prefetch_multiplier",
    "CELERY_SCHEDULE": "beat_schedule",
    "CELERY_BEAT_SCHEDULES": "beat_schedule",
    "CELERYBEAT_SCHEDULES": "beat_schedule",
}

RENAMED_WHY = "old name, goes away in Celery 6.0"
_MAIL_REMOVED = "gone since 4.0, with mail about errors: use the task_failure signal"
REMOVED = {
    "ADMINS": "",  # Django's own as well, so nothing is reported
    "BROKER_BACKEND": "gone since 4.0: the scheme of the broker address says it",
    "CELERYBEAT_LOG_FILE": "gone since 4.0: use `celery beat --logfile`",
    "CELERYBEAT_LOG_LEVEL": "gone since 4.0: use `celery beat --loglevel`",
    "CELERYD_AUTORELOADER": "gone since 4.0: use `watchfiles` around the worker",
    "CELERYD_ETA_SCHEDULER": "gone since 4.0: worker_timer takes a class",
    "CELERYD_ETA_SCHEDULER_PRECISION": "gone since 4.0: use worker_timer_precision",
    "CELERYD_FORCE_EXECV": "gone since 4.0: use worker_pool_start_method = 'spawn'",
    "CELERYD_LOG_FILE": "gone since 4.0: use `celery worker --logfile`",
    "CELERYD_LOG_LEVEL": "gone since 4.0: use `celery worker --loglevel`",
    "CELERYMON_LOG_FILE": "gone since 4.0, with celerymon: use Flower",
    "CELERYMON_LOG_FORMAT": "gone since 4.0, with celerymon: use Flower",
    "CELERYMON_LOG_LEVEL": "gone since 4.0, with celerymon: use Flower",
    "CELERY_AMQP_TASK_RESULT_EXPIRES": "gone since 4.0: use result_expires",
    "CELERY_AMQP_TASK_RESULT_CONNECTION_MAX": "gone since 3.0: nothing takes its place",
    "CELERY_BROADCAST_EXCHANGE": "gone since 4.0: use control_exchange",
    "CELERY_BROADCAST_EXCHANGE_TYPE": "gone since 4.0: nothing takes its place",
    "CELERY_BROADCAST_QUEUE": "gone since 4.0: nothing takes its place",
    "CELERY_CHORD_PROPAGATES": "gone since 4.0: chords always propagate errors",
    "CELERY_QUEUE_HA_POLICY": "gone since 4.0: set a policy in RabbitMQ, or use quorum queues",
    "CELERY_SEND_TASK_ERROR_EMAILS": _MAIL_REMOVED,
    "CELERY_TASK_ERROR_WHITELIST": _MAIL_REMOVED,
    "SEND_CELERY_TASK_ERROR_EMAILS": _MAIL_REMOVED,
}

SPLIT_KEYS = {
    "task_acks_on_failure_or_timeout": ("task_acks_on_failure", "task_acks_on_timeout"),
}
ADDRESS_KEYS = ("broker_transport", "broker_user", "broker_password", "broker_host", "broker_port", "broker_vhost")

CELERY_LIKE_NAME = re.compile(
    r"(?<![A-Za-z0-9_])(?:CELERY|BROKER|celery_|broker_)[A-Za-z0-9_]*|"
    r"(?<![A-Za-z0-9_])[A-Za-z0-9]+_(?:CELERY|BROKER)[A-Z0-9_]*"
)


class Classification(Struct, frozen=True):
    """What a name means to Celery; `new` is its name today, or its two names if the setting was split."""

    old: str
    kind: Kind
    key: str = ""
    new: tuple[str, ...] = ()
    why: str = ""

    @property
    def changes(self) -> bool:
        return bool(self.new) and self.new != (self.old,)

    @property
    def was_read(self) -> bool:
        """Whether Celery reads the old spelling; if not, the change sets what was not set before."""
        return self.kind in {"rename", "split", "correct"}


@cache
def classify(name: str, namespace: str | None) -> Classification | None:
    """What a name means to a Celery that reads with this namespace; None if it is no setting."""
    if name in REMOVED:
        return Classification(name, "removed", why=REMOVED[name]) if REMOVED[name] else None
    match = _classify_known(name, namespace)
    if match is None:
        return None
    key, kind, why = match
    parts = SPLIT_KEYS.get(key, ())
    if parts and set(parts) <= KEYS:
        new = tuple(spell(part, namespace) for part in parts)
        return Classification(name, "split", key, new, "one setting became two in Celery 5.7")
    return Classification(name, kind, key, (spell(key, namespace),), why)


def spell(key: str, namespace: str | None) -> str:
    return f"{namespace}_{key}".upper() if namespace else key


def is_generic(name: str) -> bool:
    """Whether a site may well use the name for something else: S3_BUCKET, ENABLE_UTC, TIMEZONE."""
    return not name.upper().startswith(("CELERY", "BROKER_"))


def is_ambiguous_with_namespace(name: str) -> bool:
    """Whether Celery's start-up warning calls the name deprecated though it is right behind CELERY_."""
    return OLD_NAMES.get(name, "").upper() == name.removeprefix("CELERY_") and name.startswith("CELERY_")


def nearest_setting(name: str) -> str:
    """The old setting name that a mistyped name is nearest to; empty if none is near."""
    if name.isupper() and not is_generic(name):
        match = nearest(name, OLD_NAMES, cutoff=MIN_SIMILARITY)
        return match if match and match[:8] == name[:8] else ""  # BROKER_U… for BROKER_USERNAME
    return ""


@cache
def is_candidate(name: str) -> bool:
    """Whether a name may be a setting under any convention."""
    return name.isupper() or name in KEYS or name in DOCUMENTED_OLD or name.startswith("CELERY_")


def _classify_known(name: str, namespace: str | None) -> tuple[str, Kind, str] | None:
    prefix = f"{namespace}_" if namespace else ""
    tail = name[len(prefix) :] if prefix and name.startswith(prefix) else ""
    if tail.lower() in KEYS:
        return (
            (tail.lower(), "correct", "") if tail.isupper() else (tail.lower(), "half", _half_migrated_reason(prefix))
        )
    if not namespace and name in KEYS:
        return name, "correct", ""
    if name in OLD_NAMES:
        return OLD_NAMES[name], "rename", RENAMED_WHY
    if name in DOCUMENTED_OLD:
        return DOCUMENTED_OLD[name], "documented", "in the user guide, but Celery does not read it"
    return _classify_unread(name, namespace)


def _classify_unread(name: str, namespace: str | None) -> tuple[str, Kind, str] | None:
    tail = name.removeprefix("CELERY_")
    if tail != name and tail.lower() in KEYS:
        if tail.isupper():
            return tail.lower(), "unread", "spelt for the namespace CELERY, which nothing here reads"
        return tail.lower(), "half", _half_migrated_reason("CELERY_")
    if name in GUESSES:
        return GUESSES[name], "guess", "a guess: no setting is called so"
    if namespace and name in KEYS:
        return name, "half", _half_migrated_reason(f"{namespace}_")
    if not namespace and name.isupper() and name.lower() in KEYS:
        return name.lower(), "guess", "a guess: Celery reads no such name in upper case"
    return None


def _half_migrated_reason(prefix: str) -> str:
    return (
        f"half migrated: nothing reads it without {prefix}…" if prefix != "CELERY_" else "half migrated by another tool"
    )
