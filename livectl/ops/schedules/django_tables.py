"""Reads the tables of django-celery-beat: through the app's own Django, or in a fixture that Django wrote."""

from __future__ import annotations

import json
from datetime import UTC, datetime, tzinfo
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from livectl.errors import FileError, Mistake, ServerError, SettingsError, shorten
from livectl.ops.schedules.conversion import (
    CRONTAB_FIELDS,
    ImportedSchedule,
    NotPortable,
    PortableTiming,
    crontab_timing,
)
from livectl.ops.schedules.exporting import DJANGO_PERIODS
from livectl.ops.schedules.other_schedulers import (
    POLICIES,
    UNREADABLE,
    StoredEntry,
    check_plain,
    format_time,
    refuse,
    to_imported,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from celery import Celery

    Rows = dict[Any, dict[str, Any]]  # of a table, by primary key

LABELS = ("django_celery_beat", "djcelery")  # djcelery's tables have the same columns where it has any
OPTION_COLUMNS = ("queue", "exchange", "routing_key", "priority")


def read_django(app: Celery, origin: str, now: datetime) -> ImportedSchedule:
    """The entries of its tables, read through the app's own Django settings."""
    label = _set_up_django()
    from django.conf import settings
    from django.utils.timezone import get_default_timezone

    tables = _query_tables(label)
    zone = str(app.timezone)
    has_zones = bool(getattr(settings, "DJANGO_CELERY_BEAT_TZ_AWARE", True))
    stored = _rows_to_entries(tables, now, get_default_timezone(), has_zones=has_zones)
    return to_imported(stored, f"{origin}'s database", zone, app.conf.beat_schedule or ())


def _set_up_django() -> str:
    """Sets Django up as manage.py does. Returns the label of the app that has the tables."""
    try:
        import django
        from django.apps import apps
    except ImportError as error:
        raise SettingsError("Django is not installed here", "Run livectl with the Python of the app.") from error
    try:
        django.setup()
    except Exception as error:  # the settings are code, and raise anything
        hint = "Set DJANGO_SETTINGS_MODULE, as manage.py does."
        raise SettingsError(f"Django cannot be set up: {type(error).__name__}: {error}", hint) from error
    for label in LABELS:
        if apps.is_installed(label):
            return label
    raise SettingsError("Django has no tables of a schedule", "Put django_celery_beat into INSTALLED_APPS.")


def _query_tables(label: str) -> dict[str, Rows]:
    """All rows of the tables, by the names of their models. Only SELECT is sent."""
    from django.apps import apps
    from django.db import Error

    try:
        models = [model for model in apps.get_app_config(label).get_models() if _is_wanted(model._meta.model_name)]
        for model in models:
            _check_database(model)
        return {model._meta.model_name: {row["id"]: row for row in model._default_manager.values()} for model in models}
    except Error as error:
        message = f"the app's database does not show its schedule: {' '.join(str(error).split())}"
        raise ServerError(message, "Start it, or bring its tables up to date: manage.py migrate.") from error


def _is_wanted(model: str) -> bool:
    return model == "periodictask" or model.endswith("schedule")


def _check_database(model: Any) -> None:
    """Raises for a file of SQLite that is not there: a look at it would make one."""
    from django.db import connections, router

    connection = connections[router.db_for_read(model)]
    name = str(connection.settings_dict["NAME"])
    if connection.vendor == "sqlite" and not connection.is_in_memory_db() and not Path(name).exists():
        raise ServerError(f"the app's database {name} is not there", "Start livectl in the app's folder.")


def read_fixture(path: Path, name: str, now: datetime) -> ImportedSchedule:
    """The entries of what `manage.py dumpdata django_celery_beat` writes."""
    try:
        rows = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise FileError([Mistake(name, 1, 1, f"cannot be read: {error}")]) from error
    try:
        tables = _sort_fixture(rows)
    except UNREADABLE as error:
        raise FileError([Mistake(name, 1, 1, "no fixture of Django")]) from error
    if "periodictask" not in tables:
        hint = "manage.py dumpdata django_celery_beat writes one."
        raise FileError([Mistake(name, 1, 1, "no fixture of django-celery-beat")], hint)
    return to_imported(_rows_to_entries(tables, now, UTC, has_zones=True), name, "UTC")


def _sort_fixture(rows: Any) -> dict[str, Rows]:
    tables: dict[str, Rows] = {}
    for number, row in enumerate(rows):
        label, _, model = str(row["model"]).lower().partition(".")
        if label in LABELS:
            tables.setdefault(model, {})[row.get("pk", f"row {number}")] = dict(row["fields"])
    return tables


def _rows_to_entries(tables: dict[str, Rows], now: datetime, zone: tzinfo, *, has_zones: bool) -> Iterator[StoredEntry]:
    """The entries of rows. Times without a zone are in `zone`; only Django may switch the zones of cron lines off."""
    for row in tables.get("periodictask", {}).values():
        try:
            yield _row_entry(row, tables, now, zone, has_zones=has_zones)
        except UNREADABLE as error:
            yield StoredEntry(name=str(row.get("name")), read=partial(refuse, f"cannot be read: {error}"))


def _row_entry(
    row: Mapping[str, Any], tables: dict[str, Rows], now: datetime, zone: tzinfo, *, has_zones: bool
) -> StoredEntry:
    kind, timing_row = _timing_row(row, tables)
    return StoredEntry(
        name=str(row.get("name")),
        read=partial(_read_row, row, kind, timing_row, now, zone),
        task=row.get("task"),
        enabled=bool(row.get("enabled", True)),
        zone=str(timing_row.get("timezone") or "") if has_zones else "",
        last_run=_read_time(row.get("last_run_at"), zone),
    )


def _timing_row(row: Mapping[str, Any], tables: dict[str, Rows]) -> tuple[str, dict[str, Any]]:
    """The kind of timing that a row has, and the row of that; both empty where it has none."""
    for kind in ROW_TIMINGS:
        key = row.get(f"{kind}_id", row.get(kind))
        if key is not None:
            return kind, tables.get(f"{kind}schedule", {}).get(key, {})
    return "", {}


def _read_row(
    row: Mapping[str, Any], kind: str, timing_row: Mapping[str, Any], now: datetime, zone: tzinfo
) -> dict[str, Any]:
    if not timing_row:
        raise NotPortable("its timing is gone from the tables" if kind else "nothing says when")
    ends_at = _read_time(row.get("expires"), zone)
    if ends_at is not None and ends_at <= now:
        raise NotPortable(f"ended at {format_time(ends_at)}")
    if row.get("one_off") and row.get("total_run_count"):
        raise NotPortable("has had its one run")
    if kind == "clocked":
        timing: Any = PortableTiming("at", _clocked_time(_read_time(timing_row.get("clocked_time"), zone), now))
    else:
        timing = ROW_TIMINGS[kind](timing_row)
    return {
        "task": row.get("task"),
        "schedule": timing,
        POLICIES: _row_policies(row, now, zone, is_clocked=kind == "clocked"),
        "args": _read_json(row.get("args") or "[]", list),
        "kwargs": _read_json(row.get("kwargs") or "{}", dict),
        "options": _row_options(row),
    }


def _row_policies(row: Mapping[str, Any], now: datetime, zone: tzinfo, *, is_clocked: bool) -> dict[str, Any]:
    """Keys that a beat_schedule has no words for. A start that has passed says nothing any more."""
    starts_at, ends_at = (_read_time(row.get(key), zone) for key in ("start_time", "expires"))
    policies: dict[str, Any] = {}
    if starts_at is not None and starts_at > now:
        policies["start"] = format_time(starts_at)
    if ends_at is not None:
        policies["end"] = format_time(ends_at)
    if row.get("one_off") and not is_clocked:
        policies["count"] = 1
    if description := str(row.get("description") or "").strip():
        policies["description"] = description
    return policies


def _clocked_time(at: datetime | None, now: datetime) -> str:
    if at is None:
        raise NotPortable("runs only once, at no time")
    if at <= now:
        raise NotPortable(f"ran only once, at {format_time(at)}")
    return format_time(at)


def _row_interval(row: Mapping[str, Any]) -> float:
    period = row.get("period")
    if period not in DJANGO_PERIODS:
        raise NotPortable(f"its period is {period!r}")
    return float(row.get("every") or 0) * DJANGO_PERIODS[period]


def _row_crontab(row: Mapping[str, Any]) -> PortableTiming:
    return crontab_timing({key: row[key] for key in CRONTAB_FIELDS if key in row})


def _row_solar(row: Mapping[str, Any]) -> PortableTiming:
    place = {"lat": float(row.get("latitude") or 0), "lon": float(row.get("longitude") or 0)}
    return PortableTiming("solar", {"event": row.get("event"), **place})


def _row_options(row: Mapping[str, Any]) -> dict[str, Any]:
    options = {key: row[key] for key in OPTION_COLUMNS if row.get(key) not in {None, ""}}
    if headers := _read_json(row.get("headers") or "{}", dict):
        options["headers"] = headers
    if row.get("expire_seconds") is not None:
        options["expires"] = row["expire_seconds"]
    return options


def _read_json(text: Any, kind: type) -> Any:
    """The list or mapping in a column of JSON."""
    try:
        value = json.loads(text) if isinstance(text, str) else text
    except (ValueError, RecursionError) as error:
        raise NotPortable(f"not JSON: {shorten(str(text))}") from error
    if not isinstance(value, kind):
        raise NotPortable(f"no {'list' if kind is list else 'mapping'}: {shorten(str(text))}")
    check_plain(value)
    return value


def _read_time(value: Any, zone: tzinfo) -> datetime | None:
    """The time in a column; None where there is none, or where it is not to be read."""
    try:
        moment = datetime.fromisoformat(value) if isinstance(value, str) else value
    except ValueError:
        return None
    if not isinstance(moment, datetime):
        return None
    return moment if moment.tzinfo else moment.replace(tzinfo=zone)


ROW_TIMINGS: dict[str, Callable[[Mapping[str, Any]], Any]] = {
    "interval": _row_interval,
    "crontab": _row_crontab,
    "solar": _row_solar,
    "clocked": dict,  # its time is read apart
}
