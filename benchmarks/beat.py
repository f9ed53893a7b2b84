"""Beat against its peers: how soon it starts, how late it sends, and what a run costs.

Each scheduler runs in a process of its own against a fresh Valkey on a unix socket, with N entries every 5 to 65
seconds; 100,000 of them every 50 to 650, so that as many runs are due. Its loop is that of Celery's beat. Lateness is
from a run's due instant until its message is on the broker. The first entries of the others fall due 5 s after their
start; ours fall on their grid at once, so that it sends more. The start is over when all entries are known.

The others are Celery's own scheduler, RedBeat, and django-celery-beat on a SQLite file.
"""

from __future__ import annotations

import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

from benchmarks import run_valkey

if TYPE_CHECKING:
    from collections.abc import Callable

    from celery import Celery

SIZES = (10, 1_000, 10_000)
MANY = 100_000  # of ours alone: the others need minutes to start with so many
KINDS = ("default", "redbeat", "django", "livectl")
PACKAGES = {"redbeat": "redbeat", "django": "django_celery_beat"}
WINDOW = 12.0  # seconds of beating
PATIENCE = 300.0  # seconds a child may take beyond its window
START_BAR, LATE_BAR, CPU_BAR = 1.0, 50.0, 0.5  # seconds, milliseconds, CPU-milliseconds a run
MANY_START_BAR, MANY_LATE_BAR = 3.0, 100.0  # CPU-seconds, milliseconds


def main() -> None:
    print(__doc__)
    kinds = [kind for kind in KINDS if kind not in PACKAGES or find_spec(PACKAGES[kind])]
    for kind in PACKAGES.keys() - kinds:
        print(f"{kind} is left out: {PACKAGES[kind]} is not installed. It is in livectl[bench].\n")
    print(
        f"{'scheduler':10} {'entries':>7} {'start s':>8} {'its cpu':>8} {'sent':>6} {'late p50':>9} {'p99':>9} "
        f"{'max ms':>9} {'cpu-ms/run':>10} {'RSS MB':>7}   start, late p50, p99 and cpu, in those of livectl"
    )
    for size in SIZES:
        _show(size, {kind: _measured(kind, size) for kind in kinds})
    _show(MANY, {"livectl": _measured("livectl", MANY)})
    print(f"\nBars at {SIZES[-1]:,} entries: start {START_BAR} s, p99 {LATE_BAR} ms, {CPU_BAR} CPU-ms a run.")
    print(f"Bars at {MANY:,} entries: start {MANY_START_BAR} s of CPU, p99 {MANY_LATE_BAR} ms.")


def _show(size: int, found: dict[str, dict[str, float]]) -> None:
    for kind, row in found.items():
        ours = found["livectl"]
        ratios = [f"{row[name] / ours[name]:>6.1f} x" if ours[name] else "" for name in ("start", "p50", "p99", "cpu")]
        print(
            f"{kind:10} {size:>7,} {row['start']:>8.3f} {row['start_cpu']:>8.3f} {row['sent']:>6.0f} "
            f"{row['p50']:>9.1f} {row['p99']:>9.1f} {row['max']:>9.1f} {row['cpu']:>10.3f} {row['rss']:>7.0f}   "
            f"{'' if kind == 'livectl' else ' '.join(ratios)}",
            flush=True,
        )


def _measured(kind: str, size: int) -> dict[str, float]:
    with tempfile.TemporaryDirectory(prefix="lv-") as folder, run_valkey(Path(folder)) as (path, _):
        command = [sys.executable, "-m", "benchmarks.beat", kind, str(size), str(path), folder]
        ran = subprocess.run(command, capture_output=True, text=True, timeout=WINDOW + PATIENCE, check=False)
        if ran.returncode:
            raise SystemExit(f"{kind} with {size} entries ended with {ran.returncode}:\n{ran.stderr[-2000:]}")
        measured: dict[str, float] = json.loads(ran.stdout.splitlines()[-1])
        return measured


