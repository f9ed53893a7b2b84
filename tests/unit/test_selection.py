"""The first of however many streamers are picked a page at a time, as if all had been sorted."""

from __future__ import annotations

from random import Random
from typing import TYPE_CHECKING

import pytest

from livectl.errors import UsageError
from livectl.live.store_reader import SORT_KEYS, Selection
from livectl.live.views import NOT_ASKED
from livectl.models import State, Streamer, StreamerRecord
from tests.support.holding import most_bytes

if TYPE_CHECKING:
    from collections.abc import Iterator


def people(count: int) -> Iterator[StreamerRecord]:
    dice = Random(7)
    for number in range(count):
        state = dice.choice([State.LIVE, State.OFFLINE, None])
        yield StreamerRecord(
            platform=dice.choice(["demo", "douyu"]),
            id=f"u{number}",
            state=state,
            started_at=dice.random(),
            ended_at=dice.random(),
            viewers=dice.randrange(99),
            streamer=Streamer(platform="demo", id="x", tags=("even",) if number % 2 == 0 else ()),
        )


def pages(records: list[StreamerRecord]) -> Iterator[list[StreamerRecord]]:
    return (records[start : start + 100] for start in range(0, len(records), 100))


@pytest.mark.parametrize("sort", SORT_KEYS)
@pytest.mark.parametrize("selection", [Selection(), Selection(("even",)), Selection((), ("douyu",))])
def test_the_first_are_those_of_all(sort: str, selection: Selection) -> None:
    records, selection = list(people(1_000)), selection._replace(sort=sort)
    whole, some = selection.pick(pages(records), None), selection.pick(pages(records), 30)
    assert some.streamers == whole.streamers[:30]
    assert (some.live, some.left_out + 30) == (whole.live, len(whole.streamers))
    assert whole.left_out == 0
    assert whole.live == sum(bool(streamer.live) for streamer in whole.streamers)
    assert some.unknown == {NOT_ASKED: sum(streamer.live is None for streamer in whole.streamers)}


def test_nobody_is_held_who_is_not_among_the_first() -> None:
    def some(count: int) -> Iterator[list[StreamerRecord]]:
        dice = people(count)
        while page := [record for record, _ in zip(dice, range(100), strict=False)]:
            yield page

    few, many = (most_bytes(lambda count=count: Selection().pick(some(count), 10)) for count in (500, 3_000))  # type: ignore[misc]
    assert many < 2 * few


def test_a_tag_that_nobody_has_is_told_from_those_that_somebody_has() -> None:
    with pytest.raises(UsageError, match="nobody has the tag evn") as caught:
        Selection(("evn",)).pick(pages(list(people(200))), 5)
    assert "even" in caught.value.hint
