"""Turns readings into what the templates show: every time, number and state in the visitor's words."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any
from urllib.parse import quote

import msgspec
from flask import url_for

from livectl.live import views as live_views
from livectl.live.history import DAYS_PER_WEEK, HOURS_PER_DAY, LABEL_EVERY_HOURS
from livectl.models import State
from livectl.units import format_instant, format_local_time
from livectl.web.i18n import MINUTE

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from datetime import datetime

    from livectl.live.alerts.outbox import TargetStatus
    from livectl.live.history import HeatMap
    from livectl.models import Job, JobState, PlatformHealth, Session, StreamerRecord
    from livectl.ops.beat.views import EntryStatus
    from livectl.web.data import PageData, StreamerFilter, StreamerList, StreamerPage
    from livectl.web.i18n import Translations


MEBIBYTE = 1024 * 1024
MS_PER_SECOND = 1000
MAX_SESSIONS = 100
# These describe the streamer; any other trouble means that asking failed.
STREAMER_TROUBLES = {State.UPCOMING, State.RESTRICTED, State.NOT_FOUND, State.BANNED}

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


def jobs(page_data: PageData, translate: Translations, now: float) -> TemplateContext:
    snapshot, beat_schedule = page_data.jobs.get(), page_data.beat_schedule.get()
    clock = NearTimeFormatter(translate, now, page_data.zone)
    heartbeat_at = beat_schedule.heartbeat_at
    return "jobs.html", {
        "t": translate,
        "zone": page_data.zone,
        "workers": snapshot.workers,
        "queues": snapshot.queues,
        "recent": snapshot.recent,
        "dead": snapshot.dead,
        "targets": [_target_row(status, clock) for status in page_data.targets.get()],
        "beats": beat_schedule.beats,
        "heartbeat": translate.ago(max(0.0, now - heartbeat_at)) if heartbeat_at else "",
        "entries": [_entry_row(entry, clock) for entry in beat_schedule.entries],
        "jobs": [_job_row(job, clock) for job in snapshot.recent.value or []],
        "letters": [(letter, clock.past_datetime(letter.at)) for letter in snapshot.dead.value or []],
        "mebibytes": lambda size: f"{size / MEBIBYTE:.0f} MB" if size else "",
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


class Card(msgspec.Struct, frozen=True, kw_only=True):
    """The texts of a card or a row. Equal cards look alike, so an unchanged one is not rendered again."""

    key: str
    page: str  # address of the streamer's page on this site
    url: str
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
    time: str  # in words: for how long live, or how long ago
    moment: str | None  # the start or the end, for programs
    moment_long: str  # ... and for people, in full
    tags: tuple[str, ...]
    trouble: str
    fault: bool
    problem: str


class CardBuilder:
    """Builds cards for one language, at one moment, in one zone."""

    def __init__(self, translate: Translations, now: float, zone: str, page_url: Callable[[str, str], str]) -> None:
        self._translate, self._now, self._zone, self._page_url = translate, now, zone, page_url

    def build(self, record: StreamerRecord) -> Card:
        name = record.name or record.id
        state = record.state or record.trouble or State.UNKNOWN
        live = record.state is State.LIVE
        moment = record.started_at if live else record.ended_at
        return Card(
            key=f"s-{record.platform}-{record.id}",
            page=self._page_url(record.platform, record.id) if record.platform else "",
            url=safe_url(record.url),
            platform_name=self._translate.platform(record.platform),
            id=record.id,
            name=name,
            initial=name[:1].upper(),
            state=str(state),
            state_word=self._state_word(record),
            title=record.title,
            category=record.category,
            cover=https_url(record.cover) if live else "",
            viewers=self._translate.count(record.viewers) if live and record.viewers is not None else "",
            time=self._time_text(moment, live=live) if record.state else "",
            moment=None if moment is None else format_instant(moment),
            moment_long=format_local_time(moment, self._zone) if moment else "",
            tags=record.streamer.tags if record.streamer else (),
            trouble=self._trouble_text(record),
            fault=record.trouble is not None and record.trouble not in STREAMER_TROUBLES,
            problem=record.problem if record.trouble else "",
        )

    def _state_word(self, record: StreamerRecord) -> str:
        state = record.state or record.trouble
        return self._translate(f"state_{state}") if state else self._translate("not_asked")

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
        """What keeps the streamer from being read, for how long, and how old the last reading is."""
        if record.trouble is None:
            return ""
        trouble, span = self._translate(f"state_{record.trouble}"), self._span_since(record.troubled_since)
        if record.troubled_since is None:
            return trouble
        if record.seen is None:
            return self._translate("trouble_never", what=trouble, span=span)
        return self._translate(
            "trouble", what=trouble, span=span, seen=self._translate.ago(max(0.0, self._now - record.seen))
        )

    def _span_since(self, moment: float | None) -> str:
        return self._translate.span(max(0.0, self._now - (moment or self._now)))

    def platform_notice(self, health: PlatformHealth) -> str:
        """Why nobody on this platform is asked; empty when all is well."""
        name = self._translate.platform(health.platform)
        if health.auth_since is not None:
            return self._translate("platform_auth", platform=name, span=self._span_since(health.auth_since))
        if health.open_until is not None:
            return self._translate("platform_open", platform=name, until=self._until_text(health.open_until))
        if health.unreached is not None:
            return self._translate("platform_unreached", platform=name, span=self._span_since(health.unreached))
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
    """The address, if it leads to a web page; empty for a scheme that runs or opens something else."""
    return url if url.lower().startswith(("https://", "http://")) else ""


def https_url(url: str) -> str:
    """The address over HTTPS; empty where there is none. The page's policy lets images in over HTTPS alone."""
    if url.startswith("//"):
        url = f"https:{url}"
    scheme, _, rest = url.partition("://")
    return f"https://{rest}" if scheme.lower() in {"http", "https"} and rest else ""


