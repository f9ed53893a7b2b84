"""Turns records of streamers into cards and rows: every time, number and state in the visitor's words."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING
from urllib.parse import quote

import msgspec

from livectl.models import State
from livectl.units import format_instant, format_local_time
from livectl.web.drawings import draw_sparkline
from livectl.web.i18n import MINUTE
from livectl.web.images import AVATAR, COVER, web_address

if TYPE_CHECKING:
    from livectl.models import PlatformHealth, StreamerRecord, ViewerCurve
    from livectl.web.i18n import Translations
    from livectl.web.images import ImageCache


_WORD_PATTERN = re.compile(r"\w+")
# These describe the streamer; any other trouble means that asking failed.
STREAMER_TROUBLES = {State.UPCOMING, State.RESTRICTED, State.NOT_FOUND, State.BANNED}


# Those that have a drawing of their own in marks.html, and a colour in page.css. Any other has the common one.
MARKED_PLATFORMS = {
    "bilibili",
    "chzzk",
    "demo",
    "douyin",
    "douyu",
    "huya",
    "kick",
    "soop",
    "tiktok",
    "twitch",
    "youtube",
}
OTHER_PLATFORM = "other"


class Card(msgspec.Struct, frozen=True, kw_only=True):
    """The texts of a card or a row. Equal cards look alike, so an unchanged one is not rendered again."""

    key: str
    page: str  # address of the streamer's page on this site
    url: str
    mark: str  # names the platform's drawing and colour
    platform_name: str
    id: str
    name: str
    initials: str
    state: str
    state_word: str
    title: str
    category: str
    cover: str  # addresses on this site; empty where it has no image
    avatar: str
    viewers: str
    spark: str  # a line of the viewers so far, as an SVG path
    time: str  # in words: for how long live, or how long ago
    moment: str | None  # the start or the end, for programs
    moment_long: str  # ... and for people, in full
    tags: tuple[str, ...]
    trouble: str
    fault: bool
    problem: str


class CardBuilder:
    """Builds cards for one language, at one moment, in one zone. `base` is the address of the page's first page."""

    def __init__(self, translate: Translations, now: float, zone: str, base: str, images: ImageCache | None) -> None:
        self._translate, self._now, self._zone, self._base, self._images = translate, now, zone, base, images

    def build(self, record: StreamerRecord, viewers: ViewerCurve | None = None, place: str = "") -> Card:
        """The card of a streamer; `place` distinguishes it from another one of theirs on the same page."""
        name = record.name or record.id
        live = record.state is State.LIVE
        announced = record.announced_at if record.trouble is State.UPCOMING else None
        moment = record.started_at if live else announced or record.ended_at
        return Card(
            key=f"{place}s-{record.platform}-{record.id}",
            page=self.page_url(record.platform, record.id),
            url=safe_url(record.url),
            mark=platform_mark(record.platform),
            platform_name=self._translate.platform(record.platform),
            id=record.id,
            name=name,
            initials=initials(name),
            state=str(record.state or record.trouble or State.UNKNOWN),
            state_word=self._state_word(record),
            title=record.title,
            category=record.category,
            cover=self._image(COVER, record, record.cover) if live else "",
            avatar=self._image(AVATAR, record, record.avatar),
            viewers=self._translate.count(record.viewers) if live and record.viewers is not None else "",
            spark=draw_sparkline(viewers) if live and viewers else "",
            time=self._time_text(moment, live=live, announced=announced) if record.state or announced else "",
            moment=None if moment is None else format_instant(moment),
            moment_long=format_local_time(moment, self._zone) if moment else "",
            tags=record.streamer.tags if record.streamer else (),
            trouble=self._trouble_text(record),
            fault=record.trouble is not None and record.trouble not in STREAMER_TROUBLES,
            problem=record.problem if record.trouble else "",
        )

    def page_url(self, platform: str, streamer_id: str) -> str:
        """The address of a streamer's page. Thousands are needed at once, for which Flask's url_for is too slow."""
        return f"{self._base}streamers/{_path(platform, streamer_id)}" if platform else ""

    def _image(self, kind: str, record: StreamerRecord, address: str) -> str:
        """Where this site has the image; empty until it has it."""
        if self._images is None or not (address := web_address(address)):
            return ""
        image = self._images.get((kind, record.platform, record.id), address)
        return f"{self._base}image/{kind}/{_path(record.platform, record.id)}?v={image.mark}" if image else ""

    def _state_word(self, record: StreamerRecord) -> str:
        state = record.state or record.trouble
        return self._translate(f"state_{state}") if state else self._translate("not_asked")

    def _time_text(self, moment: float | None, *, live: bool, announced: float | None) -> str:
        if moment is None:
            return "" if live else self._translate("never_live")
        if announced is not None:
            return self._translate("announced", when=self._translate.ahead(max(0.0, announced - self._now)))
        seconds = max(0.0, self._now - moment)
        if live:
            return self._translate.span(seconds) if seconds >= MINUTE else self._translate("now")
        return self._translate("last_live", ago=self._translate.ago(seconds))

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
        name = self._translate.platform(health.platform) + (f" ({health.exit})" if health.exit else "")
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


def platform_mark(platform: str) -> str:
    return platform if platform in MARKED_PLATFORMS else OTHER_PLATFORM


def initials(name: str) -> str:
    """What stands for a picture: two letters of two words in Latin script, or else one character."""
    words: list[str] = _WORD_PATTERN.findall(name)
    letters = [word[0] for word in words[:2]]
    return "".join(letters if all(map(str.isascii, letters)) else letters[:1]).upper() or name[:1]


def _path(platform: str, streamer_id: str) -> str:
    return f"{quote(platform, safe='')}/{quote(streamer_id)}"
