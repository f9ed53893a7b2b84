"""A check of many ids, made of questions about some: one by one, or in batches that split and ask again."""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING, Any, NamedTuple, TypeAlias

from livectl.live.platforms.base import Unanswered, all_alike, keep, recall, unanswered
from livectl.model import State

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Iterable, Sequence

    from livectl.live.platforms.base import Check, Effect, Means
    from livectl.model import Observation

Look: TypeAlias = "Callable[[str, Means], Generator[Effect, Any, Observation]]"
LookAtMany: TypeAlias = "Callable[[Sequence[str], Means], Generator[Effect, Any, dict[str, Observation]]]"

FUTILE = 7  # failures without one answer (the batch, its halves, its quarters): it is the site, not an id
MOST_SPLITS = 16  # in one check; 7 find one bad id in 100
MOST_ALONE = 5  # missing rows asked again in one check: an answer that lacks more is broken as a whole
ABSENCE_SECONDS = 3_600.0  # a row missing even when asked alone is not asked alone again for so long
FINAL = {State.BLOCKED, State.RATE_LIMITED, State.AUTH}  # true of the whole platform: asking on would be rude


def one_by_one(platform: str, look: Look) -> Callable[[Sequence[str], Means], Check]:
    """The check of a site that tells of one streamer at a time."""

    def look_at_one(ids: Sequence[str], means: Means) -> Generator[Effect, Any, dict[str, Observation]]:
        return {ids[0]: (yield from look(ids[0], means))}

    return in_batches(platform, 1, look_at_one)


def in_batches(platform: str, size: int, look: LookAtMany) -> Callable[[Sequence[str], Means], Check]:
    """The check of a site that tells of up to `size` at once. `look` may leave ids out, and may raise Unanswered."""

    def check(ids: Sequence[str], means: Means) -> Check:
        work = Work(platform, means, _pieces(list(dict.fromkeys(ids)), size), {}, [])
        while work.waiting:
            some = work.waiting.popleft()
            try:
                answer = yield from look(some, means)
            except Unanswered as trouble:
                work.failed(some, trouble)
                continue
            work.seen.update(answer)
            yield from _ask_again(work, some, [one for one in some if one not in answer])
        return [work.seen[one] for one in ids]

    return check


class Work(NamedTuple):
    """One check under way: what is still to be asked, what was seen, what failed."""

    platform: str
    means: Means
    waiting: deque[Sequence[str]]
    seen: dict[str, Observation]
    failures: list[Unanswered]

    def failed(self, some: Sequence[str], trouble: Unanswered) -> None:
        self.failures.append(trouble)
        futile = not self.seen and len(self.failures) >= FUTILE
        if trouble.divisible and len(some) > 1 and len(self.failures) <= MOST_SPLITS and not futile:
            self.waiting.extend(_pieces(some, -(-len(some) // 2)))
            return
        self.note(some, trouble)
        if futile or trouble.state in FINAL:
            self.note([one for others in self.waiting for one in others], trouble)
            self.waiting.clear()

    def note(self, ids: Iterable[str], trouble: Unanswered) -> None:
        self.seen.update({one: unanswered(self.platform, one, trouble, self.means) for one in ids})


def _ask_again(work: Work, some: Sequence[str], missing: Sequence[str]) -> Generator[Effect, Any, None]:
    """A row the answer lacks says nothing: UNKNOWN, unless it answers alone."""
    lost = all_alike(work.platform, missing, State.UNKNOWN, work.means, "not in the answer")
    work.seen.update({observation.id: observation for observation in lost})
    if len(some) == 1:
        for one in missing:
            yield from keep(f"absent/{one}", "1", ABSENCE_SECONDS)
        return
    alone = 0
    for one in missing:
        if alone < MOST_ALONE and not (yield from recall(f"absent/{one}")):
            work.waiting.append([one])
            alone += 1


def _pieces(ids: Sequence[str], size: int) -> deque[Sequence[str]]:
    return deque(ids[start : start + size] for start in range(0, len(ids), size))
