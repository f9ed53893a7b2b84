"""An errand: a question after streamers that workers are sent on, and the answers that they bring."""

from __future__ import annotations

from typing import TYPE_CHECKING
from uuid import uuid4

from livectl.live import asking
from livectl.model import JobState
from livectl.ops.cluster.fleet import Crew
from livectl.ops.jobs import groups
from livectl.ops.jobs.posting import Letter

if TYPE_CHECKING:
    from collections.abc import Iterator

    from celery import Celery

    from livectl.live.asking import Question, Who
    from livectl.live.sweeping import Portion
    from livectl.live.views.sights import Sight
    from livectl.model import Observation
    from livectl.ops.cluster.deployment import Deployment
    from livectl.ops.jobs.outcome import Outcome
    from livectl.ops.jobs.posting import Terms

TASK = "livectl.check"
AT_ITS_TURN = 0.0  # how the task is told that its requests are not paid for yet


def somebody_works(deployment: Deployment) -> bool:
    """Whether a worker answers at this moment."""
    with Crew(deployment) as crew:
        return bool(crew.ask("ping").said)


class Errand:
    """One question, a job for each of its portions."""

    def __init__(self, question: Question, deployment: Deployment) -> None:
        self._question = question
        self._deployment = deployment
        self._portions: dict[str, Portion] = {str(uuid4()): portion for portion in question.portions}

    @property
    def jobs(self) -> list[tuple[str, Portion]]:
        return list(self._portions.items())

    def send(self, app: Celery, terms: Terms) -> str:
        """Sends the jobs. Answers the id that `livectl status` understands: of the group, or of the only one."""
        letters = [
            Letter(id=job, args=(portion.platform, portion.ids, AT_ITS_TURN), brief=f"({portion})")
            for job, portion in self._portions.items()
        ]
        return groups.send(app, TASK, letters, terms)

    def follow(self, until: float) -> Iterator[dict[Who, Sight]]:
        """Answers as they come. What has not come in time is left in `jobs`."""
        for ended in groups.follow(self._deployment, list(self._portions), until):
            found: dict[Who, Sight] = {}
            for job, outcome in ended.items():
                portion = self._portions.pop(job)
                found |= asking.seen(self._question, portion, _answers(portion, outcome))
            yield found


def _answers(portion: Portion, outcome: Outcome) -> list[Observation]:
    if outcome.end is JobState.SUCCEEDED:
        return asking.read(portion, outcome.result)
    if outcome.end is JobState.REVOKED:
        return asking.lost(portion, "its job was taken back, or no worker took it in time")
    return asking.lost(portion, f"its job failed: {outcome.error}")
