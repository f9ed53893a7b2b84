"""Says why targets are told of a change or not: of one that only might be, and of those of a streamer's last session.

What was decided is read from the notes that were made then; what is still to come is decided by the same rules.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import msgspec

from livectl.live import history
from livectl.live.alerts import digests, message, outbox, rules, targets
from livectl.live.alerts.message import alert_kind
from livectl.live.alerts.outbox import GIVEN_UP, TOLD, Outbox
from livectl.live.store import Store
from livectl.live.store_reader import StreamerHistory
from livectl.models import Change, State, Streamer, StreamerRecord
from livectl.units import format_local_time, format_time_of_day

if TYPE_CHECKING:
    from collections.abc import Sequence

    from redis import Redis

    from livectl.live.alerts.message import Alert
    from livectl.live.alerts.outbox import ChangeNote, Lane, TargetState
    from livectl.live.alerts.rules import Knowledge
    from livectl.settings import Settings, Target

CHANGE_KINDS = {kind: change for change, kind in message.ALERT_KINDS.items()}  # live -> began
CHANGES_READ, MAX_CHANGES = 1_000, 20_000  # at once, and in all, when looking for those of a session
SAMPLE = Streamer(platform="demo", id="ada", name="Ada", url="https://example.org/ada")
SAMPLE_TITLE, SAMPLE_CATEGORY, SAMPLE_VIEWERS = "A sample", "Testing", 123
SAMPLE_LENGTH_S = 2 * 3600.0
SAMPLE_REPORT = "nightly failed"
IN_WHICH_MESSAGE = {"missed": ", with what else came in quiet hours", "late": ", with others that were late"}


class Reason(NamedTuple):
    """Whether a target is told of a change, and why. None: it waits. `rule` names what decided it."""

    target: str
    kind: str
    rule: str
    words: str
    told: bool | None = None
    at: float | None = None  # when it was decided
    alert: Alert | None = None  # what it is told


class LastSession(NamedTuple):
    """A streamer, and whether each target was told of their last session."""

    record: StreamerRecord
    reasons: list[Reason]


class TargetNow(NamedTuple):
    """Where a target stands."""

    name: str
    target: Target
    state: TargetState
    lanes: Sequence[Lane]

    def is_done_with(self, change: Change) -> bool:
        if any(lane.holds(change) and outbox.is_after(change.number, lane.cursor) for lane in self.lanes):
            return False
        return bool(self.state.cursor) and not outbox.is_after(change.number, self.state.cursor)


def rehearse(
    settings: Settings, names: Sequence[str], kind: str, seen: StreamerHistory | None, now: float
) -> list[Reason]:
    """What each target would be told now of such a change: of this streamer, or of a sample. Sends nothing."""
    seen = seen or StreamerHistory(StreamerRecord(platform=SAMPLE.platform, id=SAMPLE.id, streamer=SAMPLE), [])
    change = _made_up_change(seen.record, kind, now)
    live = msgspec.structs.replace(seen.record, state=State.LIVE, session=change.session)
    knowledge = rules.Knowledge(
        settings.timezone, {change_key(change): live}, {change_key(change): seen.sessions}, _peak(change)
    )
    return [_rehearse_one(settings, name, change, seen, knowledge, now) for name in names]


def change_key(change: Change) -> tuple[str, str]:
    return change.platform, change.id


def _peak(change: Change) -> dict[tuple[str, str], int]:
    return {} if change.viewers is None else {change_key(change): change.viewers}


def _rehearse_one(
    settings: Settings, name: str, change: Change, seen: StreamerHistory, knowledge: Knowledge, now: float
) -> Reason:
    target, kind = settings.alerts[name], alert_kind(change)
    if problem := targets.missing(target):
        return Reason(name, kind, "missing", f"{problem} here; the worker's own environment counts")
    if target.digest is not None:
        return Reason(name, kind, "digest", _digest_words(target))
    if objection := rules.find_objection(name, target, change, knowledge):
        return Reason(name, kind, objection.rule, objection.words, told=False)
    usual = history.describe_usual_hours(seen, now, settings.timezone) if message.wants_usual_hours(target) else ""
    alert = message.build_alert(name, target, change, settings.timezone, usual)
    if rules.in_window(target.quiet, now, settings.timezone):
        return Reason(name, kind, "quiet", _quiet_words(target), alert=alert)
    return Reason(name, kind, TOLD, "now", alert=alert, told=True)


def _made_up_change(record: StreamerRecord, kind: str, now: float) -> Change:
    """Such a change of the streamer as they were last seen."""
    is_sample = record.streamer is SAMPLE
    is_live = record.state is State.LIVE and record.started_at is not None
    started_at = record.started_at if is_live else now - SAMPLE_LENGTH_S if kind == "end" else now
    if kind == "trouble":
        (_, _, trouble) = rules.find_troubles([rules.SAMPLE_TROUBLE], now)[0]
        return trouble
    if kind == "job":
        return outbox.reported_change("nightly", "failed", SAMPLE_REPORT, "livectl runs nightly", now)
    return Change(
        kind=CHANGE_KINDS[kind],  # type: ignore[arg-type]
        platform=record.platform,
        id=record.id,
        session=record.session or "sample",
        at=now,
        number=f"{int(now * 1000)}-0",
        started_at=started_at,
        ended_at=now if kind == "end" else None,
        title=record.title or (SAMPLE_TITLE if is_sample else ""),
        category=record.category or (SAMPLE_CATEGORY if is_sample else ""),
        name=record.name or (SAMPLE.name if is_sample else ""),
        url=record.url or (record.streamer.url if record.streamer else ""),
        cover=record.cover,
        avatar=record.avatar,
        viewers=SAMPLE_VIEWERS if is_sample else record.viewers,
    )


def read_last_session(settings: Settings, client: Redis, platform: str, name: str, now: float) -> LastSession:
    """Why each target was told or not told of the last session of this streamer. `name` may be an alias."""
    store, target_outbox = Store(client), Outbox(client, "")
    streamer_id = store.aliases(platform, [name]).get(name, name)
    record = store.find_streamer(platform, streamer_id)
    if not record.session:
        return LastSession(record, [])
    changes = _changes_of_session(store, record)
    names = list(settings.alerts)
    notes = target_outbox.notes(names, platform, streamer_id)
    states = target_outbox.target_states(names)
    reasons = []
    for target_name, target in settings.alerts.items():
        noted = notes[target_name].notes if notes[target_name].session == record.session else {}
        standing = TargetNow(target_name, target, states[target_name], target_outbox.lanes(target_name))
        if target.digest is not None:
            reasons.append(Reason(target_name, "", "digest", _digest_words(target)))
            continue
        knowledge = outbox.find_knowledge(store, target, list(changes.values()), settings.timezone)
        for kind in dict.fromkeys([*changes, *noted]):
            change, note = changes.get(kind), noted.get(kind)
            if note and (change is None or note.number == change.number):
                reasons.append(_noted_reason(target_name, kind, note, settings.timezone))
            else:
                reason = change and _reason(settings, standing, change, knowledge, now)
                reasons.append(reason or _reason_without_note(target_outbox, settings, standing, kind, change))
    return LastSession(record, reasons)


def _changes_of_session(store: Store, record: StreamerRecord) -> dict[str, Change]:
    """The last change of each kind of the streamer's last session, as far as the outbox has them."""
    found: dict[str, Change] = {}
    cursor = f"{int(max(0.0, record.started_at or 0.0) * 1000)}-0"
    for _ in range(MAX_CHANGES // CHANGES_READ):
        changes = store.changes(cursor, CHANGES_READ)
        for change in changes:
            if digests.session_key(change) == (record.platform, record.id, record.session):
                found[alert_kind(change)] = change
        if len(changes) < CHANGES_READ:
            break
        cursor = changes[-1].number
    return found


def _reason(settings: Settings, standing: TargetNow, change: Change, knowledge: Knowledge, now: float) -> Reason | None:
    """What the rules of now say of a change that nothing is noted of; None if they say that it was told."""
    name, kind = standing.name, alert_kind(change)
    objection = rules.find_objection(name, standing.target, change, knowledge)
    is_done_with = standing.is_done_with(change)
    if objection and not (is_done_with and objection.rule == "over"):
        return Reason(name, kind, objection.rule, objection.words, told=False)
    return None if is_done_with else _waiting_reason(settings, standing, kind, now)


def _noted_reason(name: str, kind: str, note: ChangeNote, zone: str) -> Reason:
    when = format_local_time(note.at, zone)
    if note.rule == TOLD:
        return Reason(name, kind, TOLD, f"{when}{IN_WHICH_MESSAGE.get(note.words, '')}", told=True, at=note.at)
    if note.rule == GIVEN_UP:
        return Reason(name, kind, GIVEN_UP, f"given up {when}: {note.words}; see livectl dead", told=False, at=note.at)
    return Reason(name, kind, note.rule, note.words, told=False, at=note.at)


def _reason_without_note(
    target_outbox: Outbox, settings: Settings, standing: TargetNow, kind: str, change: Change | None
) -> Reason:
    """What the keys of the alerts that the target took say of a change."""
    name, zone = standing.name, settings.timezone
    alert = message.build_alert(name, standing.target, change, zone) if change else None
    at = target_outbox.told_at(alert) if alert else None
    if at is None:
        return Reason(name, kind, "unknown", "nothing is noted of it; the target may be newer", told=False)
    return Reason(name, kind, TOLD, format_local_time(at, zone), told=True, at=at)


def _waiting_reason(settings: Settings, standing: TargetNow, kind: str, now: float) -> Reason:
    name, target, state, zone = standing.name, standing.target, standing.state, settings.timezone
    if problem := targets.missing(target):
        return Reason(name, kind, "missing", f"{problem} here; the worker's own environment counts")
    if rules.in_window(target.quiet, now, zone):
        return Reason(name, kind, "quiet", _quiet_words(target))
    if state.retry_at is not None and state.problem:
        retry = format_local_time(state.retry_at, zone).partition(" ")[2]
        return Reason(name, kind, "failing", f"{state.problem}; try {state.tries + 1} at {retry}")
    limit = f", at most {target.limit.amount:g} in {target.limit.seconds:g} s" if target.limit else ""
    return Reason(name, kind, "waiting", f"until a worker tells it{limit}")


def _quiet_words(target: Target) -> str:
    until = format_time_of_day(target.quiet.end) if target.quiet else ""
    with_others = "" if target.command else ", then in one message with what else was missed"
    return f"quiet hours until {until}{with_others}"


def _digest_words(target: Target) -> str:
    return f"told in its digest, at {format_time_of_day(target.digest or 0)} each day"
