"""What each template is given: readings turned into words."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any
from urllib.parse import quote

import msgspec
from flask import url_for

from livectl.live.views import hours
from livectl.live.views.sights import format_utc, parse_utc
from livectl.web import heat
from livectl.web.cards import CardBuilder
from livectl.web.wording import local_time

if TYPE_CHECKING:
    from collections.abc import Callable
    from datetime import datetime

    from livectl.model import Job, Session
    from livectl.web.site import PageData, StreamerPage
    from livectl.web.wall import StreamerFilter, StreamerList
    from livectl.web.wording import Translations

MEBIBYTE = 1024 * 1024
MAX_SESSIONS = 100
HOUR_LABELS = range(0, hours.HOURS_PER_DAY, hours.LABEL_EVERY_HOURS)


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
        "cells": heat.heat_map_cells(heat_map),
        "map": heat,
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
    failing = [(target["name"], parse_utc(target["failing_since"])) for target in page_data.alerts.get()]
    return [
        translate("failing", name=name, span=translate.span(max(0.0, now - since))) for name, since in failing if since
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
            local_time(session.started_at, zone), local_time(session.started_at, zone), format_utc(session.started_at)
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
    return FormattedTime(text, local_time(seconds, zone), format_utc(seconds))


def _page_url_builder() -> Callable[[str, str], str]:
    """The address of a streamer's page. Thousands are wanted at once, which Flask's own way takes too long for."""
    base = url_for(".index")
    return lambda platform, name: f"{base}streamers/{quote(platform, safe='')}/{quote(name)}"
