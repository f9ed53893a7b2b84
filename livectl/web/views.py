"""Turns readings into what the templates show: the list of streamers, one streamer."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any
from urllib.parse import quote

import msgspec
from flask import url_for

from livectl.live import views as live_views
from livectl.units import format_instant, format_local_time
from livectl.web.cards import CardBuilder
from livectl.web.drawings import draw_heat_map
from livectl.web.times import FormattedTime

if TYPE_CHECKING:
    from collections.abc import Callable

    from livectl.live.alerts.outbox import TargetStatus
    from livectl.models import Session
    from livectl.web.data import PageData, StreamerFilter, StreamerList, StreamerPage
    from livectl.web.i18n import Translations


MAX_SESSIONS = 100

TemplateContext = tuple[str, dict[str, Any]]  # a template, and its variables


def streamer_list(
    streamers: StreamerList, streamer_filter: StreamerFilter, translate: Translations, now: float, page_data: PageData
) -> TemplateContext:
    matching = streamer_filter.apply(streamers)
    card_builder = CardBuilder(translate, now, page_data.zone, _page_url_builder())
    render_fragment = page_data.fragments.render
    unread = sum(live_views.from_record(record).live is None for record in streamers.others)
    all_count = len(streamers.live) + len(streamers.others)
    return "wall.html", {
        "t": translate,
        "zone": page_data.zone,
        "streamer_filter": streamer_filter,
        "platforms": [(name, translate.platform(name)) for name in streamers.platforms],
        "tags": streamers.tags,
        "live": [render_fragment("card", card_builder.build(record), translate) for record in matching.live],
        "others": [render_fragment("row", card_builder.build(record), translate) for record in matching.others],
        "notices": [
            *([translate("list_problem", why=streamers.list_problem)] if streamers.list_problem else []),
            *(notice for health in streamers.health if (notice := card_builder.platform_notice(health))),
            *_failing_target_notices(page_data.targets.get(), translate, now),
        ],
        "nobody": translate("nobody_known", count=unread, all=all_count) if unread else translate("nobody"),
        "unread": unread,
        "live_count": len(streamers.live),
        "all_count": all_count,
    }


def streamer(streamer_page: StreamerPage, translate: Translations, now: float, zone: str) -> TemplateContext:
    (record, sessions), heat_map = streamer_page
    days = translate.days()
    return "streamer.html", {
        "t": translate,
        "zone": zone,
        "card": CardBuilder(translate, now, zone, _page_url_builder()).build(record),
        "followed": record.streamer is not None,
        "sessions": [_session_row(session, translate, now, zone) for session in reversed(sessions[-MAX_SESSIONS:])],
        "session_count": len(sessions),
        "heat_map": draw_heat_map(heat_map, days),
        "weeks": f"{heat_map.weeks:g}",
        "usual": ", ".join(f"{days[day]} {hour:02}:00" for day, hour in heat_map.usual_hours),
    }


def _failing_target_notices(statuses: list[TargetStatus], translate: Translations, now: float) -> list[str]:
    """A sentence for each target that has not taken anything for a while."""
    failing = [(status.name, status.state.troubled_since) for status in statuses]
    return [
        translate("failing", name=name, span=translate.span(max(0.0, now - since))) for name, since in failing if since
    ]


def _page_url_builder() -> Callable[[str, str], str]:
    """Builds addresses of streamers' pages. Thousands are needed at once, for which Flask's url_for is too slow."""
    base = url_for(".index")
    return lambda platform, name: f"{base}streamers/{quote(platform, safe='')}/{quote(name)}"


class SessionRow(msgspec.Struct, frozen=True):
    """A session in the table of a streamer's page."""

    started: FormattedTime
    length: str
    title: str
    category: str


def _session_row(session: Session, translate: Translations, now: float, zone: str) -> SessionRow:
    length = translate.span(max(0.0, (session.ended_at or now) - session.started_at))
    started = format_local_time(session.started_at, zone)
    return SessionRow(
        started=FormattedTime(started, started, format_instant(session.started_at)),
        length=length if session.ended_at else translate("still_on", span=length),
        title=session.title,
        category=session.category,
    )
