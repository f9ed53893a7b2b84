"""Follows runs to their end, where another entry runs after them or their entry pauses itself when they fail."""

from __future__ import annotations

from typing import TYPE_CHECKING

from celery.utils.log import get_logger

from livectl.ops.beat.entries import ComputedDueTimes
from livectl.ops.beat.overlap import MAX_STARTED_JOB_AGE_S
from livectl.ops.beat.run_store import RunEnd
from livectl.ops.schedules import due_times
from livectl.units import MS_PER_SECOND

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from livectl.models import Run
    from livectl.ops.beat.entries import BeatEntry
    from livectl.ops.beat.overlap import Outcome, OverlapCheck
    from livectl.ops.beat.publisher import ClaimedJob
    from livectl.ops.beat.run_store import Claim, RunStore


logger = get_logger("livectl.ops.scheduler")  # one name in the logs for all that beat says

MAX_ASKED = 200  # jobs that are asked for in one look, in turn
CANNOT_TELL = (
    "How runs end is not known, and `after` and `pause_on_failure` do nothing: "
    "the app needs a result backend that anyone can ask, or workers that livectl started."
)


def find_followed(entries: Mapping[str, BeatEntry]) -> dict[str, tuple[BeatEntry, ...]]:
    """The entries whose runs are followed to their end, each with the entries that run after it."""
    followed: dict[str, tuple[BeatEntry, ...]] = {name: () for name, entry in entries.items() if entry.pause_on_failure}
    for entry in entries.values():
        if entry.after:
            followed[entry.after.entry] = (*followed.get(entry.after.entry, ()), entry)
    return followed


class RunFollowing:
    """Asks how the jobs of followed runs have ended. Each end is taken note of once, by whichever beat is first."""

    def __init__(self, run_store: RunStore, overlap_check: OverlapCheck) -> None:
        self._run_store = run_store
        self._overlap_check = overlap_check
        self._turn = 0
        self._can_tell = True

    def note(self, jobs: Iterable[ClaimedJob]) -> None:
        """Notes jobs that are about to be sent, as far as their end matters."""
        self._run_store.follow([(job.claim, job.task_id) for job in jobs if job.followed])

    def settle(
        self, entries: Mapping[str, BeatEntry], followed: Mapping[str, tuple[BeatEntry, ...]], now: int
    ) -> list[Claim]:
        """Takes note of the runs that have ended. Returns the claims of runs that follow them."""
        runs = list(self._run_store.read_followed().items())
        if not runs:
            return []
        self._tell_what_is_known()
        self._turn = self._turn % len(runs)
        asked = (runs + runs)[self._turn : self._turn + min(MAX_ASKED, len(runs))]
        self._turn += MAX_ASKED
        claims: list[Claim] = []
        notes = self._overlap_check.read_notes(job for _, job in asked)
        for run, job in asked:
            if entry := entries.get(run.name):
                outcome = self._overlap_check.find_outcome(entry, job, notes.get(job.task_id))
                claims += self._settle_run(entry, run, outcome, followed.get(run.name, ()))
            elif now - job.sent_at > MAX_STARTED_JOB_AGE_S * MS_PER_SECOND:
                self._run_store.unfollow(run)
        return claims

    def _tell_what_is_known(self) -> None:
        can_tell = self._overlap_check.can_tell()
        if self._can_tell and not can_tell:
            logger.error("%s", CANNOT_TELL)
        self._can_tell = can_tell

    def _settle_run(
        self, entry: BeatEntry, run: Run, outcome: Outcome | None, followers: tuple[BeatEntry, ...]
    ) -> list[Claim]:
        if outcome is None:
            return []
        if outcome == "lost" and not self._can_tell:
            self._run_store.unfollow(run)
            return []
        now = self._run_store.clock.now()
        ended = "failed" if outcome == "lost" else outcome
        named = [(follower.name, follower.count) for follower in followers if _runs_after(follower, ended, now)]
        settled = self._run_store.settle(run, RunEnd(ended, entry.pause_on_failure, named))
        if settled is None:
            return []
        if settled.paused:
            logger.error(
                "%s: paused, since %d runs have failed in a row; `livectl schedules resume %s` ends that",
                *(entry.name, settled.failures, entry.name),
            )
        for claim in settled.claims:
            logger.info("%s: runs, since %s has %s", claim.run.name, entry.name, ended)
        return settled.claims


def _runs_after(follower: BeatEntry, outcome: Outcome, now: int) -> bool:
    if follower.after is None or follower.after.when not in {"ended", outcome}:
        return False
    if not isinstance(follower.due_times, ComputedDueTimes):
        return True
    if reason := due_times.why_left_out(follower.due_times.schedule, now):
        logger.info("%s: does not run after %s: %s", follower.name, follower.after.entry, reason)
    return not reason
