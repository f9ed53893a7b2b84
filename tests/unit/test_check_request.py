"""A list of any length is split into jobs, each with as many as its platform bears."""

from __future__ import annotations

from pathlib import Path

import pytest

from livectl.live import check_request, list_spool, platforms, polling
from livectl.models import Streamer
from livectl.settings import Settings

SETTINGS = Settings(home=Path("/nowhere"), folder=Path("/nowhere"))
PEOPLE = [
    Streamer(platform=platform, id=str(number), name="Somebody")
    for number in range(1500)
    for platform in ("demo", "douyu")
]


@pytest.mark.parametrize("held", [100, 20_000])
def test_a_long_list_makes_jobs_of_the_same_size_and_names_each_once(
    monkeypatch: pytest.MonkeyPatch, held: int
) -> None:
    monkeypatch.setattr(list_spool, "MAX_HELD", held)
    short = check_request.build(PEOPLE, SETTINGS)
    long = check_request.build_long([PEOPLE, PEOPLE[:700]], SETTINGS)
    assert (long.total, long.names) == (short.total, {})
    for platform in ("demo", "douyu"):
        sizes = [[len(batch.ids) for batch in each.batches if batch.platform == platform] for each in (short, long)]
        assert sizes[0] == sizes[1]
        assert sizes[0][0] <= polling.polling_limits(SETTINGS, platforms.get(platform)).batch * polling.MAX_JOB_REQUESTS
    ids = {(batch.platform, each) for batch in long.batches for each in batch.ids}
    assert ids == {streamer.key for streamer in PEOPLE}


def test_of_nobody_there_is_no_job() -> None:
    assert check_request.build_long([], SETTINGS).batches == []
