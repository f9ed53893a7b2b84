"""Checks SOOP (sooplive.com, once sooplive.co.kr and AfreecaTV), one streamer at a time.

The player's API hides a broadcast behind a gate (login, age, region). The station's API has no gate, so it is asked
about those broadcasts, and about whether a streamer exists at all.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any
from urllib.parse import urlencode, urljoin, urlsplit

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
    next_page,
    one_by_one,
    read_rows,
    with_second_route,
)
from livectl.live.platforms.parsing import is_number, parse_page_address
from livectl.models import Observation, Request, State

if TYPE_CHECKING:
    from collections.abc import Generator, Sequence

    from livectl.live.platforms.base import CheckContext, Effect
    from livectl.models import Response

NAME = "soop"
DOMAINS = ("sooplive.com", "sooplive.co.kr", "afreecatv.com")
PLAYER_HOSTS = {f"{part}.{domain}" for part in ("play", "ch", "bj", "m") for domain in DOMAINS}
OTHER_HOSTS = {f"{part}{domain}" for part in ("", "www.", "vod.") for domain in DOMAINS}
HOSTS = frozenset(f"{part}.{domain}" for part in ("live", "chapi") for domain in DOMAINS)  # one redirects to another
MAX_MOVES = 3  # from domain to domain
HINT = "Give the player: https://play.sooplive.com/ID"
API = "https://live.sooplive.com/afreeca/player_live_api.php"
LIST_API = "https://live.sooplive.com/api/main_broad_list_api.php"
LIST_SIZE = 60
STATION_API = "https://chapi.sooplive.com/api"
COVERS = "https://liveimg.sooplive.co.kr/m"
AVATARS = "https://profile.img.sooplive.co.kr/LOGO"
RESULT_LIVE, RESULT_OFFLINE = 1, 0  # of RESULT
RESTRICTIONS = {-2: "not shown in this region", -6: "shown after login, from age 19", -8: "shown to adults"}
EXISTS_CACHE_SECONDS = 30 * 86_400.0  # the station of an offline streamer is asked once a month
STATION_RETRY_SECONDS = 3_600.0  # ... and once an hour when it does not answer


class SoopChannel(msgspec.Struct, rename="upper"):
    result: int
    title: str | None = ""
    bjnick: str | None = ""
    bjid: str | None = ""
    bno: str | int | None = ""
    btime: int | None = None
    category_tags: list[str] | None = None
    cate: str | int | None = ""  # the category's number
    viewcnt: int | None = None
    bpwd: str | None = ""
    gdpr: bool | None = False


class SoopResponse(msgspec.Struct):
    channel: SoopChannel = msgspec.field(name="CHANNEL")


class SoopBroadcast(msgspec.Struct):
    broad_no: int
    broad_title: str | None = ""
    current_sum_viewer: int | None = None
    broad_cate_no: str | int | None = ""
    category_tags: list[str] | None = None
    is_password: bool | None = False


class SoopStation(msgspec.Struct):
    user_id: str | None = ""
    user_nick: str | None = ""
    broad_start: parsing.LocalTime | None = None


class SoopStationResponse(msgspec.Struct):
    station: SoopStation
    broad: SoopBroadcast | None  # no default: null says offline, no broad at all says nothing


class SoopListRow(msgspec.Struct):
    user_id: str
    broad_no: str | int
    user_nick: str | None = ""
    broad_title: str | None = ""
    current_view_cnt: int | str | None = None  # total_view_cnt beside it counts something else
    broad_start: str | None = ""
    category_tags: list[str] | None = None
    is_password: bool | str | int | None = False


class SoopList(msgspec.Struct):
    broad: list[msgspec.Raw]
    total_cnt: int


LIST = msgspec.json.Decoder(SoopList, strict=False)
LIST_ROW = msgspec.json.Decoder(SoopListRow)
BODY = msgspec.json.Decoder(SoopResponse, strict=False)
STATION_RESPONSE = msgspec.json.Decoder(SoopStationResponse, strict=False)


def address(text: str) -> str | None:
    page = parse_page_address(text)
    if page is None or page.host not in {NAME, *PLAYER_HOSTS, *OTHER_HOSTS}:
        return None
    match page.parts:
        case ["station" | "player" | "live", streamer_id, *_] | [streamer_id, *_] if page.host not in OTHER_HOSTS:
            if re.fullmatch(r"[a-z0-9_]{1,40}", streamer_id.lower()):
                return streamer_id.lower()
        case ["player" | "vod", *_]:
            raise NotAStreamer("a SOOP recording is no streamer", HINT)
        case ["station", streamer_id, *_] if re.fullmatch(r"[a-z0-9_]{1,40}", streamer_id.lower()):
            return streamer_id.lower()
    raise NotAStreamer(f"no SOOP streamer in {page.url}", HINT)


def url(streamer_id: str) -> str:
    return f"https://play.sooplive.com/{streamer_id}"


def check_streamer(streamer_id: str, context: CheckContext) -> Generator[Effect, Any, Observation]:
    form = {"bid": streamer_id, "type": "live", "player_type": "html5", "from_api": "0", "mode": "landing"}
    headers = _headers(streamer_id, context) | {"Content-Type": "application/x-www-form-urlencoded"}
    request = Request(
        url=f"{API}?bjid={streamer_id}", method="POST", headers=headers, body=urlencode(form).encode(), follow=False
    )
    channel = parsing.read_json((yield from _ask_player(request)), BODY, context.now).channel
    if channel.bjid and channel.bjid.lower() != streamer_id:
        raise parsing.somebody_else("$.CHANNEL.BJID", channel.bjid)
    if channel.result == RESULT_LIVE:
        state = State.RESTRICTED if channel.bpwd == "Y" else State.LIVE
        return _build_observation(streamer_id, channel, state, context)
    if channel.result in RESTRICTIONS and channel.title and channel.btime:
        return _build_observation(streamer_id, channel, State.RESTRICTED, context)
    if channel.result in RESTRICTIONS:
        return (yield from _check_station(streamer_id, RESTRICTIONS[channel.result], context))
    if channel.result != RESULT_OFFLINE:
        raise parsing.unknown_value("$.CHANNEL.RESULT", channel.result)
    if channel.title and channel.btime:
        raise CheckFailed(State.PARSE_ERROR, "a broadcast of somebody offline - at `$.CHANNEL.BTIME`")
    if channel.gdpr:
        raise CheckFailed(State.BLOCKED, "not shown in this region at all")
    return (yield from _confirm_offline(streamer_id, context))


def _ask_player(request: Request) -> Generator[Effect, Any, Response]:
    """The response, from whichever of its own domains the site sends to. Without its form nobody would be live."""
    for _ in range(MAX_MOVES):
        response = yield from ask(request)
        moved_to = urljoin(request.url, response.headers.get("location", ""))
        if not 300 <= response.status < 400 or urlsplit(moved_to).hostname not in HOSTS:
            return response
        request = msgspec.structs.replace(request, url=moved_to)
    return response


def _confirm_offline(streamer_id: str, context: CheckContext) -> Generator[Effect, Any, Observation]:
    """Asks the station, once in a while, whether the streamer exists.

    The player's API answers the same for a streamer who is offline and for one who does not exist.
    """
    offline = Observation(platform=NAME, id=streamer_id, state=State.OFFLINE, at=context.now)
    if (yield from cache_get(f"known/{streamer_id}")):
        return offline
    try:
        return (yield from _check_station(streamer_id, "", context))
    except CheckFailed:
        yield from cache_set(f"known/{streamer_id}", "1", STATION_RETRY_SECONDS)
        return offline


def check_station(streamer_id: str, context: CheckContext) -> Generator[Effect, Any, Observation]:
    return (yield from _check_station(streamer_id, "", context))


def _build_observation(streamer_id: str, channel: SoopChannel, state: State, context: CheckContext) -> Observation:
    session = str(channel.bno or "")
    return Observation(
        platform=NAME,
        id=streamer_id,
        state=state,
        at=context.now,
        session=session,
        title=parsing.plain_text(channel.title),
        category=_category(channel.category_tags, channel.cate),
        name=parsing.plain_text(channel.bjnick),
        url=url(streamer_id),
        cover=f"{COVERS}/{session}" if is_number(session) else "",
        avatar=_avatar(streamer_id),
        viewers=parsing.parse_count(channel.viewcnt),
        started_at=parsing.valid_timestamp(context.now - channel.btime) if channel.btime is not None else None,
        problem=RESTRICTIONS.get(channel.result, "asks for a password") if state is State.RESTRICTED else "",
    )


def _avatar(streamer_id: str) -> str:
    return f"{AVATARS}/{streamer_id[:2]}/{streamer_id}/{streamer_id}.jpg"


def _category(tags: Sequence[str] | None, number: str | int | None) -> str:
    """The category's name, or its number where the site gives no name."""
    return parsing.plain_text(tags[0] if tags else str(number or ""))


