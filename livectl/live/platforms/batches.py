"""A check of many ids, made of questions about some: one by one, or in batches that split and ask again."""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING, Any, NamedTuple, TypeAlias

from livectl.live.platforms.base import CheckFailed, cache_get, cache_set, failed_observation, same_observations
from livectl.model import State

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Iterable, Sequence

    from livectl.live.platforms.base import Check, CheckContext, Effect
    from livectl.model import Observation

Look: TypeAlias = "Callable[[str, CheckContext], Generator[Effect, Any, Observation]]"
LookAtMany: TypeAlias = "Callable[[Sequence[str], CheckContext], Generator[Effect, Any, dict[str, Observation]]]"

MAX_FAILURES_WITHOUT_ANSWER = (
    7  # failures without one answer (the batch, its halves, its quarters): it is the site, not an id
)
MAX_SPLITS = 16  # in one check; 7 find one bad id in 100
MAX_SINGLE_RETRIES = 5  # missing rows asked again in one check: an answer that lacks more is broken as a whole
ABSENT_CACHE_SECONDS = 3_600.0  # a row missing even when asked alone is not asked alone again for so long
PLATFORM_WIDE_STATES = {
    State.BLOCKED,
    State.RATE_LIMITED,
    State.AUTH,
}  # true of the whole platform: asking on would be rude


def one_by_one(platform: str, look: Look) -> Callable[[Sequence[str], CheckContext], Check]:
    """The check of a site that tells of one streamer at a time."""

    def look_at_one(ids: Sequence[str], context: CheckContext) -> Generator[Effect, Any, dict[str, Observation]]:
        return {ids[0]: (yield from look(ids[0], context))}

    return in_batches(platform, 1, look_at_one)


def in_batches(platform: str, size: int, look: LookAtMany) -> Callable[[Sequence[str], CheckContext], Check]:
    """The check of a site that tells of up to `size` at once. `look` may leave ids out, and may raise Unanswered."""

    def check(ids: Sequence[str], context: CheckContext) -> Check:
        progress = CheckProgress(platform, context, _split(list(dict.fromkeys(ids)), size), {}, [])
        while progress.waiting:
            batch = progress.waiting.popleft()
            try:
                observations = yield from look(batch, context)
            except CheckFailed as failure:
                progress.record_failure(batch, failure)
                continue
            progress.observations.update(observations)
            yield from _retry_alone(
                progress, batch, [streamer_id for streamer_id in batch if streamer_id not in observations]
            )
        return [progress.observations[streamer_id] for streamer_id in ids]

    return check


class CheckProgress(NamedTuple):
    """One check under way: what is still to be asked, what was seen, what failed."""

    platform: str
    context: CheckContext
    waiting: deque[Sequence[str]]
    observations: dict[str, Observation]
    failures: list[CheckFailed]

    def record_failure(self, ids: Sequence[str], failure: CheckFailed) -> None:
        self.failures.append(failure)
        give_up = not self.observations and len(self.failures) >= MAX_FAILURES_WITHOUT_ANSWER
        if failure.divisible and len(ids) > 1 and len(self.failures) <= MAX_SPLITS and not give_up:
            self.waiting.extend(_split(ids, -(-len(ids) // 2)))
            return
        self.mark_failed(ids, failure)
        if give_up or failure.state in PLATFORM_WIDE_STATES:
            self.mark_failed([streamer_id for batch in self.waiting for streamer_id in batch], failure)
            self.waiting.clear()

    def mark_failed(self, ids: Iterable[str], failure: CheckFailed) -> None:
        self.observations.update(
            {streamer_id: failed_observation(self.platform, streamer_id, failure, self.context) for streamer_id in ids}
        )


def _retry_alone(progress: CheckProgress, batch: Sequence[str], missing: Sequence[str]) -> Generator[Effect, Any, None]:
    """A row the answer lacks says nothing: UNKNOWN, unless it answers alone."""
    unknown = same_observations(progress.platform, missing, State.UNKNOWN, progress.context, "not in the answer")
    progress.observations.update({observation.id: observation for observation in unknown})
    if len(batch) == 1:
        for streamer_id in missing:
            yield from cache_set(f"absent/{streamer_id}", "1", ABSENT_CACHE_SECONDS)
        return
    retries = 0
    for streamer_id in missing:
        if retries < MAX_SINGLE_RETRIES and not (yield from cache_get(f"absent/{streamer_id}")):
            progress.waiting.append([streamer_id])
            retries += 1


def _split(ids: Sequence[str], size: int) -> deque[Sequence[str]]:
    return deque(ids[start : start + size] for start in range(0, len(ids), size))
