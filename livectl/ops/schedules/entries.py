"""One entry of schedules.yaml."""

from __future__ import annotations

import json
import re
from functools import partial
from typing import TYPE_CHECKING, Any

from livectl.model import Cron, Interval, Schedule, Solar
from livectl.ops.reckoning import cron, sun
from livectl.ops.schedules import options, plain
from livectl.ops.schedules.spot import did_you_mean, quote

if TYPE_CHECKING:
    from collections.abc import Callable

    from livectl.ops.schedules.spot import FileLocation

    KeyReader = Callable[[FileLocation, Any], Any]

ENTRY_EXAMPLE = "{task: proj.tasks.add, every: 30s}"
CRONTAB_KEYS = {
    "minute": cron.MINUTE,
    "hour": cron.HOUR,
    "day_of_month": cron.DAY,
    "month_of_year": cron.MONTH,
    "day_of_week": cron.WEEKDAY,
}
SPACES_AROUND_COMMA = re.compile(" *, *")
SOLAR_BOUNDS = {"lat": 90, "lon": 180}  # degrees, either side of nought


def read_entry(location: FileLocation, name: str, value: Any, zone: str) -> Schedule | None:
    """The schedule that an entry describes, or None once what is wrong with it has been noted."""
    if not isinstance(value, dict):
        location.add_mistake(f"{quote(value)} is no entry", ENTRY_EXAMPLE)
        return None
    mistakes_before = len(location.mistakes)
    if not name.strip():
        location.add_mistake("an entry needs a name", key=True)
    fields = {key: KEY_READERS[key](location.child(key), item) for key, item in value.items() if key in KEY_READERS}
    for key in value.keys() - ENTRY_KEYS:
        location.add_unknown("key", key, ENTRY_KEYS)
    timing = _read_timing(location, value)
    if "task" not in value:
        location.add_mistake("no task", "task: proj.tasks.add", key=True)
    if len(location.mistakes) > mistakes_before or timing is None:
        return None
    return Schedule(name=name, timing=timing, **{"timezone": zone, **fields})


def timing_key(value: dict[str, Any]) -> str:
    """Which of an entry's keys says when."""
    return next((key for key in value if key in TIMING_READERS), "")


def _read_timing(location: FileLocation, value: dict[str, Any]) -> Interval | Cron | Solar | None:
    first = timing_key(value)
    if not first:
        location.add_mistake("nothing says when", "every: 30s, or cron, crontab, solar", key=True)
        return None
    for key in (key for key in value if key in TIMING_READERS and key != first):
        location.child(key).add_mistake(
            f"a second time besides {first}", "one of the two in an entry of its own", key=True
        )
        TIMING_READERS[key](location.child(key), value[key])
    timing: Interval | Cron | Solar | None = TIMING_READERS[first](location.child(first), value[first])
    return timing


def _read_every(location: FileLocation, value: Any) -> Interval:
    return Interval(float(plain.read_duration(location, value)))


def _read_cron(location: FileLocation, value: Any) -> Cron | None:
    if not isinstance(value, str):
        location.add_mistake(f"{quote(value)} is no cron line", '"0 9 * * mon-fri" or "@daily"')
        return None
    try:
        return cron.parse(value)
    except cron.CronError as error:
        location.add_mistake(error.text, error.hint)
        return None


def _read_crontab(location: FileLocation, value: Any) -> Cron | None:
    """Celery's fields; one that is left out is `*`."""
    if not isinstance(value, dict):
        hint = f"cron: {quote(value)}" if isinstance(value, str) else "{minute: 30, hour: 7}"
        location.add_mistake(f"{quote(value)} is no mapping of Celery's fields", hint)
        return None
    mistakes_before = len(location.mistakes)
    for key in value.keys() - CRONTAB_KEYS.keys():
        location.add_unknown("field", key, CRONTAB_KEYS)
    words = [_read_field(location.child(key), field, value.get(key, "*")) for key, field in CRONTAB_KEYS.items()]
    if len(location.mistakes) > mistakes_before:
        return None
    try:
        return cron.build(" ".join(words), words, either_day=False)
    except cron.CronError as error:
        location.add_mistake(error.text, error.hint)
        return None


