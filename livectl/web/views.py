"""A streamer as the page shows one: every time, number and state in words."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any
from urllib.parse import quote

import msgspec
from flask import url_for

from livectl.live import history
from livectl.models import State
from livectl.units import format_instant
from livectl.web import heat_map as web_heat_map
from livectl.web.i18n import MINUTE, local_time

if TYPE_CHECKING:
    from collections.abc import Callable
    from datetime import datetime

    from livectl.models import Job, PlatformHealth, Session, StreamerRecord
    from livectl.web.data import PageData, StreamerFilter, StreamerList, StreamerPage
    from livectl.web.i18n import Translations


# What only tells of the streamer; everything else is trouble with asking.
STREAMER_TROUBLES = {State.UPCOMING, State.RESTRICTED, State.NOT_FOUND, State.BANNED}


class Card(msgspec.Struct, frozen=True, kw_only=True):
    """What a card or a row says. Equal cards look alike, so that what has not changed is not drawn again."""

    key: str
    page: str  # address of the streamer's own page here
    url: str
    platform: str
    platform_name: str
    id: str
    name: str
    initial: str
    state: str
    state_word: str
    title: str
    category: str
    cover: str
    viewers: str
    time: str  # in words: since when live, or when last live
    moment: str | None  # the same for programs
    moment_long: str
    tags: tuple[str, ...]
    trouble: str
    trouble_short: str
    fault: bool
    problem: str


class CardBuilder:
    """Makes cards for one visitor's language, at one moment, in one zone."""

    def __init__(self, translate: Translations, now: float, zone: str, page_url: Callable[[str, str], str]) -> None:
        self._translate, self._now, self._zone, self._page_url = translate, now, zone, page_url

    def build(self, record: StreamerRecord) -> Card:
        name = record.name or record.id
        state = str(record.state or State.UNKNOWN)
        live = record.state is State.LIVE
        moment = record.started_at if live else record.ended_at
        return Card(
            key=f"s-{record.platform}-{record.id}",
            page=self._page_url(record.platform, record.id),
            url=safe_url(record.url),
            platform=record.platform,
            platform_name=self._translate.platform(record.platform),
            id=record.id,
            name=name,
            initial=name[:1].upper(),
            state=state,
            state_word=self._translate(f"state_{state}"),
            title=record.title,
            category=record.category,
            cover=https_url(record.cover) if live else "",
            viewers=self._translate.count(record.viewers) if live and record.viewers is not None else "",
            time=self._time_text(moment, live=live),
            moment=None if moment is None else format_instant(moment),
            moment_long=local_time(moment, self._zone) if moment else "",
            tags=record.streamer.tags if record.streamer else (),
            trouble=self._trouble_text(record),
            trouble_short=self._translate(f"trouble_{record.trouble}") if record.trouble else "",
            fault=record.trouble is not None and record.trouble not in STREAMER_TROUBLES,
            problem=record.problem if record.trouble else "",
        )

    def _time_text(self, moment: float | None, *, live: bool) -> str:
        if moment is None:
            return "" if live else self._translate("never_live")
        seconds = max(0.0, self._now - moment)
        return (
            (self._translate.span(seconds) if seconds >= MINUTE else self._translate("now"))
            if live
            else self._translate("last_live", ago=self._translate.ago(seconds))
        )

    def _trouble_text(self, record: StreamerRecord) -> str:
        """What is in the way, since when, and how old that makes the last reading."""
        if record.trouble is None:
            return ""
        trouble, span = self._translate(f"trouble_{record.trouble}"), self._span_since(record.troubled_since)
        if record.seen is None:
            return self._translate("trouble_never", what=trouble, span=span)
        return self._translate(
            "trouble", what=trouble, span=span, seen=self._translate.ago(max(0.0, self._now - record.seen))
        )

    def _span_since(self, moment: float | None) -> str:
        return self._translate.span(max(0.0, self._now - (moment or self._now)))

    def platform_notice(self, health: PlatformHealth) -> str:
        """Why nobody on a platform is asked, where that is so."""
        name = self._translate.platform(health.platform)
        if health.auth_since is not None:
            return self._translate("platform_auth", platform=name, span=self._span_since(health.auth_since))
        if health.open_until is not None:
            return self._translate("platform_open", platform=name, until=self._until_text(health.open_until))
        if health.parser_broken is not None:
            return self._translate("platform_parser", platform=name, span=self._span_since(health.parser_broken))
        if health.all_gone is not None:
            return self._translate("platform_gone", platform=name, span=self._span_since(health.all_gone))
        if health.wait_until is not None and health.wait_until > self._now:
            return self._translate("platform_wait", platform=name, until=self._until_text(health.wait_until))
        return ""

    def _until_text(self, moment: float) -> str:
        return self._translate.ahead(moment - self._now)


def safe_url(url: str) -> str:
    """An address that may be followed; nothing for what would run or open something else."""
    return url if url.lower().startswith(("https://", "http://")) else ""


def https_url(url: str) -> str:
    """Covers come over HTTPS or not at all."""
    if url.startswith("//"):
        url = f"https:{url}"
    scheme, _, rest = url.partition("://")
    return f"https://{rest}" if scheme.lower() in {"http", "https"} and rest else ""


MEBIBYTE = 1024 * 1024
MAX_SESSIONS = 100
HOUR_LABELS = range(0, history.HOURS_PER_DAY, history.LABEL_EVERY_HOURS)


