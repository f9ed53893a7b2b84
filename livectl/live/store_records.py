"""Converts between the values of the live wing and what its store keeps of them."""

from __future__ import annotations

from collections import Counter, defaultdict
from operator import attrgetter
from typing import TYPE_CHECKING, Any, NamedTuple

import msgspec

from livectl.live.cells import exit_of
from livectl.models import (
    Change,
    Observation,
    PlatformHealth,
    State,
    Streamer,
    StreamerRecord,
    UnresolvedFollow,
)
from livectl.redaction import hide_secrets

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence

    from livectl.live.cells import Cell, Split
    from livectl.live.standing import CellLook


# Characters kept of each text, so that a streamer takes about 1 KiB at most.
MAX_CHARS = {"title": 200, "category": 60, "name": 60, "url": 200}
MAX_IMAGE_CHARS = {"cover": 500, "avatar": 500}  # of an address: one that is cut leads nowhere
_TEXTS, _IMAGES = attrgetter(*MAX_CHARS), attrgetter(*MAX_IMAGE_CHARS)
MAX_PROBLEM_CHARS = 200

# The digits of packed numbers, as in shared.lua: in the order of their bytes, so that packed numbers compare as text.
DIGITS = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZ_abcdefghijklmnopqrstuvwxyz~"

# Before the rest of what is known of somebody without trouble, as in shared.lua: state and when seen; of who is live
# how many watch, and when that is noted again.
STATE_LETTERS = {"o": State.OFFLINE, "r": State.REPLAY, "l": State.LIVE}
SEEN_END, VIEWERS_END, WATCHED_END = 15, 24, 34
PLAIN_STATES = (State.OFFLINE, State.REPLAY)  # all that is told of them is who they are


class StoredFollow(msgspec.Struct, frozen=True, omit_defaults=True):
    """A followed streamer without platform and id, which are its key."""

    name: str = ""
    url: str = ""
    tags: tuple[str, ...] = ()
    alerts: tuple[str, ...] | None = None
    weight: float = 1.0


class StoredPage(msgspec.Struct, frozen=True, omit_defaults=True):
    """What a streamer's page shows, from the last good answer."""

    title: str = ""
    category: str = ""
    name: str = ""
    url: str = ""
    cover: str = ""
    avatar: str = ""


EMPTY_PAGE = StoredPage()


class StoredReading(msgspec.Struct, frozen=True):
    """The state of a streamer, under the names that the Lua scripts use."""

    state: State | None = None
    since: float | None = None
    seen: float | None = None
    session: str = ""
    started: float | None = None
    ended: float | None = None
    viewers: int | None = None
    trouble: State | None = None
    troubled: float | None = None
    problem: str = ""
    first: float | None = None
    announced: float | None = None
    resumed: float | None = None
    unresolved: bool = False  # these two are those of a line that leads to nobody
    looked_up: float | None = None


class TargetPulse(msgspec.Struct, frozen=True, kw_only=True):
    """How a target of alerts fares, at a glance."""

    name: str
    sent: int
    last_told: str = ""  # the number of the change that it was told last
    failing: bool = False
    answer: str = ""  # when it last refused an alert


class NewestOfAll(NamedTuple):
    """What the cells say of all: the first of them in the order of `live --all`, and who is asked next."""

    followed: int
    live: int
    is_whole: bool  # everybody has their place in that order
    streamers: list[StreamerRecord]
    first_due: tuple[float, str, str] | None  # when, platform, id


class StorePulse(msgspec.Struct, frozen=True, kw_only=True):
    """How things stand, at a glance, and what has changed since."""

    followed: int
    unresolved: int  # lines of the follow list that lead to nobody
    live: int
    names: tuple[str, ...]  # of those who went live last
    next_due: float | None  # when somebody is asked next
    next_key: tuple[str, str]  # and who: platform and id
    changes: tuple[Change, ...]
    targets: tuple[TargetPulse, ...]
    dead_letters: int


def encode_json(value: Any) -> str:
    return msgspec.json.encode(value).decode()


def encode_follow(streamer: Streamer) -> str:
    return encode_json(StoredFollow(streamer.name, streamer.url, streamer.tags, streamer.alerts, streamer.weight))


def decode_follow(text: str) -> StoredFollow:
    return msgspec.json.decode(text, type=StoredFollow)


def encode_observation(observation: Observation) -> tuple[Any, ...]:
    """The row that record.lua reads."""
    return (
        observation.id,
        observation.state,
        round(observation.at, 3),
        observation.session,
        observation.started_at,
        observation.viewers,
        _encode_page(observation),
        truncate(hide_secrets(observation.problem), MAX_PROBLEM_CHARS) if observation.problem else "",
        observation.retry_at,
    )


class EncodedBatch(NamedTuple):
    """Observations of one platform, as the scripts read them."""

    answers: str  # what answer.lua reads: how often each answer came
    cells: dict[Cell, list[str | bytes]]  # what record.lua reads of each cell


