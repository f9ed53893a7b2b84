"""Tables of streamers, as people see them in a terminal of 80 columns."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING

from livectl import render
from livectl.live.views.sights import moment
from livectl.model import State

if TYPE_CHECKING:
    from collections.abc import Sequence

    from livectl.live.views.sights import Sight
    from livectl.render import View

MINUTE, HOUR, DAY = 60, 3600, 86_400  # seconds
THOUSAND, MILLION = 1_000, 1_000_000
LONG_TITLE = 60  # characters: two lines of its column
WORDS = {State.NOT_FOUND: "not found", State.RATE_LIMITED: "rate limited", State.PARSE_ERROR: "not understood"}
NOBODY = "Nobody is live."
NOBODY_FOLLOWED = "Nobody is followed yet: livectl follow add ADDRESS"


def live(found: Sequence[Sight], now: float) -> View:
    """Those who are live."""
    rows = [(address(one), one.name or "", _since(one.started_at, now), *_show(one)) for one in found]
    return render.table(("streamer", "name", "for", "viewers", "title"), rows, found, empty=NOBODY)


def everyone(found: Sequence[Sight], now: float) -> View:
    """Everybody: how they were last seen, when that was, and what has been in the way since."""
    rows = [(address(one), state(one), _since(one.checked_at, now), *_show(one)[:1], _said(one)) for one in found]
    return render.table(
        ("streamer", "state", "seen", "viewers", "title or problem"), rows, found, empty=NOBODY_FOLLOWED
    )


def checked(found: Sequence[Sight], now: float) -> View:
    """Answers that just came."""
    rows = [(address(one), state(one), _since(one.started_at, now), *_show(one)[:1], _said(one)) for one in found]
    columns = ("streamer", "state", "for", "viewers", "title or problem")
    return render.table(columns, rows, found, empty=NOBODY_FOLLOWED)


def summary(job: str, found: Sequence[Sight], seconds: float) -> View:
    """How many are live, are not, and could not be asked, and why."""
    verdicts = {True: "live", False: "not live", None: "could not ask"}
    counts = Counter((verdicts[one.live], _reason(one)) for one in found)
    order = list(verdicts.values())
    tally = sorted(counts.items(), key=lambda row: (order.index(row[0][0]), -row[1]))
    data = {
        "id": job,
        "seconds": round(seconds, 2),
        "total": len(found),
        **{verdict.replace(" ", "_"): sum(one.live is key for one in found) for key, verdict in verdicts.items()},
        "reasons": [{"verdict": verdict, "reason": reason, "count": count} for (verdict, reason), count in tally],
        "streamers": found,
    }
    rows = [(str(count), verdict, "" if reason == verdict else reason) for (verdict, reason), count in tally]
    rows.append((str(len(found)), "in all", f"in {seconds:.1f} s" if seconds < MINUTE else f"in {span(seconds)}"))
    return render.table(("streamers", "verdict", "said"), rows, data, empty=NOBODY_FOLLOWED)


def address(one: Sight) -> str:
    return f"{one.platform}/{one.id}"


def state(one: Sight) -> str:
    return WORDS.get(one.state, str(one.state))


def span(seconds: float) -> str:
    """How long, in the largest unit that still says something."""
    for size, unit in ((DAY, "d"), (HOUR, "h"), (MINUTE, "min")):
        if seconds >= size:
            return (
                f"{seconds / size:.0f} {unit}"
                if seconds >= 10 * size or size == MINUTE
                else f"{seconds / size:.1f} {unit}"
            )
    return f"{max(0.0, seconds):.0f} s"


def _reason(one: Sight) -> str:
    """The state; where nobody could ask, what stood in the way too."""
    if one.live is not None or not one.problem:
        return state(one)
    return f"{state(one)}: {one.problem}"


def _since(said: str | None, now: float) -> str:
    at = moment(said)
    return "" if at is None else span(now - at)


def _show(one: Sight) -> tuple[str, str]:
    shown = one.live is True
    return _count(one.viewers) if shown else "", _titled(one)


def _titled(one: Sight) -> str:
    title = _shortened(one.title or "")
    return f"{title} ({one.category})" if one.category else title


def _said(one: Sight) -> str:
    if one.problem:
        return one.problem
    return _titled(one) if one.live else ""


def _shortened(text: str) -> str:
    return text if len(text) <= LONG_TITLE else f"{text[: LONG_TITLE - 1]}…"


def _count(viewers: int | None) -> str:
    if viewers is None:
        return ""
    if viewers >= MILLION:
        return f"{viewers / MILLION:.1f} M"
    return f"{viewers / THOUSAND:.1f} k" if viewers >= THOUSAND else str(viewers)