class FormattedTime(msgspec.Struct, frozen=True):
    """A point in time in words, exactly, and for programs."""

    words: str
    long: str
    iso: str | None


class SessionRow(msgspec.Struct, frozen=True):
    """A session as a row of a table."""

    started: FormattedTime
    length: str
    title: str
    category: str


TemplateContext = tuple[str, dict[str, Any]]


def streamer_list(
    streamers: StreamerList, streamer_filter: StreamerFilter, translate: Translations, now: float, page_data: PageData
) -> TemplateContext:
    matching = streamer_filter.apply(streamers)
    card_builder = CardBuilder(translate, now, page_data.zone, _page_url_builder())
    render_fragment = page_data.fragments.render
    return "wall.html", {
        "t": translate,
        "zone": page_data.zone,
        "chosen": streamer_filter,
        "platforms": [(name, translate.platform(name)) for name in streamers.platforms],
        "tags": streamers.tags,
        "live": [render_fragment("card", card_builder.build(item), translate) for item in matching.live],
        "others": [render_fragment("row", card_builder.build(item), translate) for item in matching.others],
        "notices": [notice for item in streamers.health if (notice := card_builder.platform_notice(item))]
        + _failing_target_notices(page_data, translate, now),
        "live_count": len(streamers.live),
        "all_count": len(streamers.live) + len(streamers.others),
    }


def streamer(streamer_page: StreamerPage, translate: Translations, now: float, zone: str) -> TemplateContext:
    heat_map = streamer_page.heat_map
    days = translate.days()
    usual = [f"{days[day]} {hour:02}:00" for day, hour in heat_map.usual_hours]
    return "streamer.html", {
        "t": translate,
        "zone": zone,
        "card": CardBuilder(translate, now, zone, _page_url_builder()).build(streamer_page.record),
        "followed": streamer_page.record.streamer is not None,
        "sessions": [
            _session_row(session, translate, now, zone) for session in reversed(streamer_page.sessions[-MAX_SESSIONS:])
        ],
        "cells": web_heat_map.heat_map_cells(heat_map),
        "map": web_heat_map,
        "weeks": f"{heat_map.weeks:g}",
        "days": days,
        "hours": HOUR_LABELS,
        "usual": ", ".join(usual),
    }


def jobs(page_data: PageData, translate: Translations, now: float) -> TemplateContext:
    snapshot, beat_schedule = page_data.jobs.get(), page_data.beat_schedule.get()

    def format_time(moment: datetime | str | None) -> FormattedTime | None:
        return _format_near_time(moment, translate, now, page_data.zone)

    return "jobs.html", {
        "t": translate,
        "zone": page_data.zone,
        "found": snapshot,
        "alerts": [
            item | {"sent_at": format_time(item["sent_at"]), "retry_at": format_time(item["retry_at"])}
            for item in page_data.alerts.get()
        ],
        "timetable": beat_schedule,
        "looked_in": translate.ago(max(0.0, now - beat_schedule.looked_in)) if beat_schedule.looked_in else "",
        "rows": [
            row | {"last": format_time(row["last"]), "next": format_time(row["next"])} for row in beat_schedule.rows
        ],
        "jobs": [
            (item, format_time(item.finished_at or item.started_at), job_outcome(item))
            for item in snapshot.recent.found or []
        ],
        "dead": [(item, format_time(item.at)) for item in snapshot.dead.found or []],
        "mebibytes": lambda size: f"{size / MEBIBYTE:.0f} MB" if size else "",
    }


def _failing_target_notices(page_data: PageData, translate: Translations, now: float) -> list[str]:
    """The targets that have not taken anything for a while."""
    return [
        translate("failing", name=target["name"], span=translate.span(max(0.0, now - since.timestamp())))
        for target in page_data.alerts.get()
        if (since := target["failing_since"])
    ]


def job_outcome(job: Job) -> str:
    """A job's error, or its result where it has one to show."""
    if job.error:
        return job.error
    if job.result is None:
        return ""
    return job.result if isinstance(job.result, str) else msgspec.json.encode(job.result, enc_hook=str).decode()


def _session_row(session: Session, translate: Translations, now: float, zone: str) -> SessionRow:
    length = translate.span(max(0.0, (session.ended_at or now) - session.started_at))
    return SessionRow(
        started=FormattedTime(
            local_time(session.started_at, zone),
            local_time(session.started_at, zone),
            format_instant(session.started_at),
        ),
        length=length if session.ended_at else translate("still_on", span=length),
        title=session.title,
        category=session.category,
    )


def _format_near_time(
    moment: datetime | str | None, translate: Translations, now: float, zone: str
) -> FormattedTime | None:
    """A moment near now, as far from it as it is."""
    from datetime import datetime

    if moment is None:
        return None
    seconds = (datetime.fromisoformat(moment) if isinstance(moment, str) else moment).timestamp()
    text = translate.ahead(seconds - now) if seconds > now else translate("ago", span=translate.seconds(now - seconds))
    return FormattedTime(text, local_time(seconds, zone), format_instant(seconds))


def _page_url_builder() -> Callable[[str, str], str]:
    """The address of a streamer's page. Thousands are wanted at once, which Flask's own way takes too long for."""
    base = url_for(".index")
    return lambda platform, name: f"{base}streamers/{quote(platform, safe='')}/{quote(name)}"
