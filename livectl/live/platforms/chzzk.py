"""Checks CHZZK (chzzk.naver.com), one channel at a time.

Of a closed channel's answer only `status` is true; the rest is stale.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any
from urllib.parse import urlencode

import msgspec

from livectl.live.platforms import parsing
from livectl.live.platforms.base import (
    CheckFailed,
    Listing,
    ListingPage,
    NotAStreamer,
    Platform,
    ask,
    cache_get,
    cache_set,
    one_by_one,
    read_rows,
    with_second_route,
)
from livectl.live.platforms.oauth import has_client_keys
from livectl.live.platforms.parsing import parse_page_address
from livectl.models import Observation, Request, State

if TYPE_CHECKING:
    from collections.abc import Generator

    from livectl.live.platforms.base import CheckContext, Effect

NAME = "chzzk"
HOSTS = {NAME, "chzzk.naver.com", "m.chzzk.naver.com"}
HINT = "Give the channel: https://chzzk.naver.com/live/ID, an ID of 32 letters and digits"
API = "https://api.chzzk.naver.com"
OPEN_API = "https://openapi.chzzk.naver.com/open/v1/lives"  # of those with a key of their own
OPEN_LIST_SIZE, LIST_SIZE = 20, 50  # rows a page at most
HEADERS = parsing.browser_headers()
NAME_CACHE_SECONDS = 7 * 86_400.0  # a channel's name is asked for once a week


class ChzzkLiveStatus(msgspec.Struct, rename="camel"):
    status: str
    live_title: str | None = ""
    live_category_value: str | None = ""
    concurrent_user_count: int | None = None
    open_date: parsing.LocalTime | None = None


class ChzzkEnvelope(msgspec.Struct):
    code: int
    message: str | None = ""
    content: msgspec.Raw = msgspec.Raw(b"")


class ChzzkChannel(msgspec.Struct, rename="camel"):
    channel_id: str
    channel_name: str | None = ""
    open_live: bool | None = None
    channel_image_url: Any = None


class ChzzkNameResponse(msgspec.Struct):
    content: ChzzkChannel | None = None


class ChzzkListRow(msgspec.Struct, rename="camel"):
    """A row of either list: the public one has the channel as a part, Open API's its fields among the others."""

    open_date: parsing.LocalTime
    live_title: str | None = ""
    live_category_value: str | None = ""
    concurrent_user_count: int | None = None
    channel: ChzzkChannel | None = None
    channel_id: str = ""
    channel_name: str | None = ""
    channel_image_url: Any = None


class ChzzkPlace(msgspec.Struct, rename="camel"):
    """Where the public list goes on: behind the row of so many viewers and this number."""

    concurrent_user_count: int
    live_id: int


class ChzzkNext(msgspec.Struct):
    next: str | ChzzkPlace | None = None


class ChzzkList(msgspec.Struct):
    data: list[msgspec.Raw]
    page: ChzzkNext | None = None


LIST = msgspec.json.Decoder(ChzzkList)
LIST_ROW = msgspec.json.Decoder(ChzzkListRow)
ENVELOPE = msgspec.json.Decoder(ChzzkEnvelope)
LIVE_STATUS = msgspec.json.Decoder(ChzzkLiveStatus | None)
NAME_RESPONSE = msgspec.json.Decoder(ChzzkNameResponse)


def address(text: str) -> str | None:
    page = parse_page_address(text)
    if page is None or page.host not in HOSTS:
        return None
    match page.parts:
        case ["live", streamer_id, *_] | [streamer_id, *_] if re.fullmatch(r"[0-9a-f]{32}", streamer_id.lower()):
            return streamer_id.lower()
        case ["video" | "clips", *_]:
            raise NotAStreamer("a CHZZK recording or clip is no streamer", HINT)
    raise NotAStreamer(f"no CHZZK channel in {page.url}", HINT)


def url(streamer_id: str) -> str:
    return f"https://chzzk.naver.com/live/{streamer_id}"


def check_streamer(streamer_id: str, context: CheckContext) -> Generator[Effect, Any, Observation]:
    endpoint = f"{API}/polling/v3.1/channels/{streamer_id}/live-status?includePlayerRecommendContent=false"
    response = yield from ask(Request(url=endpoint, headers=HEADERS))
    not_found = Observation(platform=NAME, id=streamer_id, state=State.NOT_FOUND, at=context.now)
    if response.status == 404 and parsing.has_json(response):
        return not_found
    envelope = parsing.read_json(response, ENVELOPE, context.now)
    if envelope.code == 404:
        return not_found
    if envelope.code != 200:
        raise CheckFailed(State.PARSE_ERROR, f"code {envelope.code}: {parsing.plain_text(envelope.message)}")
    content = parsing.decode_json(envelope.content, LIVE_STATUS)
    if content is None and envelope.message:
        raise CheckFailed(State.PARSE_ERROR, f"no content: {parsing.plain_text(envelope.message)}")
    if content is None or content.status == "CLOSE":
        return Observation(platform=NAME, id=streamer_id, state=State.OFFLINE, at=context.now)
    if content.status != "OPEN":
        raise parsing.unknown_value("$.content.status", content.status)
    started_at = parsing.korean_timestamp(content.open_date)
    name, avatar = yield from _name_and_avatar(streamer_id)
    return Observation(
        platform=NAME,
        id=streamer_id,
        state=State.LIVE,
        at=context.now,
        session=f"{started_at:.0f}" if started_at else "",
        title=parsing.plain_text(content.live_title),
        category=parsing.plain_text(content.live_category_value),
        name=name,
        url=url(streamer_id),
        avatar=avatar,
        viewers=parsing.parse_count(content.concurrent_user_count),
        started_at=started_at,
    )


