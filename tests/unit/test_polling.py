"""What is learned of when somebody streams, and how often they are checked then."""

from __future__ import annotations

from random import Random
from typing import TYPE_CHECKING

import pytest

from livectl.live import polling
from livectl.live.store_records import DIGITS
from tests.support.polling_model import poll_interval

if TYPE_CHECKING:
    from collections.abc import Sequence

WEEK, DAY, HOUR = polling.WEEK_SECONDS, 86_400.0, polling.HOUR_SECONDS
NOW = 2_600 * WEEK  # hour 0 of a week
FOLLOWED = NOW - 20 * WEEK


def weekly(*hours: float, weeks: int = 20, jitter: float = 0.0, seed: int = 3) -> list[float]:
    dice = Random(seed)
    return [NOW - week * WEEK + hour * HOUR + dice.gauss(0, jitter) for week in range(1, weeks + 1) for hour in hours]


def learned(starts: Sequence[float]) -> list[float]:
    return polling.golive_rates(starts, FOLLOWED, NOW)


def test_nobody_seen_yet_is_expected_at_any_hour_alike() -> None:
    rates = polling.golive_rates([], NOW, NOW)
    assert len(set(rates)) == 1
    assert sum(rates) == pytest.approx(4.0)  # the prior: sessions a week


def test_the_total_comes_near_what_was_seen() -> None:
    assert sum(learned(weekly(20.5, 44.5, 68.5))) == pytest.approx(3.0, rel=0.1)


def test_silence_lowers_the_total() -> None:
    assert sum(learned([])) < 0.2


def test_clockwork_is_expected_at_its_hour_and_day() -> None:
    rates = learned(weekly(30.5))
    assert max(range(168), key=rates.__getitem__) == 30
    assert rates[30] > 20 * rates[54] > 0


def test_an_hour_kept_every_day_holds_for_days_never_seen() -> None:
    rates = learned(weekly(20.5, 44.5, 68.5, 92.5, 116.5))
    assert rates[140] > 3 * rates[130]


def test_rare_days_are_told_from_usual_ones() -> None:
    rates = learned(weekly(20.5, 44.5, 68.5, weeks=20))
    assert rates[20] > 3 * rates[92]


def test_loose_habits_are_smoothed_wider() -> None:
    loose, tight = learned(weekly(20.5, jitter=2 * HOUR)), learned(weekly(20.5, jitter=300))
    assert loose[23] > tight[23]
    assert loose[20] < tight[20]


def test_the_week_is_round() -> None:
    rates = learned(weekly(0.1, 167.9, jitter=600))
    assert rates[0] == pytest.approx(rates[167], rel=0.3)


def test_old_habits_fade_for_new_ones() -> None:
    old = [NOW - week * WEEK + 20.5 * HOUR for week in range(11, 21)]
    new = [NOW - week * WEEK + 60.5 * HOUR for week in range(1, 11)]
    rates = learned(old + new)
    assert rates[60] > 2 * rates[20]


def test_no_hour_is_ever_without_hope() -> None:
    assert min(learned(weekly(20.5))) > 0


def test_poll_weights_grow_with_the_root_of_rate_and_weight() -> None:
    assert polling.poll_weights([0.04, 0.16], 1.0) == pytest.approx([0.2, 0.4])
    assert polling.poll_weights([0.04], 4.0) == pytest.approx([0.4])


def test_packed_poll_weights_stay_within_seven_per_cent() -> None:
    values = [0.003 * 1.1**power for power in range(80)]
    for value, digit in zip(values, polling.pack_weights(values), strict=True):
        unpacked = polling.LOWEST_WEIGHT * 2.718281828 ** (polling.WEIGHT_LOG_STEP * DIGITS.index(digit))
        assert unpacked == pytest.approx(value, rel=0.07)


INTERVALS = [
    # share, uniform, fastest, slowest -> seconds
    (1.0, 300.0, 15.0, 900.0, 300.0),
    (0.0, 300.0, 15.0, 3600.0, 1000.0),  # the floor: 3.3 times the uniform interval
    (0.0, 300.0, 15.0, 900.0, 900.0),
    (100.0, 300.0, 15.0, 900.0, 15.0),
    (0.0, 3000.0, 15.0, 900.0, 10_000.0),  # a budget that cannot bear the slowest
]


@pytest.mark.parametrize(("share", "uniform", "fastest", "slowest", "seconds"), INTERVALS)
def test_intervals(share: float, uniform: float, fastest: float, slowest: float, seconds: float) -> None:
    assert poll_interval(share, uniform, fastest, slowest) == pytest.approx(seconds)
