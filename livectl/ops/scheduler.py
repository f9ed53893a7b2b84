"""The beat scheduler: each due run is claimed once, by whichever beat comes first, and sent.

For `celery -A proj beat -S livectl.ops.scheduler:Scheduler` and `celery -A proj worker -B --scheduler …`. Settings come
from the environment and the working directory. Any number of beats may run; none of them leads.
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

from livectl import redis_client
from livectl import settings as livectl_settings
from livectl.address import Address
from livectl.errors import LivectlError, ServerError, SettingsError
from livectl.ops import apps
from livectl.ops.beat import publisher
from livectl.ops.beat.entries import (
    BeatEntry,
    BeatTimetable,
)
from livectl.ops.beat.following import RunFollowing
from livectl.ops.beat.overlap import MAX_WAITING, OverlapCheck
from livectl.ops.beat.reloading import ReloadingSchedule
from livectl.ops.beat.run_store import REGISTER_BATCH_SIZE, Claim, LoadedSchedule, RunStore, StoreClock
from livectl.ops.beat.store_entries import EntryReader
from livectl.ops.deployment import OWN_APP_NAME
from livectl.ops.limits import routes
from livectl.ops.processes import running_settings
from livectl.ops.transport import rabbitmq, safe_transport
from livectl.redaction import hide_secrets
from livectl.settings_watch import SettingsWatch
from livectl.units import MS_PER_SECOND

if TYPE_CHECKING:
    from collections.abc import Sequence

    import redis
    from celery import Celery

    from livectl.models import Schedule
    from livectl.settings import Settings


logger = get_logger(__name__)

CLAIM_BATCH_SIZE = 200  # runs claimed and sent in one tick: well within the time for which a claim is fresh
POLL_INTERVAL_S = 1.0  # between heartbeats, looks for runs of a beat that died, and looks at the schedule file
REGISTER_INTERVAL_S = 3_600.0  # between notes in the store that these entries are still in use
BROKEN_RETRY_INTERVAL_S = 60.0  # until entries whose due times raised an error are tried again
MIN_DUE_WAIT_S = 0.015  # runs due within it share the calls of one tick
ORPHANED_CLAIM_MS = 86_400_000  # after it, the claimed run of an entry that no beat has any more is dropped

CONNECTION_ERRORS = (publisher.BrokerUnavailableError, RedisError, ServerError, OSError)


class Scheduler(beat.Scheduler):  # type: ignore[misc]
    """Celery's beat scheduler, with its state in the store. Neither store, broker nor an entry can end it."""

    max_interval = POLL_INTERVAL_S

    def __init__(
        self,
        app: Celery,
        *args: Any,
        schedule_filename: str | None = None,
        settings: Settings | None = None,
        clock: StoreClock | None = None,
        **kwargs: Any,
    ) -> None:
        self._schedule_path = (
            Path(schedule_filename) if schedule_filename and _is_schedule_file(schedule_filename) else None
        )
        self._settings = settings
        self._watch: SettingsWatch | None = None
        self._clock = clock or StoreClock()
        self._beat_id = str(uuid4())
        self._store: redis.Redis | None = None
        self._publisher: publisher.Publisher | None = None
        self._timetable: BeatTimetable | None = None
        self._unregistered: list[str] = []  # entries whose next run is to be reckoned
        self._saved_schedules: tuple[Schedule, ...] | None = None  # of the file, as the store has them
        self._entry_reader = EntryReader()
        self._last_claimed: dict[str, int] = {}  # entry -> due instant of its last run that some beat claimed
        self._polled_at = self._planned_at = float("-inf")
        self._is_disconnected = False
        self._is_ticking = self._is_ending = False
        super().__init__(app, *args, **kwargs)
        self.max_interval = min(self.max_interval, POLL_INTERVAL_S)

    @property
    def info(self) -> str:
        """A line of Celery's banner."""
        return f"    . schedules -> {self._schedule_path or 'as livectl.yaml says'}"

    @property
    def current_settings(self) -> Settings:
        """Those in force."""
        return self._watch.current() if self._watch else self._first_settings

    @property
    def current_entries(self) -> dict[str, BeatEntry]:
        """What is sent, by name."""
        return self._reloading_schedule.entries

    @property
    def is_starting(self) -> bool:
        """Whether there are entries that it has not looked at in the store yet."""
        return self._timetable is None or bool(self._unregistered)

    @property
    def store_in_use(self) -> Address:
        return self._store_address

    def setup_schedule(self) -> None:
        """Reads settings and schedule, without a connection. A mistake in them is logged and ends the process."""
        try:
            settings = self._first_settings = self._settings or self._watch_settings()
            apps.find_zone(self.app)
            rabbitmq.confirm_messages(self.app)
            safe_transport.choose(self.app, settings)
            routes.add(self.app, lambda: (self._watch.current() if self._watch else settings).tasks)
            self._store_address = store_address(settings, self.app)
            self._reloading_schedule = self._read_schedule(settings)
        except LivectlError as error:
            logger.critical("%s%s", error.message, f"\n{error.hint}" if error.hint else "")
            raise SystemExit(error.code) from error

    def _watch_settings(self) -> Settings:
        """Reads the settings of this process. Beside livectl's own beats run workers, who say what has changed."""
        own = self.app.main == OWN_APP_NAME
        say = (lambda level, line: None) if own else logger.log
        self._watch = SettingsWatch(os.environ, Path.cwd(), say=say)
        name = "" if own else str(self.app.main or "")
        running_settings.note_start("beat", self._watch.started, Path.cwd(), name=name, own=own)
        return self._watch.started

    def _read_schedule(self, settings: Settings) -> ReloadingSchedule:
        self.install_default_entries(apps.read_beat_schedule(self.app))
        optional = not self._schedule_path and settings.sources.get("schedules") == livectl_settings.DEFAULT_SOURCE
        reloading_schedule = ReloadingSchedule(
            self.app,
            self._schedule_path or settings.schedules,
            self.schedule,
            optional=optional,
            task_settings=lambda: self._settings_in_force().tasks,
        )
        reloading_schedule.read()
        return reloading_schedule

    def tick(self, *_args: Any, **_kwargs: Any) -> float:
        """Sends what is due. Returns the seconds until there is something to do again."""
        self._is_ticking = True
        try:
            wait = self._try_tick()
        finally:
            self._is_ticking = False
        if self._is_ending:  # the signal's own exception was lost on its way
            raise SystemExit
        return wait

    def _try_tick(self) -> float:
        try:
            wait = self._run_tick()
        except CONNECTION_ERRORS as error:
            self._handle_connection_error(error)
            return POLL_INTERVAL_S
        except Exception:
            logger.exception("beat stumbled, and goes on")
            self._timetable = None
            return POLL_INTERVAL_S
        if self._is_disconnected:
            logger.warning("Store and broker are back.")
            self._is_disconnected = False
        return wait

    def _run_tick(self) -> float:
        if self._store is None:
            self._open_store()
        is_poll = self._clock.monotonic() - self._polled_at >= POLL_INTERVAL_S
        stale = self._poll() if is_poll else []
        if self._publisher is None:
            self._publisher = publisher.open_publisher(self.app, self._run_store)
        self._publisher.connect()  # nothing is claimed that could not be sent
        looks_back = self._timetable is None or is_poll
        timetable = self._timetable or self._begin_timetable()
        if self._unregistered:
            self._register_some(timetable)
        if not self._unregistered and self._saved_schedules is not self._reloading_schedule.schedules:
            self._save_schedules()
        due_runs = timetable.take_due(self._clock.now(), CLAIM_BATCH_SIZE)
        claims = self._take_over(stale, timetable) + self._run_store.claim(due_runs)
        if looks_back:
            claims = self._look_back() + claims
        self._run_store.confirm(claims)  # what a failover takes back is claimed again, and would be sent twice
        self._last_claimed.update((due_run.run.name, due_run.run.due) for due_run in due_runs)
        self._send_claims(claims)
        if missed := timetable.take_missed():
            publisher.note_missed(self._run_store, self.app, self._reloading_schedule.entries, missed)
        return self._seconds_to_wait(timetable)

    def _look_back(self) -> list[Claim]:
        """Claims of runs for which a job that has ended meanwhile makes way, or which follow it."""
        schedule, now = self._reloading_schedule, self._clock.now()
        ended = self._following.settle(schedule.entries, schedule.followed, now) if schedule.followed else []
        return ended + (self._overlap_check.release(schedule.entries, now) if schedule.has_waiting_entries else [])

    def _open_store(self) -> None:
        self._store = redis_client.open_store(self._store_address)
        self._run_store = RunStore(self._store, self._clock, self._settings_in_force().history)
        self._overlap_check = OverlapCheck(self.app, self._run_store)
        self._following = RunFollowing(self._run_store, self._overlap_check)

    def _settings_in_force(self) -> Settings:
        return self._watch.current() if self._watch else self._settings or livectl_settings.load({}, Path.cwd())

    def _poll(self) -> list[Claim]:
        """Notes a heartbeat, and drops the timetable if clock or schedule changed. Returns claims that went stale."""
        heartbeat = {"host": socket.gethostname(), "pid": os.getpid(), "entries": len(self._reloading_schedule.entries)}
        stale = self._run_store.record_heartbeat(self._beat_id, heartbeat)
        if jump := self._clock.take_jump():
            logger.warning(
                "The store's clock was set by %+.1f s: due instants are reckoned anew.", jump / MS_PER_SECOND
            )
        self._polled_at = self._clock.monotonic()
        if self._watch and not self._schedule_path:
            self._reloading_schedule.path = self._watch.current().schedules
        changed = self._reloading_schedule.take_store_changes(self._entry_reader.read(self._run_store.store))
        changed |= self._reloading_schedule.reload_if_changed()
        changed |= self._reloading_schedule.recheck_left_out()
        interval = BROKEN_RETRY_INTERVAL_S if self._timetable and self._timetable.broken else REGISTER_INTERVAL_S
        if jump:
            self._timetable = None
        elif self._timetable and self._polled_at - self._planned_at >= interval:
            self._register_all()
        elif self._timetable and changed:
            self._unregistered += sorted(changed)
        if self._timetable:
            self._timetable.change(self._reloading_schedule.entries, changed)
        return stale

    def _begin_timetable(self) -> BeatTimetable:
        self._timetable = BeatTimetable(self._reloading_schedule.entries)
        self._register_all()
        return self._timetable

    def _register_all(self) -> None:
        self._unregistered, self._saved_schedules = [*self._reloading_schedule.entries], None
        self._planned_at = self._clock.monotonic()

    def _register_some(self, timetable: BeatTimetable) -> None:
        """Notes in the store that some entries are in use, and when they are due. Between two ticks runs are sent."""
        names, self._unregistered = self._unregistered[:REGISTER_BATCH_SIZE], self._unregistered[REGISTER_BATCH_SIZE:]
        entries = self._reloading_schedule.entries
        timings = {name: entries[name].due_times.identity for name in names if name in entries}
        timetable.reckon(names, self._run_store.register(timings, self._last_claimed), self._clock.now())

    def _save_schedules(self) -> None:
        """Keeps in the store what the file said when it was last read."""
        schedule = self._reloading_schedule
        self._run_store.save_loaded_schedule(self._beat_id, LoadedSchedule(str(schedule.path), schedule.schedules))
        self._saved_schedules = schedule.schedules

    def _take_over(self, stale: Sequence[Claim], timetable: BeatTimetable) -> list[Claim]:
        """Takes stale claims over, of the entries that this beat has. Claims of other entries are for other beats."""
        now = self._clock.now()
        to_send: list[Claim] = []
        to_drop: list[Claim] = []
        for claim in stale:
            if claim.run.name in self._reloading_schedule.entries:
                (to_send if timetable.is_worth_sending(claim.run, now) else to_drop).append(claim)
            elif now - claim.run.due > ORPHANED_CLAIM_MS:
                to_drop.append(claim)
        self._run_store.drop(to_drop)
        taken = self._run_store.take_over(to_send)
        for claim in taken:
            logger.info("%s: takes over a run that was claimed and not sent", claim.run.name)
        return taken

    def _send_claims(self, claims: Sequence[Claim]) -> None:
        jobs = [job for claim in claims if (job := self._prepare_job(claim))]
        self._following.note(jobs)
        if jobs and self._publisher:
            self._publisher.send(jobs)

    def _prepare_job(self, claim: Claim) -> publisher.ClaimedJob | None:
        entry = self._reloading_schedule.entries[claim.run.name]
        task_id = entry.options.get("task_id") or self._run_store.task_id(claim.run)
        decision = self._overlap_check.decide(entry, claim, task_id)
        if decision == "send":
            return publisher.ClaimedJob(claim, entry, task_id, followed=entry.name in self._reloading_schedule.followed)
        if decision == "skip":
            self._run_store.drop([claim])
        elif not self._run_store.wait(claim, MAX_WAITING[entry.overlap]):
            logger.info("%s: skipped, since enough of its runs wait already", entry.name)
        return None

    def _seconds_to_wait(self, timetable: BeatTimetable) -> float:
        if self._unregistered:
            return 0.0
        poll_wait = self._polled_at + POLL_INTERVAL_S - self._clock.monotonic()
        if timetable.next_due is None:
            return max(0.0, min(poll_wait, self.max_interval))
        due_wait = (timetable.next_due - self._clock.now()) / MS_PER_SECOND
        return max(0.0, min(max(due_wait, MIN_DUE_WAIT_S) if due_wait > 0 else 0.0, poll_wait, self.max_interval))

    def _handle_connection_error(self, error: Exception) -> None:
        if not self._is_disconnected:
            message = error.message if isinstance(error, LivectlError) else f"{type(error).__name__}: {error}"
            logger.error("Store or broker is away, asked again each second: %s", hide_secrets(message))
            self._is_disconnected = True
        self._close_publisher()
        if not isinstance(error, publisher.BrokerUnavailableError):
            self._close_store()

    def _close_publisher(self) -> None:
        old_publisher, self._publisher = self._publisher, None
        if old_publisher:
            old_publisher.close()

    def _close_store(self) -> None:
        """Closes the store and drops the timetable: a new one finds the runs that were taken and not claimed."""
        store, self._store, self._timetable = self._store, None, None
        if store is not None:
            store.close()

    def close(self) -> None:
        """Celery does so in its handler of signals and once more when it has left the loop: not amid a tick.

        What the tick reads from would be closed under it, and its error about that would hide the end.
        """
        if self._is_ticking:
            self._is_ending = True
        else:
            self.release()

    def release(self) -> None:
        """Says that this beat is gone, and lets go of store and broker."""
        if self._watch:
            running_settings.forget_start("beat", self._watch.started)
        if self._store is not None:
            with suppress(*CONNECTION_ERRORS):
                self._run_store.remove_beat(self._beat_id)
        self._close_publisher()
        self._close_store()
        super().close()


def store_address(settings: Settings, app: Celery) -> Address:
    """The address where beat keeps its state: the store of the settings, else the app's broker if that is a Redis."""
    if settings.store:
        return settings.store
    hint = "Set `store:` in livectl.yaml, or LIVECTL_STORE, to a Redis or Valkey."
    broker_url = app.conf.broker_write_url or "amqp://"
    if not isinstance(broker_url, str) or ";" in broker_url:
        raise SettingsError("no store is set, and the broker has more than one address", hint)
    try:
        address = Address.parse(broker_url)
    except SettingsError as error:
        raise SettingsError(f"the app's broker cannot be the store: {error.message}", hint) from error
    if not address.is_redis:
        raise SettingsError(f"no store is set, and the broker {address.masked} keeps messages only", hint)
    return address


def _is_schedule_file(name: str) -> bool:
    """Whether a file was named: otherwise Celery passes the name of a shelve."""
    return name.endswith((".yaml", ".yml"))
