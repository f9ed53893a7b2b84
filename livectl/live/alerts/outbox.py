"""Keeps how far each target has read the outbox, which worker sends to it now, and what went wrong.

    livectl:{-}:targets          the targets there are, by name: whose settings name it, a fingerprint of what they say
    livectl:{-}:retargeting      what is to be done yet at targets that are new, mended or gone
    livectl:{-}:troubles         what a person must mend, by name: since when, or `told` after its alert
    livectl:{target:NAME}:state   cursor in the outbox, lease, tries, its last answer
    livectl:{target:NAME}:lanes  alerts that it took ill and others did not wait for, by their first change
    livectl:{target:NAME}:told   keys of the alerts it took in the last 30 days
    livectl:{target:NAME}:pace   when it was last sent something, for its limit
    livectl:{target:NAME}:notes  platform/id -> why it was told or not told of each change of their last session

Every step is one Lua call, and fenced: a worker that lost the lease changes nothing. What becomes of a target is noted
beside the list of targets first, and done at the target until it is done there, by whoever looks.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple, TypeAlias

import msgspec

from livectl import redis_client, replicas
from livectl.live import store_records
from livectl.live.alerts import rules
from livectl.live.alerts.message import alert_kind
from livectl.live.cells import COMMON, target_place
from livectl.live.lua_scripts import lua_script
from livectl.live.store import TARGETS_KEY, Store
from livectl.models import Change
from livectl.settings_watch import fingerprints

if TYPE_CHECKING:
    from collections.abc import Sequence

    from redis import Redis

    from livectl.live.alerts.message import Alert
    from livectl.live.alerts.rules import Knowledge, Objection
    from livectl.models import Session, StreamerRecord
    from livectl.settings import Settings, Target
    from livectl.units import Rate

    Judged: TypeAlias = tuple[Change, Objection | None]
    StreamerKey: TypeAlias = tuple[str, str]  # platform and id

MAX_BACKLOG = 1000  # changes looked at for each target: more are not counted
FINGERPRINT_DIGITS = 16  # enough to see that a target changed, too few to guess its address
MAX_OUTCOME_ARGS = 5  # of settle.lua, beyond those that every outcome has
RETARGETING_KEY = f"{COMMON}retargeting"
FINAL = ("sent", "dead")  # outcomes that no other follows
TOLD, GIVEN_UP = "told", "dead"  # rules of notes, beside those of objections
NOT_NOTED = {"on"}  # it follows from the settings, and would be by far the most frequent


class TargetState(msgspec.Struct, frozen=True, kw_only=True):
    """Where a target stands in the outbox, and how its alerts fared."""

    cursor: str = ""  # the last change that is done with
    begun: str = ""  # the first and the last change of an alert that may have arrived
    through: str = ""
    tries: int = 0  # of the next alert
    failing_since: float | None = None
    lost_since: float | None = None  # since when alerts to it were given up, and it has taken none
    retry_at: float | None = None
    problem: str = ""  # its answer when it last refused an alert
    sent_at: float | None = None
    sent: int = 0
    failures: int = 0
    dead: int = 0

    @property
    def troubled_since(self) -> float | None:
        """Since when it takes nothing; None while all is well."""
        return self.failing_since or self.lost_since


class Lane(TargetState, frozen=True, kw_only=True, omit_defaults=True):
    """An alert that a target took ill, and what follows of its streamers: what others did wait not for.

    It stands in the outbox behind its target, and ends when it has caught up.
    """

    id: str  # the number of its first change
    streamers: tuple[tuple[str, str], ...]

    def holds(self, change: Change) -> bool:
        return (change.platform, change.id) in self.streamers


class ChangeNote(msgspec.Struct, frozen=True, array_like=True):
    """How a target was told of a change, or why it was not: the number of the change, when, by which rule, in words."""

    number: str
    at: float
    rule: str
    words: str = ""


class SessionNotes(msgspec.Struct, frozen=True):
    """The notes of a session, by kind of change."""

    session: str = ""
    notes: dict[str, ChangeNote] = {}


class TargetStatus(NamedTuple):
    """A target as the settings have it, where it stands, and how many changes wait for it."""

    name: str
    target: Target
    state: TargetState
    backlog: int
    more: bool = False  # more changes wait than were looked at


class TargetChanges(NamedTuple):
    """The targets that are new, and those that are gone, each with the last change that it was done with."""

    added: list[str]
    gone: dict[str, str]


class Outbox:
    """The outbox for one worker, which its token tells from all others."""

    def __init__(self, client: Redis, token: str) -> None:
        self._client: Any = client
        self._token = token

    def note_targets(self, settings: Settings, place: str, gone: Sequence[str], now: float) -> TargetChanges:
        """Notes the targets of these settings: a new one begins now, and what waits for one that is gone is dropped.

        Gone are those of `gone`, and those that only the settings of this place had named.
        """
        starts = {name: _outbox_number(now) for name, target in settings.alerts.items() if target.digest is not None}
        wanted = [
            (name, fingerprint[:FINGERPRINT_DIGITS], starts.get(name, ""))
            for name, fingerprint in zip(settings.alerts, fingerprints(settings, ["alerts"]).values(), strict=True)
        ]
        steps = lua_script(self._client, "targets")(
            COMMON, place, store_records.encode_json(wanted), store_records.encode_json(list(gone))
        )
        replicas.confirm(self._client, [COMMON] if steps else [])  # or it would be new once more, at a later change
        retarget = lua_script(self._client, "retarget")
        added, cursors = [], {}
        for number, name, what, start in steps:
            cursor = retarget(target_place(name), number, what, start)
            self._client.xdel(RETARGETING_KEY, number)
            if what == "new":
                added.append(name)
            elif what == "gone":
                cursors[name] = cursor
        return TargetChanges(added=sorted(added), gone=cursors)

    def has_noted_targets(self) -> bool:
        """Whether targets are noted in this store: then one without a place in the outbox is new."""
        return bool(self._client.exists(TARGETS_KEY))

    def lease(self, name: str, now: float, lease: float, start: str) -> TargetState | None:
        """Takes a target for this worker alone; None while another worker has it. A new target begins at `start`."""
        fields = lua_script(self._client, "take")(target_place(name), self._token, now, lease, start)
        return _parse_state(dict(zip(fields[::2], fields[1::2], strict=True))) if fields else None

    def renew(self, name: str, now: float, lease: float) -> bool:
        """Keeps a target, if this worker still has it."""
        return bool(lua_script(self._client, "take")(target_place(name), self._token, now, lease, ""))

    def begin_send(self, alert: Alert, now: float, lease: float, limit: Rate | None) -> str:
        """Notes that the alert is about to be sent.

        Returns `go`; or `told` if it was sent before, `lost` if another worker has the target, or the seconds to wait
        for its limit.
        """
        max_alerts, window_s = (max(1, int(limit.amount)), limit.seconds) if limit else (0, 0)
        place, numbers = target_place(alert.target), (alert.first, alert.last)
        decision = lua_script(self._client, "hold")(
            place, self._token, now, lease, alert.key, *numbers, max_alerts, window_s
        )
        if decision == "go" and not redis_client.is_one_server(self._client):
            replicas.confirm(self._client, [place])  # whoever goes on after a failover has to know of it
            if not self.renew(alert.target, now, lease):  # another server has taken over, where it is another worker's
                return "lost"
        return str(decision)

    def lanes(self, name: str) -> list[Lane]:
        """The lanes of a target, those that are to be tried first before others."""
        return _parse_lanes(self._client.hvals(f"{target_place(name)}lanes"))

    def mark_sent(self, alert: Alert, now: float, lane: Lane | None = None, judged: Sequence[Judged] = ()) -> bool:
        notes = _encode_notes(judged, now, alert, ChangeNote("", now, TOLD, alert.kind))
        return self._record_outcome(
            alert.target, now, "sent", alert.last, alert.key, lane=_moved(lane, alert.last), notes=notes
        )

    def skip(self, name: str, number: str, now: float, lane: Lane | None = None, judged: Sequence[Judged] = ()) -> bool:
        """Moves the cursor to this change: the target, or the lane, needs no alert about anything before."""
        notes = _encode_notes(judged, now)
        return self._record_outcome(name, now, "passed", number, lane=_moved(lane, number), notes=notes)

    def end_lane(self, name: str, lane: Lane, now: float) -> bool:
        """The lane has caught up with its target."""
        return self._record_outcome(name, now, "passed", lane.cursor, "", "", "", lane.id, "")

    def put_aside(
        self, alert: Alert, now: float, lane: Lane, retry_at: float | None, judged: Sequence[Judged] = ()
    ) -> bool:
        """Leaves the alert to its lane, which repeats it by itself; the target goes on then."""
        return self._record_outcome(
            alert.target,
            now,
            "aside",
            alert.last,
            alert.key,
            lane.problem,
            retry_at or "",
            lane=lane,
            notes=_encode_notes(judged, now),
        )

    def mark_failed(self, alert: Alert, now: float, problem: str, retry_at: float) -> bool:
        return self._record_outcome(alert.target, now, "failed", alert.last, alert.key, problem, retry_at)

    def give_up(
        self, alert: Alert, now: float, problem: str, lane: Lane | None = None, judged: Sequence[Judged] = ()
    ) -> bool:
        """The target is not told. Its dead letter is kept before: who ends between the two gives up again."""
        notes = _encode_notes(judged, now, alert, ChangeNote("", now, GIVEN_UP, problem))
        outcome = "dead", alert.last, alert.key, problem
        return self._record_outcome(alert.target, now, *outcome, lane=_moved(lane, alert.last), notes=notes)

    def release(self, name: str) -> None:
        lua_script(self._client, "release")(target_place(name), self._token)

    def target_states(self, names: Sequence[str]) -> dict[str, TargetState]:
        pipe = self._client.pipeline(transaction=False)
        for name in names:
            pipe.hgetall(f"{target_place(name)}state")
            pipe.hvals(f"{target_place(name)}lanes")
        replies = pipe.execute()
        return {
            name: _with_lanes(_parse_state(fields), _parse_lanes(lanes))
            for name, fields, lanes in zip(names, replies[::2], replies[1::2], strict=True)
        }

    def notes(self, names: Sequence[str], platform: str, streamer_id: str) -> dict[str, SessionNotes]:
        """What is noted of this streamer's last session, by target."""
        pipe = self._client.pipeline(transaction=False)
        for name in names:
            pipe.hget(f"{target_place(name)}notes", f"{platform}/{streamer_id}")
        found = zip(names, pipe.execute(), strict=True)
        return {name: msgspec.json.decode(text or "{}", type=SessionNotes) for name, text in found}

    def told_at(self, alert: Alert) -> float | None:
        """When its target took this alert; None if it did not, or longer ago than that is kept."""
        score = self._client.zscore(f"{target_place(alert.target)}told", alert.key)
        return None if score is None else float(score)

    def add_troubles(self, troubles: Sequence[tuple[str, float, Change]], now: float) -> int:
        """Adds each trouble to the outbox once, after it has lasted its seconds. Returns how many were added."""
        trouble_rows = [(name, min_seconds, _encode_change(change)) for name, min_seconds, change in troubles]
        return int(lua_script(self._client, "trouble")(COMMON, now, store_records.encode_json(trouble_rows)))

    def _record_outcome(
        self,
        name: str,
        now: float,
        outcome: str,
        number: str,
        *rest: str | float,
        lane: Lane | None = None,
        notes: str = "",
    ) -> bool:
        """False if this worker has lost the target."""
        args = [*rest, *[""] * (MAX_OUTCOME_ARGS - len(rest))]
        if lane is not None:
            args[-2:] = [lane.id, msgspec.json.encode(lane).decode()]
        place = target_place(name)
        is_settled = bool(lua_script(self._client, "settle")(place, self._token, now, outcome, number, *args, notes))
        if is_settled and outcome in FINAL and not redis_client.is_one_server(self._client):
            replicas.confirm(self._client, [place])
            if self._client.zscore(f"{place}told", args[0]) is None:  # a failover took it: it would be sent once more
                raise replicas.lost_error()
        return is_settled


