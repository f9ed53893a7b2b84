"""Reads what other beat schedulers keep: RedBeat in Redis, Celery's in the app and a file. django_tables.py is a third.

Nothing is changed there. Each entry becomes one of schedules.yaml; what that cannot say is left out or noted.
"""

from __future__ import annotations

import json
import re
from datetime import UTC, datetime, timedelta, timezone
from functools import partial
from itertools import chain
from typing import TYPE_CHECKING, Any
from zoneinfo import ZoneInfo

from msgspec import Struct

from livectl import redis_client
from livectl.address import Address
from livectl.errors import ServerError, SettingsError
from livectl.ops import apps
from livectl.ops.protocol import beat_file
from livectl.ops.schedules.conversion import (
    CRONTAB_FIELDS,
    SOLAR_FIELDS,
    WHOLE_SCHEDULE,
    ImportedSchedule,
    NotPortable,
    PortableEntry,
    PortableTiming,
    PortingNote,
    crontab_timing,
    portable_keys,
)
from livectl.units import format_instant

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping
    from pathlib import Path

    from celery import Celery
    from redis import Redis


POLICIES = "policies"  # keys of schedules.yaml that Celery's beat_schedule lacks, beside those that it has
ENTRY_FIELDS = ("task", "schedule", "args", "kwargs", "options")  # of Celery's ScheduleEntry
OWN_CLEANUP = "celery.backend_cleanup"  # every beat adds this entry by itself where results expire
REDBEAT_PREFIX = "redbeat:"
UNREADABLE = (TypeError, ValueError, AttributeError, LookupError, OverflowError)  # raised by a value out of place
LAST_RUN = "last run"
YEARLY, MONTHLY, WEEKLY, DAILY, HOURLY, MINUTELY, SECONDLY = range(7)  # `freq` of an rrule
FREQ_SECONDS = {WEEKLY: 604_800, DAILY: 86_400, HOURLY: 3_600, MINUTELY: 60, SECONDLY: 1}
RULES_WITHOUT_CRON = ("bysetpos", "byyearday", "byeaster", "byweekno")
RULE_FIELDS = {"byminute": "minute", "byhour": "hour", "bymonthday": "day_of_month", "bymonth": "month_of_year"}
DAYS_PER_WEEK = 7
LAST_RUNS_NOTE = "last runs are comments now: livectl's beat counts an entry from when it first has it"
SCAN_COUNT = 1_000  # keys that Redis looks at in one step
GLOB_CHARACTERS = re.compile(r"([\\*?\[\]])")
TYPE_KEY = "__type__"  # marks what RedBeat and kombu write into JSON besides JSON's own types


class StoredEntry(Struct, kw_only=True):
    """An entry as another scheduler keeps it."""

    name: str
    read: Callable[[], dict[str, Any]]  # the entry as a beat_schedule would have it; raises NotPortable
    task: Any = ""
    enabled: bool = True
    zone: str = ""  # of its cron line; empty: that of the file
    last_run: datetime | None = None
    remarks: tuple[str, ...] = ()  # comments beside the entry
    caveats: tuple[str, ...] = ()  # what holds for it and schedules.yaml cannot say


def to_imported(
    stored: Iterable[StoredEntry], origin: str, zone: str, app_names: Iterable[str] = ()
) -> ImportedSchedule:
    """Entries for schedules.yaml. Those of the names in `app_names` stay with the app, whose beat_schedule has them."""
    imported = ImportedSchedule(origin=origin, timezone=zone)
    names = set(app_names)
    for entry in stored:
        if entry.name in names:
            _leave_with_app(entry, imported)
        elif entry.name == OWN_CLEANUP and entry.task == OWN_CLEANUP and entry.enabled:
            imported.notes.append(PortingNote(name=entry.name, why="beat adds it by itself where results expire"))
        else:
            _add_entry(entry, imported)
    if any(comment.startswith(LAST_RUN) for entry in imported.entries for comment in entry.comments):
        imported.notes.append(PortingNote(name=WHOLE_SCHEDULE, why=LAST_RUNS_NOTE))
    return imported


def _leave_with_app(entry: StoredEntry, imported: ImportedSchedule) -> None:
    if entry.enabled:
        why = "stays in the app's beat_schedule, which livectl's beat reads as well"
        imported.notes.append(PortingNote(name=entry.name, why=why))
        return
    why = "switched off there, but not in the app's beat_schedule: take it out of that, or pause it"
    imported.left.append(PortingNote(name=entry.name, why=why))


