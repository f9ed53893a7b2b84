"""A sight of a streamer, as commands show it: from the store, or from an answer that just came."""

from __future__ import annotations

import os
import time
from collections import Counter
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import TYPE_CHECKING, NoReturn, TextIO

import msgspec

from livectl import render
from livectl.errors import LivectlError
from livectl.models import State

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from rich.console import RenderableType

    from livectl.models import Observation, StreamerRecord
    from livectl.render import View


NOT_LIVE = frozenset({State.OFFLINE, State.REPLAY, State.UPCOMING, State.NOT_FOUND, State.BANNED})


class StreamerView(msgspec.Struct, frozen=True, kw_only=True):
    """What `check` and `live` tell of a streamer; None is not known."""

    platform: str
    id: str
    state: State
    name: str | None = None
    title: str | None = None
    category: str | None = None
    viewers: int | None = None
    started_at: str | None = None
    url: str | None = None
    cover: str | None = None
    session: str | None = None
    checked_at: str | None = None
    problem: str | None = None

    @property
    def live(self) -> bool | None:
        """Whether they are; None when nobody could say."""
        if self.state is State.LIVE or (self.state is State.RESTRICTED and self.session):
            return True
        return False if self.state in NOT_LIVE else None


def from_observation(observation: Observation, name: str = "") -> StreamerView:
    """An answer that just came."""
    return StreamerView(
        platform=observation.platform,
        id=observation.id,
        state=observation.state,
        name=name or observation.name or None,
        title=observation.title or None,
        category=observation.category or None,
        viewers=observation.viewers,
        started_at=format_utc(observation.started_at),
        url=observation.url or None,
        cover=observation.cover or None,
        session=observation.session or None,
        checked_at=format_utc(observation.at),
        problem=observation.problem or None,
    )


def from_record(record: StreamerRecord) -> StreamerView:
    """What the store knows: the last reading, which stands whatever went wrong since, and what that was."""
    is_live = record.state is State.LIVE
    return StreamerView(
        platform=record.platform,
        id=record.id,
        state=record.state or record.trouble or State.UNKNOWN,
        name=record.name or None,
        title=record.title or None,
        category=record.category or None,
        viewers=record.viewers,
        started_at=format_utc(record.started_at) if is_live else None,
        url=record.url or None,
        cover=record.cover or None,
        session=(record.session or None) if is_live else None,
        checked_at=format_utc(record.seen),
        problem=problem_text(record),
    )


def problem_text(record: StreamerRecord) -> str | None:
    """Why there is no newer reading, in words."""
    if not record.trouble:
        return record.problem or None
    reason = str(record.trouble).replace("_", " ")
    return f"{reason}: {record.problem}" if record.problem else reason


def format_utc(at: float | None) -> str | None:
    """ISO 8601 in UTC, to the second."""
    return None if at is None else f"{datetime.fromtimestamp(at, UTC):%Y-%m-%dT%H:%M:%SZ}"


def parse_utc(text: str | None) -> float | None:
    return datetime.fromisoformat(text).timestamp() if text else None


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


REFRESH_SECONDS = 1.0  # seconds between two looks: reading costs a millisecond
QUIT_KEY = "q"


def print_changes(read_view: Callable[[], View], show: Callable[[View], None]) -> NoReturn:
    """Shows each new answer, until it is interrupted."""
    last_keys: list[Sequence[object]] | None = None
    while True:
        view = read_view()
        change_keys = [_change_key(streamer) for streamer in view.data]
        if change_keys != last_keys:
            show(view)
            last_keys = change_keys
        time.sleep(REFRESH_SECONDS)


def draw_full_screen(read_view: Callable[[], View], out: TextIO, keys: TextIO) -> None:
    """Takes the terminal's whole page, and gives it back."""
    from rich.console import Console
    from rich.live import Live

    with (
        _key_reader(keys) as read_key,
        Live(console=Console(file=out, markup=False, highlight=False), screen=True, auto_refresh=False) as page,
    ):
        while True:
            page.update(_render_frame(read_view), refresh=True)
            if read_key(REFRESH_SECONDS) == QUIT_KEY:
                return


def _render_frame(read_view: Callable[[], View]) -> RenderableType:
    """An outage is shown in place of the answer: watching goes on."""
    from rich.console import Group

    try:
        body = read_view().to_renderable()
    except LivectlError as error:
        body = f"{error.message}\n  {error.hint}"
    return Group(body, "", f"{time.strftime('%H:%M:%S')}  {QUIT_KEY} leaves")


def _change_key(streamer: StreamerView) -> Sequence[object]:
    """What of a sight is worth telling again: not that it was looked at again, nor each viewer."""
    return (
        streamer.platform,
        streamer.id,
        streamer.state,
        streamer.title,
        streamer.category,
        streamer.session,
        streamer.problem,
    )


@contextmanager
def _key_reader(keys: TextIO) -> Iterator[Callable[[float], str]]:
    """Waits for a key, so many seconds; empty when none was pressed. The terminal is put back as it was."""
    import select
    import termios
    import tty

    def read_key(seconds: float) -> str:
        ready, _, _ = select.select([keys], [], [], seconds)
        return os.read(keys.fileno(), 1).decode(errors="replace") if ready else ""

    saved_attributes = termios.tcgetattr(keys)
    tty.setcbreak(keys)
    try:
        yield read_key
    finally:
        termios.tcsetattr(keys, termios.TCSADRAIN, saved_attributes)
