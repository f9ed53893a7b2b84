"""The beat scheduler: each due run is claimed once, by whichever beat comes first, and sent.

For `celery -A proj beat -S livectl.ops.scheduler:Scheduler` and `celery -A proj worker -B --scheduler …`. Settings come
from the environment and the folder of the process. Any number of beats may run; none of them leads.
"""

from __future__ import annotations

import os
import socket
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any
from uuid import uuid4

from celery import beat
from celery.utils.log import get_logger
from redis.exceptions import RedisError

from livectl import config, connect
from livectl.address import Address
from livectl.errors import LivectlError, ServerError, SettingsError
from livectl.ops.beat.agenda import Agenda
from livectl.ops.beat.clock import Clock
from livectl.ops.beat.dues import SECOND
from livectl.ops.beat.overlap import Overlap
from livectl.ops.beat.runs import Claim, Held, Runs
from livectl.ops.beat.timetable import Timetable
from livectl.ops.jobs import sending

if TYPE_CHECKING:
    from collections.abc import Sequence

    import redis
    from celery import Celery

    from livectl.config import Settings

logger = get_logger(__name__)

BATCH = 200  # runs claimed and sent in one go: well within the time for which a claim is fresh
LOOK_EVERY = 1.0  # seconds: looks for runs left behind by a beat that died, and at the schedule file
RENEW_EVERY = 3_600.0  # seconds between notes in the store that these entries are still in use
MEND_EVERY = 60.0  # seconds until entries are tried again whose next run could not be reckoned
SPACING = 0.015  # seconds: runs due within it share the calls of one tick
ORPHANED = 86_400_000  # milliseconds after which the claimed run of an entry that nobody has any more is dropped

AWAY = (sending.AwayError, RedisError, ServerError, OSError)