def _add_entry(entry: StoredEntry, imported: ImportedSchedule) -> None:
    try:
        values = entry.read()
        policies = values.pop(POLICIES, {})
        keys = {**portable_keys(values), **policies}
    except (NotPortable, beat_file.UnreadableValueError) as error:
        imported.left.append(PortingNote(name=entry.name, why=str(error)))
        return
    except UNREADABLE as error:
        imported.left.append(PortingNote(name=entry.name, why=f"holds what no scheduler writes: {error}"))
        return
    if entry.zone not in {"", imported.timezone} and not {"cron", "crontab"}.isdisjoint(keys):
        keys["timezone"] = entry.zone
    if keys.get("timezone") == imported.timezone:
        del keys["timezone"]
    if not entry.enabled:
        keys["enabled"] = False
    last_run = [f"{LAST_RUN} {format_time(entry.last_run)}"] if entry.last_run else []
    comments = tuple(chain(entry.remarks, last_run, entry.caveats))
    imported.entries.append(PortableEntry(name=entry.name, keys=keys, comments=comments))
    imported.notes += [PortingNote(name=entry.name, why=why) for why in entry.caveats]


def format_time(moment: datetime) -> str:
    return format_instant(moment.timestamp())


# RedBeat


def read_redbeat(app: Celery, origin: str) -> ImportedSchedule:
    """The entries of RedBeat's keys, wherever the app's settings have them. Nothing is locked, nothing changed."""
    from redis.exceptions import RedisError

    conf = app.conf
    url = conf.first("redbeat_redis_url", "REDBEAT_REDIS_URL") or conf.broker_url
    prefix = conf.first("redbeat_key_prefix", "REDBEAT_KEY_PREFIX") or REDBEAT_PREFIX
    try:
        address = Address.parse(str(url))
    except SettingsError as error:
        raise SettingsError(f"RedBeat's address cannot be read: {error.message}", error.hint) from error
    if not address.is_redis:
        raise SettingsError(
            f"{address.masked} is no Redis", "Set redbeat_redis_url to where RedBeat keeps its entries."
        )
    try:
        with redis_client.using_store(address) as client:
            stored = [_redbeat_entry(prefix, *item) for item in _scan_redbeat(client, prefix)]
    except RedisError as error:
        raise ServerError(
            f"RedBeat's keys cannot be read at {address.masked}: {error}", "Look at that server."
        ) from error
    return to_imported(stored, f"{origin}'s RedBeat", str(app.timezone), app.conf.beat_schedule or ())


def _scan_redbeat(client: Redis, prefix: str) -> Iterator[tuple[str, str, str, bool]]:
    """Each entry's key, definition and meta, and whether RedBeat would run it: only what its schedule holds."""
    scheduled = set(client.zrange(f"{prefix}:schedule", 0, -1))
    pattern = f"{GLOB_CHARACTERS.sub(_escape, prefix)}*"
    hashes = client.scan_iter(match=pattern, count=SCAN_COUNT, _type="hash")
    for key in sorted({*scheduled, *hashes}):
        definition, meta = client.hmget(key, "definition", "meta")
        if definition:
            yield str(key), str(definition), str(meta or ""), key in scheduled or not scheduled


def _escape(match: re.Match[str]) -> str:
    return f"\\{match[0]}"


def _redbeat_entry(prefix: str, key: str, definition: str, meta: str, is_scheduled: bool) -> StoredEntry:  # noqa: FBT001
    try:
        values = json.loads(definition)
    except ValueError:
        values = None
    if not isinstance(values, dict):
        return StoredEntry(name=key.removeprefix(prefix), read=partial(refuse, "its definition is no JSON"))
    caveats = () if is_scheduled else ("is not in RedBeat's schedule, which does not run it: switched off here",)
    return StoredEntry(
        name=str(values.get("name") or key.removeprefix(prefix)),
        read=partial(_read_definition, values),
        task=values.get("task"),
        enabled=bool(values.get("enabled", True)) and is_scheduled,
        last_run=_redbeat_last_run(meta),
        caveats=caveats,
    )


def check_plain(value: Any) -> None:
    """Raises NotPortable for decoded JSON in which a scheduler has marked values of Python's own types."""
    if TYPE_KEY in json.dumps(value):
        raise NotPortable("its values are of a type that only Python has")


