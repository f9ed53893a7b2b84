"""Turns records of streamers into cards and rows: every time, number and state in the visitor's words."""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

from livectl.models import State
from livectl.units import format_instant, format_local_time
from livectl.web.i18n import MINUTE

if TYPE_CHECKING:
    from collections.abc import Callable

    from livectl.models import PlatformHealth, StreamerRecord
    from livectl.web.i18n import Translations


# These describe the streamer; any other trouble means that asking failed.
STREAMER_TROUBLES = {State.UPCOMING, State.RESTRICTED, State.NOT_FOUND, State.BANNED}


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
