"""Checks the `celery:` section of livectl.yaml: it may hold any setting of Celery that livectl does not set itself."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from livectl.suggestions import nearest

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping


# Settings that livectl sets itself, and what to use in their place.
RESERVED_SETTINGS = {
    "broker_url": "write broker: at the top of the file",
    "broker_read_url": "write broker: at the top of the file",
    "broker_write_url": "write broker: at the top of the file",
    "broker_transport": "write broker: at the top of the file",
    "broker_host": "write broker: at the top of the file",
    "broker_port": "write broker: at the top of the file",
    "broker_user": "write broker: at the top of the file",
    "broker_password": "write broker: at the top of the file",
    "broker_vhost": "write broker: at the top of the file",
    "result_backend": "write results: at the top of the file",
    "beat_schedule": "write it in schedules.yaml",
    "beat_schedule_filename": "livectl keeps last runs in the store",
    "beat_scheduler": "livectl beat has its own",
    "timezone": "cron lines have a timezone in schedules.yaml; Celery itself keeps UTC",
    "enable_utc": "Celery itself keeps UTC",
}
COMMAND_LINE_SETTINGS = ("executable", "gid", "logfile", "pidfile", "uid", "umask")
# In Celery's user guide and read by it, though its own table of settings lacks them.
DOCUMENTED_SETTINGS = {
    *(f"{program}_{name}" for program in ("beat", "events", "worker") for name in COMMAND_LINE_SETTINGS),
    "cassandra_secure_bundle_path",
    "override_backends",
    "redis_backend_credential_provider",
    "redis_backend_health_check_interval",
    "redis_client_name",
    "result_backend_thread_safe",
    "firestore_project",
    "gcs_threadpool_maxsize",
}
UNLISTED_SETTINGS = DOCUMENTED_SETTINGS | {"once"}
EXTENSION_PREFIXES = ("redbeat_", "flower_", "singleton_")  # extensions that read app.conf
TYPE_NAMES = {"bool": "true or false", "int": "a number", "float": "a number"}


def find_mistakes(section: Mapping[str, Any]) -> Iterator[tuple[str, str, str]]:
    """Yields the key, the mistake and a hint for each setting that cannot be."""
    from celery.app.defaults import NAMESPACES, flatten

    options = dict(flatten(NAMESPACES))
    for key, value in section.items():
        if key in RESERVED_SETTINGS:
            yield key, f"celery.{key} is livectl's own to set", RESERVED_SETTINGS[key]
        elif key not in options:
            if key not in UNLISTED_SETTINGS and not key.startswith(EXTENSION_PREFIXES):
                yield key, f"Celery has no setting `{key}`", _suggest_setting(key, options)
        elif isinstance(value, str) and (kind := _expected_type(options[key].type)):
            yield key, f"celery.{key} wants {kind}, not text", ""


def _expected_type(declared: str | type) -> str | None:
    """What a setting wants if it does not want text. Celery writes most of its types as words."""
    return TYPE_NAMES.get(declared if isinstance(declared, str) else declared.__name__)


def _suggest_setting(key: str, options: Mapping[str, Any]) -> str:
    from celery.app.defaults import _TO_NEW_KEY

    bare = key.lower().removeprefix("celery_")
    new = _TO_NEW_KEY.get(key.upper()) or nearest(bare, [*options, *UNLISTED_SETTINGS, *RESERVED_SETTINGS])
    if new in RESERVED_SETTINGS:
        return RESERVED_SETTINGS[new]
    return f"do you mean {new}?" if new else "see the list in Celery's documentation"
