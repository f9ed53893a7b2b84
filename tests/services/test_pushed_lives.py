"""One session is one alert, whether pushed, polled, listed, lost, late, twice or forged; `make soak` plays 2,000."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.support import pushed_lives

if TYPE_CHECKING:
    from pathlib import Path


def test_each_go_live_is_one_alert_and_what_is_forged_is_none(tmp_path: Path, store_url: str) -> None:
    outcome = pushed_lives.play(tmp_path, store_url, count=32, a_second=100)
    assert (outcome.lives, outcome.missing, outcome.doubled, outcome.believed) == (28, 0, 0, 0)
    assert outcome.list_pages > 0


@pytest.mark.soak
def test_two_thousand_go_lives(tmp_path: Path, store_url: str) -> None:
    outcome = pushed_lives.play(tmp_path, store_url, count=2_000, a_second=40)
    assert (outcome.missing, outcome.doubled, outcome.believed) == (0, 0, 0)
