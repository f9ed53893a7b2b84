"""A streamer as the page shows one: every time, number and state in words."""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

from livectl.live.views.sights import format_utc
from livectl.model import State
from livectl.web.wording import MINUTE, local_time

if TYPE_CHECKING:
    from collections.abc import Callable

    from livectl.model import PlatformHealth, StreamerRecord
    from livectl.web.wording import Translations

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
            moment=format_utc(moment),
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
