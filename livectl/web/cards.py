"""A streamer as the page shows one: every time, number and state in words."""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

from livectl.live.views.sights import instant
from livectl.model import State
from livectl.web.wording import MINUTE, local

if TYPE_CHECKING:
    from collections.abc import Callable

    from livectl.model import Health, Known
    from livectl.web.wording import Words

# What only tells of the streamer; everything else is trouble with asking.
NO_FAULT = {State.UPCOMING, State.RESTRICTED, State.NOT_FOUND, State.BANNED}


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


class Maker:
    """Makes cards for one visitor's language, at one moment, in one zone."""

    def __init__(self, words: Words, now: float, zone: str, page_of: Callable[[str, str], str]) -> None:
        self._words, self._now, self._zone, self._page_of = words, now, zone, page_of

    def card(self, one: Known) -> Card:
        name = one.name or one.id
        state = str(one.state or State.UNKNOWN)
        live = one.state is State.LIVE
        moment = one.started_at if live else one.ended_at
        return Card(
            key=f"s-{one.platform}-{one.id}",
            page=self._page_of(one.platform, one.id),
            url=web_address(one.url),
            platform=one.platform,
            platform_name=self._words.platform(one.platform),
            id=one.id,
            name=name,
            initial=name[:1].upper(),
            state=state,
            state_word=self._words(f"state_{state}"),
            title=one.title,
            category=one.category,
            cover=picture(one.cover) if live else "",
            viewers=self._words.count(one.viewers) if live and one.viewers is not None else "",
            time=self._time(moment, live=live),
            moment=instant(moment),
            moment_long=local(moment, self._zone) if moment else "",
            tags=one.streamer.tags if one.streamer else (),
            trouble=self._trouble(one),
            trouble_short=self._words(f"trouble_{one.trouble}") if one.trouble else "",
            fault=one.trouble is not None and one.trouble not in NO_FAULT,
            problem=one.problem if one.trouble else "",
        )

    def _time(self, moment: float | None, *, live: bool) -> str:
        if moment is None:
            return "" if live else self._words("never_live")
        gone = max(0.0, self._now - moment)
        return (
            (self._words.span(gone) if gone >= MINUTE else self._words("now"))
            if live
            else self._words("last_live", ago=self._words.ago(gone))
        )

    def _trouble(self, one: Known) -> str:
        """What is in the way, since when, and how old that makes the last reading."""
        if one.trouble is None:
            return ""
        what, span = self._words(f"trouble_{one.trouble}"), self._span(one.troubled_since)
        if one.seen is None:
            return self._words("trouble_never", what=what, span=span)
        return self._words("trouble", what=what, span=span, seen=self._words.ago(max(0.0, self._now - one.seen)))

    def _span(self, moment: float | None) -> str:
        return self._words.span(max(0.0, self._now - (moment or self._now)))

    def notice(self, health: Health) -> str:
        """Why nobody on a platform is asked, where that is so."""
        name = self._words.platform(health.platform)
        if health.auth_since is not None:
            return self._words("platform_auth", platform=name, span=self._span(health.auth_since))
        if health.open_until is not None:
            return self._words("platform_open", platform=name, until=self._until(health.open_until))
        if health.parser_broken is not None:
            return self._words("platform_parser", platform=name, span=self._span(health.parser_broken))
        if health.all_gone is not None:
            return self._words("platform_gone", platform=name, span=self._span(health.all_gone))
        if health.wait_until is not None and health.wait_until > self._now:
            return self._words("platform_wait", platform=name, until=self._until(health.wait_until))
        return ""

    def _until(self, moment: float) -> str:
        return self._words.ahead(moment - self._now)


def web_address(said: str) -> str:
    """An address that may be followed; nothing for what would run or open something else."""
    return said if said.lower().startswith(("https://", "http://")) else ""


def picture(said: str) -> str:
    """Covers come over HTTPS or not at all."""
    if said.startswith("//"):
        said = f"https:{said}"
    scheme, _, rest = said.partition("://")
    return f"https://{rest}" if scheme.lower() in {"http", "https"} and rest else ""
