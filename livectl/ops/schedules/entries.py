"""One entry of schedules.yaml."""

from __future__ import annotations

import json
import re
from functools import partial
from typing import TYPE_CHECKING, Any

from livectl.model import Cron, Interval, Schedule, Solar
from livectl.ops.reckoning import cron, sun
from livectl.ops.schedules import options, plain
from livectl.ops.schedules.spot import did_you_mean, quoted

if TYPE_CHECKING:
    from collections.abc import Callable

    from livectl.ops.schedules.spot import Spot

    Reader = Callable[[Spot, Any], Any]

EXAMPLE = "{task: proj.tasks.add, every: 30s}"
CRONTAB_KEYS = {
    "minute": cron.MINUTE,
    "hour": cron.HOUR,
    "day_of_month": cron.DAY,
    "month_of_year": cron.MONTH,
    "day_of_week": cron.WEEKDAY,
}
AROUND_COMMA = re.compile(" *, *")
SOLAR_BOUNDS = {"lat": 90, "lon": 180}  # degrees, either side of nought


def read(spot: Spot, name: str, value: Any, zone: str) -> Schedule | None:
    """The schedule that an entry describes, or None once what is wrong with it has been noted."""
    if not isinstance(value, dict):
        spot.wrong(f"{quoted(value)} is no entry", EXAMPLE)
        return None
    before = len(spot.notes)
    if not name.strip():
        spot.wrong("an entry needs a name", key=True)
    fields = {key: READERS[key](spot.into(key), each) for key, each in value.items() if key in READERS}
    for key in value.keys() - KNOWN:
        spot.unknown("key", key, KNOWN)
    timing = _timing(spot, value)
    if "task" not in value:
        spot.wrong("no task", "task: proj.tasks.add", key=True)
    if len(spot.notes) > before or timing is None:
        return None
    return Schedule(name=name, timing=timing, **{"timezone": zone, **fields})


def timing_key(value: dict[str, Any]) -> str:
    """Which of an entry's keys says when."""
    return next((key for key in value if key in TIMINGS), "")


def _timing(spot: Spot, value: dict[str, Any]) -> Interval | Cron | Solar | None:
    first = timing_key(value)
    if not first:
        spot.wrong("nothing says when", "every: 30s, or cron, crontab, solar", key=True)
        return None
    for key in (key for key in value if key in TIMINGS and key != first):
        spot.into(key).wrong(f"a second time besides {first}", "one of the two in an entry of its own", key=True)
        TIMINGS[key](spot.into(key), value[key])
    timing: Interval | Cron | Solar | None = TIMINGS[first](spot.into(first), value[first])
    return timing


def _every(spot: Spot, value: Any) -> Interval:
    return Interval(float(plain.duration(spot, value)))


def _cron(spot: Spot, value: Any) -> Cron | None:
    if not isinstance(value, str):
        spot.wrong(f"{quoted(value)} is no cron line", '"0 9 * * mon-fri" or "@daily"')
        return None
    try:
        return cron.parse(value)
    except cron.CronError as error:
        spot.wrong(error.text, error.hint)
        return None


def _crontab(spot: Spot, value: Any) -> Cron | None:
    """Celery's fields; one that is left out is `*`."""
    if not isinstance(value, dict):
        hint = f"cron: {quoted(value)}" if isinstance(value, str) else "{minute: 30, hour: 7}"
        spot.wrong(f"{quoted(value)} is no mapping of Celery's fields", hint)
        return None
    before = len(spot.notes)
    for key in value.keys() - CRONTAB_KEYS.keys():
        spot.unknown("field", key, CRONTAB_KEYS)
    words = [_field(spot.into(key), field, value.get(key, "*")) for key, field in CRONTAB_KEYS.items()]
    if len(spot.notes) > before:
        return None
    try:
        return cron.build(" ".join(words), words, either_day=False)
    except cron.CronError as error:
        spot.wrong(error.text, error.hint)
        return None


def _field(spot: Spot, field: cron.Field, value: Any) -> str:
    """A number, text, or a list of them, as a word of a cron line."""
    parts = value if isinstance(value, list) else [value]
    word = AROUND_COMMA.sub(",", ",".join(str(part).strip() for part in parts))
    if not all(isinstance(part, int | str) and not isinstance(part, bool) for part in parts):
        spot.wrong(f"{quoted(value)} is no {field.name}", 'a number, a list of numbers, or text such as "*/15"')
        return word
    try:
        cron.values(field, word)
    except cron.CronError as error:
        spot.wrong(error.text.removeprefix(f"{field.name} "), error.hint)
    return word


def _solar(spot: Spot, value: Any) -> Solar | None:
    """An event and a place."""
    if not isinstance(value, dict):
        spot.wrong(f"{quoted(value)} is no mapping", "{event: sunset, lat: 31.2, lon: 121.5}")
        return None
    before = len(spot.notes)
    for key in value.keys() - {"event", *SOLAR_BOUNDS}:
        spot.unknown("key", key, ["event", *SOLAR_BOUNDS])
    if value.get("event") not in sun.EVENTS:
        near = did_you_mean(str(value.get("event")), sun.EVENTS)
        spot.into("event").wrong(f"{quoted(value.get('event'))} is no event", near or f"one of {', '.join(sun.EVENTS)}")
    for key, bound in SOLAR_BOUNDS.items():
        degrees: Any = value.get(key)
        if degrees is None:
            spot.wrong(f"no {key}", f"{key}: a number from -{bound} to {bound}")
        elif not plain.is_number(degrees) or not -bound <= degrees <= bound:
            spot.into(key).wrong(f"{quoted(degrees)} is no number of degrees", f"from -{bound} to {bound}")
    if not sun.can_reckon():
        spot.wrong("solar times need ephem, which is not installed", "pip install 'livectl[solar]'", key=True)
    if len(spot.notes) > before:
        return None
    return Solar(value["event"], float(value["lat"]), float(value["lon"]))


def _task(spot: Spot, value: Any) -> str:
    if not value:
        spot.wrong("no task", "proj.tasks.add")
        return ""
    return plain.text(spot, value)


def _args(spot: Spot, value: Any) -> tuple[Any, ...]:
    if isinstance(value, list):
        return tuple(value)
    spot.wrong(f"{quoted(value)} is no list", f"say {_as_list(value)}")
    return ()


def _as_list(value: Any) -> str:
    """The list that was probably meant."""
    if value is None or value == {}:
        return "[]"
    if isinstance(value, dict):
        return f"kwargs: {quoted(value)}"
    bare = str(value).strip()
    if bare.startswith("(") and bare.endswith(")"):
        return f"[{bare[1:-1].rstrip(', ')}]"
    return json.dumps([value], ensure_ascii=False)


READERS: dict[str, Reader] = {
    "task": _task,
    "args": _args,
    "kwargs": plain.mapping,
    "options": options.read,
    "timezone": plain.zone,
    "enabled": plain.switch,
    "catchup": partial(plain.choice, known=("once", "skip")),
    "deadline": plain.duration,
    "overlap": partial(plain.choice, known=("allow", "skip")),
}
TIMINGS: dict[str, Reader] = {"every": _every, "cron": _cron, "crontab": _crontab, "solar": _solar}
KNOWN = ("task", *TIMINGS, *[key for key in READERS if key != "task"])
