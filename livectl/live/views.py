"""Shows streamers, the follow list and the platforms as tables and JSON."""

from __future__ import annotations

from collections import Counter, defaultdict
from datetime import datetime  # noqa: TC003 - msgspec reads the annotations
from typing import TYPE_CHECKING, Any

import msgspec

from livectl import render
from livectl.models import State
from livectl.redaction import hide_secrets
from livectl.render import Column, View, one_line, sentence, with_lines
from livectl.units import format_duration, format_names, utc_datetime

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence

    from livectl.live.follows.edit import FollowEdit
    from livectl.live.follows.follow_list import FollowList
    from livectl.models import Observation, Streamer, StreamerRecord


NOT_LIVE = frozenset({State.OFFLINE, State.REPLAY, State.UPCOMING, State.NOT_FOUND, State.BANNED})
VERDICT_NAMES = {True: "live", False: "not live", None: "could not ask"}
NOT_ASKED = "not asked yet"
NOBODY_LIVE = "Nobody is live."
LIST_UNREADABLE = "Nobody is asked: the follow list cannot be read."
NOBODY_FITS = "Nobody on the list is of that kind."
NOBODY_FOLLOWED = "Nobody is followed yet: livectl follow add ADDRESS"

MINUTE_SECONDS = 60
THOUSAND, MILLION = 1_000, 1_000_000
LEAST_TITLE_CHARS = 16
MAX_STREAMERS_NAMED = 3  # before a problem that many have

STREAMER = Column("streamer", "whole")
VIEWERS = Column("viewers", "number", rank=2)
LIVE_COLUMNS = (
    STREAMER,
    Column("name", rank=1, least=8),
    Column("for", "number", rank=3),
    VIEWERS,
    Column("title", least=LEAST_TITLE_CHARS),
    Column("category", rank=4),
)
FOLLOW_COLUMNS = (
    STREAMER,
    Column("state", "state"),
    Column("name", rank=1),
    Column("tags", rank=2),
    Column("alerts", rank=3),
    Column("weight", "number", rank=4),
)


class StreamerView(msgspec.Struct, frozen=True, kw_only=True):
    """What `check` and `live` show of a streamer, with the field names of their JSON. None means unknown.

    Times are whole seconds in UTC, which JSON shows as `2026-11-28T09:00:00Z`.
    """

    platform: str
    id: str
    state: State
    name: str | None = None
    title: str | None = None
    category: str | None = None
    viewers: int | None = None
    started_at: datetime | None = None
    url: str | None = None
    cover: str | None = None
    session: str | None = None
    checked_at: datetime | None = None
    problem: str | None = None

    @property
    def live(self) -> bool | None:
        """Whether the streamer is live; None when the platform could not be asked."""
        if self.state is State.LIVE or (self.state is State.RESTRICTED and self.session):
            return True
        return False if self.state in NOT_LIVE else None


def from_observation(observation: Observation, name: str = "") -> StreamerView:
    """Shows an answer that just came, under the name that the follow list has for the streamer."""
    return StreamerView(
        **_page_fields(observation),
        state=observation.state,
        name=name or observation.name or None,
        started_at=utc_datetime(observation.started_at),
        session=observation.session or None,
        checked_at=utc_datetime(observation.at),
        problem=hide_secrets(observation.problem) or None,
    )


def from_record(record: StreamerRecord) -> StreamerView:
    """Shows what the store knows: the last reading, and the problem that has prevented a newer one."""
    is_live = record.state is State.LIVE
    return StreamerView(
        **_page_fields(record),
        state=record.state or record.trouble or State.UNKNOWN,
        name=record.name or None,
        started_at=utc_datetime(record.started_at) if is_live else None,
        session=(record.session or None) if is_live else None,
        checked_at=utc_datetime(record.seen),
        problem=problem_text(record),
    )


def problem_text(record: StreamerRecord) -> str | None:
    """Why there is no newer reading, in words."""
    if not record.trouble:
        return record.problem or (NOT_ASKED if record.state is None else None)
    if record.trouble is State.UNKNOWN and record.problem:
        return record.problem
    reason = record.trouble.words
    return f"{reason}: {record.problem}" if record.problem else reason