def refuse(reason: str) -> dict[str, Any]:
    raise NotPortable(reason)


def _read_definition(values: Mapping[str, Any]) -> dict[str, Any]:
    entry = {
        "task": values.get("task"),
        "args": values.get("args") or [],
        "kwargs": values.get("kwargs") or {},
        "options": values.get("options") or {},
    }
    check_plain(entry)
    timing = values.get("schedule")
    if isinstance(timing, dict) and timing.get(TYPE_KEY) == "rrule":
        return {**entry, **_read_rule(timing)}
    return {**entry, "schedule": _redbeat_timing(timing)}


def _redbeat_timing(value: Any) -> Any:
    if not isinstance(value, dict):
        return value
    kind = value.get(TYPE_KEY)
    if kind == "crontab":
        return crontab_timing({key: value[key] for key in CRONTAB_FIELDS if key in value})
    if kind == "interval" and isinstance(value.get("every"), int | float):
        return PortableTiming("every", float(value["every"]), relative=bool(value.get("relative")))
    raise NotPortable(f"YAML has no {kind or 'such'} schedule")


def _read_rule(rule: Mapping[str, Any]) -> dict[str, Any]:
    """Schedule and policies of an rrule: a crontab where one says the same, or an interval."""
    start = datetime.fromtimestamp(rule["dtstart"], UTC) if rule.get("dtstart") is not None else None
    if start is None:
        raise NotPortable("its rrule has no start")
    offset = timedelta(minutes=rule.get("dtstart_tz") or 0)
    policies = {"start": format_time(start)}
    if rule.get("until") is not None:
        policies["end"] = format_time(datetime.fromtimestamp(rule["until"], UTC))
    if rule.get("count"):
        policies["count"] = rule["count"]
    ruled = [key for key in rule if key.startswith("by") and rule[key] is not None]
    freq, interval = int(rule["freq"]), int(rule.get("interval") or 1)
    if freq in FREQ_SECONDS and not ruled and (interval > 1 or freq == SECONDLY):
        return {"schedule": float(FREQ_SECONDS[freq] * interval), POLICIES: policies}
    if interval > 1 or freq == SECONDLY or any(rule.get(key) is not None for key in RULES_WITHOUT_CRON):
        raise NotPortable("no crontab says what its rrule does: write it as `every` or more than one entry")
    policies["timezone"] = _fixed_zone(offset)
    return {"schedule": crontab_timing(_rule_fields(rule, start + offset, freq)), POLICIES: policies}


def _rule_fields(rule: Mapping[str, Any], start: datetime, freq: int) -> dict[str, Any]:
    """The fields of a crontab; what a rule leaves open is taken from its start, as its class does."""
    if rule.get("bysecond") not in (None, [0], 0) or (rule.get("bysecond") is None and start.second):
        raise NotPortable("its rrule runs between full minutes")
    fields = {field: _numbers(rule[key]) for key, field in RULE_FIELDS.items() if rule.get(key) is not None}
    if rule.get("byweekday") is not None:
        fields["day_of_week"] = _numbers([_rule_weekday(day) for day in _as_list(rule["byweekday"])])
    if not {"day_of_month", "day_of_week"} & fields.keys():
        if freq == YEARLY:
            fields.setdefault("month_of_year", [start.month])
        if freq in {YEARLY, MONTHLY}:
            fields["day_of_month"] = [start.day]
        elif freq == WEEKLY:
            fields["day_of_week"] = [start.isoweekday() % DAYS_PER_WEEK]
    if freq < HOURLY:
        fields.setdefault("hour", [start.hour])
    if freq < MINUTELY:
        fields.setdefault("minute", [start.minute])
    return fields


def _rule_weekday(day: Any) -> int:
    """The number of a weekday as cron counts: a rule's Monday is 0."""
    number = day.get("wkday") if isinstance(day, dict) else day
    if not isinstance(number, int) or not 0 <= number < DAYS_PER_WEEK:
        raise NotPortable("its rrule names a weekday that cannot be read")
    return (number + 1) % DAYS_PER_WEEK


def _as_list(value: Any) -> list[Any]:
    return value if isinstance(value, list) else [value]


def _numbers(value: Any) -> list[int]:
    numbers = sorted(_as_list(value))
    if not numbers or numbers[0] < 0:
        raise NotPortable("its rrule counts days from the end of the month")
    return numbers