def read_targets(settings: Settings, client: Redis, now: float) -> list[TargetStatus]:
    """Where each target stands, and how many changes wait for it."""
    store, target_outbox = Store(client), Outbox(client, "")
    states, noted = target_outbox.target_states(list(settings.alerts)), target_outbox.has_noted_targets()
    statuses = []
    for name, target in settings.alerts.items():
        start = states[name].cursor or (None if noted else start_cursor(target, now))
        changes = store.changes(start, MAX_BACKLOG) if start else []
        for lane in target_outbox.lanes(name):
            behind = store.changes(lane.cursor, MAX_BACKLOG)
            changes += [change for change in behind if lane.holds(change) and not is_after(change.number, start or "0")]
        pending = pending_changes(name, target, changes, find_knowledge(store, target, changes, settings.timezone))
        more = len(changes) == MAX_BACKLOG
        statuses.append(TargetStatus(name=name, target=target, state=states[name], backlog=len(pending), more=more))
    return statuses


def start_cursor(target: Target, now: float) -> str:
    """Where a target begins in a store that is new itself: with changes that are not too old, or for a digest with
    those to come.
    """
    return _outbox_number(now if target.digest is not None else now - target.max_age)


def _outbox_number(at: float) -> str:
    """The number that a change of this time has."""
    return f"{int(at * 1000)}-0"