class FormattedTime(msgspec.Struct, frozen=True):
    """A point in time in words, in full, and for programs."""

    words: str
    long: str
    iso: str


class NearTimeFormatter:
    """Says how far from now a time is, in one language and zone."""

    def __init__(self, translate: Translations, now: float, zone: str) -> None:
        self._translate, self._now, self._zone = translate, now, zone

    def past(self, at: float | None) -> FormattedTime | None:
        """A time that has been, in seconds since the epoch. One of a server whose clock is ahead is now."""
        ago = max(0.0, self._now - at) if at is not None else 0.0
        return self._formatted(at, self._past_words(ago))

    def coming(self, at: float | None) -> FormattedTime | None:
        """A time that is to come, in seconds since the epoch. One that has gone by is any moment."""
        return self._formatted(at, self._translate.ahead(at - self._now if at is not None else 0.0))

    def past_datetime(self, moment: datetime | None) -> FormattedTime | None:
        return self.past(moment.timestamp() if moment else None)

    def _past_words(self, ago: float) -> str:
        return self._translate("ago", span=self._translate.seconds(ago)) if ago >= 1 else self._translate("now")

    def _formatted(self, at: float | None, words: str) -> FormattedTime | None:
        return None if at is None else FormattedTime(words, format_local_time(at, self._zone), format_instant(at))


class SessionRow(msgspec.Struct, frozen=True):
    """A session in the table of a streamer's page."""

    started: FormattedTime
    length: str
    title: str
    category: str


class EntryRow(msgspec.Struct, frozen=True, kw_only=True):
    """A schedule's entry on the jobs page."""

    name: str
    task: str
    timing: str
    enabled: bool
    paused: bool
    last: FormattedTime | None
    ended: JobState | None
    next: FormattedTime | None


class JobRow(msgspec.Struct, frozen=True, kw_only=True):
    """A recent job on the jobs page."""

    id: str
    task: str
    state: JobState
    ended: FormattedTime | None
    outcome: str


class TargetRow(msgspec.Struct, frozen=True, kw_only=True):
    """A target of alerts on the jobs page."""

    name: str
    backlog: str
    sent: FormattedTime | None
    retry: FormattedTime | None
    problem: str


