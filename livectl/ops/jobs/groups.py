"""A group of jobs of one task: sent in one go under one id, and followed until each has ended."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any, NamedTuple
from uuid import uuid4

import msgspec

from livectl import resp
from livectl.ops.jobs import outcome as outcomes
from livectl.ops.jobs import posting

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from celery import Celery

    from livectl.ops.cluster.deployment import Deployment
    from livectl.ops.jobs.outcome import Outcome
    from livectl.ops.jobs.posting import Letter, Terms

LOOK_EVERY = 0.1  # seconds between two looks at what has ended
PATIENCE = 10.0  # seconds for one look at thousands of results


class Members(NamedTuple):
    """A group as Celery saves it. Celery's own results would each open a connection, only to stop listening."""

    group: str
    jobs: list[str]

    def as_tuple(self) -> tuple[Any, ...]:
        return (self.group, None), [((job, None), None) for job in self.jobs]


def send(app: Celery, task: str, letters: Sequence[Letter], terms: Terms) -> str:
    """On their way; the id of the group, which `livectl status` understands. One job alone is its own group."""
    if len(letters) == 1:
        posting.post(app, task, letters, terms)
        return letters[0].id
    group = str(uuid4())
    app.backend.save_group(group, Members(group, [letter.id for letter in letters]))
    posting.post(app, task, letters, msgspec.structs.replace(terms, group=group))
    return group


def follow(deployment: Deployment, ids: Sequence[str], until: float) -> Iterator[dict[str, Outcome]]:
    """Those that have ended since the last look, until all have or the time, of the monotonic clock, is over."""
    waiting = dict.fromkeys(ids)
    while waiting and time.monotonic() < until:
        found = {job: one for job, one in _read(deployment, list(waiting)).items() if one.end}
        for job in found:
            del waiting[job]
        if found:
            yield found
        elif waiting:
            time.sleep(LOOK_EVERY)


def _read(deployment: Deployment, ids: Sequence[str]) -> dict[str, Outcome]:
    if deployment.results is None:
        from livectl.ops.cluster import deployment as deployments

        app: Any = deployments.client(deployment)
        return outcomes.through_celery(app, ids)
    with resp.dial(deployment.results, PATIENCE) as wire:
        return outcomes.read(wire, deployment.layout, ids)
