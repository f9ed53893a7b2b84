"""Turns readings into what the templates show: the list of streamers, one streamer, one day."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING, Any

import msgspec
from flask import url_for

from livectl.live import views as live_views
from livectl.units import format_instant, format_local_time
from livectl.web import selection
from livectl.web.cards import CardBuilder, platform_mark
from livectl.web.drawings import draw_curve, draw_heat_map
from livectl.web.times import FormattedTime

if TYPE_CHECKING:
    from collections.abc import Iterable

    from markupsafe import Markup

    from livectl.live.alerts.outbox import TargetStatus
    from livectl.models import Session, StreamerRecord
    from livectl.web.data import PageData, StreamerPage
    from livectl.web.days import Day, DayBar
    from livectl.web.i18n import Translations
    from livectl.web.selection import Arrangement, StreamerFilter, StreamerGroup
    from livectl.web.streamer_list import StreamerList


MAX_SESSIONS = 100
STREAMERS_TOPIC = "streamers"  # of the events that a page listens to
MAX_CARDS, MAX_ROWS = 48, 90  # shown at once: more make a page of over 150 kB, and one link shows all

TemplateContext = tuple[str, dict[str, Any]]  # a template, and its variables


class WallSection(msgspec.Struct, frozen=True, kw_only=True):
    """Some streamers under a heading, drawn: cards of the live ones and rows of the others, or lines of a table."""

    key: str  # of its element; those of the page without groups are called now and later
    title: str
    mark: str  # names a platform's drawing; empty for no platform
    count: int
    cards: list[Markup]
    rows: list[Markup]
    lines: list[Markup]


def streamer_list(
    streamers: StreamerList,
    matching: StreamerList,
    streamer_filter: StreamerFilter,
    arrangement: Arrangement,
    translate: Translations,
    now: float,
    page_data: PageData,
) -> TemplateContext:
    news = f"{streamers.news_digest}-{page_data.image_version}"
    card_builder = CardBuilder(translate, now, page_data.zone, url_for(".index"), page_data.images)
    wall = _Wall(matching, arrangement, translate, card_builder, page_data)
    sections = wall.draw()
    unread = _count_unread(streamers, page_data)

    def address(**changes: str) -> str:
        return url_for(".index") + selection.write_query(streamer_filter, arrangement, **changes)

    return "wall.html", {
        "t": translate,
        "topics": STREAMERS_TOPIC,
        "news": news,
        "zone": page_data.zone,
        "streamer_filter": streamer_filter,
        "arrangement": arrangement,
        "address": address,
        "back": address(),
        "platforms": [(name, translate.platform(name)) for name in streamers.platforms],
        "tags": [(tag, tag) for tag in streamers.tags],
        "sections": sections,
        "left_out": wall.left_out + matching.more_live + matching.more_others,
        "at_hand": len(matching.live) + len(matching.others) if wall.left_out else 0,
        "is_part": matching.is_part,
        "matching": matching.count,
        "live": matching.live_count,
        "notices": [
            *([translate("list_problem", why=streamers.list_problem)] if streamers.list_problem else []),
            *(
                notice
                for health in streamers.health
                for way in health.ways
                if (notice := card_builder.platform_notice(way))
            ),
            *_failing_target_notices(page_data.targets.get(), translate, now),
        ],
        "nobody": translate("nobody_known", count=unread, all=streamers.count) if unread else translate("nobody"),
        "unread": unread,
        "live_count": streamers.live_count,
        "all_count": streamers.count,
    }


def _count_unread(streamers: StreamerList, page_data: PageData) -> int:
    """Of how many it is not known whether they are live. It matters only where nobody is known to be."""
    if streamers.is_part and not streamers.live:
        return sum(count for (_, state), count in page_data.tally.get().states.items() if state is None)
    return sum(live_views.from_record(record).live is None for record in streamers.others)


class _Wall:
    """Draws the streamers that a visitor wants to see, as many as one page bears."""

    def __init__(
        self,
        streamers: StreamerList,
        arrangement: Arrangement,
        translate: Translations,
        card_builder: CardBuilder,
        page_data: PageData,
    ) -> None:
        self.left_out = 0
        self._streamers = streamers
        self._arrangement = arrangement
        self._translate = translate
        self._card_builder = card_builder
        self._render = page_data.fragments.render
        everybody = arrangement.everybody
        self._room = {name: None if everybody else most for name, most in (("card", MAX_CARDS), ("row", MAX_ROWS))}
        self._room["line"] = None if everybody else MAX_ROWS

    def draw(self) -> list[WallSection]:
        groups = self._arrangement.arrange(self._streamers)
        if self._arrangement.group == "state":
            return [section for group in groups for section in self._draw_states(group)]
        return [self._draw_group(group, f"g{number}-") for number, group in enumerate(groups)]

    def _draw_states(self, group: StreamerGroup) -> list[WallSection]:
        """The live ones, and then the others."""
        more_live, more_others = self._streamers.more_live, self._streamers.more_others
        now = self._section("now", self._translate("live_now"), "", group.live, (), more=more_live)
        later = self._section("later", self._translate("the_others"), "", (), group.others, more=more_others)
        return [now, later] if group.others else [now]

    def _draw_group(self, group: StreamerGroup, place: str) -> WallSection:
        by_platform = self._arrangement.group == "platform"
        name = self._translate.platform(group.name) if by_platform and group.name else group.name
        nameless = self._translate("no_platform") if by_platform else self._translate("no_tag")
        mark = platform_mark(group.name) if by_platform else ""
        return self._section(f"{place}group", name or nameless, mark, group.live, group.others, place)

    def _section(
        self,
        key: str,
        title: str,
        mark: str,
        live: Iterable[StreamerRecord],
        others: Iterable[StreamerRecord],
        place: str = "",
        more: int = 0,
    ) -> WallSection:
        live, others = list(live), list(others)
        is_list = self._arrangement.view == "list"
        return WallSection(
            key=key,
            title=title,
            mark=mark,
            count=len(live) + len(others) + more,
            cards=[] if is_list else self._draw("card", live, place),
            rows=[] if is_list else self._draw("row", others, place),
            lines=self._draw("line", [*live, *others], place) if is_list else [],
        )

    def _draw(self, macro: str, records: list[StreamerRecord], place: str) -> list[Markup]:
        """The HTML of each, while there is room."""
        room = self._room[macro]
        shown = records if room is None else records[:room]
        if room is not None:
            self._room[macro] = room - len(shown)
        self.left_out += len(records) - len(shown)
        viewers = self._streamers.viewers
        return [
            self._render(
                macro,
                self._card_builder.build(record, viewers.get((record.platform, record.id)), place),
                self._translate,
            )
            for record in shown
        ]


def streamer(streamer_page: StreamerPage, translate: Translations, now: float, page_data: PageData) -> TemplateContext:
    (record, sessions), heat_map, viewers = streamer_page
    days, zone, news = translate.days(), page_data.zone, page_data.news()
    curve = draw_curve(viewers)
    return "streamer.html", {
        "t": translate,
        "topics": STREAMERS_TOPIC,
        "news": news,
        "zone": zone,
        "card": CardBuilder(translate, now, zone, url_for(".index"), page_data.images).build(record, viewers),
        "followed": record.streamer is not None,
        "platform_key": record.platform,
        "sessions": [_session_row(session, translate, now, zone) for session in reversed(sessions[-MAX_SESSIONS:])],
        "session_count": len(sessions),
        "heat_map": draw_heat_map(heat_map, days),
        "weeks": f"{heat_map.weeks:g}",
        "usual": ", ".join(f"{days[day]} {hour:02}:00" for day, hour in heat_map.usual_hours),
        "curve": curve,
        "peak": translate.count(curve.peak) if curve else "",
        "average": translate.count(curve.average) if curve else "",
    }


class DayRow(msgspec.Struct, frozen=True):
    """A streamer's line on the page of a day."""

    key: str
    name: str
    page: str
    mark: str
    platform_name: str
    bars: list[DayBar]
    words: str  # the same for those who see no bars


