"""Where a job is, in one honest word: its backend is asked, the queues, the workers, and livectl's own notes."""

from __future__ import annotations

import time
from contextlib import ExitStack
from typing import TYPE_CHECKING, Any

from livectl import resp
from livectl.errors import ServerError
from livectl.model import Child, Job, JobState
from livectl.ops.cluster import workers
from livectl.ops.jobs import outcome as outcomes
from livectl.ops.jobs import records, search, verdict
from livectl.ops.jobs.verdict import Evidence, Verdict

if TYPE_CHECKING:
    from collections.abc import Sequence

    from livectl.ops.cluster.deployment import Deployment
    from livectl.ops.cluster.workers import Held
    from livectl.ops.jobs.outcome import Outcome
    from livectl.ops.jobs.records import Record
    from livectl.resp import Wire

MOST_MEMBERS = 500  # of a group that are looked for one by one
BLINK = 0.05  # seconds that a message can be between two hands: taken from its queue, not yet noted by its worker


class Inquiry:
    """One question about some jobs, with the connections it needs and an end in sight."""

    def __init__(self, deployment: Deployment, patience: float = resp.PATIENCE) -> None:
        self._deployment = deployment
        self._until = time.monotonic() + patience
        self._open = ExitStack()
        self._wires: dict[str, Wire] = {}

    def __enter__(self) -> Inquiry:
        return self

    def __exit__(self, *_: object) -> None:
        self._open.close()

    def answer(self, job: str) -> Verdict:
        """Of a job, or of a group of that id."""
        evidence = self._settle([job])[job]
        if verdict.word(evidence) is JobState.UNKNOWN and (members := self._members(job)) is not None:
            return self._of_group(job, members)
        return self._judge(evidence)

    def evidence(self, job: str) -> Evidence:
        return self._settle([job])[job]

    def jobs(self, ids: Sequence[str]) -> dict[str, Job]:
        return {job: self._judge(evidence).job for job, evidence in self._settle(ids).items()}

    def ended(self, ids: Sequence[str]) -> dict[str, JobState]:
        """Those that have come to an end, by their results and notes alone."""
        kept, noted = self._outcomes(ids), self._noted(ids)
        ends = {job: (kept[job].end if job in kept else None) or verdict.ended(noted.get(job)) for job in ids}
        return {job: end for job, end in ends.items() if end}

    def _settle(self, ids: Sequence[str]) -> dict[str, Evidence]:
        """Looks once, and again for those that were nowhere: a job moves on while one looks for it."""
        found = self._look(ids)
        lost = [job for job in ids if verdict.word(found[job]) in {JobState.UNKNOWN, JobState.REDELIVERY}]
        useless = any(found[job].silent for job in lost) or not self._deployment.on_redis
        if lost and not useless and self._until - time.monotonic() > 1:
            time.sleep(BLINK)
            found |= self._look(lost)
        return found

    def _look(self, ids: Sequence[str]) -> dict[str, Evidence]:
        noted = self._noted(ids)
        ended = self._outcomes(ids)
        open_ids = [job for job in ids if not (job in ended and ended[job].end) and not verdict.ended(noted.get(job))]
        looked = self._search(open_ids, noted) if open_ids else search.Search()
        waiting = [job for job in open_ids if looked.found.get(job) is None or looked.found[job].tag]
        held, silent = self._held(waiting, looked, ended) if waiting else ({}, 0)
        return {
            job: Evidence(
                id=job,
                outcome=ended.get(job),
                record=noted.get(job),
                found=looked.found.get(job),
                held=held.get(job),
                silent=silent,
                searched=looked.complete,
            )
            for job in ids
        }

    def _noted(self, ids: Sequence[str]) -> dict[str, Record]:
        """livectl's own notes. A store that is away is no reason to give no answer."""
        if self._deployment.store is None:
            return {}
        try:
            return records.read(self._wire(self._deployment.store), ids)
        except ServerError:
            return {}

    def _outcomes(self, ids: Sequence[str]) -> dict[str, Outcome]:
        deployment = self._deployment
        if deployment.results is not None:
            return outcomes.read(self._wire(deployment.results), deployment.layout, ids)
        if deployment.app is None or not deployment.keeps_results:
            return {}
        return outcomes.through_celery(deployment.app, ids)

    def _search(self, ids: Sequence[str], noted: dict[str, Record]) -> search.Search:
        wire = self._broker()
        if wire is None:
            return search.Search(complete=False)
        queues = dict.fromkeys(
            [*(note.queue for note in noted.values() if note.queue), *self._deployment.layout.queues]
        )
        return search.find(wire, self._deployment.layout, ids, list(queues))

    def _held(self, ids: Sequence[str], looked: search.Search, kept: dict[str, Outcome]) -> tuple[dict[str, Held], int]:
        """Asked twice about what may wait for its time: workers before Celery 5.7 do not tell of it otherwise, and
        none does of a job that it sent itself to be tried again."""
        wire = self._broker()
        held, silent = workers.holding(self._deployment, wire, ids)
        due = {job for job in ids if wire is None or ((found := looked.found.get(job)) and found.message.eta)}
        tried = {job for job in ids if job in kept and kept[job].status == "RETRY"}
        later = tried | (due - held.keys())
        return (held | workers.scheduled(self._deployment, wire, later) if later else held), silent

    def _members(self, group: str) -> tuple[str, ...] | None:
        deployment = self._deployment
        if deployment.results is not None:
            return outcomes.read_group(self._wire(deployment.results), deployment.layout, group)
        if deployment.app is None or not deployment.keeps_results:
            return None
        restored = deployment.app.backend.restore_group(group)
        return tuple(member.id for member in restored) if restored else None

    def _of_group(self, group: str, members: Sequence[str]) -> Verdict:
        jobs = self.jobs(members[:MOST_MEMBERS])
        children = tuple(Child(job.id, job.state) for job in jobs.values())
        ends = [job.finished_at for job in jobs.values() if job.finished_at]
        state = verdict.together([child.state for child in children])
        finished = max(ends) if ends and state in {JobState.SUCCEEDED, JobState.FAILED} else None
        left_out = len(members) - len(children)
        note = f"a group of {len(members)}" + (f", of which {left_out} were not looked for" if left_out else "")
        return Verdict(Job(id=group, state=state, finished_at=finished, children=children), note)

    def _judge(self, evidence: Evidence) -> Verdict:
        children = [child for child in evidence.outcome.children if child != evidence.id] if evidence.outcome else []
        kept = self._outcomes(children) if children else {}
        states = tuple(Child(child, kept[child].state if child in kept else JobState.UNKNOWN) for child in children)
        return verdict.judge(evidence, self._deployment.layout.visibility_timeout, states)

    def _broker(self) -> Wire | None:
        broker = self._deployment.broker
        return self._wire(broker) if broker is not None and broker.is_redis else None

    def _wire(self, address: Any) -> Wire:
        """One connection a server, however many things are on it."""
        if address.url not in self._wires:
            left = max(0.1, self._until - time.monotonic())
            self._wires[address.url] = self._open.enter_context(resp.dial(address, left))
        return self._wires[address.url]