def check_channel(streamer_id: str, context: CheckContext) -> Generator[Effect, Any, Observation]:
    """Whether the channel itself says that it is live, where its live status cannot be read."""
    response = yield from ask(Request(url=f"{API}/service/v1/channels/{streamer_id}", headers=HEADERS))
    channel = parsing.read_json(response, NAME_RESPONSE, context.now).content
    if channel is None or channel.open_live is None:
        raise CheckFailed(State.PARSE_ERROR, "missing field `openLive` - at `$.content`")
    if channel.channel_id != streamer_id:
        raise parsing.somebody_else("$.content.channelId", channel.channel_id)
    return Observation(
        platform=NAME,
        id=streamer_id,
        state=State.LIVE if channel.open_live else State.OFFLINE,
        at=context.now,
        name=parsing.plain_text(channel.channel_name),
        url=url(streamer_id),
        avatar=parsing.find_image_url(channel.channel_image_url),
    )


def _name_and_avatar(streamer_id: str) -> Generator[Effect, Any, tuple[str, str]]:
    """The channel's name and picture, which the live status lacks. They are kept as two lines."""
    kept = yield from cache_get(f"name/{streamer_id}")
    if kept:
        name, _, avatar = kept.partition("\n")
        return name, avatar
    response = yield from ask(Request(url=f"{API}/service/v1/channels/{streamer_id}", headers=HEADERS))
    try:
        content = NAME_RESPONSE.decode(response.body).content
    except msgspec.DecodeError:
        return "", ""  # the channel is live, with a name or without
    if content is None or content.channel_id != streamer_id:
        return "", ""
    name, avatar = parsing.plain_text(content.channel_name), parsing.find_image_url(content.channel_image_url)
    if name:
        yield from cache_set(f"name/{streamer_id}", f"{name}\n{avatar}", NAME_CACHE_SECONDS)
    return name, avatar


def list_page(cursor: str, context: CheckContext) -> Generator[Effect, Any, ListingPage]:
    """Everybody who is live, by viewers: through Open API with a key of the user's, otherwise as the site itself."""
    keyed = has_client_keys(context)
    response = yield from ask(_open_request(cursor, context) if keyed else _list_request(cursor))
    envelope = parsing.read_json(response, ENVELOPE, context.now)
    if envelope.code != 200:
        raise CheckFailed(State.PARSE_ERROR, f"code {envelope.code}: {parsing.plain_text(envelope.message)}")
    body = parsing.decode_json(envelope.content, LIST)
    place = body.page.next if body.page and body.data else None
    if isinstance(place, ChzzkPlace):
        place = f"{place.concurrent_user_count}-{place.live_id}"
    return ListingPage(read_rows(body.data, lambda row: [_read_row(row, context)]), place or "")


def _open_request(cursor: str, context: CheckContext) -> Request:
    headers = {"Client-Id": context.keys["client_id"], "Client-Secret": context.keys["client_secret"]}
    query = {"size": OPEN_LIST_SIZE} | ({"next": cursor} if cursor else {})
    return Request(url=f"{OPEN_API}?{urlencode(query)}", headers=headers | {"Content-Type": "application/json"})


def _list_request(cursor: str) -> Request:
    viewers, _, live_id = cursor.partition("-")
    place = {"concurrentUserCount": viewers, "liveId": live_id} if cursor else {}
    query = urlencode({"size": LIST_SIZE, "sortType": "POPULAR"} | place)
    return Request(url=f"{API}/service/v1/lives?{query}", headers=HEADERS)


def _read_row(raw: msgspec.Raw, context: CheckContext) -> Observation:
    row = parsing.decode_json(raw, LIST_ROW)
    channel = row.channel or ChzzkChannel(row.channel_id, row.channel_name, None, row.channel_image_url)
    if not channel.channel_id:
        raise CheckFailed(State.PARSE_ERROR, "missing field `channelId` - at `$.content.data[]`")
    started_at = parsing.korean_timestamp(row.open_date)
    return Observation(
        platform=NAME,
        id=channel.channel_id,
        state=State.LIVE,
        at=context.now,
        session=f"{started_at:.0f}" if started_at else "",
        title=parsing.plain_text(row.live_title),
        category=parsing.plain_text(row.live_category_value),
        name=parsing.plain_text(channel.channel_name),
        url=url(channel.channel_id),
        avatar=parsing.find_image_url(channel.channel_image_url),
        viewers=parsing.parse_count(row.concurrent_user_count),
        started_at=started_at,
    )


PLATFORM = Platform(
    name=NAME,
    hosts=frozenset({"api.chzzk.naver.com", "openapi.chzzk.naver.com"}),
    batch=1,
    budget="120/m",  # no limit is published; its own page asks every 10 seconds
    key_names=("client_id", "client_secret"),
    address=address,
    url=url,
    listing=Listing(list_page, pages=163),
    check=one_by_one(NAME, with_second_route(check_streamer, check_channel)),
)