def live_view(streamers: Sequence[StreamerView], now: float, empty: str = NOBODY_LIVE) -> View:
    """A table of the streamers who are live; `empty` says what nobody means."""
    rows = [
        (
            address_text(streamer),
            streamer.name or "",
            _format_since(streamer.started_at, now),
            _viewers_text(streamer),
            f"{_doubt_text(streamer, now)}{streamer.title or ''}",
            streamer.category or "",
        )
        for streamer in streamers
    ]
    return with_lines(render.table(LIVE_COLUMNS, rows, streamers, empty=empty), _problem_lines(streamers))


def nobody_followed_text(is_all: bool, list_problem: str) -> str:  # noqa: FBT001
    """What it means that the list has nobody to show."""
    return LIST_UNREADABLE if list_problem else NOBODY_FOLLOWED if is_all else NOBODY_FITS


def nobody_live_text(unknown: Mapping[str, int], total: int) -> str:
    """What it means that nobody of so many is live: it is not known where somebody was never read, and why not."""
    unread = sum(unknown.values())
    if not unread:
        return NOBODY_LIVE
    reason = NOT_ASKED if set(unknown) == {NOT_ASKED} else "not read so far"
    return (
        f"Nobody is known to be live: {unread} of {total} {'is' if unread == 1 else 'are'} {reason}."
        "\nlivectl live --all shows each."
    )


def everyone_view(streamers: Sequence[StreamerView], now: float, empty: str = NOBODY_FOLLOWED) -> View:
    """A table of all streamers: the last state, how old it is, and the problem that has prevented a newer one."""
    ages = [_format_since(streamer.checked_at, now) for streamer in streamers]
    titles = [_problem_or_title(streamer) for streamer in streamers]
    return _state_table(streamers, ("seen", ages), ("title or problem", titles), empty)


def check_view(streamers: Sequence[StreamerView], now: float) -> View:
    """A table of answers that just came, and below it what was in the way of others."""
    lengths = [_format_since(streamer.started_at, now) for streamer in streamers]
    titles = [_title_text(streamer) if streamer.live else "" for streamer in streamers]
    answers = _state_table(streamers, ("for", lengths), ("title", titles), NOBODY_FOLLOWED)
    return with_lines(answers, _problem_lines(streamers))


class CheckSummary:
    """How many are live, are not live, and could not be asked, and why."""

    def __init__(self, streamers: Iterable[StreamerView] = ()) -> None:
        self._counts = Counter[tuple[bool | None, str]]()
        self.note(streamers)

    def note(self, streamers: Iterable[StreamerView]) -> None:
        self._counts.update((streamer.live, _reason(streamer)) for streamer in streamers)

    @property
    def verdicts(self) -> Counter[bool | None]:
        found = Counter[bool | None]()
        for (verdict, _), count in self._counts.items():
            found[verdict] += count
        return found

    def view(self, job_id: str, seconds: float, streamers: Sequence[StreamerView] = ()) -> View:
        verdicts, order = self.verdicts, list(VERDICT_NAMES)
        tally = sorted(self._counts.items(), key=lambda row: (order.index(row[0][0]), -row[1]))
        named = [(VERDICT_NAMES[verdict], reason, count) for (verdict, reason), count in tally]
        data = {
            "id": job_id,
            "seconds": round(seconds, 2),
            "total": verdicts.total(),
            **{name.replace(" ", "_"): verdicts[verdict] for verdict, name in VERDICT_NAMES.items()},
            "reasons": [{"verdict": name, "reason": reason, "count": count} for name, reason, count in named],
            "streamers": streamers,
        }
        rows = [(str(count), name, "" if reason == name else reason) for name, reason, count in named]
        duration = f"{seconds:.1f} s" if seconds < MINUTE_SECONDS else format_duration(seconds)
        rows.append((str(verdicts.total()), "in all", f"in {duration}"))
        columns = (Column("streamers", "number"), Column("verdict", "state"), "said")
        return render.table(columns, rows, data, empty=NOBODY_FOLLOWED)