def _child(kind: str, size: int, path: Path, folder: Path) -> None:
    """Beats for the window, and prints what it measured."""
    from celery.beat import Service
    from celery.signals import beat_init

    app = _app(path)
    kinds = {"default": _default, "redbeat": _redbeat, "django": _django, "livectl": _livectl}
    beat, late = kinds[kind](app, size, path, folder)
    began, burnt_before = time.monotonic(), time.process_time()
    scheduler = beat()
    service = Service(app)
    service.scheduler = scheduler
    beat_init.send(sender=service)  # where RedBeat takes its lock
    wait = scheduler.tick()
    while getattr(scheduler, "is_starting", False):
        wait = scheduler.tick()
    started = time.monotonic()
    burnt = time.process_time()
    start_cpu = burnt - burnt_before
    while time.monotonic() < started + WINDOW:
        if wait and wait > 0:
            time.sleep(min(wait, max(0.0, started + WINDOW - time.monotonic())))
        wait = scheduler.tick()
    burnt = time.process_time() - burnt
    late.sort()
    sent = len(late) or 1
    found = {
        "start": started - began,
        "start_cpu": start_cpu,
        "sent": len(late),
        "p50": late[len(late) // 2] if late else 0.0,
        "p99": late[int(len(late) * 0.99)] if late else 0.0,
        "max": late[-1] if late else 0.0,
        "cpu": burnt * 1_000 / sent,
        "rss": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1_024,
    }
    print(json.dumps(found), flush=True)
    os._exit(0)  # nothing that a scheduler does at its end is part of this


def _app(path: Path) -> Celery:
    from celery import Celery

    app = Celery("bench", broker=f"redis+socket://{path}?virtual_host=0")
    app.conf.update(task_ignore_result=True, beat_max_loop_interval=1, timezone="UTC")
    app.task(name="bench.nothing")(_nothing)
    app.finalize()
    return app


def _nothing() -> None:
    """The task."""


def _seconds(number: int, size: int) -> float:
    return round((5 + 60 * number / size) * max(1, size // SIZES[-1]), 3)


def _stock(size: int) -> dict[str, Any]:
    return {f"e{n}": {"task": "bench.nothing", "schedule": _seconds(n, size)} for n in range(size)}


Made = tuple["Callable[[], Any]", list[float]]


def _default(app: Celery, size: int, _path: Path, folder: Path) -> Made:
    from celery.beat import PersistentScheduler

    class Watched(PersistentScheduler):  # type: ignore[misc]
        def apply_entry(self, entry: Any, producer: Any = None) -> None:
            super().apply_entry(entry, producer)
            late.append(_late(entry.last_run_at.timestamp() + entry.schedule.seconds))

    late: list[float] = []
    app.conf.beat_schedule = _stock(size)
    return lambda: Watched(app, schedule_filename=str(folder / "schedule")), late


def _redbeat(app: Celery, size: int, path: Path, _folder: Path) -> Made:
    from redbeat import RedBeatScheduler

    class Watched(RedBeatScheduler):  # type: ignore[misc]
        def apply_async(self, entry: Any, *args: Any, **more: Any) -> Any:
            due = entry.last_run_at.timestamp() + entry.schedule.seconds
            sent = super().apply_async(entry, *args, **more)
            late.append(_late(due))
            return sent

    late: list[float] = []
    app.conf.update(beat_schedule=_stock(size), redbeat_redis_url=f"unix://{path}?db=2", redbeat_lock_timeout=60)
    return lambda: Watched(app, lock_timeout=60), late


def _django(app: Celery, size: int, _path: Path, folder: Path) -> Made:
    import django
    from django.conf import settings
    from django.core.management import call_command

    settings.configure(
        DATABASES={"default": {"ENGINE": "django.db.backends.sqlite3", "NAME": str(folder / "beat.sqlite")}},
        INSTALLED_APPS=["django.contrib.contenttypes", "django_celery_beat"],
        USE_TZ=True,
        DJANGO_CELERY_BEAT_TZ_AWARE=True,
        DEFAULT_AUTO_FIELD="django.db.models.AutoField",
    )
    django.setup()
    call_command("migrate", verbosity=0)
    from django_celery_beat.models import IntervalSchedule, PeriodicTask
    from django_celery_beat.schedulers import DatabaseScheduler

    most = min(size, 500)  # intervals: of more, SQLite takes no query for them all
    every = IntervalSchedule.objects.bulk_create(
        IntervalSchedule(every=round(_seconds(number, most) * 1e6), period=IntervalSchedule.MICROSECONDS)
        for number in range(most)
    )
    PeriodicTask.objects.bulk_create(
        PeriodicTask(name=f"e{number}", task="bench.nothing", interval=every[number % most]) for number in range(size)
    )

    class Watched(DatabaseScheduler):  # type: ignore[misc]
        def apply_async(self, entry: Any, *args: Any, **more: Any) -> Any:
            due = entry.last_run_at.timestamp() + entry.schedule.run_every.total_seconds()
            sent = super().apply_async(entry, *args, **more)
            late.append(_late(due))
            return sent

    late: list[float] = []
    return lambda: Watched(app), late


def _livectl(app: Celery, size: int, path: Path, folder: Path) -> Made:
    from livectl import settings
    from livectl.ops import scheduler
    from livectl.ops.beat import publisher

    class Watched:
        def __init__(self, sender: publisher.Publisher) -> None:
            self.connect, self.close, self._send = sender.connect, sender.close, sender.send

        def send(self, jobs: Any) -> None:
            self._send(jobs)
            late.extend(_late(job.claim.run.due / 1_000) for job in jobs)

    late: list[float] = []
    plain = publisher.open_publisher
    publisher.open_publisher = lambda *args: Watched(plain(*args))
    lines = [f"  e{n}: {{task: bench.nothing, every: {_seconds(n, size)}s}}\n" for n in range(size)]
    (folder / "schedules.yaml").write_text("schedules:\n" + "".join(lines))
    environ = {"LIVECTL_STORE": f"unix://{path}?db=1", "HOME": str(folder)}
    return lambda: scheduler.Scheduler(app, settings=settings.load(environ, folder)), late


def _late(due: float) -> float:
    return (time.time() - due) * 1_000


if __name__ == "__main__":
    if len(sys.argv) > 1:
        _child(sys.argv[1], int(sys.argv[2]), Path(sys.argv[3]), Path(sys.argv[4]))
    else:
        main()
