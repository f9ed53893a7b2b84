"""Kick: the public API with the user's key, 20 at once by number. Without a key there is no way that is allowed.

Big batches have said "offline" of streamers who were live, so whoever was live a moment ago is asked again alone
before an end is believed.
"""

from __future__ import annotations

import re
from datetime import datetime
from typing import TYPE_CHECKING, Annotated, Any
from urllib.parse import urlencode

import msgspec

from livectl.live.platforms import answers, tokens
from livectl.live.platforms.base import Platform, Refused, Unanswered, keep, recall, unanswered
from livectl.live.platforms.batches import in_batches
from livectl.live.platforms.pages import is_number, page
from livectl.model import Observation, Request, State

if TYPE_CHECKING:
    from collections.abc import Generator, Sequence

    from livectl.live.platforms.base import Effect, Means, Resolve

NAME = "kick"
PAGES = {NAME, "kick.com", "www.kick.com", "m.kick.com", "player.kick.com"}
# fmt: off
NOT_STREAMERS = {
    "video", "videos", "clips", "category", "categories", "browse", "following", "settings", "dashboard", "search",
    "about", "terms-of-service", "privacy-policy", "community-guidelines",
}
# fmt: on
HINT = "Give the channel: https://kick.com/NAME"
BATCH = 20  # 50 are allowed, and half of them were answered wrongly
CHANNELS = "https://api.kick.com/public/v1/channels"
GRANTS = "https://id.kick.com/oauth/token"
AFTERGLOW_SECONDS = 900.0  # who was seen live so lately is not believed to be offline on a batch's word
NO_KEY = "Kick answers only with a key: set client_id and client_secret under platforms.kick"

Instant = Annotated[datetime, msgspec.Meta(tz=True)]


class Category(msgspec.Struct):
    name: str | None = ""


class Stream(msgspec.Struct):
    is_live: bool | None = None
    start_time: Instant | None = None
    viewer_count: int | None = None
    thumbnail: str | None = ""


class Channel(msgspec.Struct):
    broadcaster_user_id: int
    slug: str
    stream: Stream | None  # no default: null says offline, no stream at all says nothing
    stream_title: str | None = ""
    category: Category | None = None


class Owner(msgspec.Struct):
    broadcaster_user_id: int
    slug: str = ""


class Rows(msgspec.Struct):
    data: list[msgspec.Raw]


ROWS = msgspec.json.Decoder(Rows)
CHANNEL = msgspec.json.Decoder(Channel)
OWNER = msgspec.json.Decoder(Owner)


def address(text: str) -> str | None:
    """A broadcaster's number, or `@slug`, which `resolve` leads to it."""
    where = page(text)
    if where is None or where.host not in PAGES:
        return None
    match where.parts:
        case [number] if where.host == NAME and is_number(number):
            return number
        case [_, "videos" | "clips" | "video" | "clip", _, *_]:
            raise Refused("a Kick recording or clip is no streamer", HINT)
        case ["popout", slug, *_] | [slug, *_] if slug.lower() not in NOT_STREAMERS:
            if re.fullmatch(r"@?[\w-]{1,60}", slug, re.ASCII):
                return f"@{slug.removeprefix('@').lower().replace('_', '-')}"
    raise Refused(f"no Kick channel in {where.url}", HINT)


def url(one: str) -> str:
    return f"https://kick.com/{one.removeprefix('@')}" if one.startswith("@") else ""


def resolve(one: str, means: Means) -> Resolve:
    if is_number(one):
        return one
    rows = yield from _channels("slug", [one.removeprefix("@")], means)
    if not rows:
        raise Refused(f"Kick knows no channel {one.removeprefix('@')!r}", HINT)
    return str(answers.decode(rows[0], OWNER).broadcaster_user_id)


def look(ids: Sequence[str], means: Means) -> Generator[Effect, Any, dict[str, Observation]]:
    """By number; a slug never resolved is asked alone, for the two must not be mixed."""
    seen = yield from _look_by("broadcaster_user_id", [one for one in ids if is_number(one)], means)
    for slug in [one for one in ids if not is_number(one)]:
        seen |= yield from _look_by("slug", [slug], means)
    for one, observation in list(seen.items()):
        if observation.state is State.LIVE:
            yield from keep(f"live/{one}", "1", AFTERGLOW_SECONDS)
        elif observation.state is State.OFFLINE and len(ids) > 1 and (yield from recall(f"live/{one}")):
            seen[one] = yield from _look_again(one, means)
    return seen