def _check_station(streamer_id: str, restriction: str, context: CheckContext) -> Generator[Effect, Any, Observation]:
    """The observation that the station's API gives: not found, offline, or live behind the gate `restriction`."""
    headers = _headers(streamer_id, context)
    response = yield from ask(Request(url=f"{STATION_API}/{streamer_id}/station", headers=headers))
    if response.status in {400, 404} and parsing.has_json(response):
        return Observation(platform=NAME, id=streamer_id, state=State.NOT_FOUND, at=context.now)
    body = parsing.read_json(response, STATION_RESPONSE, context.now)
    if body.station.user_id and body.station.user_id.lower() != streamer_id:
        raise parsing.somebody_else("$.station.user_id", body.station.user_id)
    yield from cache_set(f"known/{streamer_id}", "1", EXISTS_CACHE_SECONDS)
    name = parsing.plain_text(body.station.user_nick)
    if body.broad is None:
        return Observation(
            platform=NAME, id=streamer_id, state=State.OFFLINE, at=context.now, name=name, url=url(streamer_id)
        )
    is_gated = bool(restriction)
    restriction = restriction or ("asks for a password" if body.broad.is_password else "")
    return Observation(
        platform=NAME,
        id=streamer_id,
        state=State.RESTRICTED if restriction else State.LIVE,
        at=context.now,
        session=str(body.broad.broad_no),
        title=parsing.plain_text(body.broad.broad_title),
        # The player names what the station numbers: where it is asked, too, a number would look like a change.
        category=_category(body.broad.category_tags, body.broad.broad_cate_no if is_gated else ""),
        name=name,
        url=url(streamer_id),
        cover=f"{COVERS}/{body.broad.broad_no}",
        avatar=_avatar(streamer_id),
        viewers=parsing.parse_count(body.broad.current_sum_viewer),
        started_at=parsing.korean_timestamp(body.station.broad_start),
        problem=restriction,
    )


