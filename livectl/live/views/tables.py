"""Tables of streamers, as people see them in a terminal of 80 columns."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING

from livectl import render
from livectl.live.views.sights import parse_utc
from livectl.model import State

if TYPE_CHECKING:
    from collections.abc import Sequence

    from livectl.live.views.sights import StreamerView
    from livectl.render import View

MINUTE_SECONDS, HOUR_SECONDS, DAY_SECONDS = 60, 3600, 86_400  # seconds
THOUSAND, MILLION = 1_000, 1_000_000
MAX_TITLE_CHARS = 60  # characters: two lines of its column
STATE_TEXTS = {State.NOT_FOUND: "not found", State.RATE_LIMITED: "rate limited", State.PARSE_ERROR: "not understood"}
NOBODY_LIVE = "Nobody is live."
NOBODY_FOLLOWED = "Nobody is followed yet: livectl follow add ADDRESS"


def live_view(streamers: Sequence[StreamerView], now: float) -> View:
    """Those who are live."""
    rows = [
        (
            address_text(streamer),
            streamer.name or "",
            _format_since(streamer.started_at, now),
            *_viewers_and_title(streamer),
        )
        for streamer in streamers
    ]
    return render.table(("streamer", "name", "for", "viewers", "title"), rows, streamers, empty=NOBODY_LIVE)


def everyone_view(streamers: Sequence[StreamerView], now: float) -> View:
    """Everybody: how they were last seen, when that was, and what has been in the way since."""
    rows = [
        (
            address_text(streamer),
            state_text(streamer),
            _format_since(streamer.checked_at, now),
            *_viewers_and_title(streamer)[:1],
            _problem_or_title(streamer),
        )
        for streamer in streamers
    ]
    return render.table(
        ("streamer", "state", "seen", "viewers", "title or problem"), rows, streamers, empty=NOBODY_FOLLOWED
    )


def check_view(streamers: Sequence[StreamerView], now: float) -> View:
    """Answers that just came."""
    rows = [
        (
            address_text(streamer),
            state_text(streamer),
            _format_since(streamer.started_at, now),
            *_viewers_and_title(streamer)[:1],
            _problem_or_title(streamer),
        )
        for streamer in streamers
    ]
    columns = ("streamer", "state", "for", "viewers", "title or problem")
    return render.table(columns, rows, streamers, empty=NOBODY_FOLLOWED)


def summary_view(job_id: str, streamers: Sequence[StreamerView], seconds: float) -> View:
    """How many are live, are not, and could not be asked, and why."""
    verdicts = {True: "live", False: "not live", None: "could not ask"}
    counts = Counter((verdicts[streamer.live], _reason(streamer)) for streamer in streamers)
    order = list(verdicts.values())
    tally = sorted(counts.items(), key=lambda row: (order.index(row[0][0]), -row[1]))
    data = {
        "id": job_id,
        "seconds": round(seconds, 2),
        "total": len(streamers),
        **{
            verdict.replace(" ", "_"): sum(streamer.live is key for streamer in streamers)
            for key, verdict in verdicts.items()
        },
        "reasons": [{"verdict": verdict, "reason": reason, "count": count} for (verdict, reason), count in tally],
        "streamers": streamers,
    }
    rows = [(str(count), verdict, "" if reason == verdict else reason) for (verdict, reason), count in tally]
    rows.append(
        (
            str(len(streamers)),
            "in all",
            f"in {seconds:.1f} s" if seconds < MINUTE_SECONDS else f"in {format_duration(seconds)}",
        )
    )
    return render.table(("streamers", "verdict", "said"), rows, data, empty=NOBODY_FOLLOWED)


def address_text(streamer: StreamerView) -> str:
    return f"{streamer.platform}/{streamer.id}"


def state_text(streamer: StreamerView) -> str:
    return STATE_TEXTS.get(streamer.state, str(streamer.state))


def format_duration(seconds: float) -> str:
    """How long, in the largest unit that still says something."""
    for size, unit in ((DAY_SECONDS, "d"), (HOUR_SECONDS, "h"), (MINUTE_SECONDS, "min")):
        if seconds >= size:
            return (
                f"{seconds / size:.0f} {unit}"
                if seconds >= 10 * size or size == MINUTE_SECONDS
                else f"{seconds / size:.1f} {unit}"
            )
    return f"{max(0.0, seconds):.0f} s"


def _reason(streamer: StreamerView) -> str:
    """The state; where nobody could ask, what stood in the way too."""
    if streamer.live is not None or not streamer.problem:
        return state_text(streamer)
    return f"{state_text(streamer)}: {streamer.problem}"


def _format_since(text: str | None, now: float) -> str:
    at = parse_utc(text)
    return "" if at is None else format_duration(now - at)


def _viewers_and_title(streamer: StreamerView) -> tuple[str, str]:
    is_live = streamer.live is True
    return _format_count(streamer.viewers) if is_live else "", _title_text(streamer)


def _title_text(streamer: StreamerView) -> str:
    title = _shorten(streamer.title or "")
    return f"{title} ({streamer.category})" if streamer.category else title


def _problem_or_title(streamer: StreamerView) -> str:
    if streamer.problem:
        return streamer.problem
    return _title_text(streamer) if streamer.live else ""


def _shorten(text: str) -> str:
    return text if len(text) <= MAX_TITLE_CHARS else f"{text[: MAX_TITLE_CHARS - 1]}…"


def _format_count(viewers: int | None) -> str:
    if viewers is None:
        return ""
    if viewers >= MILLION:
        return f"{viewers / MILLION:.1f} M"
    return f"{viewers / THOUSAND:.1f} k" if viewers >= THOUSAND else str(viewers)
