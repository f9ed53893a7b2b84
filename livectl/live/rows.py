"""The store's rows: how observations go in and how what is known comes out."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import msgspec

from livectl.model import Change, Health, Known, Observation, State, Streamer

if TYPE_CHECKING:
    from collections.abc import Sequence

# Characters kept, so that what is known of a streamer now stays below 1 KiB.
LIMITS = {"title": 200, "category": 60, "name": 60, "url": 200, "cover": 300}
PROBLEM = 200


class Follow(msgspec.Struct, frozen=True, omit_defaults=True):
    """A streamer without its platform and id, which are the key."""

    name: str = ""
    url: str = ""
    tags: tuple[str, ...] = ()
    alerts: tuple[str, ...] | None = None
    weight: float = 1.0


class Page(msgspec.Struct, frozen=True, omit_defaults=True):
    """What a streamer's page said: the last good answer."""

    title: str = ""
    category: str = ""
    name: str = ""
    url: str = ""
    cover: str = ""


class Now(msgspec.Struct, frozen=True):
    """What is known now, under the names that the scripts use."""

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


def text(value: Any) -> str:
    return msgspec.json.encode(value).decode()


def follow(streamer: Streamer) -> str:
    return text(Follow(streamer.name, streamer.url, streamer.tags, streamer.alerts, streamer.weight))


def sighting(seen: Observation) -> tuple[Any, ...]:
    """An observation as record.lua takes it."""
    page = Page(**{name: clean(said, limit) for name, limit in LIMITS.items() if (said := getattr(seen, name))})
    return (
        seen.id,
        seen.state,
        round(seen.at, 3),
        seen.session,
        seen.started_at,
        seen.viewers,
        "" if page == EMPTY else text(page),
        clean(seen.problem, PROBLEM) if seen.problem else "",
        seen.retry_at,
    )


def clean(said: str, limit: int) -> str:
    """Cut to size, and free of the half characters that no encoding holds."""
    return said[:limit].encode("utf-8", "ignore").decode()


def known(row: Sequence[str]) -> Known:
    platform, id_, follow_, now_, page_ = row
    now = msgspec.json.decode(now_, type=Now)
    page = msgspec.json.decode(page_, type=Page)
    streamer = _streamer(platform, id_, follow_) if follow_ else None
    return Known(
        platform=platform,
        id=id_,
        state=now.state,
        since=now.since,
        seen=now.seen,
        session=now.session,
        started_at=now.started,
        ended_at=now.ended,
        title=page.title,
        category=page.category,
        name=(streamer.name if streamer else "") or page.name,
        url=page.url or (streamer.url if streamer else ""),
        cover=page.cover,
        viewers=now.viewers,
        trouble=now.trouble,
        troubled_since=now.troubled,
        problem=now.problem,
        first=now.first,
        streamer=streamer,
    )


def change(number: str, said: str, page: str) -> Change:
    row = msgspec.json.decode(page) | msgspec.json.decode(said) | {"number": number}
    return msgspec.convert(row, Change)


def health(row: Sequence[Any]) -> Health:
    platform, followed, live, due, claimed, flat = row
    said = dict(zip(flat[::2], flat[1::2], strict=True))
    answers = {name.removeprefix("count:"): int(count) for name, count in said.items() if name.startswith("count:")}
    counts = {"platform": platform, "followed": followed, "live": live, "due": due, "claimed": claimed}
    return msgspec.convert(said | counts | {"answers": answers}, Health, strict=False)


def _streamer(platform: str, id_: str, said: str) -> Streamer:
    kept = msgspec.json.decode(said, type=Follow)
    return Streamer(
        platform=platform,
        id=id_,
        name=kept.name,
        url=kept.url,
        tags=kept.tags,
        alerts=kept.alerts,
        weight=kept.weight,
    )


EMPTY = Page()
