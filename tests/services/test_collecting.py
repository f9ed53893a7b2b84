"""The changes of all cells come into one outbox: each once, in order, whoever ends and whatever is repeated."""

from __future__ import annotations

import random
import threading
from collections import defaultdict
from typing import TYPE_CHECKING, Any

from livectl.live import cells, collecting

if TYPE_CHECKING:
    import pytest

PLACES = [cells.cell_place("demo", shard) for shard in range(4)]
OUTBOX = f"{cells.COMMON}outbox"


def tell(client: Any, place: str, *texts: str) -> None:
    for text in texts:
        client.xadd(f"{place}outbox", {"change": text, "page": "{}"})


def told(client: Any, outbox: str = OUTBOX) -> list[str]:
    return [fields["change"] for _, fields in client.xrange(outbox)]


def test_each_change_is_taken_once_and_in_the_order_of_its_cell(client: Any) -> None:
    tell(client, PLACES[0], "a1", "a2")
    tell(client, PLACES[1], "b1")
    tell(client, PLACES[0], "a3")
    assert collecting.collect(client, PLACES) == 4
    assert collecting.collect(client, PLACES) == 0
    tell(client, PLACES[1], "b2")
    assert collecting.collect(client, [PLACES[1]]) == 1
    for letter, texts in (("a", ["a1", "a2", "a3"]), ("b", ["b1", "b2"])):
        assert [text for text in told(client) if text.startswith(letter)] == texts
    assert collecting.collect(client, []) == 0


def test_any_number_may_collect_at_a_time(client: Any) -> None:
    """One that has read and is late takes nothing twice, and leaves out nothing that others had not read."""
    dice, expected, texts = random.Random(5), defaultdict(list), iter(range(10_000))

    def work() -> None:
        for _ in range(30):
            collecting.collect(client, PLACES)

    threads = [threading.Thread(target=work) for _ in range(3)]
    for thread in threads:
        thread.start()
    for _ in range(200):
        place = dice.choice(PLACES)
        expected[place].append(f"{PLACES.index(place)} {next(texts)}")
        tell(client, place, expected[place][-1])
    for thread in threads:
        thread.join()
    collecting.collect(client, PLACES)
    found = told(client)
    assert len(found) == 200
    for number, place in enumerate(PLACES):
        assert [text for text in found if text.startswith(f"{number} ")] == expected[place]


def test_whoever_ends_before_taking_leaves_it_to_the_next(client: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    tell(client, PLACES[2], "one")
    with monkeypatch.context() as patch:
        patch.setattr(collecting, "_take", lambda *_: 1 / 0)
        try:
            collecting.collect(client, PLACES)
        except ZeroDivisionError:
            assert told(client) == []
    assert collecting.collect(client, PLACES) == 1


def test_more_than_fits_into_one_call_is_taken_all_the_same(client: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(collecting, "MAX_TAKEN", 7)
    for place in PLACES:
        tell(client, place, *(f"{place} {number}" for number in range(20)))
    assert collecting.collect(client, PLACES) == 80
    for place in PLACES:
        assert [text for text in told(client) if text.startswith(place)] == [f"{place} {each}" for each in range(20)]


def test_what_a_failover_took_back_is_collected_again(client: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """The one outbox and what is taken lie together: both are as they were a moment before."""
    tell(client, PLACES[0], "a1", "a2")
    collecting.collect(client, PLACES)
    tell(client, PLACES[0], "a3")
    kept = client.dump(OUTBOX), client.dump(collecting.TAKEN_KEY)
    assert collecting.collect(client, PLACES) == 1
    real, left = collecting._read_changes, [1]

    def read(*args: Any) -> Any:
        found = real(*args)
        if left and left.pop():  # it has read what is taken, and then comes the failover
            for key, value in zip((OUTBOX, collecting.TAKEN_KEY), kept, strict=True):
                client.restore(key, 0, value, replace=True)
        return found

    monkeypatch.setattr(collecting, "_read_changes", read)
    tell(client, PLACES[0], "a4")
    assert collecting.collect(client, PLACES) == 2
    assert told(client) == ["a1", "a2", "a3", "a4"]


def test_cells_drop_what_was_taken_long_ago_and_nothing_else(client: Any) -> None:
    for number in (1_000, 2_000, 9_000_000):
        client.xadd(f"{PLACES[0]}outbox", {"change": f"{number}", "page": "{}"}, id=f"{number}-1")
    collecting.trim(client, PLACES, 9_000.0)
    assert client.xlen(f"{PLACES[0]}outbox") == 3
    client.hset(collecting.TAKEN_KEY, PLACES[0], "1000-1")
    collecting.trim(client, PLACES, 9_000.0)
    assert told(client, f"{PLACES[0]}outbox") == ["1000", "2000", "9000000"]
    collecting.collect(client, PLACES)
    collecting.trim(client, PLACES, 9_000.0)
    assert told(client, f"{PLACES[0]}outbox") == ["9000000"]
