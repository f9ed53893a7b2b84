"""Reads what the pages of jobs show, and keeps it for a while: the list, one job, depths of queues, findings."""

from __future__ import annotations

import logging
import sys
import threading
import time
from typing import TYPE_CHECKING, Any
from urllib.parse import urlencode

import msgspec

from livectl import redis_client
from livectl.errors import LivectlError, UnfinishedError
from livectl.models import Finding, Job, JobState, ViewerCurve
from livectl.ops import deployment as deployments
from livectl.ops.cluster import queues
from livectl.ops.jobs import dead_letters, results, status, wait
from livectl.redaction import hide_secrets
from livectl.web.cache import KeyedCache, TimedCache

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from pathlib import Path

    from livectl.ops.deployment import Deployment
    from livectl.ops.jobs.status import JobStatus
    from livectl.ops.protocol.dead_letter import DeadLetter
    from livectl.web.data import StoreReader

PAGE_ROWS = 50
MAX_PAGES = 20  # further back, a filter finds what a person looks for
JOBS_KEEP_SECONDS, JOB_KEEP_SECONDS = 3.0, 2.0
MAX_LISTS, MAX_JOBS = 16, 64  # readings that are kept
MAX_NAMES = 200  # of tasks and workers to choose from
MAX_WORDS_CHARS = 200
LISTED_STATES = ("succeeded", "failed", "running", "received", "retrying", "revoked")

DEPTHS_PREFIX = "livectl:depths:"  # and the name of the app: a stream with the depths of its queues
SAMPLE_SECONDS = 30
MAX_SAMPLES = 120  # an hour
MAX_SAMPLED_QUEUES = 200
DEPTHS_TTL_SECONDS = 2 * SAMPLE_SECONDS * MAX_SAMPLES

DOCTOR_LIMIT_S = 60.0  # it takes some two seconds, and gives up on servers after nine
FINDINGS_KEEP_SECONDS = 30.0  # so soon nothing is looked at again

log = logging.getLogger(__name__)


class JobFilter(msgspec.Struct, frozen=True, kw_only=True):
    """Which jobs a visitor wants to see, as an address says it."""

    task: str = ""
    state: str = ""
    worker: str = ""
    routine: bool = False  # also livectl's own that went well
    page: int = 1

    def __bool__(self) -> bool:
        return bool(self.task or self.state or self.worker)

    def query(self, **changes: Any) -> str:
        """The query of an address that says the same, with some values changed."""
        values = {**msgspec.structs.asdict(self), "page": 1, **changes}
        values["routine"] = "1" if values["routine"] else ""
        values["page"] = "" if values["page"] == 1 else values["page"]
        words = urlencode({name: value for name, value in values.items() if value})
        return f"?{words}" if words else ""


def parse_filter(query: Mapping[str, str]) -> JobFilter:
    """Reads the filter of an address; what nobody offers is as if it were not there."""
    page, state = query.get("page", ""), query.get("state", "")
    task, worker = (query.get(name, "").strip()[:MAX_WORDS_CHARS] for name in ("task", "worker"))
    return JobFilter(
        task=task,
        state=state if state in LISTED_STATES else "",
        worker=worker,
        routine=query.get("routine") == "1",
        page=min(int(page), MAX_PAGES) if page.isdecimal() and page.isascii() and int(page[:4]) else 1,
    )


class JobPage(msgspec.Struct, frozen=True):
    """Some jobs, and whether there are older ones."""

    jobs: list[Job]
    more: bool
    nameless: int  # that were left out only because nobody kept their task


class DepthSeries(msgspec.Struct, frozen=True):
    """How deep a queue was over the last hour; None where nobody looked."""

    depths: tuple[int | None, ...]

    @property
    def curve(self) -> ViewerCurve:
        return ViewerCurve(started_at=0.0, step=SAMPLE_SECONDS, counts=self.depths)


class JobReadings:
    """The readings, shared by all visitors."""

    def __init__(self, source: StoreReader, clock: Callable[[], float]) -> None:
        self._source = source
        self._tasks: dict[str, None] = {}
        self._workers: dict[str, None] = {}
        self._lists = KeyedCache(self._read_page, JOBS_KEEP_SECONDS, MAX_LISTS)
        self._jobs = KeyedCache(self._read_job, JOB_KEEP_SECONDS, MAX_JOBS)
        self._letters = KeyedCache(self._read_letter, JOB_KEEP_SECONDS, MAX_JOBS)
        self.depths = TimedCache(
            lambda: source.read_deployment(lambda deployment, _: read_depths(deployment, clock())), JOBS_KEEP_SECONDS
        )

    def page(self, job_filter: JobFilter) -> JobPage:
        return self._lists.get(job_filter)

    def job(self, job_id: str) -> JobStatus:
        """UsageError for what can be no id."""
        return self._jobs.get(wait.check_job_id(job_id))

    def letter(self, letter_id: str) -> DeadLetter:
        """One dead letter without its secrets; LivectlError where there is none of this id."""
        return self._letters.get(letter_id)

    def forget(self) -> None:
        """Lets the next visitor see what was changed."""
        self._lists.forget()
        self._jobs.forget()
        self._letters.forget()

    @property
    def tasks(self) -> list[str]:
        """Tasks of which jobs were seen."""
        return sorted(self._tasks)

    @property
    def workers(self) -> list[str]:
        return sorted(self._workers)

    def _read_page(self, job_filter: JobFilter) -> JobPage:
        first = (job_filter.page - 1) * PAGE_ROWS
        wanted = results.ResultFilter(
            task=job_filter.task or None,
            state=JobState(job_filter.state) if job_filter.state else None,
            worker=job_filter.worker or None,
            routine=frozenset() if job_filter.routine or job_filter.task else deployments.ROUTINE_TASKS,
            limit=first + PAGE_ROWS + 1,
        )
        found = self._source.read_deployment(lambda deployment, _: results.list_recent(deployment, wanted))
        for known, names in (
            (self._tasks, [job.task for job in found]),
            (self._workers, [job.worker for job in found]),
        ):
            for name in names:
                if name and len(known) < MAX_NAMES:
                    known[name] = None
        return JobPage(found[first : first + PAGE_ROWS], len(found) > first + PAGE_ROWS, found.nameless)

    def _read_letter(self, letter_id: str) -> DeadLetter:
        return self._source.read_deployment(lambda deployment, _: dead_letters.read_redacted(deployment, letter_id))

    def _read_job(self, job_id: str) -> JobStatus:
        def look_up(deployment: Deployment, _: object) -> JobStatus:
            with status.StatusLookup(deployment) as lookup:
                return lookup.status(job_id)

        return self._source.read_deployment(look_up)


