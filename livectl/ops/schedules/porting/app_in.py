"""The `beat_schedule` of an imported app, whatever put it together."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from livectl.ops.schedules.porting.brought import CannotSay, Entry, Import, LeftOut, When, keys_of
from livectl.ops.schedules.porting.literals import CRONTAB_FIELDS, field
from livectl.ops.schedules.stock import ZonedCrontab

if TYPE_CHECKING:
    from celery import Celery


def read(app: Celery, name: str) -> Import:
    """The app's own code has run by now: every value is what beat would be given."""
    found = Import(origin=name, timezone=str(app.timezone))
    app.finalize()
    for key, said in (app.conf.beat_schedule or {}).items():
        try:
            found.entries.append(Entry(name=str(key), keys=keys_of(_plainly(said))))
        except CannotSay as error:
            found.left.append(LeftOut(name=str(key), why=str(error)))
    return found


def _plainly(said: Any) -> dict[str, Any]:
    """An entry as a dict, Celery's schedules in it as ours; beat takes entries of both kinds."""
    told = dict(said) if isinstance(said, dict) else {key: getattr(said, key, None) for key in ENTRY_KEYS}
    return {**told, "schedule": _when(told.get("schedule"))}


ENTRY_KEYS = ("task", "schedule", "args", "kwargs", "options")


def _when(said: Any) -> Any:
    from celery.schedules import crontab, schedule, solar

    if type(said) is schedule and said.nowfun is None:
        return When("every", float(said.seconds), relative=bool(said.relative))
    if type(said) in {crontab, ZonedCrontab} and said.nowfun is None:
        given = {key: getattr(said, f"_orig_{key}") for key in CRONTAB_FIELDS}
        fields = {key: field(value) for key, value in given.items() if value != "*"}
        return When("crontab", fields or {"minute": "*"}, zone=getattr(said, "zone", ""))
    if type(said) is solar and said.nowfun is None:
        return When("solar", {"event": said.event, "lat": said.lat, "lon": said.lon})
    if hasattr(said, "is_due"):
        raise CannotSay(f"{type(said).__module__}.{type(said).__qualname__} is a class of its own")
    return said
