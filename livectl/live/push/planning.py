"""Decides of whom a platform should tell where it cannot tell of everybody: the most wanted first. No I/O in here."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, NamedTuple

from livectl.live.polling import LOWEST_WEIGHT, WEEK_HOURS, WEIGHT_LOG_STEP
from livectl.live.store_records import DIGITS

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

# What is subscribed to is kept until somebody is wanted so much more: two who are wanted alike change no places.
KEEP_BONUS = 1.25
COST = 1  # of a subscription that we make, where a platform counts them
LEVELS = {digit: LOWEST_WEIGHT * math.exp(WEIGHT_LOG_STEP * level) for level, digit in enumerate(DIGITS)}
SAMPLED = 7  # each hour of the day once, of days all over the week: enough to compare streamers by
UNLEARNED = WEEK_HOURS * math.sqrt(4 / WEEK_HOURS)  # of who is new: four go-lives a week, at any hour


class Subscribed(NamedTuple):
    """A subscription that is there."""

    id: str
    cost: int


class SubscriptionPlan(NamedTuple):
    """What is to be changed: the ids of subscriptions that go; (kind, streamer) of those that come, in this order."""

    remove: list[str]
    add: list[tuple[str, str]]
    wanted: int  # streamers who should be subscribed to, if there were room


def made_first(
    keys: Iterable[tuple[str, str]], outcomes: Iterable[Subscribed | Exception | None]
) -> list[tuple[tuple[str, str], Subscribed | Exception | None]]:
    """What came of each of many that were asked for at once. One that was refused tells how many a platform takes only
    once all that it took are counted."""
    return sorted(zip(keys, outcomes, strict=True), key=lambda made: not isinstance(made[1], Subscribed))


def want(weight: float, packed_weights: str) -> float:
    """How much a streamer is wanted: how often they should be asked, by their habits and their weight in the list."""
    if not packed_weights:
        return UNLEARNED * math.sqrt(weight)
    return SAMPLED * sum(LEVELS.get(digit, 0.0) for digit in packed_weights[::SAMPLED])  # the weight is in them


def plan(
    wants: Mapping[str, float],
    kinds: Sequence[str],
    existing: Mapping[tuple[str, str], Subscribed],
    max_cost: int,
    refused: Iterable[tuple[str, str]] = (),
) -> SubscriptionPlan:
    """Of everybody the first kind before the second of anybody, each as far as the cost allows.

    `refused` are those that the platform does not want to tell of.
    """
    kept_out = set(refused)
    wanted = [
        key
        for kind in kinds
        for key in sorted(
            ((kind, streamer_id) for streamer_id in wants if (kind, streamer_id) not in kept_out),
            key=lambda key: (-wants[key[1]] * (KEEP_BONUS if key in existing else 1.0), key[1]),
        )
    ]
    chosen, cost = set(), 0
    for key in wanted:
        price = existing[key].cost if key in existing else COST
        if cost + price <= max_cost:
            chosen.add(key)
            cost += price
    return SubscriptionPlan(
        remove=[subscribed.id for key, subscribed in existing.items() if key not in chosen],
        add=[key for key in wanted if key in chosen and key not in existing],
        wanted=len(wants),
    )