def sample_depths(deployment: Deployment, now: float) -> None:
    """Notes how deep the queues are. Of several that do so in the same half minute, the first counts."""
    if deployment.store is None or not queues.tells_ready(deployment):
        return
    depths = dict(list(queues.measure_ready(deployment).items())[:MAX_SAMPLED_QUEUES])
    key, slot = DEPTHS_PREFIX + deployment.app_name, int(now // SAMPLE_SECONDS * SAMPLE_SECONDS)
    with redis_client.connect(deployment.store) as connection:
        commands = [
            ("XADD", key, "MAXLEN", MAX_SAMPLES, f"{slot}-1", "depths", msgspec.json.encode(depths)),
            ("EXPIRE", key, DEPTHS_TTL_SECONDS),
        ]
        connection.call_all(commands)  # it refuses a second sample of the same time


def read_depths(deployment: Deployment, now: float) -> dict[str, DepthSeries]:
    """How deep each queue was over the last hour, as far as a page or beat looked."""
    if deployment.store is None:
        return {}
    last = int(now // SAMPLE_SECONDS)
    first = last - MAX_SAMPLES + 1
    with redis_client.connect(deployment.store, trial_write=False) as connection:
        key = DEPTHS_PREFIX + deployment.app_name
        rows = connection.execute("XRANGE", key, first * SAMPLE_SECONDS, "+")
    samples = {
        int(number.partition(b"-")[0]) // SAMPLE_SECONDS - first: msgspec.json.decode(flat[1], type=dict[str, int])
        for number, flat in rows
    }
    names = sorted({name for depths in samples.values() for name in depths})
    return {
        name: DepthSeries(tuple(samples[at].get(name) if at in samples else None for at in range(MAX_SAMPLES)))
        for name in names
    }


def keep_sampling(source: StoreReader, clock: Callable[[], float] = time.time) -> None:
    """Samples from now on, in a thread of its own, for as long as this process lives."""

    def run() -> None:
        while True:
            try:
                source.read_deployment(lambda deployment, _: sample_depths(deployment, clock()))
            except LivectlError as error:
                log.debug("the queues were not measured: %s", error.message)
            time.sleep(SAMPLE_SECONDS - clock() % SAMPLE_SECONDS)

    threading.Thread(target=run, daemon=True, name="livectl-depths").start()


class Examination(msgspec.Struct, frozen=True, kw_only=True):
    """What doctor found, and when; or why it found nothing out."""

    findings: Sequence[Finding] = ()
    at: float | None = None
    problem: str = ""
    is_running: bool = False


class Examiner:
    """Lets doctor look, beside the threads that answer: who asks is shown what it found last."""

    def __init__(self, examine: Callable[[], Sequence[Finding]], clock: Callable[[], float]) -> None:
        self._examine = examine
        self._clock = clock
        self._lock = threading.Lock()
        self._last = Examination()

    def last(self) -> Examination:
        return self._last

    def look(self) -> Examination:
        """Begins to look, unless it does so already or did a moment ago."""
        with self._lock:
            is_fresh = self._last.at is not None and self._clock() - self._last.at < FINDINGS_KEEP_SECONDS
            if not (self._last.is_running or is_fresh):
                self._last = msgspec.structs.replace(self._last, is_running=True)
                threading.Thread(target=self._run, daemon=True, name="livectl-doctor").start()
        return self._last

    def _run(self) -> None:
        problem, findings = "", list[Finding]()
        try:
            findings = list(self._examine())
        except LivectlError as error:
            problem = hide_secrets(error.message)
        with self._lock:
            self._last = Examination(findings=findings, at=self._clock(), problem=problem)


def examine_beside(cwd: Path, environ: Mapping[str, str], app_words: Sequence[str] = ()) -> Sequence[Finding]:
    """What doctor finds, in a process of its own: it takes seconds, and loads the app anew."""
    import subprocess

    argv = [sys.executable, "-m", "livectl", *app_words, "--json", "--verbose", "doctor"]
    try:
        ran = subprocess.run(
            argv,
            cwd=cwd,
            env=environ,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            timeout=DOCTOR_LIMIT_S,
            check=False,
        )
        return msgspec.json.decode(ran.stdout, type=list[Finding])
    except subprocess.TimeoutExpired:
        raise UnfinishedError(f"doctor was not done within {DOCTOR_LIMIT_S:.0f} s", "Call it: livectl doctor") from None
    except (OSError, msgspec.MsgspecError):
        raise LivectlError("doctor could not look from here", "Call it: livectl doctor") from None
