"""Reads what the board of `livectl up` tells of streamers: who went live, who was told, how things stand."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from livectl.errors import LivectlError
from livectl.live import store_reader
from livectl.live.alerts import rules
from livectl.live.follows import follow_list
from livectl.live.push.push_store import MIN_FIRST_S, PushStore
from livectl.live.store import Store
from livectl.models import BoardEvent, BoardReading, StatusPart
from livectl.render import one_line
from livectl.settings_watch import FileChanges
from livectl.units import format_count, format_duration, format_hours_and_minutes

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence
    from pathlib import Path

    from livectl.address import Address
    from livectl.live.push.push_store import PushHealth
    from livectl.live.store_records import StorePulse, TargetPulse
    from livectl.models import Change, PlatformHealth


MAX_CHANGES = 200  # in one reading; the rest comes with the next
MAX_LINES = 8  # for changes of one kind in one reading: more are told in one line
MAX_NAMES = 3
MAX_KNOWN_CHANGES = 1000  # remembered, to say what a target was told
EVENTS = {
    "began": "live",
    "ended": "ended",
    "troubled": "problem",
    "reported": "job",
}  # titles come and go: nobody waits for those
MANY = {"began": "went live", "ended": "ended", "reported": "reports"}
TOLD = {
    "began": "{} is live",
    "ended": "{} has ended",
    "retitled": "{} has a new title",
    "recategorised": "{} has another category",
}
LIVE_RANK, NEXT_RANK = 3, 5


class LivePulse:
    """Reads the store again and again. The first reading tells who is live already, and nothing of before."""

    def __init__(
        self,
        find_store: Callable[[], Address],
        follows: Callable[[], Path],
        since: float,
        pushed: Callable[[], Iterable[str]] = tuple,
    ) -> None:
        self._find_store = find_store
        self._follows = follows
        self._pushed = pushed  # the platforms that the settings let tell by themselves
        self._since = since
        self._last = f"{int(since * 1000)}-0"  # the number of the last change that was read
        self._changes: dict[str, Change] = {}
        self._sent: dict[str, int] | None = None
        self._dead_letters = 0
        self._file = FileChanges(read_follows)

    def read(self, now: float) -> BoardReading:
        with store_reader.read_only_client(self._find_store()) as client:
            store = Store(client)
            pulse, healths = store.pulse(self._last, MAX_NAMES, MAX_CHANGES), store.health(now)
            push_healths = [PushStore(client).health(platform) for platform in self._pushed()]
        problems = find_problems(pulse, healths, now)
        if now - self._since >= MIN_FIRST_S:  # until then a push that has just started is not heard
            problems += push_problems(push_healths, now)
        events = [*self._file.events(self._follows(), now), *self._take(pulse, now)]
        return BoardReading(events=tuple(events), parts=status_parts(pulse, now), problems=tuple(problems))

    def _take(self, pulse: StorePulse, now: float) -> list[BoardEvent]:
        is_first, sent = self._sent is None, self._sent or {}
        for change in pulse.changes:
            self._changes[change.number] = change
            self._last = change.number
        for number in list(self._changes)[:-MAX_KNOWN_CHANGES]:
            del self._changes[number]
        self._sent = {target.name: target.sent for target in pulse.targets}
        began = sum(change.kind == "began" for change in pulse.changes)
        events = [already_live(pulse, now)] if is_first and pulse.live > began else []
        events += change_events(pulse.changes)
        if not is_first:
            # The clock of those who ask may be ahead: nobody was told of a change before it came about.
            told_at = max([now, *(event.at for event in events)])
            events += told_events(pulse.targets, sent, self._changes, told_at)
        if not is_first and pulse.dead_letters > self._dead_letters:
            more = format_count(pulse.dead_letters - self._dead_letters, "dead letter")
            events.append(BoardEvent(at=now, event="dead", text=f"{more} more: livectl dead"))
        self._dead_letters = pulse.dead_letters
        return sorted(events, key=lambda event: event.at)


class ReportPulse:
    """Reads what the watch reports of an app that has no streamers."""

    def __init__(self, find_store: Callable[[], Address | None], since: float) -> None:
        self._find_store = find_store
        self._address: Address | None = None
        self._last = f"{int(since * 1000)}-0"

    def read(self, now: float) -> BoardReading:
        self._address = self._address or self._find_store()
        if self._address is None:
            return BoardReading()
        with store_reader.read_only_store(self._address) as store:
            changes = store.pulse(self._last, MAX_NAMES, MAX_CHANGES).changes
        self._last = changes[-1].number if changes else self._last
        return BoardReading(events=tuple(change_events([change for change in changes if not change.is_of_stream])))


def read_pulse(address: Address, now: float, pushed: Iterable[str] = ()) -> BoardReading:
    """How things stand, and what is wrong, for one look; also with the platforms that may tell by themselves."""
    with store_reader.read_only_client(address) as client:
        store = Store(client)
        pulse, healths = store.pulse(f"{int(now * 1000)}-0", MAX_NAMES, 1), store.health(now)
        push_healths = [PushStore(client).health(platform) for platform in pushed]
    facts = {"followed": pulse.followed, "live": pulse.live, "names": pulse.names}
    problems = [*find_problems(pulse, healths, now), *push_problems(push_healths, now)]
    return BoardReading(parts=status_parts(pulse, now), problems=tuple(problems), facts=facts)


def read_follows(path: Path) -> dict[str, Any] | None:
    """The streamers of the file, by platform and id; None for a long one."""
    if follow_list.is_long(path):
        return None
    return {f"{streamer.platform}/{streamer.id}": streamer for streamer in follow_list.load(path, path.name).streamers}


def describe_follows(path: Path, name: str) -> str:
    """Who is followed, in a few words."""
    try:
        follows = read_follows(path)
    except LivectlError:
        return f"{name} cannot be read: livectl follow list"
    if follows is None:
        return f"the long list of {name}: livectl live"
    if not follows:
        whom = "nobody yet" if path.exists() else f"nobody yet, there is no {name}"
        return f"{whom}: livectl follow add ADDRESS"
    return f"{format_count(len(follows), 'streamer')} of {name}: {_some(list(follows), len(follows))}"


def status_parts(pulse: StorePulse, now: float) -> tuple[StatusPart, ...]:
    if not pulse.followed:
        return (StatusPart(("nobody asked yet",), LIVE_RANK),)
    words: tuple[str, ...] = (f"nobody of {pulse.followed} live", "nobody live")
    if pulse.live:
        of_all = f"{pulse.live} of {pulse.followed} live"
        words = (f"{of_all}: {_some(pulse.names, pulse.live)}", of_all, f"{pulse.live} live")
    parts = [StatusPart(words, LIVE_RANK, "good" if pulse.live else "")]
    if pulse.next_due is not None:
        wait = f"in {format_duration(pulse.next_due - now)}" if pulse.next_due >= now + 1 else "now"
        parts.append(StatusPart((f"next {'/'.join(pulse.next_key)} {wait}", f"next {wait}", ""), NEXT_RANK))
    return tuple(parts)


def find_problems(pulse: StorePulse, healths: Sequence[PlatformHealth], now: float) -> list[str]:
    ways = [way for health in healths for way in health.ways]
    troubles = rules.find_troubles(healths, now)
    problems = [change.title for _, min_seconds, change in troubles if not min_seconds]  # the others are named here
    problems += [f"{way.name} is not reached" for way in ways if way.unreached is not None]
    problems += [f"{way.name} refuses us, and is left alone for a while" for way in ways if way.step]
    problems += [
        f"{target.name} takes no alerts: {one_line(target.answer).rstrip(': ')}"
        for target in pulse.targets
        if target.failing
    ]
    if pulse.unresolved:
        lines = format_count(pulse.unresolved, "line")
        verb = "leads" if pulse.unresolved == 1 else "lead"
        problems.append(f"{lines} of the follow list {verb} to nobody: livectl live --all")
    return problems


def push_problems(healths: Iterable[PushHealth], now: float) -> list[str]:
    """What keeps platforms from telling of go-lives, each with its cure, in a line."""
    troubles = [trouble for health in healths if (trouble := health.find_trouble(now))]
    return [one_line(f"{trouble.title} ({trouble.evidence.rstrip('.')}): {trouble.cure}") for trouble in troubles]


def change_events(changes: Sequence[Change]) -> list[BoardEvent]:
    """A line for each go-live, end and report; one line for many at once."""
    events: list[BoardEvent] = []
    for kind, event in EVENTS.items():
        same_kind = [change for change in changes if change.kind == kind]
        if len(same_kind) > MAX_LINES:
            names = [_name(change) for change in same_kind]
            text = f"{len(names)} {MANY.get(kind, 'troubles')}: {_some(names, len(names))}"
            events.append(BoardEvent(at=same_kind[-1].at, event=event, text=text, details={"count": len(names)}))
        else:
            events += [_change_event(change, event) for change in same_kind]
    return events


def told_events(
    targets: Sequence[TargetPulse], sent: dict[str, int], changes: dict[str, Change], now: float
) -> list[BoardEvent]:
    """A line for each change that targets took an alert about since."""
    names: dict[str, list[str]] = {}
    for target in targets:
        if target.name in sent and target.sent > sent[target.name]:
            change = changes.get(target.last_told)
            more = target.sent - sent[target.name] - 1
            text = _told_text(change) if change else format_count(more + 1, "alert")
            names.setdefault(f"{text}, and {more} more" if change and more else text, []).append(target.name)
    return [
        BoardEvent(at=now, event="told", text=f"{', '.join(told)}: {text}", details={"targets": told})
        for text, told in names.items()
    ]


def already_live(pulse: StorePulse, now: float) -> BoardEvent:
    verb = "is" if pulse.live == 1 else "are"
    text = f"{pulse.live} of {pulse.followed} {verb} live: {_some(pulse.names, pulse.live)}"
    return BoardEvent(at=now, event="live", text=text, details={"count": pulse.live})


def _change_event(change: Change, event: str) -> BoardEvent:
    name = _name(change)
    details = {
        "platform": change.platform,
        "id": change.id,
        "name": change.name or None,
        "title": change.title or None,
        "category": change.category or None,
        "url": change.url or None,
    }
    return BoardEvent(at=change.at, event=event, text=_change_text(change, name), details=details)


def _change_text(change: Change, name: str) -> str:
    who = name if name.lower() == change.id.lower() else f"{name} ({change.platform}/{change.id})"
    if not change.is_of_stream:
        return one_line(" · ".join([change.title, *change.before.splitlines()]))
    if change.kind == "ended":
        seconds = (change.ended_at or change.at) - (change.started_at or change.at)
        return f"{who} was live for {format_hours_and_minutes(seconds)}"
    about = " · ".join(filter(None, (change.title, change.category)))
    return f"{who}: {about}" if about else who


def _told_text(change: Change) -> str:
    return TOLD[change.kind].format(_name(change)) if change.is_of_stream else change.title


def _name(change: Change) -> str:
    return change.name or f"{change.platform}/{change.id}"


def _some(names: Sequence[str], count: int) -> str:
    """Some names of so many."""
    shown = list(names[:MAX_NAMES])
    return ", ".join(shown) + (f" and {count - len(shown)} more" if count > len(shown) else "")