def _session_row(session: Session, translate: Translations, now: float, zone: str) -> SessionRow:
    length = translate.span(max(0.0, (session.ended_at or now) - session.started_at))
    started = format_local_time(session.started_at, zone)
    return SessionRow(
        started=FormattedTime(started, started, format_instant(session.started_at)),
        length=length if session.ended_at else translate("still_on", span=length),
        title=session.title,
        category=session.category,
    )


def _entry_row(entry: EntryStatus, clock: NearTimeFormatter) -> EntryRow:
    last, due = (at / MS_PER_SECOND if at is not None else None for at in (entry.last, entry.next))
    return EntryRow(
        name=entry.schedule.name,
        task=entry.schedule.task,
        timing=entry.timing,
        enabled=entry.schedule.enabled,
        paused=entry.pause is not None,
        last=clock.past(last),
        ended=entry.ended,
        next=clock.coming(due),
    )


def _job_row(job: Job, clock: NearTimeFormatter) -> JobRow:
    return JobRow(
        id=job.id,
        task=job.task or job.id,
        state=job.state,
        ended=clock.past_datetime(job.finished_at or job.started_at),
        outcome=job_outcome(job),
    )


def job_outcome(job: Job) -> str:
    """A job's error, or its result where it has one to show."""
    if job.error:
        return job.error
    if job.result is None:
        return ""
    return job.result if isinstance(job.result, str) else msgspec.json.encode(job.result, enc_hook=str).decode()


def _target_row(status: TargetStatus, clock: NearTimeFormatter) -> TargetRow:
    state = status.state
    return TargetRow(
        name=status.name,
        backlog=f"{status.backlog}+" if status.more else str(status.backlog),
        sent=clock.past(state.sent_at),
        retry=clock.coming(state.retry_at),
        problem=state.problem,
    )


LEVELS = 5  # shades; level 0 is never
CELL_PX, GAP_PX, LEFT_PX, TOP_PX = 20, 2, 44, 20
STEP_PX = CELL_PX + GAP_PX
HOUR_BASELINE_PX, DAY_BASELINE_PX = -7, 14  # of a label's text, from the upper edge of the squares beside it


class HeatMapCell(msgspec.Struct, frozen=True):
    """The square of one hour of the week."""

    x: int
    y: int
    level: int
    day: str
    hour: str
    percent: int


class HeatMapLabel(msgspec.Struct, frozen=True):
    """A weekday or an hour at the edge."""

    x: int
    y: int
    text: str


class HeatMapDrawing(msgspec.Struct, frozen=True, kw_only=True):
    """Everything that the page draws, in pixels."""

    cells: list[HeatMapCell]
    hours: list[HeatMapLabel]
    days: list[HeatMapLabel]
    cell: int = CELL_PX
    width: int = LEFT_PX + HOURS_PER_DAY * STEP_PX
    height: int = TOP_PX + DAYS_PER_WEEK * STEP_PX


def draw_heat_map(heat_map: HeatMap, day_names: Sequence[str]) -> HeatMapDrawing:
    """`day_names` are the weekdays in the visitor's language, from Monday on."""
    return HeatMapDrawing(
        cells=[
            HeatMapCell(_x(hour), _y(day), _level(share), day_names[day], f"{hour:02}", round(share * 100))
            for day, row in enumerate(heat_map.shares)
            for hour, share in enumerate(row)
        ],
        hours=[
            HeatMapLabel(_x(hour), TOP_PX + HOUR_BASELINE_PX, f"{hour:02}")
            for hour in range(0, HOURS_PER_DAY, LABEL_EVERY_HOURS)
        ],
        days=[HeatMapLabel(0, _y(day) + DAY_BASELINE_PX, name) for day, name in enumerate(day_names)],
    )


def _x(hour: int) -> int:
    return LEFT_PX + hour * STEP_PX


def _y(day: int) -> int:
    return TOP_PX + day * STEP_PX


def _level(share: float) -> int:
    return min(LEVELS, 1 + int(share * LEVELS)) if share else 0