def address_text(streamer: StreamerView | Streamer) -> str:
    """Platform and id; what was written, where a line of the follow list names no platform."""
    return f"{streamer.platform}/{streamer.id}" if streamer.platform else streamer.id


def state_text(streamer: StreamerView) -> str:
    return NOT_ASKED if streamer.problem == NOT_ASKED else streamer.state.words


def _page_fields(source: Observation | StreamerRecord) -> dict[str, Any]:
    """The fields that an observation and a record have in common."""
    return {
        "platform": source.platform,
        "id": source.id,
        "title": source.title or None,
        "category": source.category or None,
        "viewers": source.viewers,
        "url": source.url or None,
        "cover": source.cover or None,
    }


def _state_table(
    streamers: Sequence[StreamerView], times: tuple[str, Sequence[str]], titles: tuple[str, Sequence[str]], empty: str
) -> View:
    """The streamers, their states, and two columns, each with its heading."""
    rows = [
        (address_text(streamer), state_text(streamer), time_text, _viewers_text(streamer), title)
        for streamer, time_text, title in zip(streamers, times[1], titles[1], strict=True)
    ]
    columns = (
        STREAMER,
        Column("state", "state"),
        Column(times[0], "number", rank=1),
        VIEWERS,
        Column(titles[0], rank=3, least=LEAST_TITLE_CHARS),
    )
    return render.table(columns, rows, streamers, empty=empty)


def _problem_lines(streamers: Sequence[StreamerView]) -> list[str]:
    """Each problem once, after those who have it."""
    names = defaultdict(list)
    for streamer in streamers:
        if streamer.problem and streamer.problem != NOT_ASKED:
            names[streamer.problem].append(address_text(streamer))
    return [f"{format_names(having, MAX_STREAMERS_NAMED)}: {problem}" for problem, having in names.items()]


def _reason(streamer: StreamerView) -> str:
    """The state; where the platform could not be asked, the problem too."""
    if streamer.live is not None or not streamer.problem:
        return state_text(streamer)
    return f"{state_text(streamer)}: {streamer.problem}"


def _problem_or_title(streamer: StreamerView) -> str:
    if streamer.problem and streamer.problem != NOT_ASKED:
        return streamer.problem.removeprefix(f"{state_text(streamer)}: ")
    return _title_text(streamer) if streamer.live else ""


def _doubt_text(streamer: StreamerView, now: float) -> str:
    """What has kept somebody who was live from being read since."""
    if not streamer.problem:
        return ""
    return f"[not read for {_format_since(streamer.checked_at, now)}] "


def _title_text(streamer: StreamerView) -> str:
    title = streamer.title or ""
    return f"{title} ({streamer.category})" if streamer.category else title


def _viewers_text(streamer: StreamerView) -> str:
    return _format_count(streamer.viewers) if streamer.live is True and streamer.viewers is not None else ""


def _format_count(count: int) -> str:
    if count >= MILLION:
        return f"{count / MILLION:.1f} M"
    return f"{count / THOUSAND:.1f} k" if count >= THOUSAND else str(count)


def _format_since(at: datetime | None, now: float) -> str:
    return "" if at is None else format_duration(now - at.timestamp())


def list_view(follows: FollowList, seen: Mapping[tuple[str, str], StreamerView]) -> View:
    """The follow list with the lines that name nobody, and what is known of each; nothing of who is not `seen`."""
    list_table = render.table(FOLLOW_COLUMNS, *_list_rows(follows, seen), empty=NOBODY_FOLLOWED)
    return with_lines(list_table, _problem_lines([seen[key.key] for key in follows.streamers if key.key in seen]))


def list_pages(
    pages: Iterable[FollowList], read_states: Callable[[Sequence[Streamer]], Mapping[tuple[str, str], StreamerView]]
) -> Iterator[View]:
    """The same of a long list, page by page; each problem comes last, after the first who have it."""
    growing, names, counts = render.GrowingTable(FOLLOW_COLUMNS), defaultdict[str, list[str]](list), Counter[str]()
    for follows in pages:
        seen = read_states(follows.streamers)
        for streamer in seen.values():
            if streamer.problem and streamer.problem != NOT_ASKED:
                counts[streamer.problem] += 1
                if counts[streamer.problem] <= MAX_STREAMERS_NAMED:
                    names[streamer.problem].append(address_text(streamer))
        yield growing.page(*_list_rows(follows, seen))
    for problem, first in names.items():
        more = counts[problem] - len(first)
        yield sentence(f"{', '.join(first)}{f' and {more:,} more' if more else ''}: {problem}", [])


