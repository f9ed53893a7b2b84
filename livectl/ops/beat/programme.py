"""The programme: everything that is scheduled, whoever wrote it: the schedule file, and the app's own beat_schedule."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import msgspec

from livectl.ops.schedules import schedulefile

if TYPE_CHECKING:
    from pathlib import Path

    from livectl.model import Schedule


class Programme(msgspec.Struct, frozen=True):
    """What is scheduled, and what of it only beat itself can reckon."""

    schedules: tuple[Schedule, ...]
    notes: tuple[str, ...] = ()

    def named(self, name: str) -> Schedule | None:
        return next((each for each in self.schedules if each.name == name), None)


def read(path: Path, *, name: str = "", app: Any = None, optional: bool = False) -> Programme:
    """Of a file, which messages call `name`, and of an app. An optional file need not be there."""
    said = () if optional and app is not None and not path.exists() else schedulefile.load(path, name=name).schedules
    if app is None:
        return Programme(said)
    told, notes = _of_app(app)
    return Programme((*said, *told), (*notes, *_elsewhere(app)))


def _of_app(app: Any) -> tuple[list[Schedule], list[str]]:
    from livectl.ops.beat import foreign
    from livectl.ops.beat.dues import Reckoned

    found, notes = [], []
    for name, entry in foreign.entries(app, app.conf.beat_schedule).items():
        if not isinstance(entry.dues, Reckoned):
            notes.append(f"{name} is in the app's beat_schedule; only beat can tell when it is due")
            continue
        found.append(
            msgspec.structs.replace(
                entry.dues.schedule,
                name=name,
                task=entry.task,
                args=entry.args,
                kwargs=entry.kwargs,
                options=entry.options,
                deadline=entry.deadline,
            )
        )
    return found, notes


def _elsewhere(app: Any) -> list[str]:
    """A schedule that is in a database is for its own scheduler to tell."""
    scheduler = str(app.conf.beat_scheduler or "")
    if scheduler.startswith("django_celery_beat"):
        return ["this app's beat reads its schedule from Django's database, which is not shown here"]
    return []