def _look_again(one: str, means: Means) -> Generator[Effect, Any, Observation]:
    """The second, single question before a batch ends a broadcast: what it cannot confirm is unknown."""
    try:
        found = yield from _look_by("broadcaster_user_id" if is_number(one) else "slug", [one], means)
    except Unanswered as trouble:
        return unanswered(NAME, one, trouble, means)
    lost = Unanswered(State.UNKNOWN, "said to be offline among others, and not in the answer alone")
    return found.get(one) or unanswered(NAME, one, lost, means)


def _look_by(key: str, ids: Sequence[str], means: Means) -> Generator[Effect, Any, dict[str, Observation]]:
    if not ids:
        return {}
    rows = yield from _channels(key, [one.removeprefix("@") for one in ids], means)
    found: dict[str, Observation] = {}
    spoilt: Unanswered | None = None
    for row in rows:
        try:
            owner = answers.decode(row, OWNER)
        except Unanswered as trouble:
            spoilt = trouble
        else:
            one = f"@{owner.slug}" if key == "slug" else str(owner.broadcaster_user_id)
            found |= {one: _observed(one, row, means)} if one in ids else {}
    if spoilt and not found:
        raise spoilt
    if len(ids) == 1 and not rows:
        found[ids[0]] = Observation(platform=NAME, id=ids[0], state=State.NOT_FOUND, at=means.now)
    return found


def _channels(key: str, values: Sequence[str], means: Means) -> Generator[Effect, Any, list[msgspec.Raw]]:
    if not tokens.has_keys(means):
        raise Unanswered(State.AUTH, NO_KEY)

    def request(token: str) -> Request:
        query = urlencode([(key, value) for value in values])
        return Request(url=f"{CHANNELS}?{query}", headers={"Authorization": f"Bearer {token}"})

    response = yield from tokens.authorized(GRANTS, means, request)
    if key == "slug" and response.status in {400, 404}:
        return []  # as some of its servers say "unknown"; others send an empty list
    return answers.read(response, ROWS, means.now).data


def _observed(one: str, row: msgspec.Raw, means: Means) -> Observation:
    try:
        channel = answers.decode(row, CHANNEL)
        stream = _running(channel)
    except Unanswered as trouble:
        return unanswered(NAME, one, trouble, means)
    if stream is None:
        return Observation(platform=NAME, id=one, state=State.OFFLINE, at=means.now, name=channel.slug)
    began = _began(stream)
    return Observation(
        platform=NAME,
        id=one,
        state=State.LIVE,
        at=means.now,
        session=f"{began:.0f}" if began else "",
        title=answers.plain(channel.stream_title),
        category=answers.plain(channel.category.name if channel.category else ""),
        name=answers.plain(channel.slug),
        url=f"https://kick.com/{channel.slug}",
        cover=answers.link(stream.thumbnail),
        viewers=answers.count(stream.viewer_count),
        started_at=began,
    )


def _running(channel: Channel) -> Stream | None:
    stream = channel.stream
    if stream is None or stream.is_live is False:
        return None
    if stream.is_live:
        return stream
    never = stream.start_time is not None and _began(stream) is None
    if never or stream == Stream():
        return None
    raise Unanswered(State.PARSE_ERROR, "missing field `is_live` - at `$.data[].stream`")


def _began(stream: Stream) -> float | None:
    """Seconds since the epoch; the year 1 is how its servers write "never"."""
    return answers.instant(stream.start_time.timestamp()) if stream.start_time else None


PLATFORM = Platform(
    name=NAME,
    hosts=frozenset({"api.kick.com", "id.kick.com"}),
    batch=BATCH,
    budget="20/m",  # no limit is published; its staff spoke of 20 a minute, then of 100
    address=address,
    url=url,
    check=in_batches(NAME, BATCH, look),
    resolve=resolve,
)