def _fixed_zone(offset: timedelta) -> str:
    """The zone that always has this offset, as a rule keeps the one of its start."""
    hours, rest = divmod(round(offset.total_seconds()), 3_600)
    if rest:
        raise NotPortable("its rrule is in a zone of half hours")
    return "UTC" if hours == 0 else f"Etc/GMT{-hours:+d}"


def _redbeat_last_run(meta: str) -> datetime | None:
    try:
        fields = dict(json.loads(meta or "{}").get("last_run_at") or {})
        zone = fields.pop("timezone", "UTC")
        fields.pop(TYPE_KEY, None)
        offset = timezone(timedelta(seconds=zone)) if isinstance(zone, int | float) else ZoneInfo(zone)
        return datetime(**fields, tzinfo=offset) if fields else None
    except (ValueError, TypeError, AttributeError, LookupError, OSError):
        return None


# Celery's own


def read_app(app: Celery, name: str, zone: str) -> ImportedSchedule:
    """The `beat_schedule` of an app, as it is once the app's own code has run."""
    imported = ImportedSchedule(origin=name, timezone=zone)
    for key, entry in apps.read_beat_schedule(app).items():
        try:
            imported.entries.append(PortableEntry(name=key, keys=portable_keys(entry_values(entry))))
        except NotPortable as error:
            imported.left.append(PortingNote(name=key, why=str(error)))
    return imported


def entry_values(entry: Any) -> dict[str, Any]:
    """An entry as a dict with a portable schedule; Celery takes dicts and ScheduleEntry objects."""
    values = dict(entry) if isinstance(entry, dict) else {key: getattr(entry, key, None) for key in ENTRY_FIELDS}
    return {**values, "schedule": _portable_schedule(values.get("schedule"))}


def _portable_schedule(celery_schedule: Any) -> Any:
    """A schedule of one of Celery's classes as a PortableTiming; seconds and timedelta stay as they are."""
    from celery.schedules import crontab, schedule, solar

    kind = type(celery_schedule)
    if kind in {schedule, crontab, solar} and celery_schedule.nowfun is None:
        if kind is schedule:
            return PortableTiming("every", float(celery_schedule.seconds), relative=bool(celery_schedule.relative))
        if kind is crontab:
            return crontab_timing({key: getattr(celery_schedule, f"_orig_{key}") for key in CRONTAB_FIELDS})
        place = {"event": celery_schedule.event, "lat": celery_schedule.lat, "lon": celery_schedule.lon}
        return PortableTiming("solar", place)
    if hasattr(celery_schedule, "is_due"):
        raise NotPortable(f"{kind.__module__}.{kind.__qualname__} is a class of its own")
    return celery_schedule


def read_beat_file(path: Path, name: str) -> ImportedSchedule:
    """The entries of a celerybeat-schedule file. Nothing that its pickles name is run."""
    file = beat_file.read(path, name)
    stored = [StoredEntry(name=str(key), **_shelved_fields(entry)) for key, entry in file.entries.items()]
    return to_imported(stored, name, file.zone or "UTC")


def _shelved_fields(record: Any) -> dict[str, Any]:
    try:
        values = beat_file.entry_values(record)
    except beat_file.UnreadableValueError as error:
        return {"read": partial(refuse, str(error))}
    entry = {key: values.get(key) for key in ("task", "args", "kwargs", "options")}
    last_run = values.get("last_run_at") if values.get("total_run_count") else None
    read = lambda: {**entry, "schedule": _shelved_timing(values.get("schedule"))}  # noqa: E731
    return {"read": read, "task": entry["task"], "last_run": last_run}


def _shelved_timing(value: Any) -> Any:
    """The schedule of an entry; its class was written with the arguments it was made of."""
    if not isinstance(value, beat_file.Record):
        return value
    arguments = [beat_file.plain_value(argument) for argument in value.args]
    if value.path == "celery.schedules.crontab":
        return crontab_timing(dict(zip(CRONTAB_FIELDS, arguments, strict=False)))
    if value.path == "celery.schedules.solar":
        return PortableTiming("solar", dict(zip(SOLAR_FIELDS, arguments, strict=False)))
    if value.path == "celery.schedules.schedule" and isinstance(arguments[0], timedelta):
        return PortableTiming("every", arguments[0].total_seconds(), relative=bool(arguments[1:2] and arguments[1]))
    raise NotPortable(f"{value.path} is a class of its own")