def pending_changes(name: str, target: Target, changes: Sequence[Change], knowledge: Knowledge) -> list[Change]:
    """The changes that this target is told of."""
    return [change for change in changes if rules.find_objection(name, target, change, knowledge) is None]


def find_knowledge(store: Store, target: Target, changes: Sequence[Change], zone: str) -> Knowledge:
    """What the rules of this target look at, for these changes."""
    records, ids = find_records(store, changes), _ids_by_platform(changes)
    sessions: dict[StreamerKey, Sequence[Session]] = {}
    peaks: dict[StreamerKey, int] = {}
    for platform, some in ids.items() if target.first_in else ():
        sessions |= {(platform, each): kept for each, kept in store.sessions(platform, some).items()}
    for platform, some in ids.items() if target.viewers and "end" in target.on else ():
        for each, curve in store.viewer_curves(platform, some).items():
            peaks[platform, each] = max((count for count in curve.counts if count is not None), default=0)
    return rules.Knowledge(zone, records, sessions, peaks)


def find_records(store: Store, changes: Sequence[Change]) -> dict[StreamerKey, StreamerRecord]:
    """What is known now of the streamers of these changes."""
    ids_by_platform = _ids_by_platform(changes)
    records = [record for platform, ids in ids_by_platform.items() for record in store.find_streamers(platform, ids)]
    return {(record.platform, record.id): record for record in records}