def _read_field(location: FileLocation, field: cron.CronField, value: Any) -> str:
    """A number, text, or a list of them, as a word of a cron line."""
    parts = value if isinstance(value, list) else [value]
    word = SPACES_AROUND_COMMA.sub(",", ",".join(str(part).strip() for part in parts))
    if not all(isinstance(part, int | str) and not isinstance(part, bool) for part in parts):
        location.add_mistake(
            f"{quote(value)} is no {field.name}", 'a number, a list of numbers, or text such as "*/15"'
        )
        return word
    try:
        cron.parse_field(field, word)
    except cron.CronError as error:
        location.add_mistake(error.text.removeprefix(f"{field.name} "), error.hint)
    return word


def _read_solar(location: FileLocation, value: Any) -> Solar | None:
    """An event and a place."""
    if not isinstance(value, dict):
        location.add_mistake(f"{quote(value)} is no mapping", "{event: sunset, lat: 31.2, lon: 121.5}")
        return None
    mistakes_before = len(location.mistakes)
    for key in value.keys() - {"event", *SOLAR_BOUNDS}:
        location.add_unknown("key", key, ["event", *SOLAR_BOUNDS])
    if value.get("event") not in sun.SOLAR_EVENTS:
        suggestion = did_you_mean(str(value.get("event")), sun.SOLAR_EVENTS)
        location.child("event").add_mistake(
            f"{quote(value.get('event'))} is no event", suggestion or f"one of {', '.join(sun.SOLAR_EVENTS)}"
        )
    for key, bound in SOLAR_BOUNDS.items():
        degrees: Any = value.get(key)
        if degrees is None:
            location.add_mistake(f"no {key}", f"{key}: a number from -{bound} to {bound}")
        elif not plain.is_number(degrees) or not -bound <= degrees <= bound:
            location.child(key).add_mistake(f"{quote(degrees)} is no number of degrees", f"from -{bound} to {bound}")
    if not sun.has_ephem():
        location.add_mistake("solar times need ephem, which is not installed", "pip install 'livectl[solar]'", key=True)
    if len(location.mistakes) > mistakes_before:
        return None
    return Solar(value["event"], float(value["lat"]), float(value["lon"]))


def _read_task(location: FileLocation, value: Any) -> str:
    if not value:
        location.add_mistake("no task", "proj.tasks.add")
        return ""
    return plain.read_text(location, value)


def _read_args(location: FileLocation, value: Any) -> tuple[Any, ...]:
    if isinstance(value, list):
        return tuple(value)
    location.add_mistake(f"{quote(value)} is no list", f"say {_suggest_list(value)}")
    return ()


def _suggest_list(value: Any) -> str:
    """The list that was probably meant."""
    if value is None or value == {}:
        return "[]"
    if isinstance(value, dict):
        return f"kwargs: {quote(value)}"
    text = str(value).strip()
    if text.startswith("(") and text.endswith(")"):
        return f"[{text[1:-1].rstrip(', ')}]"
    return json.dumps([value], ensure_ascii=False)


KEY_READERS: dict[str, KeyReader] = {
    "task": _read_task,
    "args": _read_args,
    "kwargs": plain.read_mapping,
    "options": options.read,
    "timezone": plain.read_zone,
    "enabled": plain.read_bool,
    "catchup": partial(plain.read_choice, known=("once", "skip")),
    "deadline": plain.read_duration,
    "overlap": partial(plain.read_choice, known=("allow", "skip")),
}
TIMING_READERS: dict[str, KeyReader] = {
    "every": _read_every,
    "cron": _read_cron,
    "crontab": _read_crontab,
    "solar": _read_solar,
}
ENTRY_KEYS = ("task", *TIMING_READERS, *[key for key in KEY_READERS if key != "task"])