def list_page(cursor: str, context: CheckContext) -> Generator[Effect, Any, ListingPage]:
    """Everybody who is live, by start: of all its orders the one that shifts least from page to page."""
    number = int(cursor or 1)
    query = {"selectType": "action", "selectValue": "all", "orderType": "broad_start", "pageNo": number}
    headers = parsing.browser_headers("https://www.sooplive.com/", context.keys.get("cookie"))
    request = Request(url=f"{LIST_API}?{urlencode(query)}&lang=ko_KR", headers=headers, follow=False)
    body = parsing.read_json((yield from _ask_player(request)), LIST, context.now)
    is_last = not body.broad or number * LIST_SIZE >= body.total_cnt
    return ListingPage(read_rows(body.broad, lambda row: [_read_row(row, context)]), next_page(cursor, is_last=is_last))


def _read_row(raw: msgspec.Raw, context: CheckContext) -> Observation:
    row = parsing.decode_json(raw, LIST_ROW)
    streamer_id, session = row.user_id.lower(), str(row.broad_no)
    is_closed = row.is_password in {True, "Y", "1"}
    return Observation(
        platform=NAME,
        id=streamer_id,
        state=State.RESTRICTED if is_closed else State.LIVE,
        at=context.now,
        session=session,
        title=parsing.plain_text(row.broad_title),
        category=_category(row.category_tags, ""),
        name=parsing.plain_text(row.user_nick),
        url=url(streamer_id),
        cover=f"{COVERS}/{session}" if is_number(session) else "",
        avatar=_avatar(streamer_id),
        viewers=parsing.parse_count(row.current_view_cnt),
        started_at=parsing.korean_timestamp(parsing.local_time(row.broad_start)),
        problem="asks for a password" if is_closed else "",
    )


def _headers(streamer_id: str, context: CheckContext) -> dict[str, str]:
    return parsing.browser_headers(url(streamer_id), context.keys.get("cookie"))


PLATFORM = Platform(
    name=NAME,
    hosts=HOSTS,
    batch=1,
    budget="120/m",  # no limit is published
    key_names=("cookie",),
    address=address,
    url=url,
    listing=Listing(list_page, pages=41),
    check=one_by_one(NAME, with_second_route(check_streamer, check_station)),
)