def day(
    page_data: PageData, streamers: StreamerList, shown: Day, translate: Translations, now: float
) -> TemplateContext:
    news = f"{streamers.news_digest}-{page_data.image_version}"
    records = [*streamers.live, *streamers.others]
    found = page_data.sessions_between(records, shown.begin, shown.end)
    card_builder = CardBuilder(translate, now, page_data.zone, url_for(".index"), None)
    rows = [
        _day_row(record, shown.bars(sessions, now, translate), card_builder, translate) for record, sessions in found
    ]
    seconds = sum(shown.seconds_of(sessions, now) for _, sessions in found)
    is_today = shown.end > now
    return "day.html", {
        "t": translate,
        "topics": STREAMERS_TOPIC,
        "news": news,
        "zone": page_data.zone,
        "back": f"{url_for('.day')}?date={shown.day}",
        "date": shown.day,
        "before": shown.day - timedelta(days=1),
        "after": None if is_today else shown.day + timedelta(days=1),
        "rows": rows,
        "labels": shown.hour_labels(),
        "now_at": shown.percent(now) if is_today else "",
        "all_count": len(records),
        "total": translate.span(seconds),
    }


def _day_row(record: StreamerRecord, bars: list[DayBar], card_builder: CardBuilder, translate: Translations) -> DayRow:
    name = record.name or record.id
    return DayRow(
        key=f"d-{record.platform}-{record.id}",
        name=name,
        page=card_builder.page_url(record.platform, record.id),
        mark=platform_mark(record.platform),
        platform_name=translate.platform(record.platform),
        bars=bars,
        words=f"{name}: {'; '.join(bar.words for bar in bars)}",
    )


def _failing_target_notices(statuses: list[TargetStatus], translate: Translations, now: float) -> list[str]:
    """A sentence for each target that has not taken anything for a while."""
    failing = [(status.name, status.state.troubled_since) for status in statuses]
    return [
        translate("failing", name=name, span=translate.span(max(0.0, now - since))) for name, since in failing if since
    ]


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
