"""A person's question after some streamers: parted into portions that jobs carry, and put together again."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any, NamedTuple, TypeAlias

import msgspec

from livectl.live import platforms, polling, sweeping
from livectl.live.views import sights
from livectl.model import Observation, State

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from livectl.config import Settings
    from livectl.live.checking import Checker
    from livectl.live.sweeping import Portion
    from livectl.live.views.sights import Sight
    from livectl.model import Streamer

Who: TypeAlias = "tuple[str, str]"  # platform, and the name that was asked after

BURST = 10.0  # seconds of budget that a platform bears at once: a job takes no more


class Question(NamedTuple):
    """Who is asked after, and the names that the list has for them."""

    portions: list[Portion]
    names: dict[Who, str]

    @property
    def total(self) -> int:
        return sum(len(portion.ids) for portion in self.portions)


def part(streamers: Sequence[Streamer], settings: Settings) -> Question:
    """In the order of the list, each platform by itself."""
    by_platform: dict[str, list[str]] = {}
    for one in streamers:
        by_platform.setdefault(one.platform, []).append(one.id)
    portions: list[Portion] = []
    for name, ids in by_platform.items():
        terms = polling.terms(settings, platforms.get(name))
        requests = max(1, min(sweeping.requests_a_job(terms), int(terms.rate * BURST)))
        portions += sweeping.parted(name, list(dict.fromkeys(ids)), requests * terms.batch)
    return Question(portions, {(one.platform, one.id): one.name for one in streamers if one.name})


def here(checker: Checker, portion: Portion) -> list[Observation]:
    """The answers, asked for by this process once the platform's budget allows it."""
    time.sleep(checker.reserve(portion.platform, len(portion.ids), time.time()))
    return checker.look(portion.platform, portion.ids, time.time())


def read(portion: Portion, result: Any) -> list[Observation]:
    """The answers that a job brought."""
    try:
        return msgspec.convert(result, list[Observation])
    except msgspec.ValidationError:
        return lost(portion, "the job brought something else than answers")


def lost(portion: Portion, why: str) -> list[Observation]:
    """Nobody could say: the job failed, or came to no end."""
    at = time.time()
    return [
        Observation(platform=portion.platform, id=one, state=State.UNKNOWN, at=at, problem=why) for one in portion.ids
    ]


def seen(question: Question, portion: Portion, answers: Sequence[Observation]) -> dict[Who, Sight]:
    """The answers as they are shown, by whom was asked after, under the names of the list."""
    whos = [(portion.platform, name) for name in portion.ids]
    return {who: sights.seen(answer, question.names.get(who, "")) for who, answer in zip(whos, answers, strict=False)}


def in_order(streamers: Iterable[Streamer], found: Mapping[Who, Sight]) -> list[Sight]:
    """As they were asked after, each once."""
    whos = dict.fromkeys((one.platform, one.id) for one in streamers)
    return [found[who] for who in whos if who in found]