def encode_batch(observations: Sequence[Observation], split: Callable[[Iterable[str]], Split]) -> EncodedBatch:
    """The first observation of each streamer, by their cells: the plain ones by state and time, the others, and the
    pages of the plain ones.
    """
    by_id = {each.id: each for each in reversed(observations)}
    answers: dict[tuple[Any, ...], int] = defaultdict(int)
    cells = {cell: _encode_cell([by_id[each] for each in ids], answers) for cell, ids in split(by_id).items()}
    counted = [(state, at, count, is_live, retry_at) for (state, at, is_live, retry_at), count in answers.items()]
    return EncodedBatch(encode_json(counted), cells)


def _encode_cell(observations: Sequence[Observation], answers: dict[tuple[Any, ...], int]) -> list[str | bytes]:
    """What record.lua reads; the answers are counted."""
    plain: dict[tuple[State, float], tuple[list[str], list[str]]] = {}
    rows: list[tuple[Any, ...]] = []
    for observation in observations:
        state = observation.state
        if state in PLAIN_STATES and not observation.problem and observation.retry_at is None:
            ids, pages = plain.setdefault((state, observation.at), ([], []))
            ids.append(observation.id)
            pages.append(_encode_page(observation))
            continue
        row = encode_observation(observation)
        is_live = state is State.LIVE or (state is State.RESTRICTED and bool(observation.session))
        answers[state, row[2], is_live, observation.retry_at] += 1
        rows.append(row)
    groups = [(state, round(at, 3), ids) for (state, at), (ids, _) in plain.items()]
    for state, at, ids in groups:
        answers[state, at, False, None] += len(ids)
    pages_json = [encode_json(pages) if any(pages) else "" for _, pages in plain.values()]
    return [msgspec.msgpack.encode(groups), msgspec.msgpack.encode(rows), *pages_json]


def decode_reading(text: str) -> StoredReading:
    """Reads what shared.lua packs: JSON, or what changes most before the rest."""
    state = STATE_LETTERS.get(text[:1])
    if state is None:
        return msgspec.json.decode(text, type=StoredReading)
    rest = msgspec.json.decode(text[WATCHED_END if state is State.LIVE else SEEN_END :], type=StoredReading)
    viewers = int(text[SEEN_END:VIEWERS_END]) if state is State.LIVE else -1
    seen = float(text[1:SEEN_END])
    return msgspec.structs.replace(rest, state=state, seen=seen, viewers=viewers if viewers >= 0 else None)


def _encode_page(observation: Observation) -> str:
    """The page as JSON; empty where there is nothing to show."""
    texts, images = _TEXTS(observation), _IMAGES(observation)
    if not any(texts) and not any(images):
        return ""
    page = StoredPage(
        *map(truncate, texts, MAX_CHARS.values()),
        *(image if len(image) <= limit else "" for image, limit in zip(images, MAX_IMAGE_CHARS.values(), strict=True)),
    )
    return "" if page == EMPTY_PAGE else encode_json(page)


def decode_page(text: str | None) -> StoredPage:
    return msgspec.json.decode(text, type=StoredPage) if text else EMPTY_PAGE


def encode_unresolved(follow: UnresolvedFollow) -> str:
    """The pair that read.lua reads: the line, and a reading that has its trouble."""
    reading = StoredReading(
        trouble=follow.state,
        troubled=follow.since,
        problem=truncate(hide_secrets(follow.problem), MAX_PROBLEM_CHARS),
        unresolved=True,
        looked_up=follow.looked_up,
    )
    return encode_json([encode_follow(follow.streamer), encode_json(reading)])


def decode_unresolved(name: str, text: str) -> UnresolvedFollow:
    platform, _, written = name.partition("/")
    follow_json, reading_json = msgspec.json.decode(text, type=tuple[str, str])
    reading = msgspec.json.decode(reading_json, type=StoredReading)
    return UnresolvedFollow(
        streamer=_decode_streamer(platform, written, follow_json),
        state=reading.trouble or State.UNKNOWN,
        problem=reading.problem,
        since=reading.troubled,
        looked_up=reading.looked_up,
    )


def truncate(text: str, limit: int) -> str:
    """The first characters, without lone surrogates, which UTF-8 cannot encode."""
    if text.isascii():
        return text[:limit]
    return text[:limit].encode("utf-8", "ignore").decode()


