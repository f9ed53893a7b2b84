"""Writes feeds: go-lives as Atom, usual hours and announced streams as a calendar."""

from __future__ import annotations

import re
from datetime import UTC, datetime, time, timedelta
from typing import TYPE_CHECKING, NamedTuple
from urllib.parse import quote
from zoneinfo import ZoneInfo

import msgspec

from livectl.units import format_instant
from livectl.web.cards import safe_url

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from livectl.live.history import HeatMap
    from livectl.models import Change, StreamerRecord
    from livectl.web.i18n import Translations


MAX_FEED_ENTRIES = 50
USUAL_SHARE = 0.4  # of the weeks in which they were live at an hour
DAYS_AHEAD = 14  # what subscribes to a calendar reads it anew each day
ANNOUNCED_HOURS = 1  # nobody knows how long it will be
MAX_LINE_BYTES = 75  # of a calendar
NOT_IN_XML = re.compile("[^\t\n\r\u0020-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")
CALENDAR_ESCAPES = str.maketrans({"\\": r"\\", ";": r"\;", ",": r"\,", "\n": r"\n", "\r": ""})


class FeedEntry(msgspec.Struct, frozen=True, kw_only=True):
    """A go-live in the feed."""

    id: str
    title: str
    text: str
    url: str
    at: str


def feed_entries(changes: Iterable[Change], translate: Translations) -> list[FeedEntry]:
    """The latest go-lives, the latest first."""
    begun = [change for change in changes if change.kind == "began"][:MAX_FEED_ENTRIES]
    return [
        FeedEntry(
            id=f"urn:livectl:{quote(f'{change.platform}:{change.id}:{change.session}')}",
            title=_xml_text(translate("feed_entry", name=change.name or change.id)),
            text=_xml_text(
                " · ".join(filter(None, [translate.platform(change.platform), change.title, change.category]))
            ),
            url=_xml_text(safe_url(change.url)),
            at=format_instant(change.at),
        )
        for change in begun
    ]


class Occasion(NamedTuple):
    """Something in a calendar."""

    uid: str
    begin: datetime
    end: datetime
    summary: str
    url: str


def occasions(
    known: Iterable[tuple[StreamerRecord, HeatMap]], translate: Translations, now: float
) -> Iterator[Occasion]:
    """When these streamers will probably stream, and when they are announced to."""
    for record, heat_map in known:
        name, key = record.name or record.id, f"{quote(record.platform)}/{quote(record.id)}"
        if record.announced_at and record.announced_at > now:
            begin = datetime.fromtimestamp(record.announced_at, UTC)
            end = begin + timedelta(hours=ANNOUNCED_HOURS)
            yield Occasion(f"{key}/announced", begin, end, translate("calendar_announced", name=name), record.url)
        zone = ZoneInfo(heat_map.timezone)
        today = datetime.fromtimestamp(now, zone).date()
        for day in (today + timedelta(days=ahead) for ahead in range(DAYS_AHEAD)):
            for first, last in usual_spans(heat_map.shares[day.weekday()]):
                begin = datetime.combine(day, time(first), zone)
                end = datetime.combine(day, time(last), zone) + timedelta(hours=1)
                summary = translate("calendar_usual", name=name)
                yield Occasion(f"{key}/{day}/{first}", begin.astimezone(UTC), end.astimezone(UTC), summary, record.url)


def usual_spans(shares: Sequence[float]) -> list[tuple[int, int]]:
    """The first and the last hour of each stretch of a day in which they usually stream."""
    spans: list[tuple[int, int]] = []
    for hour, share in enumerate(shares):
        if share < USUAL_SHARE:
            continue
        if spans and spans[-1][1] == hour - 1:
            spans[-1] = (spans[-1][0], hour)
        else:
            spans.append((hour, hour))
    return spans


def write_calendar(coming: Iterable[Occasion], title: str, now: float) -> bytes:
    stamp = _calendar_time(datetime.fromtimestamp(now, UTC))
    lines = ["BEGIN:VCALENDAR", "VERSION:2.0", "PRODID:-//livectl//page//EN", f"X-WR-CALNAME:{_calendar_text(title)}"]
    for occasion in coming:
        lines += [
            "BEGIN:VEVENT",
            f"UID:{occasion.uid}@livectl",
            f"DTSTAMP:{stamp}",
            f"DTSTART:{_calendar_time(occasion.begin)}",
            f"DTEND:{_calendar_time(occasion.end)}",
            f"SUMMARY:{_calendar_text(occasion.summary)}",
            *([f"URL:{url}"] if (url := safe_url(occasion.url)) and url.isascii() and url.isprintable() else []),
            "TRANSP:TRANSPARENT",
            "END:VEVENT",
        ]
    lines.append("END:VCALENDAR")
    return b"".join(_fold(line) for line in lines)


def _calendar_time(moment: datetime) -> str:
    return f"{moment:%Y%m%dT%H%M%SZ}"


def _calendar_text(text: str) -> str:
    return "".join(char for char in text.translate(CALENDAR_ESCAPES) if char.isprintable())


def _fold(line: str) -> bytes:
    """A line in pieces that are short enough, none of which ends within a character."""
    pieces, piece = [], b""
    for char in line:
        encoded = char.encode("utf-8", "replace")
        if len(piece) + len(encoded) >= MAX_LINE_BYTES:
            pieces.append(piece)
            piece = b" "
        piece += encoded
    return b"\r\n".join([*pieces, piece]) + b"\r\n"


def _xml_text(text: str) -> str:
    """The text without what XML cannot hold."""
    return NOT_IN_XML.sub("", text)
