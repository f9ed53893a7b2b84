"""The model of pace.lua: how long until a streamer is checked again."""

from __future__ import annotations

from livectl.live import polling

UNIFORM_BUDGET_SHARE = 0.3  # of the budget, shared alike: nobody waits more than 1 / 0.3 of the uniform interval


def poll_interval(share: float, uniform: float, fastest: float, slowest: float) -> float:
    """Seconds to the next check of a streamer whose poll weight is `share` times the mean.

    `uniform` is the interval if all streamers were checked alike.
    """
    if uniform <= fastest:
        return fastest  # the budget is enough for everybody at the highest pace
    latest = slowest if uniform <= slowest else uniform / UNIFORM_BUDGET_SHARE  # the budget is not enough for slowest
    return max(fastest, min(uniform / (UNIFORM_BUDGET_SHARE + (1 - UNIFORM_BUDGET_SHARE) * share), latest))


def next_due(
    at: float, weights: dict[str, list[float]], name: str, rate: float, fastest: float, slowest: float
) -> float:
    """When a streamer checked at this time is checked again: one interval, at the pace of each hour it passes."""
    uniform = len(weights) / rate
    share = 1.0
    while True:
        hour = polling.hour_of_week(at)
        mean = sum(hours[hour] for hours in weights.values()) / len(weights)
        whole = poll_interval(weights[name][hour] / mean, uniform, fastest, slowest)
        left = polling.HOUR_SECONDS - at % polling.HOUR_SECONDS
        if left >= share * whole:
            return at + share * whole
        share, at = share - left / whole, at + left