def _ids_by_platform(changes: Sequence[Change]) -> dict[str, list[str]]:
    ids: dict[str, dict[str, None]] = {}
    for change in changes:
        ids.setdefault(change.platform, {})[change.id] = None
    return {platform: list(some) for platform, some in ids.items()}


def _encode_notes(
    judged: Sequence[Judged], now: float, alert: Alert | None = None, note: ChangeNote | None = None
) -> str:
    """The rows that settle.lua reads: the objections to changes, and what became of those of an alert."""
    rows = [
        _note_row(change, ChangeNote(change.number, now, objection.rule, objection.words))
        for change, objection in judged
        if objection and objection.rule not in NOT_NOTED
    ]
    if alert and note:
        rows += [_note_row(change, msgspec.structs.replace(note, number=change.number)) for change in alert.changes]
    return store_records.encode_json(rows) if rows else ""


def _note_row(change: Change, note: ChangeNote) -> tuple[str, str, str, ChangeNote]:
    return f"{change.platform}/{change.id}", change.session, alert_kind(change), note


def _parse_state(fields: dict[str, str]) -> TargetState:
    return msgspec.convert({name: value for name, value in fields.items() if value}, TargetState, strict=False)


def _parse_lanes(texts: Sequence[str]) -> list[Lane]:
    return sorted((msgspec.json.decode(text, type=Lane) for text in texts), key=lambda lane: lane.retry_at or 0.0)


def _moved(lane: Lane | None, number: str) -> Lane | None:
    """The lane, done with all up to this change."""
    return lane and Lane(id=lane.id, streamers=lane.streamers, cursor=number)


def _with_lanes(state: TargetState, lanes: Sequence[Lane]) -> TargetState:
    """The state as people see it: what a lane is about to try again is a failure of its target."""
    failing = [lane for lane in lanes if lane.failing_since is not None]
    if not failing or state.failing_since is not None:
        return state
    since = min(lane.failing_since or 0.0 for lane in failing)
    takes_others = state.sent_at is not None and state.sent_at > since
    return msgspec.structs.replace(
        state,
        tries=failing[0].tries,
        retry_at=failing[0].retry_at,
        problem=failing[0].problem,
        failing_since=None if takes_others else since,
    )


def is_after(number: str, other: str) -> bool:
    return [int(part) for part in number.split("-")] > [int(part) for part in other.split("-")]


def reported_change(name: str, kind: str, title: str, details: str, now: float) -> Change:
    """What is to be known of a run, a worker or a queue of this name, as a change."""
    return Change(kind="reported", platform="", id=name, session=kind, at=now, name=name, title=title, before=details)


def outbox_fields(change: Change) -> list[str]:
    """The fields of an entry of the outbox that brings this change, for whoever adds it in a step of their own."""
    return ["change", _encode_change(change), "page", "{}"]


def _encode_change(change: Change) -> str:
    fields = msgspec.to_builtins(change)
    return store_records.encode_json({name: value for name, value in fields.items() if value not in (None, False)})