def _list_rows(
    follows: FollowList, seen: Mapping[tuple[str, str], StreamerView]
) -> tuple[list[Sequence[str]], list[dict[str, Any]]]:
    """What people see of each, and what programs do."""
    streamers = [*follows.streamers, *(follow.streamer for follow in follows.unread)]
    states = [
        *(seen.get(streamer.key) for streamer in follows.streamers),
        *(from_record(follow.as_record()) for follow in follows.unread),
    ]
    rows: list[Sequence[str]] = [
        (
            address_text(streamer),
            state_text(state) if state else "",
            streamer.name,
            " ".join(streamer.tags),
            alerts_text(streamer),
            weight_text(streamer),
        )
        for streamer, state in zip(streamers, states, strict=True)
    ]
    data = [
        {**fields, "state": state and state.state, "problem": state and state.problem}
        for fields, state in zip(streamers_json(streamers), states, strict=True)
    ]
    return rows, data


def edit_view(edit: FollowEdit, done: str, otherwise: str) -> View:
    """The streamers that were added or removed, and those that were not; JSON has the former."""
    lines = [f"{done} {address_text(streamer)}" for streamer in edit.changed]
    lines += [f"{otherwise} {address_text(streamer)}" for streamer in edit.unchanged]
    return render.sentence("\n".join(lines), streamers_json(edit.changed))


def follow_view(edit: FollowEdit, seen: Mapping[tuple[str, str], StreamerView], now: float) -> View:
    """Who is followed now, and what their platform said of each; JSON has those who were added."""

    def line(done: str, streamer: Streamer) -> str:
        view = seen.get(streamer.key)
        return f"{done} {address_text(streamer)}{f': {_found_text(view, now)}' if view else ''}"

    lines = [line("Following", streamer) for streamer in edit.changed]
    lines += [line("Followed already:", streamer) for streamer in edit.unchanged]
    rows = zip(streamers_json(edit.changed), edit.changed, strict=True)
    return sentence("\n".join(lines), [fields | {"seen": seen.get(added.key)} for fields, added in rows])


def _found_text(streamer: StreamerView, now: float) -> str:
    """The name and the state that were found, or why nothing was."""
    state = state_text(streamer)
    if streamer.state is State.NOT_FOUND:
        return f"nobody of that name there; livectl follow remove {address_text(streamer)} takes it out"
    if streamer.live is None:
        return f"{state}, asked again by itself" + (f" ({one_line(streamer.problem)})" if streamer.problem else "")
    if streamer.live:
        state = f"live for {_format_since(streamer.started_at, now)}" if streamer.started_at else "live"
    return ", ".join(filter(None, (streamer.name, state))) + (f": {_title_text(streamer)}" if streamer.live else "")


def import_view(added: int, known: int, refused: int, streamers: Sequence[Streamer] = ()) -> View:
    """How many streamers an import added."""
    text = f"{added} added, {known} followed already, {refused} refused"
    return render.sentence(text, {"added": streamers_json(streamers), "known": known, "refused": refused})


def streamers_json(streamers: Sequence[Streamer]) -> list[dict[str, Any]]:
    """The streamers as `follow list --json` has them; alerts is null where every target listens."""
    return [
        {
            "platform": streamer.platform,
            "id": streamer.id,
            "url": streamer.url,
            "name": streamer.name,
            "tags": streamer.tags,
            "alerts": streamer.alerts,
            "weight": streamer.weight,
        }
        for streamer in streamers
    ]


def alerts_text(streamer: Streamer) -> str:
    return "all" if streamer.alerts is None else " ".join(streamer.alerts) or "none"


def weight_text(streamer: Streamer) -> str:
    return "" if streamer.weight == 1 else f"{streamer.weight:g}"
