"""Plays a busy deployment for `livectl top --demo`: nothing is asked, nothing is sent."""

from __future__ import annotations

import random
import time
from collections import deque
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING
from uuid import UUID

import msgspec

from livectl.live.store_reader import Everybody
from livectl.live.views import StreamerView
from livectl.models import BoardReading, Interval, Job, JobState, Schedule, State, StatusPart
from livectl.ops.beat.run_store import Pause
from livectl.ops.beat.views import BeatSchedule, EntryStatus
from livectl.ops.cluster.queues import Queue, QueueDepths, QueueRate
from livectl.ops.cluster.workers import WorkerList
from livectl.ops.jobs.dead_letters import DeadLetterSummary
from livectl.ops.protocol.remote_control import WorkerStatus
from livectl.units import MS_PER_SECOND

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from livectl.ops.cluster.queues import QueueRates

JOBS_A_SECOND = 2.5
MAX_JOBS = 200
FAILING_SHARE = 0.06
QUEUES = {"mail": 40, "reports": 1_200, "thumbnails": 9}  # name -> messages at the start
TASKS = {  # task -> queue, and how long it usually runs
    "shop.mail.welcome": ("mail", 0.8),
    "shop.mail.invoice": ("mail", 1.6),
    "shop.reports.monthly": ("reports", 14.0),
    "shop.images.shrink": ("thumbnails", 0.3),
}
ERRORS = ("TimeoutError: smtp.example did not answer within 10 s", "KeyError: 'customer'")
WORKERS = ("mail@one", "reports@one", "reports@two", "images@two")
PLACES = 4  # of each worker
ENTRIES = {"heartbeat": 5.0, "invoices": 60.0, "cleanup": 900.0, "monthly report": 86_400.0}
STREAMERS = (
    ("demo", "ada", "Ada", "Building a compiler"),
    ("demo", "小明", "小明", "深夜电台"),
    ("demo", "grace", "Grace", "Finding bugs"),
    ("demo", "linus", "Linus", "Reading patches"),
)
STREAM_SECONDS = 90.0  # each is live for so long, and then is not


class PlayedSource:
    """Jobs come, run and end by the clock; the same seed plays the same."""

    zone = "UTC"

    def __init__(self, seed: int = 7, clock: Callable[[], float] = time.time) -> None:
        self._random = random.Random(seed)  # noqa: S311 - a play, no secret
        self._clock = clock
        self._began = self._played_to = clock()
        self._jobs: deque[Job] = deque(maxlen=MAX_JOBS)  # the newest first
        self._ready = dict(QUEUES)
        self._letters: list[DeadLetterSummary] = []
        self._ended = 0

    def status(self) -> Sequence[BoardReading]:
        self._play()
        live = self.streamers().live
        queued, minutes = sum(self._ready.values()), max(self._clock() - self._began, 1) / 60
        parts = (
            StatusPart(("demo: all of this is played",), 1),
            StatusPart((f"{live} of {len(STREAMERS)} live", ""), 3, "good"),
            StatusPart((f"{queued:,} queued", ""), 4),
            StatusPart((f"{self._ended / minutes:.0f} jobs a minute", ""), 6),
        )
        return [BoardReading(parts=parts)]

    def queues(self) -> tuple[QueueDepths, QueueRates | None]:
        self._play()
        measured = tuple(
            Queue(
                name=name, ready=ready, unacked=self._held(name), eta=0, oldest=ready * 0.4, consumers=1 + (ready > 999)
            )
            for name, ready in self._ready.items()
        )
        rates: QueueRates = {(name,): QueueRate(JOBS_A_SECOND / 3, JOBS_A_SECOND / 3) for name in self._ready}
        return QueueDepths(queues=measured), rates

    def workers(self) -> WorkerList:
        self._play()
        running = [job for job in self._jobs if job.state is JobState.RUNNING]
        found = tuple(
            WorkerStatus(
                name=name,
                pool="prefork",
                concurrency=PLACES,
                active=sum(job.worker == name for job in running),
                reserved=2,
                queues=(name.partition("@")[0],),
                version="5.5",
                memory=80_000_000,
                processed=self._ended // len(WORKERS),
                age=3_600 + self._clock() - self._began,
            )
            for name in WORKERS
        )
        return WorkerList(found, 0)

    def jobs(self) -> Sequence[Job]:
        self._play()
        return list(self._jobs)

    def schedules(self) -> BeatSchedule:
        now = self._clock()
        entries = [
            EntryStatus(
                schedule=Schedule(name=name, task=f"shop.{name.split()[0]}", timing=Interval(seconds)),
                last=int(now // seconds * seconds * MS_PER_SECOND),
                ended=JobState.SUCCEEDED,
                next=int((now // seconds + 1) * seconds * MS_PER_SECOND),
                pause=Pause("until the new printer is there", int(now)) if name == "cleanup" else None,
            )
            for name, seconds in ENTRIES.items()
        ]
        return BeatSchedule(beats=2, heartbeat_at=now, entries=entries)

    def dead_letters(self) -> Sequence[DeadLetterSummary]:
        self._play()
        return self._letters

    def streamers(self) -> Everybody:
        now = self._clock()
        streamers = [
            StreamerView(
                platform=platform,
                id=streamer_id,
                state=State.LIVE if is_live else State.OFFLINE,
                name=name,
                title=title if is_live else None,
                viewers=1_000 + int(now) % 97 if is_live else None,
                checked_at=_moment(now - 3),
            )
            for number, (platform, streamer_id, name, title) in enumerate(STREAMERS)
            for is_live in [(now / STREAM_SECONDS + number) % len(STREAMERS) < len(STREAMERS) / 2]
        ]
        return Everybody(streamers, live=sum(bool(streamer.live) for streamer in streamers))

    def _held(self, queue: str) -> int:
        return sum(job.queue == queue and job.state is JobState.RUNNING for job in self._jobs)

    def _play(self) -> None:
        """Plays what has come about since the last look."""
        now = self._clock()
        while self._played_to + 1 / JOBS_A_SECOND <= now:
            self._played_to += 1 / JOBS_A_SECOND
            self._begin_job(self._played_to)
        for place, job in enumerate(self._jobs):
            if job.state is JobState.RUNNING and job.eta is not None and job.eta <= _moment(now):
                self._jobs[place] = self._end_job(job, job.eta)

    def _begin_job(self, at: float) -> None:
        task = self._random.choice(list(TASKS))
        queue, seconds = TASKS[task]
        self._ready[queue] = max(0, self._ready[queue] + self._random.randint(-3, 3))
        ends = at + seconds * self._random.uniform(0.5, 2)
        self._jobs.appendleft(
            Job(
                id=str(UUID(int=self._random.getrandbits(128), version=4)),
                state=JobState.RUNNING,
                task=task,
                queue=queue,
                worker=self._random.choice(WORKERS),
                started_at=_moment(at),
                eta=_moment(ends),
            )
        )

    def _end_job(self, job: Job, at: datetime) -> Job:
        self._ended += 1
        ended = msgspec.structs.replace(job, state=JobState.SUCCEEDED, finished_at=at, eta=None, result="ok")
        if self._random.random() >= FAILING_SHARE:
            return ended
        error = self._random.choice(ERRORS)
        if not self._letters:
            letter = DeadLetterSummary(job.id, "job", f"its worker died of it three times: {error}", at, job.task or "")
            self._letters.append(letter)
        return msgspec.structs.replace(ended, state=JobState.FAILED, result=None, error=error)


def _moment(at: float) -> datetime:
    return datetime.fromtimestamp(0, UTC) + timedelta(seconds=at)