class Scheduler(beat.Scheduler):  # type: ignore[misc]
    """Celery's scheduler with its state in the store. It outlives store, broker and every entry's mistakes."""

    max_interval = LOOK_EVERY

    def __init__(
        self,
        app: Celery,
        *args: Any,
        schedule_filename: str | None = None,
        settings: Settings | None = None,
        clock: Clock | None = None,
        **more: Any,
    ) -> None:
        self._file = Path(schedule_filename) if schedule_filename and _is_schedule_file(schedule_filename) else None
        self._settings = settings
        self._clock = clock or Clock()
        self._name = str(uuid4())
        self._store: redis.Redis | None = None
        self._sender: sending.Sender | None = None
        self._timetable: Timetable | None = None
        self._reached: dict[str, int] = {}  # entry -> due instant of its last run that some beat claimed
        self._looked = self._planned = float("-inf")
        self._is_away = False
        super().__init__(app, *args, **more)
        self.max_interval = min(self.max_interval, LOOK_EVERY)

    @property
    def info(self) -> str:
        """A line of the banner."""
        return f"    . schedules -> {self._file or 'as livectl.yaml says'}"

    def setup_schedule(self) -> None:
        """Reads settings and schedule, and connects nothing. What is wrong with them ends the process in a line."""
        try:
            settings = self._settings or config.load(os.environ, Path.cwd())
            self._address = store_address(settings, self.app)
            self._agenda = self._read_agenda(settings)
        except LivectlError as error:
            logger.critical("%s%s", error.message, f"\n{error.hint}" if error.hint else "")
            raise SystemExit(error.code) from error

    def _read_agenda(self, settings: Settings) -> Agenda:
        self.install_default_entries(self.app.conf.beat_schedule)
        optional = not self._file and settings.sources.get("schedules") == config.DEFAULT
        agenda = Agenda(self.app, self._file or settings.schedules, self.schedule, optional=optional)
        agenda.read()
        return agenda

    def tick(self, *_args: Any, **_more: Any) -> float:
        """Sends what is due; the seconds until there is something to do again."""
        try:
            wait = self._turn()
        except AWAY as error:
            self._went_away(error)
            return LOOK_EVERY
        except Exception:
            logger.exception("beat stumbled, and goes on")
            self._timetable = None
            return LOOK_EVERY
        if self._is_away:
            logger.warning("Store and broker are back.")
            self._is_away = False
        return wait

    def _turn(self) -> float:
        if self._store is None:
            self._open()
        stale = self._look() if self._clock.monotonic() - self._looked >= LOOK_EVERY else []
        if self._sender is None:
            self._sender = sending.sender(self.app, self._runs)
        self._sender.reach()  # nothing is claimed that could not be sent
        timetable = self._timetable or self._plan()
        wanted = timetable.take_due(self._clock.now(), BATCH)
        claims = self._inherit(stale, timetable) + self._runs.claim(wanted)
        self._reached.update((each.run.name, each.run.due) for each in wanted)
        self._send(claims)
        return self._pause(timetable)

    def _open(self) -> None:
        self._store = connect.open_store(self._address)
        self._runs = Runs(self._store, self._clock)
        self._overlap = Overlap(self.app, self._runs)

    def _look(self) -> list[Claim]:
        """Notes that this beat is at work, finds what others left behind, and whether clock or schedule changed."""
        about = {"host": socket.gethostname(), "pid": os.getpid(), "entries": len(self._agenda.entries)}
        stale = self._runs.look(self._name, about)
        if jumped := self._clock.take_jump():
            logger.warning("The store's clock was set by %+.1f s: due instants are reckoned anew.", jumped / SECOND)
        self._looked = self._clock.monotonic()
        every = MEND_EVERY if self._timetable and self._timetable.broken else RENEW_EVERY
        if jumped or self._agenda.reread() or self._looked - self._planned >= every:
            self._timetable = None
        return stale

    def _plan(self) -> Timetable:
        entries = self._agenda.entries
        counted = self._runs.register({name: each.dues.identity for name, each in entries.items()}, self._reached)
        self._runs.hold(self._name, Held(str(self._agenda.path), self._agenda.schedules))
        self._timetable = Timetable(entries, counted, self._clock.now())
        self._planned = self._clock.monotonic()
        return self._timetable

    def _inherit(self, stale: Sequence[Claim], timetable: Timetable) -> list[Claim]:
        """Those of the runs left behind that are this beat's now. Entries that it has not are for others."""
        now = self._clock.now()
        worth: list[Claim] = []
        over: list[Claim] = []
        for claim in stale:
            if claim.run.name in self._agenda.entries:
                (worth if timetable.is_worth_sending(claim.run, now) else over).append(claim)
            elif now - claim.run.due > ORPHANED:
                over.append(claim)
        self._runs.done(over)
        taken = self._runs.take(worth)
        for claim in taken:
            logger.info("%s: takes over a run that was claimed and not sent", claim.run.name)
        return taken

    def _send(self, claims: Sequence[Claim]) -> None:
        jobs = [job for claim in claims if (job := self._job(claim))]
        if jobs and self._sender:
            self._sender.send(jobs)

    def _job(self, claim: Claim) -> sending.Job | None:
        entry = self._agenda.entries[claim.run.name]
        task_id = entry.options.get("task_id") or self._runs.task_id(claim.run)
        if self._overlap.admits(entry, task_id):
            return sending.Job(claim, entry, task_id)
        self._runs.done([claim])
        return None

    def _pause(self, timetable: Timetable) -> float:
        look = self._looked + LOOK_EVERY - self._clock.monotonic()
        if timetable.next is None:
            return max(0.0, min(look, self.max_interval))
        due = (timetable.next - self._clock.now()) / SECOND
        return max(0.0, min(max(due, SPACING) if due > 0 else 0.0, look, self.max_interval))

    def _went_away(self, error: Exception) -> None:
        if not self._is_away:
            said = error.message if isinstance(error, LivectlError) else f"{type(error).__name__}: {error}"
            logger.error("Store or broker is away, asked again each second: %s", said)
            self._is_away = True
        self._close_sender()
        if not isinstance(error, sending.AwayError):
            self._close_store()

    def _close_sender(self) -> None:
        sender, self._sender = self._sender, None
        if sender:
            sender.close()

    def _close_store(self) -> None:
        """What was taken from the timetable and not claimed is found again by a new one."""
        store, self._store, self._timetable = self._store, None, None
        if store is not None:
            store.close()

    def close(self) -> None:
        if self._store is not None:
            with suppress(*AWAY):
                self._runs.leave(self._name)
        self._close_sender()
        self._close_store()
        super().close()


def store_address(settings: Settings, app: Celery) -> Address:
    """Where beat keeps its state: the store of the settings, else the app's broker if that is a Redis."""
    if settings.store:
        return settings.store
    hint = "Set `store:` in livectl.yaml, or LIVECTL_STORE, to a Redis or Valkey."
    told = app.conf.broker_write_url or "amqp://"
    if not isinstance(told, str) or ";" in told:
        raise SettingsError("no store is set, and the broker has more than one address", hint)
    try:
        address = Address.parse(told)
    except SettingsError as error:
        raise SettingsError(f"the app's broker cannot be the store: {error.message}", hint) from error
    if not address.is_redis:
        raise SettingsError(f"no store is set, and the broker {address.masked} keeps messages only", hint)
    return address


def _is_schedule_file(name: str) -> bool:
    """Celery passes the name of a shelve where nobody named a file."""
    return name.endswith((".yaml", ".yml"))