def decode_record(platform: str, row: Sequence[str], line: str | None = None) -> StreamerRecord:
    """Reads a row of read.lua, and the line of the follow list that leads to nobody, where there is one.

    The trouble of somebody who is followed while their line cannot be read is the line's.
    """
    streamer_id, follow_json, reading_json, page_json = row
    if line and not follow_json:
        follow_json, reading_json = msgspec.json.decode(line, type=tuple[str, str])
    elif line:
        trouble = decode_reading(msgspec.json.decode(line, type=tuple[str, str])[1])
        record = decode_record(platform, row)
        return msgspec.structs.replace(
            record, trouble=trouble.trouble, troubled_since=trouble.troubled, problem=trouble.problem
        )
    reading = decode_reading(reading_json)
    page = msgspec.json.decode(page_json, type=StoredPage)
    streamer = _decode_streamer(platform, streamer_id, follow_json) if follow_json else None
    return StreamerRecord(
        platform=platform,
        id=streamer_id,
        state=reading.state,
        since=reading.since,
        seen=reading.seen,
        session=reading.session,
        started_at=reading.started,
        ended_at=reading.ended,
        title=page.title,
        category=page.category,
        name=(streamer.name if streamer else "") or page.name,
        url=page.url or (streamer.url if streamer else ""),
        cover=page.cover,
        avatar=page.avatar,
        viewers=reading.viewers,
        trouble=reading.trouble,
        troubled_since=reading.troubled,
        problem=reading.problem,
        first=reading.first,
        announced_at=reading.announced,
        resumed_at=reading.resumed,
        streamer=streamer,
        unresolved=reading.unresolved,
    )


def decode_change(number: str, change_json: str, page_json: str) -> Change:
    """Reads an entry of the outbox."""
    fields = msgspec.json.decode(page_json) | msgspec.json.decode(change_json) | {"number": number}
    return msgspec.convert(fields, Change)


def decode_pulse(
    newest: NewestOfAll,
    unresolved: int,
    changes: Sequence[Any],
    standings: Mapping[str, Sequence[Any]],
    dead_letters: int,
) -> StorePulse:
    """Puts together what the cells say, the answers of news.lua, and of standing.lua for each target."""
    next_due, *next_key = newest.first_due or (None, "", "")
    return StorePulse(
        followed=newest.followed,
        unresolved=unresolved,
        live=newest.live,
        names=tuple(record.name or record.id for record in newest.streamers if record.state is State.LIVE),
        next_due=next_due,
        next_key=(next_key[0], next_key[1]),
        changes=tuple(decode_change(*change_row) for change_row in changes),
        targets=tuple(
            TargetPulse(name=name, sent=int(sent), last_told=last_told, failing=bool(failing), answer=answer)
            for name, (sent, last_told, failing, answer) in standings.items()
        ),
        dead_letters=dead_letters,
    )


def exits_of(healths: Mapping[str, Mapping[str, str]]) -> list[tuple[str, str]]:
    """The exits by which platforms are asked, each with its platform."""
    return [
        (platform, name)
        for platform, health in healths.items()
        for name in msgspec.json.decode(health.get("exits", "[]"), type=list[str])
    ]


def decode_health(
    platform: str,
    health: Mapping[str, str],
    looks: Mapping[Cell, CellLook],
    by_exit: Mapping[tuple[str, str], Mapping[str, str]],
) -> PlatformHealth:
    """Puts together what is noted of a platform and its exits, and how its cells look."""
    whole = _decode_health(platform, health, list(looks.values()))
    names = [name for _, name in exits_of({platform: health})]
    served = [
        [look for cell, look in looks.items() if exit_of(cell.shard, len(names)) == at] for at in range(len(names))
    ]
    exits = tuple(
        msgspec.structs.replace(_decode_health(platform, by_exit[platform, name], some), exit=name)
        for name, some in zip(names, served, strict=True)
    )
    if not exits:
        return whole
    answers = sum((Counter(way.answers) for way in (whole, *exits)), Counter[str]())
    tokens = sum(way.tokens or 0.0 for way in exits)
    return msgspec.structs.replace(whole, exits=exits, answers=dict(answers), tokens=tokens)


def _decode_health(platform: str, health: Mapping[str, str], looks: Sequence[CellLook]) -> PlatformHealth:
    fields: dict[str, Any] = {name: value for name, value in health.items() if name != "exits"}
    answers = {name.removeprefix("count:"): int(count) for name, count in fields.items() if name.startswith("count:")}
    counts = {
        "platform": platform,
        "followed": sum(look.counts.followed for look in looks),
        "live": sum(look.counts.live for look in looks),
        "due": sum(look.due for look in looks),
        "claimed": sum(look.claimed for look in looks),
    }
    if waiting := [look.due_since for look in looks if look.due_since is not None]:
        fields["due_since"] = min(waiting)
    return msgspec.convert(fields | counts | {"answers": answers}, PlatformHealth, strict=False)


def _decode_streamer(platform: str, streamer_id: str, follow_json: str) -> Streamer:
    follow = decode_follow(follow_json)
    return Streamer(
        platform=platform,
        id=streamer_id,
        name=follow.name,
        url=follow.url,
        tags=follow.tags,
        alerts=follow.alerts,
        weight=follow.weight,
    )
